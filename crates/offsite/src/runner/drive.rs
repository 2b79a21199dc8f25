//! Carries out what the state machine asks for, one activity at a time.

mod begin;
mod done;
mod passage;
mod requested;
mod resume;
mod synced;
mod told;
mod wind_up;
mod work;

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use futures::future::BoxFuture;
use offsite_core::phase::{Action, Event, Job, Phase, RunResult, Settings};
use offsite_core::schedule::{Schedule, Span};
use offsite_core::selection::Take;
use offsite_core::{MachineName, Sequence, Timestamp};
use tokio::sync::oneshot;
use tokio::time::sleep;

use self::passage::WindowGate;
use self::requested::Requested;
use self::resume::{Stopped, resumed_target};
use self::work::{Done, Looked};
use super::event::RunnerEvent;
use super::failure::Failure;
use super::job::OpenJob;
use super::memory::{Memory, Target};
use super::outcome::Known;
use super::report::{RunEnd, RunReport};
use super::setup::{PAUSE, Setup, Stop};
use super::status::Wait;
use crate::CopyJob;
use crate::report::{Doubt, HistoryReport, Note, OperationReport, SyncReport, TransformReport};

struct Drive {
    setup: Setup,
    settings: Settings,
    open: Arc<dyn OpenJob<CopyJob>>,
    memory: Memory,
    job: Job,
    /// `true` if the drive waits for nothing.
    is_single: bool,
    /// The run that somebody has asked for, while it is at work.
    requested: Option<Requested>,
    /// The callers that want a run that cannot begin yet.
    wanted: Vec<oneshot::Sender<RunEnd>>,
    /// The callers that want the running transfer to continue outside its window.
    forced: Vec<oneshot::Sender<RunEnd>>,
    /// `true` if the running sync was told that the window is closed.
    is_shut: bool,
    /// `true` if another run of the job was at work when this one wanted to write.
    is_refused: bool,
    /// `true` if the last activity has failed.
    is_failing: bool,
    /// The phase and interval that were reported last.
    told: Option<(Phase, Span)>,
    events: VecDeque<Event>,
    wake: Option<Timestamp>,
    look: Option<BoxFuture<'static, Result<Looked, Failure>>>,
    task: Option<BoxFuture<'static, Done>>,
    /// The gate of the running sync.
    gate: Option<Arc<WindowGate>>,
    /// The machines of the running sync.
    ordered: BTreeSet<MachineName>,
    /// `true` if the restore point closes when the running sync ends.
    is_closing: bool,
    /// The target at the last look.
    target: Option<Target>,
    syncs: Vec<SyncReport>,
    /// What the syncs have brought of the past.
    history: Option<HistoryReport>,
    /// The slots that the syncs have filled.
    filled: Vec<OperationReport>,
    /// The newest point of the interval, whichever run made it.
    point: Option<Sequence>,
    transform: Option<TransformReport>,
    notes: Vec<Note>,
    /// The doubts of the last look or sync.
    doubts: Vec<Doubt>,
    /// What is known of the interval besides what the state machine knows.
    known: Known,
    /// Machines that were to be copied, and that another run has copied meanwhile.
    elsewhere: BTreeSet<MachineName>,
    /// Machines that were reported as overdue.
    overdue: BTreeSet<MachineName>,
    /// The interval that is done except for its post-job activities.
    result: Option<RunResult>,
    /// The report of the last interval.
    ended: Option<RunReport>,
    /// What is not stored yet: a report, and whether the memory has changed.
    unstored: (Option<RunReport>, bool),
}

enum Woken {
    Stopped,
    Requested,
    Time,
    Looked(Box<Result<Looked, Failure>>),
    Done(Box<Done>),
}

/// How a drive ended.
enum Ending {
    /// The only interval is done.
    Done(RunReport),
    /// The drive was stopped: the report of the interval so far, and whether one was open.
    Stopped(RunReport, bool),
}

/// Drives the job until it is stopped. Returns the report of the interval that was open then.
pub(super) async fn run(
    setup: Setup,
    settings: Settings,
    open: Arc<dyn OpenJob<CopyJob>>,
    stop: &mut Stop<'_>,
) -> (Option<RunReport>, Setup) {
    let memory = setup.teller.recall().await;
    let target = match resumed_target(&setup, &settings, &open, &memory, stop).await {
        Ok(target) => target,
        Err(Stopped) => return (None, setup),
    };
    let now = setup.clock.now();
    let past = memory.past(&settings.schedule, target.as_ref(), now);
    let (job, actions) = Job::resume(settings.clone(), past, now);
    let mut drive = Drive::new(setup, settings, open, memory, job);
    drive.target = target;
    drive.point = drive.arrived_point();
    drive.tell_overdue();
    drive.carry_out(actions);
    match drive.go(stop).await {
        (Ending::Stopped(report, true), setup) => (Some(report), setup),
        (Ending::Stopped(..) | Ending::Done(_), setup) => (None, setup),
    }
}

/// Does the work of one interval now.
pub(super) async fn run_once(
    setup: Setup,
    settings: Settings,
    open: Arc<dyn OpenJob<CopyJob>>,
    stop: &mut Stop<'_>,
) -> RunEnd {
    let (job, actions) = Job::single(settings.clone(), setup.clock.now());
    let mut drive = Drive::new(setup, settings, open, Memory::default(), job);
    drive.is_single = true;
    drive.carry_out(actions);
    match drive.go(stop).await {
        (Ending::Done(report), _) => RunEnd::Done(Box::new(report)),
        (Ending::Stopped(report, _), _) => RunEnd::Stopped(Box::new(report)),
    }
}

