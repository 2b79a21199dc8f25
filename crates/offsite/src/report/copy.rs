//! The reports of a copy.

use std::time::Duration;

use offsite_core::plan::{Amount, Savings};
use offsite_core::{MachineName, Sequence, Timestamp, Transferred};

use crate::JobName;
use crate::report::{Doubt, LookUp, Note, OperationReport, Reason, Released, Tally, TransformReport};

/// A machine that a sync has copied completely.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineCopy {
    /// The name of the machine.
    pub name: MachineName,
    /// The time at which the machine was in the copied state.
    pub captured: Timestamp,
    /// The number of the restore point in the source that it was read from.
    pub source: Sequence,
    /// The job that made that restore point.
    pub job: JobName,
    /// The repository that has that restore point, in words.
    pub location: String,
}

/// The outcome of one machine that a copy job selects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineReport {
    /// The name of the machine.
    pub name: MachineName,
    /// What the sync did about it.
    pub outcome: MachineOutcome,
}

/// What a sync did about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum MachineOutcome {
    /// The machine was copied completely.
    Complete {
        /// The time at which the machine was in the copied state.
        captured: Timestamp,
    },
    /// The machine was copied in part. The next sync uses what has arrived.
    Incomplete {
        /// The time at which the machine was in the state to copy. `None` if that is unknown.
        captured: Option<Timestamp>,
        /// How much has been copied.
        transferred: Transferred,
        /// Why the copy stopped there.
        why: Reason,
    },
    /// The copy already has the newest state of the machine.
    Unchanged {
        /// The time at which the machine was in that state.
        captured: Timestamp,
    },
    /// A backup is at work that may bring a newer state. The next sync takes it.
    Waiting {
        /// The job of that backup. `None` if it is unknown.
        job: Option<JobName>,
    },
    /// The sources have nothing of the machine to copy.
    Absent {
        /// The reason.
        why: Reason,
    },
}

impl MachineOutcome {
    /// Returns `true` if the copy has everything that the sources had when it ended.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Unchanged { .. })
    }
}

/// The result of a sync, with or without a new restore point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SyncOutcome {
    /// The report of the new restore point. `None` if nothing was new, or if nothing arrived.
    pub sync: Option<SyncReport>,
    /// What the sync brought of the sources' past before that. `None` if it brought nothing of it.
    pub history: Option<HistoryReport>,
    /// The archives that fill slots which the job missed ([`Operation::BackFill`](crate::report::Operation::BackFill)).
    pub filled: Vec<OperationReport>,
    /// The outcome of each machine that the job selects.
    pub machines: Vec<MachineReport>,
    /// Further remarks, for example about sources that could not be read.
    pub notes: Vec<Note>,
    /// Settings that probably do not do what they were meant to, as of the start of the sync: machines that no longer appear, and
    /// patterns that match nothing.
    pub doubts: Vec<Doubt>,
}

impl SyncOutcome {
    /// The number of restore points that the sync added to the chain.
    ///
    /// [`CopyJob::transform`](crate::CopyJob::transform) takes it.
    #[must_use]
    pub fn added(&self) -> u32 {
        // The transforms have followed on each point of the past already.
        u32::from(self.sync.as_ref().is_some_and(|sync| !sync.joined))
    }
}

/// A restore point that a sync has made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SyncReport {
    /// The number of the new restore point in the target.
    pub sequence: Sequence,
    /// The time of the new restore point.
    pub time: Timestamp,
    /// `true` if it is a full.
    pub full: bool,
    /// `true` if the sync joined a restore point that the same interval had made before.
    pub joined: bool,
    /// The machines that were copied completely.
    pub machines: Vec<MachineCopy>,
    /// The planned and the counted cost.
    pub tally: Tally,
    /// How long the copy read one request at a time, as backups were at work in the folders of the sources.
    pub gave_way: Duration,
    /// What the copy was asked for, what of it came from the source, and why the rest did not.
    pub savings: Savings,
    /// Whether the copy looked up what the side of the target already has.
    pub look_up: LookUp,
    /// What was put into the block cache.
    pub cached: Amount,
}

/// What a sync brought of the sources' past.
///
/// These points stand outside the rule of one point per machine and interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HistoryReport {
    /// The restore points that it made, oldest first. One that was cut off is among them.
    pub points: Vec<SyncReport>,
    /// The number of points of the past that wait for the next run.
    pub left: u64,
    /// The transforms between these points.
    pub operations: Vec<OperationReport>,
    /// The space that came back between these points.
    pub released: Released,
}

impl HistoryReport {
    /// Adds what a later sync of the same interval brought.
    pub(crate) fn add(&mut self, later: Self) {
        let Self { points, left, operations, released } = later;
        self.points.extend(points);
        self.left = left;
        self.operations.extend(operations);
        self.released.add(released);
    }
}

/// The report of a copy job's run: one sync, then the transforms.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CopyReport {
    /// The report of the new restore point. `None` if nothing was new, or if nothing arrived.
    pub sync: Option<SyncReport>,
    /// What the run brought of the sources' past before that. `None` if it brought nothing of it.
    pub history: Option<HistoryReport>,
    /// The outcome of each machine that the job selects.
    pub machines: Vec<MachineReport>,
    /// What the transforms did afterwards.
    pub transform: TransformReport,
    /// Further remarks, for example about sources that could not be read.
    pub notes: Vec<Note>,
    /// Settings that probably do not do what they were meant to: machines that no longer appear, and patterns that match nothing.
    pub doubts: Vec<Doubt>,
}

impl CopyReport {
    /// The selected machines of which the sources have nothing to copy.
    pub fn absent(&self) -> impl Iterator<Item = &MachineName> {
        absent(&self.machines)
    }
}

pub(crate) fn absent(machines: &[MachineReport]) -> impl Iterator<Item = &MachineName> {
    let absent = machines.iter().filter(|report| matches!(report.outcome, MachineOutcome::Absent { .. }));
    absent.map(|report| &report.name)
}
