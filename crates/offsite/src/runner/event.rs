//! What a runner tells of itself.

use std::time::Duration;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Timestamp};

use super::report::{Overdue, RunReport};
use super::status::{JobStatus, LastEnd, LastFailure, Phase, Subject};
use crate::report::{BackupReport, ErrorSummary, MachineReport, SyncOutcome, TransformReport, VerifyReport};

/// Listens to runners. Calls should return soon: the runner waits for them.
pub trait RunnerEvents: Send + Sync {
    /// Something happened to a job.
    fn tell(&self, subject: &Subject, event: RunnerEvent<'_>) {
        let _ = (subject, event);
    }
}

/// What happened.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RunnerEvent<'a> {
    /// A runner of the job has begun.
    Started,
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
    /// The transfer waits: the window has closed, or somebody has paused the job.
    Paused,
    /// The transfer goes on.
    Resumed,
    /// A sync came to its end.
    SyncEnded(&'a SyncOutcome),
    /// A backup came to its end.
    BackedUp(&'a BackupReport),
    /// A verification came to its end. Damage that it found is in its report.
    Verified(&'a VerifyReport),
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
    /// The store failed. It is told once, until the store works again. A runner that starts now goes on from what the chain says.
    StoreFailed {
        /// In words.
        why: &'a str,
    },
    /// The runner was stopped, and has ended.
    Stopped {
        /// What has come of the interval so far, if one was open.
        report: Option<&'a RunReport>,
    },
    /// The runner has ended by a defect in Offsite; nothing of the job runs any more.
    Defect {
        /// In words.
        why: &'a str,
    },
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

impl RunnerEvents for Unheard {}

impl JobStatus {
    /// Takes in what happened at `now`.
    pub(super) fn take(&mut self, event: &RunnerEvent<'_>, now: Timestamp) {
        match event {
            RunnerEvent::Phase { phase, span } => {
                if self.interval != Some(*span) {
                    self.transferred_bytes = 0;
                }
                (self.phase, self.interval, self.is_paused) = (*phase, Some(*span), false);
            }
            RunnerEvent::Waiting { until } => self.next = *until,
            RunnerEvent::Transferring { bytes } => {
                self.transferred_bytes = self.transferred_bytes.saturating_add(*bytes);
            }
            RunnerEvent::Paused => self.is_paused = true,
            RunnerEvent::Resumed => self.is_paused = false,
            RunnerEvent::Failed { why, is_retryable } => {
                self.failure = Some(LastFailure { at: now, why: why.text.clone(), is_retryable: *is_retryable });
            }
            RunnerEvent::Ended(report) => {
                let newest = report.newest();
                if !newest.is_empty() {
                    self.newest = newest;
                }
                let status = report.status();
                if status == super::report::RunStatus::Success {
                    self.failure = None;
                }
                let failure = report.failure().map(|why| why.text.clone());
                self.last = Some(LastEnd { at: report.ended(), status, point: report.point(), failure });
            }
            RunnerEvent::Stopped { .. } | RunnerEvent::Defect { .. } => {
                (self.next, self.waits_for, self.is_paused) = (None, None, false);
            }
            _ => {}
        }
    }
}
