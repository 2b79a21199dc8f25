//! What a run did.

use std::time::Duration;

use offsite_core::plan::Cost;
use offsite_core::{MachineName, Sequence, Timestamp};
use offsite_repository::Counts;

use crate::release::Released;
use crate::transform::MergeMethod;

/// What was done to backup files: bytes and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockTraffic {
    /// Bytes read from backup files.
    pub bytes_read: u64,
    /// Requests that read them.
    pub read_requests: u64,
    /// Bytes written to backup files.
    pub bytes_written: u64,
}

impl BlockTraffic {
    /// The traffic between two counts.
    pub(crate) fn between(before: Counts, after: Counts) -> Self {
        let counts = after - before;
        Self { bytes_read: counts.bytes_read, read_requests: counts.reads, bytes_written: counts.bytes_written }
    }
}

/// An operation's plan beside what was counted while it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// What the plan said.
    pub planned: Cost,
    /// What was read from the source's backup files.
    pub source: BlockTraffic,
    /// What was read from and written to the target's backup files.
    pub target: BlockTraffic,
    /// How long it took, to the commit.
    pub duration: Duration,
}

impl Tally {
    /// Whether exactly the planned bytes were read and written. If not, that is a defect.
    #[must_use]
    pub fn kept_to_plan(&self) -> bool {
        self.source.bytes_read + self.target.bytes_read == self.planned.bytes_read
            && self.target.bytes_written == self.planned.bytes_written
    }
}

/// What a transform does to a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// The oldest increments go into the full.
    Merge {
        /// The points that are no more, the full's old state first; the last increment's state lives on in the full.
        absorbed: Vec<Sequence>,
        /// The number of the full now.
        full: Sequence,
        /// How its blocks were taken over: [`MergeMethod::Adopt`] or [`MergeMethod::Fold`].
        method: MergeMethod,
        /// Why in that way.
        why: &'static str,
        /// The old full, where it stays beside the chain as an archive.
        archived: Option<Sequence>,
    },
    /// An archive goes.
    RemoveArchive {
        /// Its number.
        sequence: Sequence,
    },
    /// The oldest points go: rollbacks, or a full with all that stands on it.
    RemovePoints {
        /// Their numbers.
        points: Vec<Sequence>,
        /// Those of them that stay beside the chain as archives.
        archived: Vec<Sequence>,
    },
}

/// A transform, with its plan and count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationReport {
    /// What it did.
    pub operation: Operation,
    /// Plan and count.
    pub tally: Tally,
}

/// What retention, transforms and release did to a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransformReport {
    /// What was done to the chain, in that order.
    pub operations: Vec<OperationReport>,
    /// The space that came back.
    pub released: Released,
    /// How long the release took.
    pub release_duration: Duration,
    /// Why less was pruned than the policy asks for, if so.
    pub notes: Vec<String>,
}

/// A machine of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineBackup {
    /// Which.
    pub name: MachineName,
    /// The sizes of its disks.
    pub disk_bytes: u64,
    /// Bytes that were read: the disks without their holes.
    pub read_bytes: u64,
    /// Plain bytes of the blocks that were stored.
    pub changed_bytes: u64,
}

/// A backup job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The number of the new restore point.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// Whether it stands alone.
    pub full: bool,
    /// Its machines.
    pub machines: Vec<MachineBackup>,
    /// Blocks stored.
    pub stored_blocks: u64,
    /// Bytes written to backup files.
    pub stored_bytes: u64,
    /// How long it took, to the commit.
    pub duration: Duration,
    /// What came after.
    pub transform: TransformReport,
}

/// A machine of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineCopy {
    /// Which.
    pub name: MachineName,
    /// When it was in the state that was copied.
    pub captured: Timestamp,
    /// The restore point of the source that it was read from.
    pub source: Sequence,
}

/// The sync of a copy job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReport {
    /// The number of the new restore point in the target.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// Whether it stands alone.
    pub full: bool,
    /// Its machines.
    pub machines: Vec<MachineCopy>,
    /// Plan and count.
    pub tally: Tally,
}

/// A copy job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// The sync; none if nothing was new.
    pub sync: Option<SyncReport>,
    /// What came after.
    pub transform: TransformReport,
    /// Selected machines that the source has no whole restore point of.
    pub missing: Vec<MachineName>,
}

/// A restored disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDisk {
    /// The image.
    pub path: std::path::PathBuf,
    /// The disk's size.
    pub size_bytes: u64,
    /// Plain bytes that were written; the rest is zero and sparse.
    pub data_bytes: u64,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq)]
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
