//! The report of an interval.

mod copy_run;
mod interval_run;

use std::collections::BTreeMap;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Sequence, Timestamp};

use crate::JobName;
use crate::report::{ErrorSummary, Note};

pub use copy_run::{CopyRun, Overdue};
pub use interval_run::{BackupRun, IntervalRun, VerifyRun};

/// The report of an interval of a scheduled job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RunReport {
    /// The report of a copy job.
    Copy(CopyRun),
    /// The report of a backup job.
    Backup(BackupRun),
    /// The report of a verification.
    Verify(VerifyRun),
}

impl RunReport {
    /// The name of the job's schedule.
    #[must_use]
    pub const fn job(&self) -> &JobName {
        match self {
            Self::Copy(run) => &run.job,
            Self::Backup(run) => &run.job,
            Self::Verify(run) => &run.job,
        }
    }

    /// The caller's name for the repository that the job works on.
    #[must_use]
    pub fn repository(&self) -> &str {
        match self {
            Self::Copy(run) => &run.repository,
            Self::Backup(run) => &run.repository,
            Self::Verify(run) => &run.repository,
        }
    }

    /// The interval, or the joined intervals.
    #[must_use]
    pub const fn span(&self) -> Span {
        match self {
            Self::Copy(run) => run.result.span,
            Self::Backup(run) => run.span,
            Self::Verify(run) => run.span,
        }
    }

    /// The time at which the interval's work ended.
    #[must_use]
    pub const fn ended(&self) -> Timestamp {
        match self {
            Self::Copy(run) => run.ended,
            Self::Backup(run) => run.ended,
            Self::Verify(run) => run.ended,
        }
    }

    /// The status in one word.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match self {
            Self::Copy(run) => run.status(),
            Self::Backup(run) => run.status(),
            Self::Verify(run) => run.status(),
        }
    }

    /// The failure.
    ///
    /// `None` if the interval did not fail.
    #[must_use]
    pub fn failure(&self) -> Option<&ErrorSummary> {
        match self {
            Self::Copy(run) => run.failure(),
            Self::Backup(run) => run.failure(),
            Self::Verify(run) => run.failure(),
        }
    }

    /// The newest restore point that was made.
    ///
    /// `None` if none was made.
    #[must_use]
    pub fn point(&self) -> Option<Sequence> {
        match self {
            Self::Copy(run) => run.point,
            Self::Backup(run) => run.done.as_ref().map(|done| done.sequence),
            Self::Verify(_) => None,
        }
    }

    /// Further remarks.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        match self {
            Self::Copy(run) => &run.notes,
            Self::Backup(run) => &run.notes,
            Self::Verify(run) => &run.notes,
        }
    }

    /// The newest state of each machine, as far as the report knows: the time at which the machine was in it.
    ///
    /// For a backup, these are the machines of the backup.
    #[must_use]
    pub fn newest(&self) -> BTreeMap<MachineName, Option<Timestamp>> {
        match self {
            Self::Copy(run) => run.newest.clone(),
            Self::Backup(run) => run.newest(),
            Self::Verify(_) => BTreeMap::new(),
        }
    }

    /// Sets the end of the interval to `now`.
    pub(super) fn end_at(&mut self, now: Timestamp) {
        match self {
            Self::Copy(run) => run.ended = now,
            Self::Backup(run) => run.ended = now,
            Self::Verify(run) => run.ended = now,
        }
    }

    /// Adds notes.
    pub(super) fn note(&mut self, notes: Vec<Note>) {
        match self {
            Self::Copy(run) => run.notes.extend(notes),
            Self::Backup(run) => run.notes.extend(notes),
            Self::Verify(run) => run.notes.extend(notes),
        }
    }

    /// The report of a copy job.
    ///
    /// `None` for other kinds of jobs.
    #[must_use]
    pub fn into_copy(self) -> Option<CopyRun> {
        match self {
            Self::Copy(run) => Some(run),
            Self::Backup(_) | Self::Verify(_) => None,
        }
    }
}

/// How a run of one interval ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RunEnd {
    /// All of it was done, whether it succeeded or not.
    Done(Box<RunReport>),
    /// The run was stopped. The report has what was committed by then. The next run continues from there.
    Stopped(Box<RunReport>),
}

impl RunEnd {
    /// The report of the run.
    #[must_use]
    pub fn report(&self) -> &RunReport {
        let (Self::Done(report) | Self::Stopped(report)) = self;
        report
    }
}

/// The status of an interval in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RunStatus {
    /// Every machine is complete, none is overdue, and the transforms are done.
    Success,
    /// Something needs attention.
    Warning,
    /// Nothing was copied because something failed, or the transforms failed.
    Failed,
}

impl RunStatus {
    /// The word for it: `success`, `warning` or `failed`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }

    /// The status with this word.
    ///
    /// `None` for any other text.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Success, Self::Warning, Self::Failed].into_iter().find(|status| status.word() == word)
    }
}
