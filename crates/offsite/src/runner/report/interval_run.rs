//! The report of an interval of a backup job or a verification.

use std::collections::BTreeMap;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Timestamp};

use super::RunStatus;
use crate::JobName;
use crate::report::{BackupReport, ErrorSummary, Note, VerifyReport};
use crate::runner::outcome::Incident;

/// The report of an interval of a backup job or a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IntervalRun<Report> {
    /// The name of the job's schedule.
    pub job: JobName,
    /// The caller's name for the repository that the job works on.
    pub repository: String,
    /// The interval, or the joined intervals.
    pub span: Span,
    /// The time at which it ended, with its post-job activities.
    pub ended: Timestamp,
    /// The report of the work. `None` if it failed, or was done before a restart.
    pub done: Option<Report>,
    /// What happened in the interval, in order.
    pub incidents: Vec<Incident>,
    /// Further remarks: post-job activities that failed.
    pub notes: Vec<Note>,
}

/// The report of an interval of a backup job.
pub type BackupRun = IntervalRun<BackupReport>;

/// The report of an interval of a verification.
pub type VerifyRun = IntervalRun<VerifyReport>;

impl<Report> IntervalRun<Report> {
    /// The status, given the function that judges the report of the work.
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

    /// The failure.
    ///
    /// `None` if the work was done all the same.
    #[must_use]
    pub fn failure(&self) -> Option<&ErrorSummary> {
        self.last_failure().filter(|_| self.done.is_none())
    }
}

impl IntervalRun<BackupReport> {
    /// The status in one word.
    ///
    /// It is a warning if a machine was left out, or if there are remarks about images or about the chain.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.status_with(|report| {
            let is_well = report.failed.is_empty()
                && report.machines.iter().all(|machine| machine.warnings.is_empty())
                && report.transform.is_well();
            if is_well { RunStatus::Success } else { RunStatus::Warning }
        })
    }

    /// The time at which each machine of the backup was in its state.
    pub(super) fn newest(&self) -> BTreeMap<MachineName, Option<Timestamp>> {
        let machines = self.done.iter().flat_map(|done| done.machines.iter().map(|one| (one, done.time)));
        machines.map(|(machine, time)| (machine.name.clone(), Some(time))).collect()
    }
}

impl IntervalRun<VerifyReport> {
    /// The status in one word.
    ///
    /// Damage is a failure.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.status_with(|report| match (report.damage.is_empty(), report.notes.is_empty()) {
            (false, _) => RunStatus::Failed,
            (true, false) => RunStatus::Warning,
            (true, true) => RunStatus::Success,
        })
    }
}
