//! The work of a restore.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use offsite_core::{BlockSize, DiskMap, DiskNumber, MachineMap, Sequence};
use offsite_repository::Counts;

use super::target::{Request, Target, find_disk, finish};
use super::{Restore, wanted};
use crate::image::{DiskSink, ImageFormat, failed};
use crate::mover::{FrameSource, Lost, Sink, Wanted, extract, pour, write_zeros};
use crate::progress::Step;
use crate::reader::job_folder::JobFolder;
use crate::reader::known_losses::KnownLosses;
use crate::report::{BlockTraffic, RestoreReport, RestoredDisk};
use crate::seams::blocking;
use crate::{Error, Result};

/// The number of bytes that are set to zero at once.
const ZERO_BYTES: u64 = 64 << 20;

/// What is restored.
pub(super) struct Chosen {
    pub(super) sequence: Sequence,
    pub(super) block_size: BlockSize,
    pub(super) machine: MachineMap,
    /// Its stored blocks, in the order in which they are read.
    pub(super) wanted: Arc<Vec<Wanted>>,
}

/// In which order blocks are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As they lie in their files.
    OfFiles,
    /// Front to back, for what takes a disk in one pass.
    OfDisk,
}

impl Chosen {
    /// The plain bytes of these blocks of a disk.
    pub(super) fn plain_bytes(&self, disk: &DiskMap, blocks: impl Iterator<Item = u32>) -> u64 {
        blocks.map(|block| u64::from(self.block_size.length_at(block, disk.size_bytes()))).sum()
    }

    /// The ranges that these blocks of a disk are, in ascending order, those that touch as one.
    pub(super) fn ranges(&self, disk: &DiskMap, blocks: &BTreeSet<u32>) -> Vec<Range<u64>> {
        joined(blocks.iter().map(|block| {
            let start = self.block_size.offset(*block);
            start..start + u64::from(self.block_size.length_at(*block, disk.size_bytes()))
        }))
    }
}

/// The start of a restore, and what had been read before it.
struct Began {
    at: Instant,
    before: Counts,
}

impl Began {
    fn now(restore: &Restore) -> Self {
        Self { at: Instant::now(), before: restore.repository.block_counts() }
    }
}

impl Restore {
    /// Restores to images at `to`. With `one_disk`, several disks are refused.
    pub(super) async fn run_to(&self, to: &Path, one_disk: bool) -> Result<RestoreReport> {
        let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
        let mut torn = None;
        let result = self.run_pinned(&folder, to, one_disk, &mut torn).await;
        folder.unpin(pin, result).await.map_err(|error| match torn {
            Some(path) => Error::Torn { path, source: Box::new(error) },
            None => error,
        })
    }

    /// Streams the only disk to `sink`.
    pub(super) async fn stream_to(&self, mut sink: Sink<'_>) -> Result<RestoreReport> {
        self.refuse_format_of_stream()?;
        let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
        let result = self.stream_pinned(&folder, &mut sink).await;
        folder.unpin(pin, result).await
    }

    /// Restores the only disk to `sink`.
    pub(super) async fn sink_to(&self, sink: &Arc<dyn DiskSink>) -> Result<RestoreReport> {
        self.refuse_format_of_sink()?;
        let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
        let result = self.sink_pinned(&folder, sink).await;
        folder.unpin(pin, result).await
    }

    /// Refuses another format than raw for a stream.
    pub(super) fn refuse_format_of_stream(&self) -> Result<()> {
        self.refuse_format("a stream is raw, as a qcow2 image is not written front to back: leave the format out")
    }

    /// Refuses another format than raw for a sink.
    pub(super) fn refuse_format_of_sink(&self) -> Result<()> {
        self.refuse_format("a sink of your own gets the bytes of the disk: leave the format out")
    }

    fn refuse_format(&self, why: &str) -> Result<()> {
        if self.format == ImageFormat::Raw { Ok(()) } else { Err(Error::setting("format", why)) }
    }

    /// The images that are to be made of what is `chosen`.
    pub(super) fn request(&self, chosen: &Chosen) -> Request {
        Request {
            machine: self.machine.clone(),
            format: self.format,
            overwrites: self.overwrites,
            disks: chosen.machine.disks.iter().map(|(number, disk)| (*number, disk.size_bytes())).collect(),
        }
    }

