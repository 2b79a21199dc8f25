//! The report of an interval of a copy job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offsite_core::{MachineName, Sequence, Timestamp};

use super::RunStatus;
use crate::JobName;
use crate::report::{Doubt, ErrorSummary, HistoryReport, MachineOutcome, Note, SyncReport, TransformReport};
use crate::runner::outcome::{Incident, RunResult};

/// The report of an interval of a copy job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CopyRun {
    /// The name of the job's schedule.
    pub job: JobName,
    /// The caller's name for the repository that the job copies to.
    pub repository: String,
    /// The time at which the restore point was closed, and transforms and post-job activities were done.
    pub ended: Timestamp,
    /// The interval, the outcome of each machine, and what failed meanwhile.
    pub result: RunResult,
    /// The newest restore point that was made. `None` if nothing was copied.
    pub point: Option<Sequence>,
    /// The syncs of the interval, in order. After a restart, only those since then.
    pub syncs: Vec<SyncReport>,
    /// What the syncs brought of the sources' past. Its points are among `syncs`, and its operations among those of `transform`.
    /// `None` if they brought nothing of it.
    pub history: Option<HistoryReport>,
    /// The report of the transforms. `None` if they failed, or were done before a restart.
    pub transform: Option<TransformReport>,
    /// Further remarks: sources that could not be read, post-job activities that failed.
    pub notes: Vec<Note>,
    /// Settings that probably do not do what they were meant to, as the last look or sync found them: machines that no longer
    /// appear, and patterns that match nothing.
    pub doubts: Vec<Doubt>,
    /// Machines that another run of the job has copied, perhaps on another host.
    pub elsewhere: BTreeSet<MachineName>,
    /// `true` if another run of the job was at work, so that this one has done nothing. What is known of the job's last interval
    /// still holds.
    pub is_refused: bool,
    /// For each selected machine, the time of the newest state of which there is a complete copy. A machine without a time has no
    /// copy. Empty if the target could not be read.
    pub newest: BTreeMap<MachineName, Option<Timestamp>>,
    /// The age from which a copy is overdue. `None` means that no copy is overdue.
    pub max_age: Option<Duration>,
}

/// A machine whose newest copy is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Overdue {
    /// The name of the machine.
    pub machine: MachineName,
    /// The time at which the machine was in the newest copied state. `None` if there is no copy.
    pub captured: Option<Timestamp>,
}

impl Overdue {
    /// The machines that are overdue at `now`.
    ///
    /// A machine is overdue if its newest copied state is older than `max_age`, or if it was never copied.
    pub fn of<'a>(
        newest: impl IntoIterator<Item = (&'a MachineName, Option<Timestamp>)>,
        max_age: Duration,
        now: Timestamp,
    ) -> Vec<Self> {
        let max_age_secs = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        let earliest = now.saturating_add_secs(max_age_secs.saturating_neg());
        let is_overdue = |(_, captured): &(_, Option<Timestamp>)| captured.is_none_or(|captured| captured < earliest);
        let overdue = newest.into_iter().filter(is_overdue);
        overdue.map(|(machine, captured)| Self { machine: machine.clone(), captured }).collect()
    }

    /// The age of the copied state at `now`, in seconds.
    ///
    /// `None` if there is no copy.
    #[must_use]
    pub fn age_secs(&self, now: Timestamp) -> Option<i64> {
        self.captured.map(|captured| now.unix_secs().saturating_sub(captured.unix_secs()))
    }
}

impl CopyRun {
    /// Returns `true` if another run of the job, perhaps on another host, has done the work of the interval.
    ///
    /// The post-job activities are then up to that run.
    #[must_use]
    pub fn is_done_elsewhere(&self) -> bool {
        !self.elsewhere.is_empty() && self.syncs.is_empty() && self.point.is_none()
    }

    /// The failure.
    ///
    /// `None` if the interval did not fail.
    #[must_use]
    pub fn failure(&self) -> Option<&ErrorSummary> {
        // A failure that a retry has made good is not the reason.
        let sync = self.failures().next().filter(|_| !self.has_complete());
        let transform = self.result.transform_failure.as_ref();
        sync.or(transform).filter(|_| self.status() == RunStatus::Failed)
    }

    /// The failures before the transforms, in order.
    ///
    /// A retry may have made them good.
    fn failures(&self) -> impl Iterator<Item = &ErrorSummary> {
        self.result.incidents.iter().filter_map(|incident| match incident {
            Incident::Failed { why, .. } => Some(why),
            _ => None,
        })
    }

    fn has_complete(&self) -> bool {
        self.result.machines.values().any(|outcome| matches!(outcome, MachineOutcome::Complete { .. }))
    }

    /// The machines whose newest copies were too old when the interval ended.
    #[must_use]
    pub fn overdue(&self) -> Vec<Overdue> {
        let newest = self.newest.iter().map(|(machine, captured)| (machine, *captured));
        self.max_age.map_or_else(Vec::new, |max_age| Overdue::of(newest, max_age, self.ended))
    }

    /// The status in one word.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        let has_failed = self.failures().next().is_some() && !self.has_complete();
        if has_failed || self.result.transform_failure.is_some() {
            return RunStatus::Failed;
        }
        let is_well = self.notes.is_empty() && self.doubts.is_empty();
        let is_well = is_well && self.transform.iter().all(TransformReport::is_well) && self.overdue().is_empty();
        // Without a machine nothing was looked at in time.
        match self.result.is_success() && !self.result.machines.is_empty() && is_well {
            true => RunStatus::Success,
            false => RunStatus::Warning,
        }
    }
}
