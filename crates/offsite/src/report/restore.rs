//! The report of a restore.

use std::ops::Range;
use std::time::Duration;

use offsite_core::{DiskName, DiskNumber, Sequence, Timestamp};

use crate::report::BlockTraffic;

/// A disk that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RestoredDisk {
    /// The number of the disk within its machine.
    pub number: DiskNumber,
    /// The name of the disk.
    pub name: DiskName,
    /// The path of the image or block device. `None` for a stream or a sink. With the feature `serde`, U+FFFD stands for bytes that are
    /// no text.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
    pub path: Option<std::path::PathBuf>,
    /// The size of the disk in bytes.
    pub size_bytes: u64,
    /// The bytes of stored blocks that were written, uncompressed. The rest of the disk is zero, and sparse in a new image.
    pub data_bytes: u64,
    /// The byte ranges that are lost, and are zeros now. They ascend, and no two touch. Empty unless the restore is a salvage.
    pub lost: Vec<Range<u64>>,
    /// The size of the block device in bytes. What lies beyond the disk is unchanged. `None` for anything else.
    pub device_bytes: Option<u64>,
}

/// The report of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RestoreReport {
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The time at which the machine was in the restored state.
    pub captured: Timestamp,
    /// The restored disks, sorted by number.
    pub disks: Vec<RestoredDisk>,
    /// What was read from backup files.
    pub traffic: BlockTraffic,
    /// How long the restore took.
    pub duration: Duration,
}

/// A path that is no text is no reason to lose a report.
#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(path: &Option<std::path::PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&path.as_ref().map(|path| path.to_string_lossy()), serializer)
}