    /// Restores to `to`. After an error, `torn` is the device that was written to.
    async fn run_pinned(
        &self,
        folder: &JobFolder,
        to: &Path,
        one_disk: bool,
        torn: &mut Option<PathBuf>,
    ) -> Result<RestoreReport> {
        let began = Began::now(self);
        let chosen = self.choose(folder, Order::OfFiles).await?;
        if one_disk {
            self.only_disk(&chosen)?;
        }
        let request = self.request(&chosen);
        let to = to.to_owned();
        let target = Arc::new(blocking(move || Target::create(&request, &to)).await??);
        let lost = match self.make(folder, &chosen, &target).await {
            Ok(lost) => lost,
            Err(error) => {
                *torn = target.torn();
                blocking(move || target.discard()).await?;
                return Err(error);
            }
        };
        let mut report = self.report(&chosen, &lost, &began);
        for disk in &mut report.disks {
            if let Some(image) = target.images.get(&disk.number) {
                disk.path = Some(image.path.clone());
                disk.device_bytes = image.sink.write_over().map(|device| device.device_bytes);
            }
        }
        Ok(report)
    }

    async fn stream_pinned(&self, folder: &JobFolder, sink: &mut Sink<'_>) -> Result<RestoreReport> {
        let began = Began::now(self);
        let chosen = self.choose(folder, Order::OfDisk).await?;
        let (number, disk) = self.only_disk(&chosen)?;
        let source = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let shape = (chosen.block_size, disk.size_bytes());
        let wanted = Arc::clone(&chosen.wanted);
        let lost = pour(wanted, &source, shape, sink, self.salvages, self.teller().disk(*number)).await?;
        let lost = self.judge(folder, &chosen, lost).await?;
        Ok(self.report(&chosen, &lost, &began))
    }

    async fn sink_pinned(&self, folder: &JobFolder, sink: &Arc<dyn DiskSink>) -> Result<RestoreReport> {
        let began = Began::now(self);
        let chosen = self.choose(folder, Order::OfFiles).await?;
        let (number, _) = self.only_disk(&chosen)?;
        let lost = self.fill(folder, &chosen, &BTreeMap::from([(*number, Arc::clone(sink))])).await?;
        let sink = Arc::clone(sink);
        blocking(move || finish(sink.as_ref())).await??;
        Ok(self.report(&chosen, &lost, &began))
    }

