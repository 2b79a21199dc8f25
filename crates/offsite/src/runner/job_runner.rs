//! Running one job.

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

/// Runs one job on its schedule, until it is stopped. A [`Daemon`](super::Daemon) runs several.
pub struct JobRunner {
    job: ScheduledJob,
    clock: Arc<dyn Clock>,
    events: Arc<dyn RunnerEvents>,
    store: Arc<dyn Store>,
    slots: Slots,
}

impl JobRunner {
    /// A runner of the job. It knows nothing of earlier runners, goes by the clock of this host, and shares its work with no other job,
    /// unless told otherwise.
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

    /// Goes by this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `events` what happens, unless the job has a listener of its own.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn RunnerEvents>) -> Self {
        self.events = events;
        self
    }

    /// Goes on from what `store` has of the job, and keeps there what the next runner goes on from.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// Works only while it has one of these places, which other jobs take as well.
    #[must_use]
    pub fn slots(mut self, slots: Slots) -> Self {
        self.slots = slots;
        self
    }

    /// Begins it: a handle, and the runner's life, which goes on while the future is polled and ends as that of [`JobRunner::run`] does.
    pub fn start<'a>(
        self,
        stop: impl Future<Output = ()> + Send + 'a,
    ) -> (RunnerHandle, BoxFuture<'a, Option<RunReport>>) {
        let (setup, handle, work) = self.set_up();
        let life = async move {
            let mut stop: Stop<'a> = setup.control.stop_after(stop);
            setup.teller.tell(RunnerEvent::Started);
            setup.teller.show().await;
            let (report, setup) = match work {
                Work::Copy(settings, open) => drive::run(setup, settings, open, &mut stop).await,
                Work::Backup(timing, open) => (recur::run(&setup, timing, open, &mut stop).await, setup),
                Work::Verify(timing, open) => (recur::run(&setup, timing, open, &mut stop).await, setup),
            };
            setup.teller.tell(RunnerEvent::Stopped { report: report.as_ref() });
            setup.teller.show().await;
            setup.control.ended(report.as_ref());
            report
        };
        (handle, Box::pin(life))
    }

    /// Runs until `stop` is ready; then, what has come of the interval that was open, if one was. A transfer is ended and what has arrived
    /// is committed; another activity that is not done within ten seconds is cut off, and done again by the next runner. What is to be
    /// remembered is stored before.
    ///
    /// Dropping the future stops the job too, as a power cut would.
    pub fn run<'a>(self, stop: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, Option<RunReport>> {
        self.start(stop).1
    }

    /// Does one interval's work now, as [`JobRunner::run`] does it on schedule, and tells how it ended. Nothing is waited for: neither the
    /// window nor a restore point that is yet to come; and nothing is tried twice. The store is left alone: neither what an earlier runner
    /// remembered counts, nor does this for the next.
    ///
    /// It ends when the work is done, or soon after `stop` is ready: as for [`JobRunner::run`], what has arrived is committed then.
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
        let ScheduledJob { subject, work, activities, events: own, max_age, .. } = job;
        let mut status = JobStatus::new(subject, kind);
        status.max_age = max_age;
        let status = Arc::new(Mutex::new(status));
        let (control, handle) = Control::new(status.clone(), window.clone(), clock.clone());
        let teller = Arc::new(Teller::new(own.unwrap_or(events), store, clock.clone(), status, window));
        (Setup { teller, clock, slots, activities, max_age, control }, handle, work)
    }
}

impl std::fmt::Debug for JobRunner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JobRunner").field("job", &self.job).finish_non_exhaustive()
    }
}
