//! Restores: a machine's state into disk images, block devices and streams.

mod intact;
mod target;

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use offsite_core::plan::Address;
use offsite_core::{BlockSize, DiskMap, DiskNumber, MachineMap, MachineName, Sequence};

use crate::error::within;
use crate::image::ImageFormat;
use crate::mover::{FrameSource, Lost, Sink, Wanted, extract, pour};
use crate::progress::{Step, Task, Teller};
use crate::reader::job_folder::{JobFolder, PointSelector};
use crate::report::{BlockTraffic, RestoreReport, RestoredDisk};
use crate::{Error, JobName, OpenRepository, Progress, Result, Side, Silent};
use intact::newest_intact;
use target::{Request, Target, find_disk};

/// So much of a device is made zero at once.
const ZERO_BYTES: u64 = 64 << 20;

/// A restore of one machine.
///
/// Each block is compared with its digest before it is written; an image has its name only once it is whole and durable. So what
/// a restore delivers in files is right to the last bit, or it delivers nothing, unless a salvage is asked for. Of a block device and a
/// stream, an error tells that they hold a part of the disk.
#[derive(Clone)]
pub struct Restore {
    repository: OpenRepository,
    job: JobName,
    machine: MachineName,
    point: PointSelector,
    disk: Option<String>,
    format: ImageFormat,
    overwrites: bool,
    salvages: bool,
    progress: Arc<dyn Progress>,
}

/// What is restored.
struct Chosen {
    sequence: Sequence,
    block_size: BlockSize,
    machine: MachineMap,
}

