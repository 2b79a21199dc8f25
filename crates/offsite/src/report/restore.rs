//! What came of a restore.

use std::ops::Range;
use std::time::Duration;

use offsite_core::{DiskName, DiskNumber, Sequence, Timestamp};

use crate::report::BlockTraffic;

/// A restored disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RestoredDisk {
    /// The disk's number in its machine.
    pub number: DiskNumber,
    /// What the disk is called.
    pub name: DiskName,
    /// The image or the block device. A stream has no path. In what the feature `serde` writes, U+FFFD stands for what is no text.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
    pub path: Option<std::path::PathBuf>,
    /// The disk's size.
    pub size_bytes: u64,
    /// Plain bytes of stored blocks that were written; the rest is zero, and sparse in a new image.
    pub data_bytes: u64,
    /// Bytes that are lost and are zeros now, in ascending ranges that do not touch; none but in a salvage.
    pub lost: Vec<Range<u64>>,
    /// The size of the block device. What it has beyond the disk is as it was.
    pub device_bytes: Option<u64>,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RestoreReport {
    /// The restore point.
    pub sequence: Sequence,
    /// When the machine was in the restored state.
    pub captured: Timestamp,
    /// The disks, by number.
    pub disks: Vec<RestoredDisk>,
    /// What was read from backup files.
    pub traffic: BlockTraffic,
    /// How long it took.
    pub duration: Duration,
}

/// A path that is no text is no reason to lose a report.
#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(path: &Option<std::path::PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&path.as_ref().map(|path| path.to_string_lossy()), serializer)
}
