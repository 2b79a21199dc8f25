//! The events of runners.

use std::time::Duration;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Timestamp};

use super::report::{Overdue, RunReport};
use super::status::{JobStatus, LastEnd, LastFailure, Phase, Subject};
use crate::report::{BackupReport, ErrorSummary, MachineReport, SyncOutcome, TransformReport, VerifyReport};

/// Listens to runners.
///
/// Calls should return soon, as the runner waits for them.
pub trait RunnerEvents: Send + Sync {
    /// Called when something has happened to the job `subject`.
    fn tell(&self, subject: &Subject, event: RunnerEvent<'_>) {
        let _ = (subject, event);
    }
}

/// What happened to a scheduled job.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RunnerEvent<'a> {
    /// A runner of the job has started.
    Started,
    /// The job has entered another phase or another interval.
    Phase {
        /// The phase.
        phase: Phase,
        /// The open interval, or else the last one.
        span: Span,
    },
    /// The job begins nothing before this time, unless an activity ends.
    Waiting {
        /// The time. `None` if the job waits for an activity only.
        until: Option<Timestamp>,
    },
    /// A sync has begun.
    SyncStarted {
        /// The machines to copy.
        machines: &'a [MachineName],
    },
    /// The sync is about to read bytes from a source.
    Transferring {
        /// The number of bytes.
        bytes: u64,
    },
    /// The transfer waits, as the window has closed or somebody has paused the job.
    Paused,
    /// The transfer continues.
    Resumed,
    /// A sync has ended.
    SyncEnded(&'a SyncOutcome),
    /// A backup has ended.
    BackedUp(&'a BackupReport),
    /// A verification has ended. Its report has the damage that it found.
    Verified(&'a VerifyReport),
    /// Something failed.
    Failed {
        /// The failure.
        why: &'a ErrorSummary,
        /// `true` if the job tries it again.
        is_retryable: bool,
    },
    /// Another run of the job is at work, perhaps on another host. What it does counts here, too.
    AtWorkElsewhere {
        /// What this run was told about it.
        why: &'a ErrorSummary,
    },
    /// Machines have become overdue in an open interval. Each is reported once, until it is copied again.
    Overdue {
        /// The machines.
        machines: &'a [Overdue],
        /// The age from which a copy is overdue.
        max_age: Duration,
    },
    /// The restore point of the interval is closed.
    Closed {
        /// The outcome of each selected machine.
        machines: &'a [MachineReport],
    },
    /// The transforms are done.
    Transformed(&'a TransformReport),
    /// The interval is done, with its post-job activities.
    Ended(&'a RunReport),
    /// The store has failed. It is reported once, until the store works again. A runner that starts now continues from what the
    /// chain says.
    StoreFailed {
        /// The failure in words.
        why: &'a str,
    },
    /// The runner was stopped, and has ended.
    Stopped {
        /// The report of the interval so far, if one was open.
        report: Option<&'a RunReport>,
    },
    /// The runner has ended because of a defect in Offsite. The job no longer runs.
    Defect {
        /// The defect in words.
        why: &'a str,
    },
}

/// A listener that ignores all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

impl RunnerEvents for Unheard {}

impl JobStatus {
    /// Updates the status after an event at `now`.
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
