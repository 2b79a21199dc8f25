//! Carries out what the state machine asks for, one activity at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use offsite_core::phase::{Action, Event, Job, LastRun, Phase, RunResult, Sighting};
use offsite_core::schedule::{PointRange, Schedule, Span};
use offsite_core::selection::Take;
use offsite_core::{MachineName, Sequence, Timestamp};
use tokio::time::{sleep, timeout};

use super::event::RunnerEvent;
use super::memory::{Arrived, OpenInterval, Target};
use super::passage::WindowGate;
use super::report::{RunEnd, RunReport};
use super::work::{Done, Failure, Looked, SyncOrder, Synced, look, sync, target, transform};
use super::{JobRunner, Memory};
use crate::report::{MachineOutcome, SyncOutcome, SyncReport, TransformReport};

/// How long a stop waits for an activity that is not a transfer.
const GRACE: Duration = Duration::from_secs(10);
/// How long a stop waits for a transfer to end and to be committed.
const COMMIT_GRACE: Duration = Duration::from_secs(60);

/// Between a step and the next, where the time of the next has come meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a runner that starts tries to look at the target.
const FIRST_LOOKS: u32 = 4;

type Stop<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

struct Drive {
    runner: JobRunner,
    memory: Memory,
    job: Job,
    /// What was told last.
    told: Option<(Phase, Span)>,
    events: VecDeque<Event>,
    wake: Option<Timestamp>,
    look: Option<BoxFuture<'static, Result<Looked, Failure>>>,
    task: Option<BoxFuture<'static, Done>>,
    /// Of the running sync.
    gate: Option<Arc<WindowGate>>,
    /// The machines of the running sync.
    ordered: BTreeSet<MachineName>,
    /// Whether the end of the running sync closes the restore point.
    is_closing: bool,
    /// The target at the last look.
    target: Option<Target>,
    syncs: Vec<SyncReport>,
    /// The newest point of the interval, whoever made it.
    point: Option<Sequence>,
    transform: Option<TransformReport>,
    notes: Vec<String>,
    /// Why machines are incomplete.
    reasons: BTreeMap<MachineName, String>,
    /// The interval that is done but for its post-job activities.
    result: Option<RunResult>,
    /// The report of the interval that ended last.
    ended: Option<RunReport>,
}

enum Woken {
    Stopped,
    Time,
    Looked(Result<Looked, Failure>),
    Done(Done),
}

pub(super) fn run(runner: JobRunner, mut stop: Stop<'_>) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let memory = runner.memory.clone();
        let target = match resumed_target(&runner, &mut stop).await {
            Ok(target) => target,
            Err(Stopped) => return,
        };
        let now = runner.clock.now();
        let point = match (&target, &memory.open) {
            (Some(target), Some(open)) => target.arrived(open).point,
            _ => None,
        };
        let past = memory.past(&runner.settings.schedule, target.as_ref(), now);
        let (job, actions) = Job::resume(runner.settings.clone(), past, now);
        let mut drive = Drive::new(runner, memory, job);
        (drive.target, drive.point) = (target, point);
        drive.carry_out(actions);
        drive.go(&mut stop).await;
    })
}

/// Does one interval's work now.
pub(super) fn run_once(runner: JobRunner, mut stop: Stop<'_>) -> BoxFuture<'_, RunEnd> {
    Box::pin(async move {
        let (job, actions) = Job::single(runner.settings.clone(), runner.clock.now());
        let mut drive = Drive::new(runner, Memory::default(), job);
        drive.carry_out(actions);
        drive.go(&mut stop).await
    })
}

struct Stopped;

/// The target as it is when the runner starts; none if it cannot be looked at, and nothing depends on it.
///
/// A runner that has no memory, or one of an open interval, should know what the chain has, lest it copies a machine twice in
/// an interval; but an outage is to be reported, and so it does not wait for ever.
async fn resumed_target(runner: &JobRunner, stop: &mut Stop<'_>) -> Result<Option<Target>, Stopped> {
    let retry_secs = i64::from(runner.settings.look_every_secs.max(1));
    for look in 1..=FIRST_LOOKS {
        let opened = async {
            let job = runner.host.open().await?;
            Ok(target(&job).await?)
        };
        let failure: Failure = match until_stopped(opened, stop).await? {
            Ok(target) => return Ok(Some(target)),
            Err(failure) => failure,
        };
        runner.events.tell(&runner.name, RunnerEvent::Failed { why: &failure.why, is_retryable: true });
        if look == FIRST_LOOKS || (runner.memory.last.is_some() && runner.memory.open.is_none()) {
            break;
        }
        let until = runner.clock.now().saturating_add_secs(retry_secs);
        runner.events.tell(&runner.name, RunnerEvent::Waiting { until: Some(until) });
        while runner.clock.now() < until {
            until_stopped(runner.clock.wait_until(until), stop).await?;
        }
    }
    Ok(None)
}

async fn until_stopped<T>(future: impl Future<Output = T>, stop: &mut Stop<'_>) -> Result<T, Stopped> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        if stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Stopped));
        }
        future.as_mut().poll(context).map(Ok)
    })
    .await
}