impl Drive {
    fn new(setup: Setup, settings: Settings, open: Arc<dyn OpenJob<CopyJob>>, memory: Memory, job: Job) -> Self {
        let known = Known::of(memory.last.as_ref().filter(|last| !last.is_finished));
        Self {
            setup,
            settings,
            open,
            memory,
            job,
            is_single: false,
            requested: None,
            wanted: Vec::new(),
            forced: Vec::new(),
            is_shut: false,
            is_refused: false,
            is_failing: false,
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
            history: None,
            filled: Vec::new(),
            point: None,
            transform: None,
            notes: Vec::new(),
            doubts: Vec::new(),
            known,
            elsewhere: BTreeSet::new(),
            overdue: BTreeSet::new(),
            result: None,
            ended: None,
            unstored: (None, false),
        }
    }

    /// Drives the job until it is stopped, or until the only interval is done.
    async fn go(mut self, stop: &mut Stop<'_>) -> (Ending, Setup) {
        loop {
            if !self.setup.control.is_held() {
                while let Some(event) = self.events.pop_front() {
                    self.step(event);
                }
                if self.begin_requested() {
                    continue;
                }
            }
            if self.job.is_done()
                && let Some(report) = self.ended.take()
            {
                match self.requested.take() {
                    Some(asked) => self.answer(asked, report),
                    None => {
                        self.save().await;
                        return (Ending::Done(report), self.setup);
                    }
                }
                continue;
            }
            self.hold();
            self.save().await;
            if self.setup.control.is_stopped() {
                return self.wind_up().await;
            }
            match self.next(stop).await {
                Woken::Stopped => return self.wind_up().await,
                Woken::Requested => {}
                Woken::Time => self.events.push_back(Event::Tick),
                Woken::Looked(looked) => self.looked(*looked),
                Woken::Done(done) => self.done(*done),
            }
        }
    }

    fn tell(&self, event: RunnerEvent<'_>) {
        self.setup.teller.tell(event);
    }

    fn failed(&mut self, failure: &Failure) {
        self.is_failing = true;
        self.known.failed(&failure.why);
        self.tell(RunnerEvent::Failed { why: &failure.why, is_retryable: failure.why.is_retryable });
    }

    fn remember(&mut self) {
        self.unstored.1 = true;
    }

    /// Stores what is not stored yet, before anything else begins.
    ///
    /// Tasks begin when they are polled first.
    async fn save(&mut self) {
        if let Some(report) = self.unstored.0.take() {
            self.setup.teller.report(&report).await;
        }
        if std::mem::take(&mut self.unstored.1) {
            self.setup.teller.remember(&self.memory).await;
        }
        self.setup.teller.show().await;
    }

    /// Pauses or resumes the running transfer, and reports what it waits for.
    fn hold(&mut self) {
        let is_held = self.setup.control.is_held();
        let is_shut = self.is_shut && self.forced.is_empty();
        if let Some(gate) = &self.gate
            && gate.pause(is_held || is_shut)
        {
            self.tell(if is_held || is_shut { RunnerEvent::Paused } else { RunnerEvent::Resumed });
        }
        let is_open = || self.settings.window.is_open(self.setup.clock.now());
        let wait = match self.job.phase() {
            _ if is_held && (self.task.is_none() || self.gate.is_some()) => Some(Wait::Resume),
            _ if self.gate.is_some() && is_shut => Some(Wait::Window),
            // The transfer itself reports whether it waits for a slot.
            _ if self.task.is_some() => return,
            _ if self.look.is_some() && !matches!(self.settings.schedule, Schedule::Immediate) => None,
            Phase::Idle if self.settings.schedule.interval().is_some() => Some(Wait::Interval),
            Phase::Idle | Phase::Sync if !is_open() => Some(Wait::Window),
            Phase::Idle | Phase::Sync if !self.is_failing => Some(Wait::Points),
            _ => Some(Wait::Retry),
        };
        self.setup.teller.waits_for(wait);
    }

    /// The next thing to handle: the end of an activity first, then the time.
    async fn next(&mut self, stop: &mut Stop<'_>) -> Woken {
        let clock = self.setup.clock.clone();
        let wake = self.wake.filter(|_| !self.setup.control.is_held());
        let mut timer = wake.map(|at| {
            let clock = clock.clone();
            Box::pin(async move {
                match clock.now() < at {
                    true => clock.wait_until(at).await,
                    // A time in the past is no reason to spin.
                    false => sleep(PAUSE).await,
                }
            })
        });
        let (look, task) = (&mut self.look, &mut self.task);
        let mut told = std::pin::pin!(self.setup.control.changed());
        poll_fn(|context| {
            if stop.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Stopped);
            }
            if told.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Requested);
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
        let actions = self.job.step(event, self.setup.clock.now());
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::LookAtSources { range } => self.start_look(range),
                Action::StartSync { range, machines } => self.start_sync(range, machines),
                Action::Pause => self.is_shut = true,
                Action::Resume => self.is_shut = false,
                Action::ClosePoint { .. } => self.close(),
                Action::StartTransform => self.start_transform(),
                Action::RunPostJob { result } => self.start_post_job(result),
                Action::WakeAt(at) => self.wake = Some(at),
            }
        }
        let now = (self.job.phase(), *self.job.span());
        if self.told.replace(now) != Some(now) {
            self.tell(RunnerEvent::Phase { phase: now.0.into(), span: now.1 });
        }
        self.tell(RunnerEvent::Waiting { until: self.wake });
    }

    fn take(&self) -> Take {
        if self.settings.schedule.interval().is_some() { Take::Newest } else { Take::Next }
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
}
