//! What came of a backup.

use std::time::Duration;

use offsite_core::{MachineName, Sequence, Timestamp};

use crate::report::{ImageWarning, Reason, Tally, TransformReport};

/// A machine of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineBackup {
    /// Which.
    pub name: MachineName,
    /// The sizes of its disks.
    pub disk_bytes: u64,
    /// Bytes that were read: the disks without their holes.
    pub read_bytes: u64,
    /// Plain bytes of the blocks that were stored.
    pub changed_bytes: u64,
    /// What there is to say of its images: that one was written to while it was read, or looks like another format by now.
    pub warnings: Vec<ImageWarning>,
}

/// A machine that a backup has left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineFailure {
    /// Which.
    pub name: MachineName,
    /// Why, with the image.
    pub why: Reason,
}

/// A backup job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BackupReport {
    /// The number of the new restore point.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// Whether it stands alone.
    pub full: bool,
    /// The full before it, if that is a rollback now, the step back from the new one.
    pub rolled_back: Option<Sequence>,
    /// Its machines.
    pub machines: Vec<MachineBackup>,
    /// Machines with an image that could not be read, or that changed while it was; the point has no new state of these.
    pub failed: Vec<MachineFailure>,
    /// Blocks stored.
    pub stored_blocks: u64,
    /// Bytes written to backup files.
    pub stored_bytes: u64,
    /// What the step costs, as its index says, and what was counted.
    pub tally: Tally,
    /// How long it took, to the commit.
    pub duration: Duration,
    /// What came after.
    pub transform: TransformReport,
}