impl Drive {
    fn new(runner: JobRunner, memory: Memory, job: Job) -> Self {
        Self {
            runner,
            memory,
            job,
            told: None,
            events: VecDeque::new(),
            wake: None,
            look: None,
            task: None,
            gate: None,
            ordered: BTreeSet::new(),
            is_closing: false,
            target: None,
            syncs: Vec::new(),
            point: None,
            transform: None,
            notes: Vec::new(),
            reasons: BTreeMap::new(),
            result: None,
            ended: None,
        }
    }

    /// Goes on until it is stopped, or done with the only interval.
    async fn go(mut self, stop: &mut Stop<'_>) -> RunEnd {
        loop {
            while let Some(event) = self.events.pop_front() {
                self.step(event);
            }
            if self.job.is_done()
                && let Some(report) = self.ended.take()
            {
                return RunEnd::Done(Box::new(report));
            }
            match self.next(stop).await {
                Woken::Stopped => return RunEnd::Stopped { syncs: self.wind_up().await },
                Woken::Time => self.events.push_back(Event::Tick),
                Woken::Looked(looked) => self.looked(looked),
                Woken::Done(done) => self.done(done),
            }
        }
    }

    fn tell(&self, event: RunnerEvent<'_>) {
        self.runner.events.tell(&self.runner.name, event);
    }

    fn failed(&self, failure: &Failure) {
        self.tell(RunnerEvent::Failed { why: &failure.why, is_retryable: failure.is_retryable });
    }

    fn remember(&self) {
        self.tell(RunnerEvent::Remember(&self.memory));
    }

    /// What happens next, first what is done, then the time.
    async fn next(&mut self, stop: &mut Stop<'_>) -> Woken {
        let clock = self.runner.clock.clone();
        let mut timer = self.wake.map(|at| {
            let clock = clock.clone();
            Box::pin(async move {
                match clock.now() < at {
                    true => clock.wait_until(at).await,
                    // A time that is past already is no reason to spin.
                    false => sleep(PAUSE).await,
                }
            })
        });
        let (look, task) = (&mut self.look, &mut self.task);
        poll_fn(|context| {
            if stop.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Stopped);
            }
            if let Some(running) = task
                && let Poll::Ready(done) = running.as_mut().poll(context)
            {
                *task = None;
                return Poll::Ready(Woken::Done(done));
            }
            if let Some(running) = look
                && let Poll::Ready(looked) = running.as_mut().poll(context)
            {
                *look = None;
                return Poll::Ready(Woken::Looked(looked));
            }
            match &mut timer {
                Some(timer) => timer.as_mut().poll(context).map(|()| Woken::Time),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn step(&mut self, event: Event) {
        self.wake = None;
        let actions = self.job.step(event, self.runner.clock.now());
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::LookAtSources { range } => self.start_look(range),
                Action::StartSync { range, machines } => self.start_sync(range, machines),
                Action::Pause => {
                    self.gate.iter().for_each(|gate| gate.pause());
                    self.tell(RunnerEvent::Paused);
                }
                Action::Resume => {
                    self.gate.iter().for_each(|gate| gate.resume());
                    self.tell(RunnerEvent::Resumed);
                }
                Action::ClosePoint { .. } => self.close(),
                Action::StartTransform => self.start_transform(),
                Action::RunPostJob { result } => self.start_post_job(result),
                Action::WakeAt(at) => self.wake = Some(at),
            }
        }
        let now = (self.job.phase(), *self.job.span());
        if self.told.replace(now) != Some(now) {
            self.tell(RunnerEvent::Phase { phase: now.0, span: now.1 });
        }
        self.tell(RunnerEvent::Waiting { until: self.wake });
    }

