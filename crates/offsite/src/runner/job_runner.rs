//! A runner of one job.

use std::future::Future;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;

use super::clock::{Clock, SystemClock};
use super::control::{Control, RunnerHandle};
use super::drive;
use super::event::{RunnerEvent, RunnerEvents, Unheard};
use super::job::{ScheduledJob, Work};
use super::recur;
use super::report::{RunEnd, RunReport};
use super::setup::{Setup, Stop};
use super::slots::Slots;
use super::status::JobStatus;
use super::store::{MemoryStore, Store};
use super::tell::Teller;

/// Runs one job on its schedule, until it is stopped.
///
/// A [`Daemon`](super::Daemon) runs several.
pub struct JobRunner {
    job: ScheduledJob,
    clock: Arc<dyn Clock>,
    events: Arc<dyn RunnerEvents>,
    store: Arc<dyn Store>,
    slots: Slots,
}

impl JobRunner {
    /// A runner of `job`.
    ///
    /// By default it knows nothing of earlier runners, uses the clock of this host, and shares its slots with no other job.
    #[must_use]
    pub fn new(job: ScheduledJob) -> Self {
        Self {
            job,
            clock: Arc::new(SystemClock),
            events: Arc::new(Unheard),
            store: Arc::new(MemoryStore::new()),
            slots: Slots::new(1),
        }
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the listener, unless the job has a listener of its own.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn RunnerEvents>) -> Self {
        self.events = events;
        self
    }

    /// Sets the store.
    ///
    /// The runner continues from what the store has of the job, and keeps there what the next runner needs.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// Sets the slots.
    ///
    /// The runner works only while it has a slot, which other jobs may take as well.
    #[must_use]
    pub fn slots(mut self, slots: Slots) -> Self {
        self.slots = slots;
        self
    }

    /// Starts the runner.
    ///
    /// Returns a handle, and a future that is the life of the runner.
    ///
    /// The runner works while the future is polled. It ends like [`JobRunner::run`].
    pub fn start<'a>(
        self,
        stop: impl Future<Output = ()> + Send + 'a,
    ) -> (RunnerHandle, BoxFuture<'a, Option<RunReport>>) {
        let (setup, handle, work) = self.set_up();
        let life = async move {
            let mut stop: Stop<'a> = setup.control.stop_after(stop);
            setup.teller.tell(RunnerEvent::Started);
            setup.teller.show().await;
            let teller = setup.teller.clone();
            let work = async {
                match work {
                    Work::Copy(settings, open) => drive::run(setup, settings, open, &mut stop).await,
                    Work::Backup(timing, open) => (recur::run(&setup, timing, open, &mut stop).await, setup),
                    Work::Verify(timing, open) => (recur::run(&setup, timing, open, &mut stop).await, setup),
                }
            };
            let (report, setup) = teller.showing_progress(work).await;
            setup.teller.tell(RunnerEvent::Stopped { report: report.as_ref() });
            setup.teller.show().await;
            setup.control.ended(report.as_ref());
            report
        };
        (handle, Box::pin(life))
    }

    /// Runs until `stop` is ready.
    ///
    /// Returns the report of the interval that was open, if there was one.
    ///
    /// At the stop, a transfer ends, and what has arrived is committed. Another activity is cut off if it is not done within ten
    /// seconds, and the next runner does it again. Before the future returns, it stores what the next runner needs.
    ///
    /// Dropping the future stops the job as a power cut would.
    pub fn run<'a>(self, stop: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, Option<RunReport>> {
        self.start(stop).1
    }

    /// Does the work of one interval now, and returns how it ended.
    ///
    /// It waits neither for the window nor for restore points that are yet to come, and it retries nothing. It does not use the
    /// store: what earlier runners have remembered does not count, and the next runner does not know of this run.
    ///
    /// It ends when the work is done, or soon after `stop` is ready. At a stop, what has arrived is committed, as for
    /// [`JobRunner::run`].
    pub fn run_once<'a>(mut self, stop: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, RunEnd> {
        self.store = Arc::new(MemoryStore::new());
        let (setup, _, work) = self.set_up();
        Box::pin(async move {
            let mut stop: Stop<'a> = setup.control.stop_after(stop);
            match work {
                Work::Copy(settings, open) => drive::run_once(setup, settings, open, &mut stop).await,
                Work::Backup(timing, open) => recur::run_once(&setup, timing, open, &mut stop).await,
                Work::Verify(timing, open) => recur::run_once(&setup, timing, open, &mut stop).await,
            }
        })
    }

    fn set_up(self) -> (Setup, RunnerHandle, Work) {
        let Self { job, clock, events, store, slots } = self;
        let (window, kind) = (job.window().clone(), job.kind());
        let ScheduledJob { subject, work, activities, events: own, max_age, board, .. } = job;
        let mut status = JobStatus::new(subject, kind);
        status.max_age = max_age;
        let status = Arc::new(Mutex::new(status));
        let (control, handle) = Control::new(status.clone(), window.clone(), clock.clone());
        let teller = Teller::new(own.unwrap_or(events), store, clock.clone(), status, window).board(board);
        let teller = Arc::new(teller);
        (Setup { teller, clock, slots, activities, max_age, control }, handle, work)
    }
}

impl std::fmt::Debug for JobRunner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JobRunner").field("job", &self.job).finish_non_exhaustive()
    }
}
