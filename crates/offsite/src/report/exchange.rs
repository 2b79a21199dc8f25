//! What came of exports, imports and carried copies.

use offsite_core::{MachineName, Sequence, Timestamp};

use crate::report::Tally;

/// A seed that was mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MapReport {
    /// Restore points taken over.
    pub points: u64,
    /// The newest of them.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// Plan and count: the source is the seed.
    pub tally: Tally,
}

/// A machine in an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ExportedMachine {
    /// Which.
    pub name: MachineName,
    /// The restore point that its state is taken from.
    pub sequence: Sequence,
    /// When it was in that state.
    pub captured: Timestamp,
}

/// Machines that were exported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ExportReport {
    /// The newest of the restore points that their states are taken from.
    pub sequence: Sequence,
    /// Its time, which is the time of the export.
    pub time: Timestamp,
    /// The machines, by name.
    pub machines: Vec<ExportedMachine>,
    /// The length of the export.
    pub bytes: u64,
    /// Plan and count; the target is the backup file in the export.
    pub tally: Tally,
}

/// An export that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ImportReport {
    /// The job that it was exported from, as it says itself.
    pub job: String,
    /// The number of the restore point here.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// The machines in it.
    pub machines: Vec<MachineName>,
    /// Plan and count; the source is the backup file in the export.
    pub tally: Tally,
}
