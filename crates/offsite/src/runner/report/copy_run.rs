//! What came of an interval of a copy job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offsite_core::{MachineName, Sequence, Timestamp};

use super::RunStatus;
use crate::JobName;
use crate::report::{Doubt, ErrorSummary, MachineOutcome, Note, SyncReport, TransformReport};
use crate::runner::outcome::{Incident, RunResult};

/// An interval of a copy job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CopyRun {
    /// The job.
    pub job: JobName,
    /// The repository that it copies to, as whoever scheduled it calls it.
    pub repository: String,
    /// When its restore point was closed, transforms and post-job activities were done.
    pub ended: Timestamp,
    /// The interval, what there is of each machine, and what failed meanwhile.
    pub result: RunResult,
    /// The newest restore point that was made; none if nothing was copied.
    pub point: Option<Sequence>,
    /// What was copied, in order; after a restart, since then.
    pub syncs: Vec<SyncReport>,
    /// What was done to the chain; none, if that failed, or was done before a restart.
    pub transform: Option<TransformReport>,
    /// What else should be known: sources that could not be looked at, post-job activities that failed.
    pub notes: Vec<Note>,
    /// What nobody is likely to have meant, as the last look or sync found it: machines that come no more, patterns that match nothing.
    pub doubts: Vec<Doubt>,
    /// Machines that another run of the job has copied, perhaps on another host.
    pub elsewhere: BTreeSet<MachineName>,
    /// When each machine of the selection was in the newest state that there is a whole copy of. A machine without a time has no copy. Empty, if the
    /// target could not be looked at.
    pub newest: BTreeMap<MachineName, Option<Timestamp>>,
    /// How old that may be. Without it, no copy is overdue.
    pub max_age: Option<Duration>,
}

/// A machine whose newest copy is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Overdue {
    /// The machine.
    pub machine: MachineName,
    /// When it was in the state that was copied last, if there is a copy.
    pub captured: Option<Timestamp>,
}

impl Overdue {
    /// Those of the machines that are overdue at `now`: copied last when they were in a state older than `max_age`, or never.
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

    /// How old the copy is at `now`, in seconds, if there is one.
    #[must_use]
    pub fn age_secs(&self, now: Timestamp) -> Option<i64> {
        self.captured.map(|captured| now.unix_secs().saturating_sub(captured.unix_secs()))
    }
}

impl CopyRun {
    /// Whether another run of the job, perhaps on another host, has done the interval's work: its post-job activities are that run's.
    #[must_use]
    pub fn is_done_elsewhere(&self) -> bool {
        !self.elsewhere.is_empty() && self.syncs.is_empty() && self.point.is_none()
    }

    /// Why it failed; none, if it has not.
    #[must_use]
    pub fn failure(&self) -> Option<&ErrorSummary> {
        // What failed and was made good is not why.
        let sync = self.failures().next().filter(|_| !self.has_complete());
        let transform = self.result.transform_failure.as_ref();
        sync.or(transform).filter(|_| self.status() == RunStatus::Failed)
    }

    /// What failed before the transforms, in order; it may have been made good.
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

    /// In one word.
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