    fn take(&self) -> Take {
        match self.runner.settings.schedule {
            Schedule::Interval(_) => Take::Newest,
            Schedule::Immediate => Take::Next,
        }
    }

    fn start_look(&mut self, range: PointRange) {
        let now = self.runner.clock.now();
        self.look = Some(Box::pin(look(self.runner.host.clone(), now, range, self.take())));
    }

    fn looked(&mut self, looked: Result<Looked, Failure>) {
        let event = match looked {
            Ok(Looked { choices, notes, target }) => {
                self.target = Some(target);
                self.note(notes);
                Event::SourcesSeen(choices.iter().map(Sighting::from).collect())
            }
            Err(failure) => {
                self.failed(&failure);
                Event::LookFailed { why: failure.why }
            }
        };
        self.events.push_back(event);
    }

    fn start_sync(&mut self, range: PointRange, machines: BTreeSet<MachineName>) {
        let names: Vec<MachineName> = machines.iter().cloned().collect();
        self.tell(RunnerEvent::SyncStarted { machines: &names });
        let runner = &self.runner;
        let gate = Arc::new(WindowGate::new(runner.name.clone(), runner.slots.clone(), runner.events.clone()));
        let open = self.open_interval();
        self.ordered.clone_from(&machines);
        let clock = self.runner.clock.clone();
        let order = SyncOrder { clock, range, take: self.take(), machines, open, gate: gate.clone() };
        let host = self.runner.host.clone();
        self.task = Some(Box::pin(async move { Done::Synced(sync(host, order).await) }));
        self.gate = Some(gate);
        self.is_closing = false;
    }

    /// The interval that is open, which begins with its first sync.
    fn open_interval(&mut self) -> OpenInterval {
        let span = *self.job.span();
        // A sync follows a look, which told the target.
        let (target, newest) =
            self.target.as_ref().map_or(([0; 16], Sequence(0)), |target| (target.id, target.newest()));
        let open = match self.memory.open {
            Some(open) if open.start == span.start && open.target == target => OpenInterval { end: span.end, ..open },
            _ => OpenInterval { start: span.start, end: span.end, target, after: newest },
        };
        if self.memory.open.replace(open) != Some(open) {
            self.remember();
        }
        open
    }

    fn close(&mut self) {
        self.look = None;
        match &self.gate {
            Some(gate) => {
                self.is_closing = true;
                gate.stop();
            }
            None => self.events.push_back(Event::PointClosed),
        }
    }

    fn start_transform(&mut self) {
        let machines: Vec<_> = self.job.outcomes().into_iter().collect();
        self.tell(RunnerEvent::Closed { machines: &machines });
        let span = *self.job.span();
        self.memory.last = Some(LastRun { span, machines: machines.into_iter().collect(), is_finished: false });
        self.memory.open = None;
        self.remember();
        let (host, slots) = (self.runner.host.clone(), self.runner.slots.clone());
        let (clock, added) = (self.runner.clock.clone(), self.memory.added);
        self.task = Some(Box::pin(transform(host, slots, clock, added)));
    }

    fn start_post_job(&mut self, result: RunResult) {
        self.result = Some(result);
        let Some(report) = self.report() else { return };
        let host = self.runner.host.clone();
        self.task = Some(Box::pin(async move { Done::PostJob(host.after(&report).await) }));
    }