    /// The disk that is restored, if it is one.
    pub(super) fn only_disk<'a>(&self, chosen: &'a Chosen) -> Result<(&'a DiskNumber, &'a DiskMap)> {
        let mut disks = chosen.machine.disks.iter();
        if let (Some(only), None) = (disks.next(), disks.next()) {
            return Ok(only);
        }
        Err(Error::setting(
            "disk",
            format!(
                "machine {} has {} disks, and this takes one: choose one of the disks",
                self.machine,
                chosen.machine.disks.len()
            ),
        ))
    }

    /// The machine's state with the disks that are asked for, the point that it is taken from, and what is to be read of it.
    pub(super) async fn choose(&self, folder: &JobFolder, order: Order) -> Result<Chosen> {
        let point = folder.point_of(&self.machine, self.point)?;
        let mut machine = match folder.machine_at(&mut folder.indexes(), &self.machine, point).await {
            Err(error) if error.is_loss() => return Err(self.damaged(folder, point.sequence, &[], error).await),
            answer => answer?,
        };
        if let Some(wanted) = &self.disk {
            let chosen = find_disk(&self.machine, &machine.disks, wanted)?;
            machine.disks.retain(|number, _| *number == chosen);
        }
        let mut wanted = wanted(&self.machine, machine.disks.iter());
        if order == Order::OfDisk {
            wanted.sort_unstable_by_key(|block| (block.address.disk, block.address.block));
        }
        let (sequence, block_size) = (point.sequence, folder.chain().block_size());
        Ok(Chosen { sequence, block_size, machine, wanted: Arc::new(wanted) })
    }

    /// The lost blocks.
    ///
    /// They are an error, unless this is a salvage.
    async fn judge(&self, folder: &JobFolder, chosen: &Chosen, lost: Lost) -> Result<Vec<Wanted>> {
        let Lost { blocks, error } = lost;
        match error {
            None => Ok(blocks),
            Some(error) if !self.salvages => Err(self.damaged(folder, chosen.sequence, &blocks, error).await),
            // Neither a released object nor an outage is damage.
            Some(_) if folder.is_expired().await? => Err(Error::expired(&self.job)),
            Some(_) => Ok(blocks),
        }
    }

    /// The error for a machine with losses: these blocks, or an index if there are none.
    async fn damaged(&self, folder: &JobFolder, sequence: Sequence, lost: &[Wanted], error: Error) -> Error {
        let intact = async {
            let known = KnownLosses::load(folder, lost).await?;
            known.newest_intact(folder, &self.machine, self.disk.as_ref()).await
        };
        let intact = intact.await;
        Error::MachineDamaged {
            machine: self.machine.to_string(),
            sequence,
            // If that cannot be found out, no such point is known.
            intact: intact.unwrap_or_default(),
            is_salvageable: !lost.is_empty(),
            source: Box::new(error),
        }
    }

    fn report(&self, chosen: &Chosen, lost: &[Wanted], began: &Began) -> RestoreReport {
        let disks = chosen.machine.disks.iter().map(|(number, disk)| {
            let lost = lost.iter().filter(|block| block.address.disk == *number).map(|block| block.address.block);
            let lost: BTreeSet<u32> = lost.collect();
            let written = disk.stored().map(|(block, _)| block).filter(|block| !lost.contains(block));
            RestoredDisk {
                number: *number,
                name: disk.identity().name.clone(),
                path: None,
                size_bytes: disk.size_bytes(),
                data_bytes: chosen.plain_bytes(disk, written),
                lost: chosen.ranges(disk, &lost),
                device_bytes: None,
            }
        });
        RestoreReport {
            sequence: chosen.sequence,
            captured: chosen.machine.captured,
            disks: disks.collect(),
            traffic: BlockTraffic::between(began.before, self.repository.block_counts()),
            duration: began.at.elapsed(),
        }
    }

    /// Completes the images, and gives them their names.
    ///
    /// Returns the lost blocks.
    async fn make(&self, folder: &JobFolder, chosen: &Chosen, target: &Arc<Target>) -> Result<Vec<Wanted>> {
        let sinks = target.images.iter().map(|(number, image)| (*number, Arc::clone(&image.sink) as Arc<dyn DiskSink>));
        let lost = self.fill(folder, chosen, &sinks.collect()).await?;
        let target = Arc::clone(target);
        // All images are complete before one gets its name.
        blocking(move || target.keep()).await??;
        Ok(lost)
    }

    /// Writes all disks.
    ///
    /// Returns the lost blocks.
    async fn fill(
        &self,
        folder: &JobFolder,
        chosen: &Chosen,
        sinks: &BTreeMap<DiskNumber, Arc<dyn DiskSink>>,
    ) -> Result<Vec<Wanted>> {
        for (number, disk) in &chosen.machine.disks {
            let Some(sink) = sinks.get(number).cloned() else {
                return Err(Error::defect(format!("disk {number} goes nowhere")));
            };
            self.begin(sink, *number, disk, chosen.block_size).await?;
        }
        let wanted = Arc::clone(&chosen.wanted);
        let source = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let sink_of = |disk: DiskNumber| {
            let size_bytes = chosen.machine.disks.get(&disk)?.size_bytes();
            sinks.get(&disk).map(|sink| (Arc::clone(sink), size_bytes))
        };
        let lost = extract(wanted, &source, chosen.block_size, sink_of, self.salvages, self.teller()).await?;
        self.judge(folder, chosen, lost).await
    }

    /// Prepares a sink for its disk: ranges without stored blocks become zero, if something else was there before.
    async fn begin(
        &self,
        sink: Arc<dyn DiskSink>,
        number: DiskNumber,
        disk: &DiskMap,
        block_size: BlockSize,
    ) -> Result<()> {
        let (begun, size_bytes) = (Arc::clone(&sink), disk.size_bytes());
        let is_zeroed = blocking(move || match begun.begin(size_bytes) {
            Ok(()) => Ok(begun.is_zeroed()),
            Err(error) => Err(failed(&begun.location(), "it takes no such disk", error)),
        });
        if is_zeroed.await?? {
            return Ok(());
        }
        let gaps = gaps(disk, block_size);
        let progress = self.teller().disk(number).begin(Step::Zero, gaps.iter().map(|gap| gap.end - gap.start).sum());
        for gap in gaps {
            let mut start = gap.start;
            while start < gap.end {
                let end = gap.end.min(start + ZERO_BYTES);
                let sink = Arc::clone(&sink);
                blocking(move || write_zeros(sink.as_ref(), start..end)).await??;
                progress.advance(end - start);
                start = end;
            }
        }
        progress.end();
        Ok(())
    }
}

/// The byte ranges of a disk without stored blocks.
///
/// They are zero.
fn gaps(disk: &DiskMap, block_size: BlockSize) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut position = 0;
    for (block, _) in disk.stored() {
        let start = block_size.offset(block);
        gaps.extend(Some(position..start).filter(|gap| gap.start < gap.end));
        position = start + u64::from(block_size.length_at(block, disk.size_bytes()));
    }
    gaps.extend(Some(position..disk.size_bytes()).filter(|gap| gap.start < gap.end));
    gaps
}

/// Joins ranges that touch.
///
/// They must ascend.
fn joined(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}
