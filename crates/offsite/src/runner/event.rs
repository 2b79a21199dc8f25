//! What a runner tells of itself.

use std::time::Duration;

use offsite_core::phase::Phase;
use offsite_core::schedule::Span;
use offsite_core::{MachineName, Timestamp};

use super::memory::Memory;
use super::report::{Overdue, RunReport};
use crate::JobName;
use crate::report::{ErrorSummary, MachineReport, SyncOutcome, TransformReport};

/// Listens to runners. Calls should return soon: the runner waits for them.
pub trait RunnerEvents: Send + Sync {
    /// Something happened to `job`.
    fn tell(&self, job: &JobName, event: RunnerEvent<'_>);
}

/// What happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum RunnerEvent<'a> {
    /// The job is in another phase, or in another interval.
    Phase {
        /// The phase.
        phase: Phase,
        /// The interval that is open, or was closed last.
        span: Span,
    },
    /// Nothing is done before then, unless something that is under way ends.
    Waiting {
        /// Until when. `None` if it waits for what is under way.
        until: Option<Timestamp>,
    },
    /// Restore points were found that can be copied.
    SyncStarted {
        /// The machines.
        machines: &'a [MachineName],
    },
    /// Some bytes are about to be read from a source.
    Transferring {
        /// How many.
        bytes: u64,
    },
    /// The window has closed; the transfer waits.
    Paused,
    /// The window is open again.
    Resumed,
    /// A sync came to its end.
    SyncEnded(&'a SyncOutcome),
    /// Something failed.
    Failed {
        /// What.
        why: &'a ErrorSummary,
        /// Whether it is tried again.
        is_retryable: bool,
    },
    /// Another run of the job is at work, perhaps on another host: what it does counts here, too.
    AtWorkElsewhere {
        /// What this run was told.
        why: &'a ErrorSummary,
    },
    /// Machines have become overdue while their interval is still open; each is told once, until it was copied again.
    Overdue {
        /// The machines.
        machines: &'a [Overdue],
        /// How old their copies may be.
        max_age: Duration,
    },
    /// The restore point of the interval is closed.
    Closed {
        /// The machines of the selection.
        machines: &'a [MachineReport],
    },
    /// The transforms are done.
    Transformed(&'a TransformReport),
    /// The interval is done, post-job activities included.
    Ended(&'a RunReport),
    /// What to hand to [`JobRunner::memory`](super::JobRunner::memory) when a runner of this job starts again. It must be durable
    /// when this returns.
    Remember(&'a Memory),
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

impl RunnerEvents for Unheard {
    fn tell(&self, _job: &JobName, _event: RunnerEvent<'_>) {}
}
