//! What a restore will take and read, without doing it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use offsite_core::plan::batches;
use offsite_core::{DiskMap, DiskName, DiskNumber, Sequence, Timestamp};

use super::Restore;
use super::disk_target::{DiskTarget, Place};
use super::target::Prospect;
use super::work::{Chosen, Order};
use crate::Result;
use crate::error::within;
use crate::reader::job_folder::JobFolder;
use crate::reader::known_losses::KnownLosses;
use crate::report::BlockTraffic;
use crate::seams::blocking;

/// What a restore will take, read and write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestorePlan {
    /// The restore point.
    pub sequence: Sequence,
    /// When the machine was in that state.
    pub captured: Timestamp,
    /// The disks, by number.
    pub disks: Vec<PlannedDisk>,
    /// What is read from backup files, if nothing is damaged.
    pub traffic: BlockTraffic,
    /// What is free where new images are made, in bytes. `None` if there are none, or if the place does not tell.
    pub free_bytes: Option<u64>,
    /// If something is known to be damaged: the newest restore point of which that is not known. `None` also if there is none.
    pub intact: Option<(Sequence, Timestamp)>,
}

/// A disk that is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedDisk {
    /// The disk's number in its machine.
    pub number: DiskNumber,
    /// What the disk is called.
    pub name: DiskName,
    /// The image or the block device. A stream and a sink have no path.
    pub path: Option<PathBuf>,
    /// The disk's size.
    pub size_bytes: u64,
    /// What its blocks take in backup files, without what lies between them.
    pub stored_bytes: u64,
    /// Plain bytes of its stored blocks, which are written; the rest is zero, and sparse in a new image.
    pub data_bytes: u64,
    /// Bytes that are known to be lost, in ascending ranges that do not touch: a verification found them, or their file is missing or
    /// cut off. The restore is refused then, unless it [salvages](Restore::salvage).
    pub lost: Vec<Range<u64>>,
    /// The size of the block device.
    pub device_bytes: Option<u64>,
}

impl RestorePlan {
    /// Whether nothing of it is known to be lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.disks.iter().all(|disk| disk.lost.is_empty())
    }

    /// What new images take at least, in bytes.
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        let new = self.disks.iter().filter(|disk| disk.path.is_some() && disk.device_bytes.is_none());
        new.map(|disk| disk.data_bytes).sum()
    }

    /// Whether the new images fit, as far as that can be told.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.free_bytes.is_none_or(|free| self.needed_bytes() <= free)
    }
}

/// Where a restore is to go, without the means to go there.
enum Goal {
    Path { to: PathBuf, one_disk: bool },
    Stream,
    Sink,
}

impl Restore {
    /// What [`Restore::run`] to `to` would take, read and write. It reads indexes and no blocks, lists the backup files, looks at the
    /// target, and writes nothing.
    ///
    /// Damage that nobody has found yet is not told of; [`Verify`](crate::Verify) finds it. What is known is in
    /// [`lost`](PlannedDisk::lost). Whether the target has room is in [`RestorePlan::fits`]. Neither is an error.
    ///
    /// # Errors
    /// As for [`Restore::run`], but for reading blocks and for writing.
    pub fn plan<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<RestorePlan>> {
        self.plan_for(Goal::Path { to: to.to_owned(), one_disk: false })
    }

    /// What [`Restore::disk_to`] would take, read and write, as [`Restore::plan`] tells it. A stream and a sink are left alone: what they
    /// can take only the restore finds out.
    ///
    /// # Errors
    /// As for [`Restore::disk_to`], but for reading blocks and for writing.
    pub fn plan_disk_to(&self, target: &DiskTarget<'_>) -> BoxFuture<'_, Result<RestorePlan>> {
        self.plan_for(match &target.0 {
            Place::Path(path) => Goal::Path { to: path.clone(), one_disk: true },
            Place::Stream(_) => Goal::Stream,
            Place::Sink(_) => Goal::Sink,
        })
    }

    fn plan_for(&self, goal: Goal) -> BoxFuture<'_, Result<RestorePlan>> {
        within(|error| self.tell(error), async move {
            match goal {
                Goal::Path { .. } => {}
                Goal::Stream => self.refuse_format_of_stream()?,
                Goal::Sink => self.refuse_format_of_sink()?,
            }
            // It writes nothing, so it makes no pin. What is released meanwhile ends it.
            let folder = JobFolder::open(&self.repository, &self.job).await?;
            let planned = self.plan_in(&folder, goal).await;
            folder.unpin(None, planned).await
        })
    }

    async fn plan_in(&self, folder: &JobFolder, goal: Goal) -> Result<RestorePlan> {
        let order = if matches!(goal, Goal::Stream) { Order::OfDisk } else { Order::OfFiles };
        let chosen = self.choose(folder, order).await?;
        if !matches!(goal, Goal::Path { one_disk: false, .. }) {
            self.only_disk(&chosen)?;
        }
        let mut prospect = Prospect::default();
        if let Goal::Path { to, .. } = goal {
            let request = self.request(&chosen);
            prospect = blocking(move || Prospect::of(&request, &to)).await??;
        }
        let known = KnownLosses::load(folder, &[]).await?;
        let mut disks = Vec::new();
        for (number, disk) in &chosen.machine.disks {
            let mut planned = planned(&chosen, &known, *number, disk);
            if let Some((path, device_bytes)) = prospect.images.remove(number) {
                (planned.path, planned.device_bytes) = (Some(path), device_bytes);
            }
            disks.push(planned);
        }
        let mut plan = RestorePlan {
            sequence: chosen.sequence,
            captured: chosen.machine.captured,
            disks,
            traffic: chosen.traffic(),
            free_bytes: prospect.free_bytes,
            intact: None,
        };
        if !plan.is_whole() {
            folder.refuse_expired().await?;
            plan.intact = known.newest_intact(folder, &self.machine, self.disk.as_ref()).await?;
        }
        Ok(plan)
    }
}

impl Chosen {
    /// What reading it takes.
    fn traffic(&self) -> BlockTraffic {
        let reads = batches(&self.wanted, |block| block.at);
        BlockTraffic {
            bytes_read: reads.iter().map(|batch| batch.range.end - batch.range.start).sum(),
            read_requests: reads.len() as u64,
            bytes_written: 0,
        }
    }
}

fn planned(chosen: &Chosen, known: &KnownLosses, number: DiskNumber, disk: &DiskMap) -> PlannedDisk {
    let lost: BTreeSet<u32> = disk.stored().filter(|(_, at)| known.has(at)).map(|(block, _)| block).collect();
    PlannedDisk {
        number,
        name: disk.identity().name.clone(),
        path: None,
        size_bytes: disk.size_bytes(),
        stored_bytes: disk.stored().map(|(_, at)| u64::from(at.length)).sum(),
        data_bytes: chosen.plain_bytes(disk, disk.stored().map(|(block, _)| block)),
        lost: chosen.ranges(disk, &lost),
        device_bytes: None,
    }
}
