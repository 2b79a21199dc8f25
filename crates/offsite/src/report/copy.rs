//! What came of a copy.

use offsite_core::{MachineName, Sequence, Timestamp, Transferred};

use crate::JobName;
use crate::report::{Doubt, Note, Reason, Tally, TransformReport};

/// A machine of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineCopy {
    /// Which.
    pub name: MachineName,
    /// When it was in the state that was copied.
    pub captured: Timestamp,
    /// The restore point of the source that it is read from.
    pub source: Sequence,
    /// The job that made that.
    pub job: JobName,
    /// The repository that it is in.
    pub location: String,
}

/// What became of a machine that a copy job selects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineReport {
    /// Which.
    pub name: MachineName,
    /// What became of it.
    pub outcome: MachineOutcome,
}

/// What became of a machine in a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum MachineOutcome {
    /// It was copied.
    Complete {
        /// When it was in the state that was copied.
        captured: Timestamp,
    },
    /// It was copied in part. What arrived is kept for the next sync.
    Incomplete {
        /// When it was in the state that was to be copied, where that is known.
        captured: Option<Timestamp>,
        /// How far it came.
        transferred: Transferred,
        /// Why no farther.
        why: Reason,
    },
    /// The copy has its newest state.
    Unchanged {
        /// When it was in that state.
        captured: Timestamp,
    },
    /// A backup is at work that may bring its newest state. The next sync takes it.
    Waiting {
        /// The job that is at work, where that is known.
        job: Option<JobName>,
    },
    /// There is nothing of it to copy.
    Absent {
        /// Why.
        why: Reason,
    },
}

impl MachineOutcome {
    /// Whether the copy has what the sources had when it ended.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Unchanged { .. })
    }
}

/// A sync.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SyncOutcome {
    /// The restore point; none if nothing was new, or nothing arrived.
    pub sync: Option<SyncReport>,
    /// Each machine that the job selects.
    pub machines: Vec<MachineReport>,
    /// What else should be known: sources that could not be looked at.
    pub notes: Vec<Note>,
    /// What nobody is likely to have meant, as it was when the sync began: machines that come no more, patterns that match nothing.
    pub doubts: Vec<Doubt>,
}

impl SyncOutcome {
    /// How many restore points the chain has more than before, for [`CopyJob::transform`](crate::CopyJob::transform).
    #[must_use]
    pub fn added(&self) -> u32 {
        u32::from(self.sync.as_ref().is_some_and(|sync| !sync.joined))
    }
}

/// The sync of a copy job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SyncReport {
    /// The number of the new restore point in the target.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// Whether it stands alone.
    pub full: bool,
    /// Whether it joined a point of the same interval.
    pub joined: bool,
    /// The machines that are whole.
    pub machines: Vec<MachineCopy>,
    /// Plan and count.
    pub tally: Tally,
}

/// A copy job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CopyReport {
    /// The restore point; none if nothing was new, or nothing arrived.
    pub sync: Option<SyncReport>,
    /// Each machine that the job selects.
    pub machines: Vec<MachineReport>,
    /// What came after.
    pub transform: TransformReport,
    /// What else should be known: sources that could not be looked at.
    pub notes: Vec<Note>,
    /// What nobody is likely to have meant: machines that come no more, patterns that match nothing.
    pub doubts: Vec<Doubt>,
}

impl CopyReport {
    /// Machines that the job selects and the sources have nothing of to copy.
    pub fn absent(&self) -> impl Iterator<Item = &MachineName> {
        absent(&self.machines)
    }
}

pub(crate) fn absent(machines: &[MachineReport]) -> impl Iterator<Item = &MachineName> {
    let absent = machines.iter().filter(|report| matches!(report.outcome, MachineOutcome::Absent { .. }));
    absent.map(|report| &report.name)
}
