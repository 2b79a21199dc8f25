//! Running a copy job on its schedule: sync inside the window, close the interval, transform, post-job activities.
//!
//! What happens when is decided by [`core::phase`](crate::core::phase), which does no I/O; a [`JobRunner`] carries it out. It takes
//! the time from a [`Clock`], opens the job anew for each activity through a [`JobHost`], and tells [`RunnerEvents`] what happens.
//!
//! A runner that is stopped, killed or cut off leaves a state from which the next one goes on: what was committed stays, what
//! arrived of a machine is kept, and the chain itself tells which machines the open interval has copied.

mod clock;
mod drive;
mod event;
mod memory;
mod outcome;
mod passage;
mod report;
mod slots;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::error::causes;
use crate::{CopyJob, Error, JobName};

pub use clock::{Clock, SystemClock};
pub use event::{RunnerEvent, RunnerEvents, Unheard};
pub use memory::{Memory, OpenInterval};
pub use offsite_core::phase::{Phase, Settings};
pub use outcome::{Incident, LastRun, RunResult};
pub use report::{Overdue, RunEnd, RunReport, RunStatus};
pub use slots::Slots;

/// What surrounds a job: the places that it is opened at, and what is done after it.
#[async_trait]
pub trait JobHost: Send + Sync {
    /// Opens the repositories of the job. Called for each activity anew: drives change, and a place that was away comes back.
    ///
    /// # Errors
    /// Why it cannot be opened now.
    async fn open(&self) -> Result<CopyJob, OpenFailure>;

    /// What went wrong in an activity, on one line, as events, notes and reports tell it. A host that knows what its user can do adds
    /// that.
    fn words(&self, error: &Error) -> String {
        causes(error)
    }

    /// The post-job activities: called once for each interval, also when there was nothing to do. What went wrong in them, in
    /// words; that becomes a warning of the report.
    ///
    /// After a restart it may be called again for an interval whose end was not remembered.
    async fn after(&self, report: &RunReport) -> Vec<String> {
        let _ = report;
        Vec::new()
    }
}

/// Why a job cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct OpenFailure {
    /// In words, with the way out.
    pub why: String,
    /// Whether it may be opened later, without anybody changing its settings.
    pub is_retryable: bool,
}

/// Runs one copy job on its schedule, until it is stopped.
pub struct JobRunner {
    name: JobName,
    settings: Settings,
    memory: Memory,
    host: Arc<dyn JobHost>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn RunnerEvents>,
    slots: Slots,
    max_age: Option<Duration>,
}

impl JobRunner {
    /// A runner of the job `name`, which works when `settings` say and which `host` opens. It knows nothing of earlier runners,
    /// goes by the clock of this host, and shares its work with no other job, unless told otherwise.
    #[must_use]
    pub fn new(name: JobName, settings: Settings, host: Arc<dyn JobHost>) -> Self {
        Self {
            name,
            settings,
            memory: Memory::default(),
            host,
            clock: Arc::new(SystemClock),
            events: Arc::new(Unheard),
            slots: Slots::new(1),
            max_age: None,
        }
    }

    /// What an earlier runner of the job remembered last.
    #[must_use]
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Goes by this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `events` what happens.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn RunnerEvents>) -> Self {
        self.events = events;
        self
    }

    /// Transfers and transforms only while it has one of these places, which other jobs take as well.
    #[must_use]
    pub fn slots(mut self, slots: Slots) -> Self {
        self.slots = slots;
        self
    }

    /// A machine whose newest copy is of a state older than this is overdue, which makes the report a warning (default: none ever is).
    #[must_use]
    pub fn max_age(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }

    /// Runs until `stop` is ready. A transfer is then ended and what has arrived is committed; a transform or an activity that is
    /// not done within ten seconds is cut off, and done again by the next runner. What is to be remembered was told before.
    ///
    /// Dropping the future stops the job too, as a power cut would.
    pub fn run<'a>(self, stop: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, ()> {
        drive::run(self, Box::pin(stop))
    }
}

impl JobRunner {
    /// Does one interval's work now, as [`JobRunner::run`] does it on schedule, and tells how it ended. Nothing is waited for: neither the
    /// window nor a restore point that is yet to come; and nothing is tried twice. What an earlier runner remembered does not count.
    ///
    /// It ends when the work is done, or soon after `stop` is ready: as for [`JobRunner::run`], what has arrived is committed then.
    pub fn run_once<'a>(self, stop: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, RunEnd> {
        drive::run_once(self, Box::pin(stop))
    }
}

impl std::fmt::Debug for JobRunner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("JobRunner")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
