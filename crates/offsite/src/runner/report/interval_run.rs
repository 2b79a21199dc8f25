//! What came of an interval of a backup job or of a verification.

use std::collections::BTreeMap;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Timestamp};

use super::RunStatus;
use crate::JobName;
use crate::report::{BackupReport, ErrorSummary, Note, VerifyReport};
use crate::runner::outcome::Incident;

/// An interval of work that is done in one go, and what that reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IntervalRun<Report> {
    /// The job, by the name of its schedule.
    pub job: JobName,
    /// The repository that it works on, as whoever scheduled it calls it.
    pub repository: String,
    /// The interval, or the several that became one.
    pub span: Span,
    /// When it ended, post-job activities included.
    pub ended: Timestamp,
    /// What was done; none, if that failed, or was done before a restart.
    pub done: Option<Report>,
    /// What happened meanwhile, in order.
    pub incidents: Vec<Incident>,
    /// What else should be known: post-job activities that failed.
    pub notes: Vec<Note>,
}

/// An interval of a backup job.
pub type BackupRun = IntervalRun<BackupReport>;

/// An interval of a verification.
pub type VerifyRun = IntervalRun<VerifyReport>;

impl<Report> IntervalRun<Report> {
    /// The status, where what was done is well or not.
    fn status_with(&self, done: impl Fn(&Report) -> RunStatus) -> RunStatus {
        match &self.done {
            None if self.last_failure().is_some() => RunStatus::Failed,
            Some(report) if done(report) == RunStatus::Failed => RunStatus::Failed,
            Some(report) if self.notes.is_empty() => done(report),
            _ => RunStatus::Warning,
        }
    }

    fn last_failure(&self) -> Option<&ErrorSummary> {
        self.incidents.iter().rev().find_map(|incident| match incident {
            Incident::Failed { why, .. } => Some(why),
            _ => None,
        })
    }

    /// Why it failed; none, if it was done all the same.
    #[must_use]
    pub fn failure(&self) -> Option<&ErrorSummary> {
        self.last_failure().filter(|_| self.done.is_none())
    }
}

impl IntervalRun<BackupReport> {
    /// In one word: a machine that was left out, or something to be said of its images or of the chain, is a warning.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.status_with(|report| {
            let is_well = report.failed.is_empty()
                && report.machines.iter().all(|machine| machine.warnings.is_empty())
                && report.transform.is_well();
            if is_well { RunStatus::Success } else { RunStatus::Warning }
        })
    }

    /// When each machine of the backup was in that state.
    pub(super) fn newest(&self) -> BTreeMap<MachineName, Option<Timestamp>> {
        let machines = self.done.iter().flat_map(|done| done.machines.iter().map(|one| (one, done.time)));
        machines.map(|(machine, time)| (machine.name.clone(), Some(time))).collect()
    }
}

impl IntervalRun<VerifyReport> {
    /// In one word: damage is a failure.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.status_with(|report| match (report.damage.is_empty(), report.notes.is_empty()) {
            (false, _) => RunStatus::Failed,
            (true, false) => RunStatus::Warning,
            (true, true) => RunStatus::Success,
        })
    }
}
