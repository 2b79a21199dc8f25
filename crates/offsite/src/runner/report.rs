//! What came of an interval.

mod copy_run;
mod interval_run;

use std::collections::BTreeMap;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Sequence, Timestamp};

use crate::JobName;
use crate::report::{ErrorSummary, Note};

pub use copy_run::{CopyRun, Overdue};
pub use interval_run::{BackupRun, IntervalRun, VerifyRun};

/// What came of an interval of a scheduled job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RunReport {
    /// Of a copy job.
    Copy(CopyRun),
    /// Of a backup job.
    Backup(BackupRun),
    /// Of a verification.
    Verify(VerifyRun),
}

impl RunReport {
    /// The job, by the name of its schedule.
    #[must_use]
    pub const fn job(&self) -> &JobName {
        match self {
            Self::Copy(run) => &run.job,
            Self::Backup(run) => &run.job,
            Self::Verify(run) => &run.job,
        }
    }

    /// The repository that it works on, as whoever scheduled it calls it.
    #[must_use]
    pub fn repository(&self) -> &str {
        match self {
            Self::Copy(run) => &run.repository,
            Self::Backup(run) => &run.repository,
            Self::Verify(run) => &run.repository,
        }
    }

    /// The interval, or the several that became one.
    #[must_use]
    pub const fn span(&self) -> Span {
        match self {
            Self::Copy(run) => run.result.span,
            Self::Backup(run) => run.span,
            Self::Verify(run) => run.span,
        }
    }

    /// When it ended.
    #[must_use]
    pub const fn ended(&self) -> Timestamp {
        match self {
            Self::Copy(run) => run.ended,
            Self::Backup(run) => run.ended,
            Self::Verify(run) => run.ended,
        }
    }

    /// In one word.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match self {
            Self::Copy(run) => run.status(),
            Self::Backup(run) => run.status(),
            Self::Verify(run) => run.status(),
        }
    }

    /// Why it failed; none, if it has not.
    #[must_use]
    pub fn failure(&self) -> Option<&ErrorSummary> {
        match self {
            Self::Copy(run) => run.failure(),
            Self::Backup(run) => run.failure(),
            Self::Verify(run) => run.failure(),
        }
    }

    /// The newest restore point that was made; none if none was.
    #[must_use]
    pub fn point(&self) -> Option<Sequence> {
        match self {
            Self::Copy(run) => run.point,
            Self::Backup(run) => run.done.as_ref().map(|done| done.sequence),
            Self::Verify(_) => None,
        }
    }

    /// What else should be known.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        match self {
            Self::Copy(run) => &run.notes,
            Self::Backup(run) => &run.notes,
            Self::Verify(run) => &run.notes,
        }
    }

    /// When each machine was in the newest state that there is of it, as far as the report tells: of a backup, the machines that it has.
    #[must_use]
    pub fn newest(&self) -> BTreeMap<MachineName, Option<Timestamp>> {
        match self {
            Self::Copy(run) => run.newest.clone(),
            Self::Backup(run) => run.newest(),
            Self::Verify(_) => BTreeMap::new(),
        }
    }

    /// It has ended at `now` only.
    pub(super) fn end_at(&mut self, now: Timestamp) {
        match self {
            Self::Copy(run) => run.ended = now,
            Self::Backup(run) => run.ended = now,
            Self::Verify(run) => run.ended = now,
        }
    }

    /// Adds what should be known, too.
    pub(super) fn note(&mut self, notes: Vec<Note>) {
        match self {
            Self::Copy(run) => run.notes.extend(notes),
            Self::Backup(run) => run.notes.extend(notes),
            Self::Verify(run) => run.notes.extend(notes),
        }
    }

    /// What came of it, if it is a copy job's.
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
    /// All of it was done, well or not.
    Done(Box<RunReport>),
    /// It was stopped. The report has what was committed until then; the next run goes on from there.
    Stopped(Box<RunReport>),
}

impl RunEnd {
    /// What came of it.
    #[must_use]
    pub fn report(&self) -> &RunReport {
        let (Self::Done(report) | Self::Stopped(report)) = self;
        report
    }
}

/// How an interval ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RunStatus {
    /// Every machine is complete and none is overdue, and the transforms are done.
    Success,
    /// Something needs a look.
    Warning,
    /// Nothing was copied because something failed, or the transforms failed.
    Failed,
}

impl RunStatus {
    /// `success`, `warning` or `failed`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }

    /// The status that has this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Success, Self::Warning, Self::Failed].into_iter().find(|status| status.word() == word)
    }
}