    fn report(&self) -> Option<RunReport> {
        Some(RunReport {
            job: self.runner.name.clone(),
            ended: self.runner.clock.now(),
            result: self.result.clone()?,
            point: self.point,
            syncs: self.syncs.clone(),
            transform: self.transform.clone(),
            notes: self.notes.clone(),
            reasons: self.reasons.clone(),
        })
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Synced(synced) => self.synced(synced),
            Done::Transformed(Ok(report)) => {
                self.memory.added = 0;
                self.remember();
                self.tell(RunnerEvent::Transformed(&report));
                self.transform = Some(report);
                self.events.push_back(Event::TransformDone);
            }
            Done::Transformed(Err(failure)) => {
                self.failed(&failure);
                let Failure { why, is_retryable } = failure;
                self.events.push_back(Event::TransformFailed { is_retryable, why });
            }
            Done::PostJob(warnings) => {
                self.notes.extend(warnings);
                self.ended = self.report();
                if let Some(report) = &self.ended {
                    self.tell(RunnerEvent::Ended(report));
                }
                if let Some(last) = &mut self.memory.last {
                    last.is_finished = true;
                }
                self.remember();
                (self.result, self.transform, self.point) = (None, None, None);
                self.syncs.clear();
                self.notes.clear();
                self.reasons.clear();
                self.events.push_back(Event::PostJobDone);
            }
        }
    }

    fn synced(&mut self, Synced { result, arrived }: Synced) {
        self.gate = None;
        let is_closing = std::mem::take(&mut self.is_closing);
        self.arrived(arrived);
        let end = match result {
            Ok(outcome) => {
                self.take_in(outcome);
                if is_closing { Event::PointClosed } else { Event::SyncEnded }
            }
            Err(failure) => {
                self.failed(&failure);
                let Failure { why, is_retryable } = failure;
                // What was committed is told already. Closing again finds no sync, so there it cannot fail.
                if is_closing {
                    Event::CloseFailed { is_retryable: true, why }
                } else {
                    Event::SyncFailed { is_retryable, why }
                }
            }
        };
        self.events.push_back(end);
        self.remember();
    }

    /// What the chain tells of a sync that failed.
    fn arrived(&mut self, arrived: Option<Arrived>) {
        let Some(arrived) = arrived else { return };
        self.point = arrived.point.or(self.point);
        let known = self.syncs.iter().filter(|sync| !sync.joined).count();
        let points = usize::try_from(arrived.points).unwrap_or(usize::MAX);
        let unknown = u32::try_from(points.saturating_sub(known)).unwrap_or(u32::MAX);
        self.memory.added = self.memory.added.max(unknown);
        for (machine, captured) in arrived.copied {
            self.events.push_back(Event::MachineCopied { machine, captured });
        }
        for (machine, (bytes_done, bytes_left)) in arrived.partial {
            self.events.push_back(Event::Progress { machine, bytes_done, bytes_left });
        }
    }

    fn take_in(&mut self, outcome: SyncOutcome) {
        self.tell(RunnerEvent::SyncEnded(&outcome));
        self.memory.added = self.memory.added.saturating_add(outcome.added());
        // The others are as the look found them.
        for report in outcome.machines.iter().filter(|report| self.ordered.contains(&report.name)) {
            let machine = report.name.clone();
            match &report.outcome {
                // One that is as it should be without a copy: an earlier try had committed it.
                MachineOutcome::Complete { captured } | MachineOutcome::Unchanged { captured } => {
                    self.events.push_back(Event::MachineCopied { machine, captured: *captured });
                }
                MachineOutcome::Incomplete { transferred, why, .. } => {
                    self.reasons.insert(machine.clone(), why.clone());
                    let (bytes_done, bytes_left) = (transferred.done_bytes, transferred.left_bytes);
                    self.events.push_back(Event::Progress { machine, bytes_done, bytes_left });
                }
                MachineOutcome::Waiting { .. } | MachineOutcome::Absent { .. } => {}
            }
        }
        self.note(outcome.notes);
        self.point = outcome.sync.as_ref().map(|sync| sync.sequence).or(self.point);
        self.syncs.extend(outcome.sync);
    }

    fn note(&mut self, notes: Vec<String>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// Ends what is under way so that another runner can go on; what the open interval has copied.
    async fn wind_up(mut self) -> Vec<SyncReport> {
        self.look = None;
        let Some(task) = self.task.take() else { return self.syncs };
        let grace = match &self.gate {
            Some(gate) => {
                gate.stop();
                COMMIT_GRACE
            }
            None => GRACE,
        };
        // What was committed the next runner finds in the chain; what else is cut off it does again.
        if let Ok(done) = timeout(grace, task).await {
            self.done(done);
        }
        self.syncs
    }
}
