//! Carries out what the state machine asks for, one activity at a time.

mod resume;
mod synced;
mod told;

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use offsite_core::phase::{Action, Event, Job, Phase, RunResult, Sighting};
use offsite_core::schedule::{PointRange, Span};
use offsite_core::selection::{Decision, Take};
use offsite_core::{MachineName, RepositoryId, Sequence, Timestamp};
use tokio::time::{sleep, timeout};

use self::resume::{Stopped, resumed_target};
use super::event::RunnerEvent;
use super::memory::{OpenInterval, Target};
use super::outcome::{Known, LastRun};
use super::passage::WindowGate;
use super::report::{RunEnd, RunReport};
use super::work::{Done, Failure, Looked, SyncOrder, look, sync, transform};
use super::{JobRunner, Memory};
use crate::Look;
use crate::report::{Doubt, ErrorSummary, MachineOutcome, MachineReport, Note, Reason, SyncReport, TransformReport};

/// How long a stop waits for an activity that is not a transfer.
const GRACE: Duration = Duration::from_secs(10);
/// How long a stop waits for a transfer to end and to be committed.
const COMMIT_GRACE: Duration = Duration::from_secs(60);

/// Between a step and the next, where the time of the next has come meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

type Stop<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

struct Drive {
    runner: JobRunner,
    memory: Memory,
    job: Job,
    /// Whether somebody waits for the end of one interval.
    is_single: bool,
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
    notes: Vec<Note>,
    /// What the last look or sync found that nobody is likely to have meant.
    doubts: Vec<Doubt>,
    /// What is known of the interval beside what the state machine tells.
    known: Known,
    /// Machines that were to be copied, and that another run had copied meanwhile.
    elsewhere: BTreeSet<MachineName>,
    /// Machines that were told to be overdue.
    overdue: BTreeSet<MachineName>,
    /// The interval that is done but for its post-job activities.
    result: Option<RunResult>,
    /// The report of the interval that ended last.
    ended: Option<RunReport>,
}

enum Woken {
    Stopped,
    Time,
    Looked(Box<Result<Looked, Failure>>),
    Done(Box<Done>),
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
        drive.is_single = true;
        drive.carry_out(actions);
        drive.go(&mut stop).await
    })
}

impl Drive {
    fn new(runner: JobRunner, memory: Memory, job: Job) -> Self {
        let known = Known::of(memory.last.as_ref().filter(|last| !last.is_finished));
        Self {
            runner,
            memory,
            job,
            is_single: false,
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
            doubts: Vec::new(),
            known,
            elsewhere: BTreeSet::new(),
            overdue: BTreeSet::new(),
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
                Woken::Looked(looked) => self.looked(*looked),
                Woken::Done(done) => self.done(*done),
            }
        }
    }

    fn tell(&self, event: RunnerEvent<'_>) {
        self.runner.events.tell(&self.runner.name, event);
    }

    fn failed(&mut self, failure: &Failure) {
        self.known.failed(&failure.why);
        self.tell(RunnerEvent::Failed { why: &failure.why, is_retryable: failure.why.is_retryable });
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
                return Poll::Ready(Woken::Done(Box::new(done)));
            }
            if let Some(running) = look
                && let Poll::Ready(looked) = running.as_mut().poll(context)
            {
                *look = None;
                return Poll::Ready(Woken::Looked(Box::new(looked)));
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
        if self.runner.settings.schedule.interval().is_some() { Take::Newest } else { Take::Next }
    }

    fn start_look(&mut self, range: PointRange) {
        let now = self.runner.clock.now();
        self.look = Some(Box::pin(look(self.runner.host.clone(), now, range, self.take())));
    }

    fn looked(&mut self, looked: Result<Looked, Failure>) {
        let look = match looked {
            Ok(Looked { look, target }) => {
                self.target = Some(target);
                self.tell_overdue();
                look
            }
            Err(failure) => Err(failure),
        };
        let event = match look {
            Ok(Look { choices, notes, doubts }) => {
                self.note(notes);
                for choice in &choices {
                    if let Decision::FutureDated { captured } = choice.decision {
                        let why = Reason::FutureDated { earliest: Some(captured) };
                        self.known.machine(choice.machine.clone(), MachineOutcome::Absent { why });
                    }
                }
                // What came meanwhile is no longer missed.
                self.doubts = doubts;
                Event::SourcesSeen(choices.iter().map(Sighting::from).collect())
            }
            Err(failure) => {
                self.failed(&failure);
                Event::LookFailed { why: failure.why.text }
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
        let (target, newest) = self
            .target
            .as_ref()
            .map_or((RepositoryId::new([0; 16]), Sequence(0)), |target| (target.id, target.newest()));
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
        let machines = self.known.outcomes(&self.job.outcomes());
        let report = |(name, outcome): (&MachineName, &MachineOutcome)| MachineReport {
            name: name.clone(),
            outcome: outcome.clone(),
        };
        self.tell(RunnerEvent::Closed { machines: &machines.iter().map(report).collect::<Vec<_>>() });
        let span = *self.job.span();
        self.memory.last = Some(LastRun::new(span, machines));
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
            // Another run transforms the chain.
            Done::Transformed(Err(failure)) if failure.is_busy && !self.is_single => {
                self.tell(RunnerEvent::AtWorkElsewhere { why: &failure.why });
                self.events.push_back(Event::TransformDone);
            }
            Done::Transformed(Err(failure)) => {
                self.failed(&failure);
                let ErrorSummary { text: why, is_retryable } = failure.why;
                self.events.push_back(Event::TransformFailed { is_retryable, why });
            }
            Done::PostJob(warnings) => {
                self.notes.extend(warnings.into_iter().map(|text| Note::PostJob { text }));
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
                self.doubts.clear();
                self.known = Known::default();
                self.elsewhere.clear();
                self.events.push_back(Event::PostJobDone);
            }
        }
    }

    fn note(&mut self, notes: Vec<Note>) {
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use offsite_core::phase::Settings;

    use super::super::{JobHost, OpenFailure};
    use super::*;
    use crate::{CopyJob, JobName};

    struct Away;

    #[async_trait]
    impl JobHost for Away {
        async fn open(&self) -> Result<CopyJob, OpenFailure> {
            Err(OpenFailure { why: "it is away".to_owned(), is_retryable: true })
        }
    }

    /// The settings may have changed since it began.
    #[test]
    fn an_open_interval_ends_when_its_settings_say_now() {
        let settings = Settings::new(offsite_core::schedule::Schedule::Immediate);
        let runner = JobRunner::new(JobName::new("second").unwrap(), settings.clone(), Arc::new(Away));
        let (job, _) = Job::single(settings, Timestamp::from_unix_secs(1_793_570_400).unwrap());
        let span = *job.span();
        let end = span.end.saturating_add_secs(86_400);
        let open = OpenInterval { start: span.start, end, target: RepositoryId::new([0; 16]), after: Sequence(3) };
        let mut drive = Drive::new(runner, Memory { open: Some(open), ..Memory::default() }, job);
        let expected = OpenInterval { end: span.end, ..open };
        assert_eq!((drive.open_interval(), drive.memory.open), (expected, Some(expected)));
    }
}
