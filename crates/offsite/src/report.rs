//! What a run did.

use std::ops::Range;
use std::time::Duration;

use offsite_core::plan::Cost;
use offsite_core::retention::Tier;
use offsite_core::{DiskName, DiskNumber, MachineName, Sequence, Timestamp, Transferred};
use offsite_repository::Counts;

use crate::commit::release::Released;
use crate::jobs::transform::MergeMethod;
use crate::{JobName, KnownDamage, VerifyReport};

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
    /// Blocks that were known to be damaged are put back, for every point that needs them.
    Heal {
        /// How many.
        blocks: u64,
        /// The points that need them.
        points: Vec<Sequence>,
        /// Where the same bytes were found intact.
        from: HealedFrom,
    },
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
    /// Archives get flags again that were lost with the heads, and so do the points that are to become archives.
    MarkAgain {
        /// The numbers of those that got some.
        points: Vec<Sequence>,
    },
    /// A point takes over the flag of a damaged one, to be the archive of that tier in its place.
    StandIn {
        /// The tier.
        tier: Tier,
        /// The damaged point.
        damaged: Sequence,
        /// The intact point.
        sequence: Sequence,
    },
    /// An archive gets blocks of its own, so that it shares no stored byte with any other point.
    MakeIndependent {
        /// Its number.
        sequence: Sequence,
        /// How the blocks get there.
        carriage: Carriage,
    },
    /// An increment becomes a full, with blocks of its own.
    MakeFull {
        /// Its number.
        sequence: Sequence,
        /// Where the blocks come from.
        from: FullFrom,
    },
    /// Machines go from all points, archives included.
    RemoveMachines {
        /// Which.
        machines: Vec<MachineName>,
        /// Points that held no other machine; they are no more.
        points: Vec<Sequence>,
        /// Points that stood on one of these, and are fulls now.
        fulls: Vec<Sequence>,
    },
    /// A piece of compaction: live blocks leave files that are mostly superseded.
    Compact {
        /// How many files they leave, in whole or in part.
        files: u64,
        /// How the blocks get to their new file.
        carriage: Carriage,
    },
    /// The oldest points go: rollbacks, or a full with all that stands on it.
    RemovePoints {
        /// Their numbers.
        points: Vec<Sequence>,
        /// Those of them that stay beside the chain as archives.
        archived: Vec<Sequence>,
    },
}

/// How blocks get from one backup file of a repository to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// Each is read, checked and written.
    Moved {
        /// Why the repository does not clone them.
        why: &'static str,
    },
    /// The repository makes the new file of parts of the old ones; no block passes through the network.
    Cloned,
}

/// Where blocks were found that are damaged elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealedFrom {
    /// In another block of the chain itself.
    Chain,
    /// In a restore point of a source.
    Source,
}

/// Where the blocks of a point come from that becomes a full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullFrom {
    /// They are read whole from the source.
    Source,
    /// The source has the point no more, so they come from the chain itself.
    Chain(Carriage),
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
    /// What the verification at the end of the phase found, if one was asked for.
    pub verification: Option<VerifyReport>,
    /// What is known to be damaged in the chain after all that.
    pub damage: KnownDamage,
    /// Why less was pruned than the policy asks for, if so, and what could not be put back.
    pub notes: Vec<String>,
}

impl TransformReport {
    /// Whether nothing needs a look.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.notes.is_empty() && self.damage.is_empty()
    }
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
    /// What there is to say of its images: that one was written to while it was read, or looks like another format by now.
    pub warnings: Vec<String>,
}

/// A machine that a backup has left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFailure {
    /// Which.
    pub name: MachineName,
    /// Why, with the image.
    pub why: String,
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

/// A machine of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
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
pub struct MachineReport {
    /// Which.
    pub name: MachineName,
    /// What became of it.
    pub outcome: MachineOutcome,
}

/// What became of a machine in a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineOutcome {
    /// It was copied.
    Complete {
        /// When it was in the state that was copied.
        captured: Timestamp,
    },
    /// It was copied in part. What arrived is kept for the next sync.
    Incomplete {
        /// When it was in the state that was to be copied.
        captured: Timestamp,
        /// How far it came.
        transferred: Transferred,
        /// Why no farther.
        why: String,
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
        why: String,
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
pub struct SyncOutcome {
    /// The restore point; none if nothing was new, or nothing arrived.
    pub sync: Option<SyncReport>,
    /// Each machine that the job selects.
    pub machines: Vec<MachineReport>,
    /// What else should be known: sources that could not be looked at.
    pub notes: Vec<String>,
    /// What nobody is likely to have meant, in words, as it was when the sync began: machines that come no more, patterns that match
    /// nothing.
    pub doubts: Vec<String>,
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
pub struct CopyReport {
    /// The restore point; none if nothing was new, or nothing arrived.
    pub sync: Option<SyncReport>,
    /// Each machine that the job selects.
    pub machines: Vec<MachineReport>,
    /// What came after.
    pub transform: TransformReport,
    /// What else should be known: sources that could not be looked at.
    pub notes: Vec<String>,
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

/// A restored disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDisk {
    /// The disk's number in its machine.
    pub number: DiskNumber,
    /// What the disk is called.
    pub name: DiskName,
    /// The image or the block device. A stream has no path.
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

/// A seed that was mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_more_or_less_than_planned_is_told() {
        let traffic = |bytes_read, bytes_written| BlockTraffic { bytes_read, bytes_written, read_requests: 1 };
        let tally = |source, target| {
            let planned = Cost { bytes_read: 5, bytes_written: 7, ..Cost::default() };
            Tally { planned, source, target, duration: Duration::ZERO }
        };
        assert!(tally(traffic(2, 0), traffic(3, 7)).kept_to_plan());
        for target in [traffic(4, 7), traffic(2, 7), traffic(3, 6), traffic(3, 8)] {
            assert!(!tally(traffic(2, 0), target).kept_to_plan(), "{target:?}");
        }
    }
}
