//! The report of a backup.

use std::time::Duration;

use offsite_core::{MachineName, Sequence, Timestamp};

use crate::report::{ImageWarning, Reason, Tally, TransformReport};

/// The part of a backup report about one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineBackup {
    /// The name of the machine.
    pub name: MachineName,
    /// The size of its disks altogether, in bytes.
    pub disk_bytes: u64,
    /// The number of bytes that were read: the disks without the holes of their images.
    pub read_bytes: u64,
    /// The number of bytes of the blocks that were stored, before compression.
    pub changed_bytes: u64,
    /// Warnings about its images. For example, something wrote to an image during the backup, or an image looks like another format
    /// now.
    pub warnings: Vec<ImageWarning>,
}

/// A machine that a backup has left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineFailure {
    /// The name of the machine.
    pub name: MachineName,
    /// Why it was left out, with the image.
    pub why: Reason,
}

/// The report of a backup job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BackupReport {
    /// The number of the new restore point.
    pub sequence: Sequence,
    /// The time of the new restore point.
    pub time: Timestamp,
    /// `true` if the new restore point is a full.
    pub full: bool,
    /// The full before the new one, if it is now a rollback: the step back from the new full. `None` in other chains.
    pub rolled_back: Option<Sequence>,
    /// The machines that were backed up.
    pub machines: Vec<MachineBackup>,
    /// The machines that were left out, as an image could not be read or changed during the backup. The restore point has no new
    /// state of them.
    pub failed: Vec<MachineFailure>,
    /// The number of blocks that were stored.
    pub stored_blocks: u64,
    /// The number of bytes written to backup files.
    pub stored_bytes: u64,
    /// The planned cost, as the index of the point tells it, and the counted one.
    pub tally: Tally,
    /// How long the backup took, up to the commit.
    pub duration: Duration,
    /// What the transforms did afterwards.
    pub transform: TransformReport,
}