impl Restore {
    /// The newest state of `machine` that `job` holds, as raw images.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName, machine: MachineName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            machine,
            point: PointSelector::Latest,
            disk: None,
            overwrites: false,
            salvages: false,
            format: ImageFormat::Raw,
            progress: Arc::new(Silent),
        }
    }

    /// The state at this restore point.
    #[must_use]
    pub fn point(mut self, point: PointSelector) -> Self {
        self.point = point;
        self
    }

    /// Only this of its disks, by number or name.
    #[must_use]
    pub fn disk(mut self, disk: impl Into<String>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// Whether to write over what is there: a file is replaced once the new image is whole, a block device is written to. Neither may be
    /// in use. Without it both are refused.
    #[must_use]
    pub fn overwrite(mut self, overwrites: bool) -> Self {
        self.overwrites = overwrites;
        self
    }

    /// Whether to restore what is left of damaged disks: zeros take the place of blocks that are lost, and the report lists them. Without
    /// it they are an error.
    #[must_use]
    pub fn salvage(mut self, salvages: bool) -> Self {
        self.salvages = salvages;
        self
    }

    /// The format of the images.
    #[must_use]
    pub fn format(mut self, format: ImageFormat) -> Self {
        self.format = format;
        self
    }

    /// Tells `progress` how far the restore is.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Restores to `to`: an image per disk if it is a folder, the only disk's image or block device if not.
    ///
    /// In a folder the images are called `MACHINE-disk0.raw` and so on. A folder that is missing is made: for several disks, or if
    /// `to` ends with `/`, `to` itself. On a device, all of the disk is written, zeros included; what the device has beyond it stays.
    ///
    /// # Errors
    /// [`Error::UnknownMachine`], [`Error::UnknownPoint`], [`Error::UnknownDisk`]; [`Error::Image`] for a path that is taken or cannot be
    /// written, [`Error::InRepository`] for one among a repository's own files, [`Error::InUse`] and [`Error::DeviceTooSmall`] for what
    /// cannot be written over; [`Error::MachineDamaged`] for blocks or indexes that are not what was stored. After an error no image has
    /// its name. [`Error::Torn`] tells of a device that was written to, with the cause.
    pub fn run<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<RestoreReport>> {
        within(|error| self.tell(error), async move {
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let mut torn = None;
            let result = self.run_pinned(&folder, to, &mut torn).await;
            folder.unpin(pin, result).await.map_err(|error| match torn {
                Some(path) => Error::Torn { path, source: Box::new(error) },
                None => error,
            })
        })
    }

    /// Restores the only disk, raw, to `writer`, front to back. It is called on threads that may block; pieces have at most 4 MiB.
    ///
    /// # Errors
    /// As [`Restore::run`]; [`Error::InvalidSetting`] if there are several disks or the format is not raw; [`Error::Io`] if `writer` fails.
    /// What was written until then is no whole disk.
    pub fn stream(&self, writer: impl Write + Send + 'static) -> BoxFuture<'_, Result<RestoreReport>> {
        self.stream_to(Sink::new("writing the disk", writer))
    }

    fn stream_to(&self, sink: Sink) -> BoxFuture<'_, Result<RestoreReport>> {
        within(|error| self.tell(error), async move {
            if self.format != ImageFormat::Raw {
                let why = "a stream is raw, as a qcow2 image is not written front to back: leave the format out";
                return Err(Error::setting("format", why));
            }
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let result = self.stream_pinned(&folder, sink).await;
            folder.unpin(pin, result).await
        })
    }

    fn tell(&self, error: Error) -> Error {
        let error = match error {
            Error::Io { .. } | Error::InRepository { .. } => error.on(Side::Image),
            _ => error.on(Side::Source).at(|| self.repository.located()),
        };
        error.in_job(&self.job).of_machine(&self.machine)
    }

    /// Restores to `to`. After an error, `torn` is the device that was written to.
    async fn run_pinned(&self, folder: &JobFolder, to: &Path, torn: &mut Option<PathBuf>) -> Result<RestoreReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let chosen = self.choose(folder).await?;
        let request = Request {
            machine: self.machine.clone(),
            format: self.format,
            overwrites: self.overwrites,
            disks: chosen.machine.disks.iter().map(|(number, disk)| (*number, disk.size_bytes())).collect(),
        };
        let to = to.to_owned();
        let target = Arc::new(crate::seams::blocking(move || Target::create(&request, &to)).await??);
        let lost = match self.fill(folder, &chosen, &target).await {
            Ok(lost) => lost,
            Err(error) => {
                *torn = target.torn();
                crate::seams::blocking(move || target.discard()).await?;
                return Err(error);
            }
        };
        let mut report = self.report(&chosen, &lost, before, start);
        for disk in &mut report.disks {
            if let Some(image) = target.images.get(&disk.number) {
                disk.path = Some(image.path.clone());
                disk.device_bytes = image.sink.write_over().map(|device| device.device_bytes);
            }
        }
        Ok(report)
    }

    async fn stream_pinned(&self, folder: &JobFolder, mut sink: Sink) -> Result<RestoreReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let chosen = self.choose(folder).await?;
        let mut disks = chosen.machine.disks.iter();
        let (Some((number, disk)), None) = (disks.next(), disks.next()) else {
            return Err(Error::setting(
                "disk",
                format!(
                    "machine {} has {} disks, and a stream takes one: choose one of the disks",
                    self.machine,
                    chosen.machine.disks.len()
                ),
            ));
        };
        let mut wanted = wanted(&self.machine, std::iter::once((number, disk)));
        wanted.sort_unstable_by_key(|block| block.address.block);
        let source = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let shape = (chosen.block_size, disk.size_bytes());
        let progress = self.teller().disk(*number);
        let lost = pour(Arc::new(wanted), &source, shape, &mut sink, self.salvages, progress).await?;
        let lost = self.judge(folder, &chosen, lost).await?;
        Ok(self.report(&chosen, &lost, before, start))
    }

    /// The machine's state with the disks that are asked for, and the point that it is taken from.
    async fn choose(&self, folder: &JobFolder) -> Result<Chosen> {
        let point = folder.point_of(&self.machine, self.point)?;
        let state = folder.state_at(point.sequence).await;
        let mut machine = match state.and_then(|state| folder.machine_in(&state, &self.machine, point)) {
            Err(error) if error.is_loss() => return Err(self.damaged(folder, point.sequence, &[], error).await),
            answer => answer?,
        };
        if let Some(text) = &self.disk {
            let chosen = find_disk(&self.machine, &machine.disks, text)?;
            machine.disks.retain(|number, _| *number == chosen);
        }
        Ok(Chosen { sequence: point.sequence, block_size: folder.chain().block_size(), machine })
    }

    /// The blocks that are lost, if they may be.
    async fn judge(&self, folder: &JobFolder, chosen: &Chosen, lost: Lost) -> Result<Vec<Wanted>> {
        let Lost { blocks, error } = lost;
        match error {
            None => Ok(blocks),
            Some(error) if !self.salvages => Err(self.damaged(folder, chosen.sequence, &blocks, error).await),
            // What was let go meanwhile is no damage, and an outage none either.
            Some(_) if folder.is_expired().await? => Err(Error::expired(&self.job)),
            Some(_) => Ok(blocks),
        }
    }

    /// The error for a machine of which something is lost: these blocks, or an index if there are none.
    async fn damaged(&self, folder: &JobFolder, sequence: Sequence, lost: &[Wanted], error: Error) -> Error {
        let intact = newest_intact(folder, &self.machine, self.disk.as_deref(), lost).await;
        Error::MachineDamaged {
            machine: self.machine.to_string(),
            sequence,
            // Whoever cannot look knows of none.
            intact: intact.unwrap_or_default(),
            is_salvageable: !lost.is_empty(),
            source: Box::new(error),
        }
    }

    fn report(
        &self,
        chosen: &Chosen,
        lost: &[Wanted],
        before: offsite_repository::Counts,
        start: Instant,
    ) -> RestoreReport {
        let disks = chosen.machine.disks.iter().map(|(number, disk)| {
            let lost = lost.iter().filter(|block| block.address.disk == *number).map(|block| block.address.block);
            let lost: BTreeSet<u32> = lost.collect();
            let length = |block| u64::from(chosen.block_size.length_at(block, disk.size_bytes()));
            RestoredDisk {
                number: *number,
                name: disk.identity().name.clone(),
                path: None,
                size_bytes: disk.size_bytes(),
                data_bytes: disk
                    .stored()
                    .filter(|(block, _)| !lost.contains(block))
                    .map(|(block, _)| length(block))
                    .sum(),
                lost: joined(lost.iter().map(|block| {
                    let start = chosen.block_size.offset(*block);
                    start..start + length(*block)
                })),
                device_bytes: None,
            }
        });
        RestoreReport {
            sequence: chosen.sequence,
            captured: chosen.machine.captured,
            disks: disks.collect(),
            traffic: BlockTraffic::between(before, self.repository.block_counts()),
            duration: start.elapsed(),
        }
    }

    /// Makes the images whole; the blocks that are lost.
    async fn fill(&self, folder: &JobFolder, chosen: &Chosen, target: &Arc<Target>) -> Result<Vec<Wanted>> {
        self.write_zeros(chosen, target).await?;
        let wanted = wanted(&self.machine, chosen.machine.disks.iter());
        let source = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let sink_of = |disk: DiskNumber| {
            let size_bytes = chosen.machine.disks.get(&disk)?.size_bytes();
            target.images.get(&disk).map(|image| (Arc::clone(&image.sink), size_bytes))
        };
        let progress = self.teller();
        let lost = extract(Arc::new(wanted), &source, chosen.block_size, sink_of, self.salvages, progress).await?;
        let lost = self.judge(folder, chosen, lost).await?;
        let target = Arc::clone(target);
        // All of them are whole before one has its name.
        crate::seams::blocking(move || target.keep()).await??;
        Ok(lost)
    }

    fn teller(&self) -> Teller<'_> {
        Teller::new(self.progress.as_ref(), Task::Restore, &self.job).machine(&self.machine)
    }

    /// Makes zero what no block is stored of, where something else was before.
    async fn write_zeros(&self, chosen: &Chosen, target: &Arc<Target>) -> Result<()> {
        for (number, image) in target.images.iter().filter(|(_, image)| image.sink.write_over().is_some()) {
            let Some(disk) = chosen.machine.disks.get(number) else { continue };
            let gaps = gaps(disk, chosen.block_size);
            let progress =
                self.teller().disk(*number).begin(Step::Zero, gaps.iter().map(|gap| gap.end - gap.start).sum());
            for gap in gaps {
                let mut start = gap.start;
                while start < gap.end {
                    let end = gap.end.min(start + ZERO_BYTES);
                    let sink = Arc::clone(&image.sink);
                    crate::seams::blocking(move || sink.write_zeros(start..end)).await??;
                    progress.advance(end - start);
                    start = end;
                }
            }
            progress.end();
        }
        Ok(())
    }
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Restore")
            .field("job", &self.job)
            .field("machine", &self.machine)
            .field("point", &self.point)
            .finish_non_exhaustive()
    }
}

/// The bytes of a disk that no block is stored of, which are zero.
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

/// Ascending ranges, those that touch as one.
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

/// The stored blocks of disks, in the order in which they lie in their files.
pub(crate) fn wanted<'a>(
    machine: &MachineName,
    disks: impl Iterator<Item = (&'a DiskNumber, &'a DiskMap)>,
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (disk, map) in disks {
        wanted.extend(map.stored().map(|(block, at)| {
            let address = Address { machine: machine.clone(), disk: *disk, block };
            Wanted { address, at }
        }));
    }
    wanted.sort_unstable_by_key(|block| (block.at.file, block.at.offset));
    wanted
}
