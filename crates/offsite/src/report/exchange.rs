//! The reports of exports, imports and mapped seeds.

use offsite_core::{MachineName, Sequence, Timestamp};

use crate::report::Tally;

/// The report of a seed that was mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MapReport {
    /// The number of restore points that were taken over.
    pub points: u64,
    /// The number of the newest of them.
    pub sequence: Sequence,
    /// The time of the newest of them.
    pub time: Timestamp,
    /// The planned and the counted cost. The source is the seed.
    pub tally: Tally,
}

/// A machine in an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ExportedMachine {
    /// The name of the machine.
    pub name: MachineName,
    /// The number of the restore point that its state is taken from.
    pub sequence: Sequence,
    /// The time at which the machine was in that state.
    pub captured: Timestamp,
}

/// The report of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ExportReport {
    /// The number of the newest restore point that a machine's state is taken from.
    pub sequence: Sequence,
    /// The time of that point. It is the time of the export.
    pub time: Timestamp,
    /// The exported machines, sorted by name.
    pub machines: Vec<ExportedMachine>,
    /// The length of the export in bytes.
    pub bytes: u64,
    /// The planned and the counted cost. The target is the backup file inside the export.
    pub tally: Tally,
}

/// The report of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ImportReport {
    /// The name of the job from which it was exported, as the export says.
    pub job: String,
    /// The number of the new restore point.
    pub sequence: Sequence,
    /// The time of the new restore point.
    pub time: Timestamp,
    /// The machines in the new restore point.
    pub machines: Vec<MachineName>,
    /// The planned and the counted cost. The source is the backup file inside the export.
    pub tally: Tally,
}
