//! Writes disk images into backup files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, stream};
use offsite_core::plan::Placer;
use offsite_core::{
    BlockSize, DiskIdentity, DiskMap, DiskNumber, ImageFormat, MachineName, MachineNumber, ObjectId, Run, StoredBlock,
};

use super::codec::{self, Sealed};
use super::output::Output;
use super::{BATCH_BYTES, IN_FLIGHT, blocking};
use crate::Passage;
use crate::image::{DiskImage, ImageSource, OpenImage, failed};
use crate::report::ImageWarning;
use crate::teller::Running;
use crate::{Error, Result};

/// A disk to back up.
#[derive(Debug, Clone)]
pub(crate) struct IngestDisk {
    pub(crate) machine: MachineName,
    pub(crate) number: MachineNumber,
    pub(crate) disk: DiskNumber,
    pub(crate) source: ImageSource,
    /// The format in which the disk was read before. `None` for a new disk.
    pub(crate) known_format: Option<ImageFormat>,
    /// The identity of the disk, as its backup files already have it.
    pub(crate) identity: DiskIdentity,
    pub(crate) size_bytes: u64,
    /// What the last restore point knows of the disk. `None` for a new disk.
    pub(crate) previous: Option<Arc<DiskMap>>,
}

/// The result of a disk.
#[derive(Debug)]
pub(crate) struct Ingested {
    pub(crate) machine: MachineName,
    pub(crate) disk: DiskNumber,
    /// All blocks of the disk: unchanged ones at their old places, new ones in the new files.
    pub(crate) map: DiskMap,
    /// The number of plain bytes that were read from the image.
    pub(crate) read_bytes: u64,
    /// The number of plain bytes of blocks that were stored.
    pub(crate) changed_bytes: u64,
    /// The warnings about its image.
    pub(crate) warnings: Vec<ImageWarning>,
}

/// The result of all disks.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    /// The disks of machines that were read completely, in the order in which they were given.
    pub(crate) disks: Vec<Ingested>,
    /// The machines with an image that could not be read to its end, each with the error.
    pub(crate) failed: BTreeMap<MachineName, Error>,
    /// The frames that were stored of these machines before that, in ascending order. Nothing refers to them.
    pub(crate) abandoned: Vec<StoredBlock>,
}

/// The largest number of images that are open ahead of the one that is read.
const OPEN_AHEAD: usize = 2;

/// A piece of work on a disk.
enum Step {
    /// The image was opened.
    Opened(Arc<OpenDisk>),
    /// Blocks that are read at once.
    Blocks(Arc<OpenDisk>, Range<u32>),
    /// Everything has been read.
    Settle(Arc<OpenDisk>),
    /// The disk cannot be read.
    Failed(Error),
}

/// The result of a piece of work.
enum Done {
    Opened(Arc<OpenDisk>),
    Blocks(Range<u32>, Vec<Outcome>),
    Settled(Option<ImageWarning>),
    /// The machine had failed before.
    Skipped,
}

/// A disk with its open image, and the ranges of its blocks that are not holes.
struct OpenDisk {
    disk: IngestDisk,
    open: OpenImage,
    data: Vec<Range<u32>>,
}

enum Outcome {
    Zero,
    Unchanged(StoredBlock),
    New(Sealed),
}

/// Reads the disks, which are given machine by machine, and stores the blocks that differ from `previous`. Returns where all blocks
/// lie.
///
/// A few images are open at a time. If an image cannot be read, or changes while it is read, its machine fails and no other.
pub(crate) async fn ingest(
    disks: &[IngestDisk],
    block_size: BlockSize,
    level: i32,
    output: &mut Output<'_>,
    placer: &mut Placer,
    mut mint: impl FnMut() -> ObjectId,
    progress: &Running<'_>,
) -> Result<Ingest> {
    let machines = machines_of(disks);
    // The workers see these, so that no more is read of a machine that has failed.
    let given_up: Vec<Arc<AtomicBool>> = disks.iter().map(|_| Arc::default()).collect();
    let mut results = stream::iter(0..disks.len())
        .map(|position| {
            let is_given_up = Arc::clone(&given_up[machines[position]]);
            let disk = disks[position].clone();
            async move {
                let opened = blocking(move || match is_given_up.load(Ordering::Relaxed) {
                    true => Ok(None),
                    false => open(disk, block_size).map(Some),
                });
                steps(opened.await, block_size).map(move |step| (position, step))
            }
        })
        .buffered(OPEN_AHEAD)
        .flat_map(stream::iter)
        .then(|(position, step)| async move {
            let Step::Blocks(_, blocks) = &step else { return (position, step) };
            let bytes = u64::from(blocks.end - blocks.start) * u64::from(block_size.bytes());
            match progress.pass(bytes).await {
                Passage::Go => (position, step),
                Passage::Stop => (position, Step::Failed(progress.stopped())),
            }
        })
        .map(|(position, step)| {
            let is_given_up = Arc::clone(&given_up[machines[position]]);
            async move {
                let work = move || match is_given_up.load(Ordering::Relaxed) {
                    true => Ok(Done::Skipped),
                    false => step.work(block_size, level),
                };
                (position, blocking(work).await)
            }
        })
        .buffered(IN_FLIGHT)
        .boxed();
    let mut ingest = Ingest::default();
    let mut current: Option<State> = None;
    let mut new_files: BTreeSet<ObjectId> = BTreeSet::new();
    while let Some((position, done)) = results.next().await {
        let disk = &disks[position];
        if ingest.failed.contains_key(&disk.machine) {
            continue;
        }
        match done {
            Ok(Done::Skipped) => {}
            Ok(Done::Opened(open)) => current = Some(State::of(open)),
            Ok(Done::Blocks(blocks, outcomes)) => {
                let state = current.as_mut().ok_or_else(|| Error::defect("blocks of no disk".to_owned()))?;
                for (block, outcome) in blocks.zip(outcomes) {
                    let plain_bytes = block_size.length_at(block, state.size_bytes());
                    state.read_bytes += u64::from(plain_bytes);
                    match outcome {
                        Outcome::Zero => state.runs.push(Run::Zero { first: block, count: 1 }),
                        Outcome::Unchanged(at) => state.runs.push(Run::Stored { block, at }),
                        Outcome::New(sealed) => {
                            let digest = sealed.digest;
                            let length = sealed.frame_bytes();
                            let (file, offset) = placer.place(length, &mut mint);
                            output.append((file, offset), disk.number, disk.disk, block, sealed).await?;
                            let at = StoredBlock { file, offset, length, digest };
                            new_files.insert(file);
                            state.runs.push(Run::Stored { block, at });
                            state.changed_bytes += u64::from(plain_bytes);
                        }
                    }
                    progress.advance_disk(&disk.machine, disk.disk, u64::from(plain_bytes));
                }
            }
            Ok(Done::Settled(warning)) => {
                let mut state = current.take().ok_or_else(|| Error::defect("the end of no disk".to_owned()))?;
                state.warnings.extend(warning);
                ingest.disks.push(state.finish(block_size)?);
            }
            Err(error @ (Error::Image { .. } | Error::Stopped { .. })) => {
                given_up[machines[position]].store(true, Ordering::Relaxed);
                ingest.abandon(&disk.machine, current.take(), &new_files, error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ingest)
}

/// Returns the first disk of the machine of each disk.
fn machines_of(disks: &[IngestDisk]) -> Vec<usize> {
    let mut first = 0;
    let of_disk = |(position, disk): (usize, &IngestDisk)| {
        if disks[first].machine != disk.machine {
            first = position;
        }
        first
    };
    disks.iter().enumerate().map(of_disk).collect()
}

impl Ingest {
    /// Gives a machine up. Its stored blocks are of no use.
    fn abandon(&mut self, machine: &MachineName, current: Option<State>, new_files: &BTreeSet<ObjectId>, error: Error) {
        let own = |disk: &mut Ingested| disk.machine == *machine;
        let finished: Vec<Ingested> = self.disks.extract_if(.., own).collect();
        let runs = finished.iter().map(|disk| disk.map.runs()).chain(current.iter().map(|state| &state.runs[..]));
        let stored = runs.flatten().filter_map(|run| match run {
            Run::Stored { at, .. } if new_files.contains(&at.file) => Some(*at),
            Run::Stored { .. } | Run::Zero { .. } => None,
        });
        self.abandoned.extend(stored);
        self.failed.insert(machine.clone(), error);
    }
}

/// Opens the image of a disk, and looks where its data lies.
fn open(disk: IngestDisk, block_size: BlockSize) -> Result<OpenDisk> {
    let open = disk.source.open(disk.known_format)?;
    if (open.format, open.image.size_bytes()) != (disk.identity.format, disk.size_bytes) {
        let detail = format!(
            "it was a {} image of a disk of {} bytes when the backup began and is a {} image of {} bytes now; back up a snapshot of it, \
             or stop what changes it",
            disk.identity.format,
            disk.size_bytes,
            open.format,
            open.image.size_bytes()
        );
        return Err(Error::image(Path::new(&open.image.location()), detail, None));
    }
    let data = data_blocks(open.image.as_ref(), disk.size_bytes, block_size)?;
    Ok(OpenDisk { disk, open, data })
}

/// Returns how many bytes of a disk [`ingest`] reads: those of all blocks that are not holes. It opens the image and reads no block.
///
/// It blocks.
pub(crate) fn bytes_to_read(disk: IngestDisk, block_size: BlockSize) -> Result<u64> {
    let OpenDisk { disk, data, .. } = open(disk, block_size)?;
    let end = |block| block_size.offset(block).min(disk.size_bytes);
    Ok(data.into_iter().map(|blocks| end(blocks.end).saturating_sub(block_size.offset(blocks.start))).sum())
}

/// Returns the pieces of work on a disk after this result of opening it, one after the other.
fn steps(opened: Result<Option<OpenDisk>>, block_size: BlockSize) -> impl Iterator<Item = Step> {
    let (open, failed) = match opened {
        Ok(Some(open)) => (Some(Arc::new(open)), None),
        Ok(None) => (None, None),
        Err(error) => (None, Some(error)),
    };
    let step = (BATCH_BYTES / block_size.bytes()).max(1);
    let batches = open.clone().into_iter().flat_map(move |open| {
        let all = (0..open.data.len()).flat_map({
            let open = Arc::clone(&open);
            move |number| {
                let Range { start, end } = open.data[number].clone();
                (start..end).step_by(step as usize).map(move |start| start..end.min(start.saturating_add(step)))
            }
        });
        all.map(move |blocks| Step::Blocks(Arc::clone(&open), blocks))
    });
    let opened = open.clone().map(Step::Opened);
    opened.into_iter().chain(batches).chain(open.map(Step::Settle)).chain(failed.map(Step::Failed))
}

impl Step {
    fn work(self, block_size: BlockSize, level: i32) -> Result<Done> {
        match self {
            Self::Opened(open) => Ok(Done::Opened(open)),
            Self::Blocks(open, blocks) => Ok(Done::Blocks(blocks.clone(), work(&open, blocks, block_size, level)?)),
            Self::Settle(open) => {
                let image = open.open.image.as_ref();
                let settled = image.settle();
                let detail = "what was read of it is no state of the disk";
                Ok(Done::Settled(settled.map_err(|error| failed(&image.location(), detail, error))?))
            }
            Self::Failed(error) => Err(error),
        }
    }
}

/// What is known of a disk while it is read.
struct State {
    open: Arc<OpenDisk>,
    runs: Vec<Run>,
    read_bytes: u64,
    changed_bytes: u64,
    warnings: Vec<ImageWarning>,
}

impl State {
    fn of(open: Arc<OpenDisk>) -> Self {
        let warnings = open.open.warning.iter().cloned().collect();
        Self { open, runs: Vec::new(), read_bytes: 0, changed_bytes: 0, warnings }
    }

    fn size_bytes(&self) -> u64 {
        self.open.disk.size_bytes
    }

    /// Fills blocks that no batch has read with zeros. They are holes of the image.
    fn finish(self, block_size: BlockSize) -> Result<Ingested> {
        let size_bytes = self.size_bytes();
        let OpenDisk { disk, open, .. } = self.open.as_ref();
        let block_count = block_size.count(size_bytes);
        let mut runs = Vec::with_capacity(self.runs.len());
        let mut end = 0;
        for run in self.runs {
            push_hole(&mut runs, end, run.first().into());
            end = run.end();
            runs.push(run);
        }
        push_hole(&mut runs, end, block_count);
        let map = DiskMap::new(disk.identity.clone(), size_bytes, block_count, 0, runs);
        Ok(Ingested {
            machine: disk.machine.clone(),
            disk: disk.disk,
            map: map.map_err(|error| Error::defect(format!("{}: {error}", open.image.location())))?,
            read_bytes: self.read_bytes,
            changed_bytes: self.changed_bytes,
            warnings: self.warnings,
        })
    }
}

fn push_hole(runs: &mut Vec<Run>, from: u64, end: u64) {
    if let (Ok(first), Ok(count)) = (u32::try_from(from), u32::try_from(end.saturating_sub(from)))
        && count > 0
    {
        runs.push(Run::Zero { first, count });
    }
}

/// Returns the ranges of blocks that are not holes, ascending and with gaps between them.
fn data_blocks(image: &dyn DiskImage, size_bytes: u64, block_size: BlockSize) -> Result<Vec<Range<u32>>> {
    let count = block_size.count(size_bytes);
    let refused = |detail: String| Error::image(Path::new(&image.location()), detail, None);
    let count = u32::try_from(count).map_err(|_| refused(format!("{count} blocks are too many; use larger blocks")))?;
    let mut ranges: Vec<Range<u32>> = Vec::new();
    let mut from = 0;
    let next = |from| {
        let next = image.next_data(from);
        next.map_err(|error| failed(&image.location(), &format!("what follows byte {from} cannot be told"), error))
    };
    while let Some(data) = next(from)? {
        if data.start < from || data.is_empty() || data.end > size_bytes {
            return Err(refused(format!(
                "its data from byte {from} on is said to be at {} to {} of {size_bytes}; mend what implements the image",
                data.start, data.end
            )));
        }
        let first = u32::try_from(data.start / u64::from(block_size.bytes())).unwrap_or(count);
        let end = u32::try_from(block_size.count(data.end)).unwrap_or(count).min(count);
        match ranges.last_mut() {
            Some(last) if last.end >= first => last.end = last.end.max(end),
            _ if first < end => ranges.push(first..end),
            _ => {}
        }
        from = data.end;
    }
    Ok(ranges)
}

thread_local! {
    static PLAIN: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Reads a batch of blocks, and compares, hashes and compresses them.
fn work(
    OpenDisk { disk, open, .. }: &OpenDisk,
    blocks: Range<u32>,
    block_size: BlockSize,
    level: i32,
) -> Result<Vec<Outcome>> {
    let size_bytes = disk.size_bytes;
    let start = block_size.offset(blocks.start);
    let end = block_size.offset(blocks.end).min(size_bytes);
    PLAIN.with_borrow_mut(|plain| {
        plain.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        let image = open.image.as_ref();
        let read = image.read_at(start, plain);
        read.map_err(|error| failed(&image.location(), &format!("it cannot be read at byte {start}"), error))?;
        let outcomes = blocks.zip(plain.chunks(block_size.bytes() as usize)).map(|(block, plain)| {
            if codec::is_zero(plain) {
                return Outcome::Zero;
            }
            let digest = codec::digest(plain);
            match disk.previous.as_ref().and_then(|previous| previous.get(block)) {
                Some(Run::Stored { at, .. }) if at.digest == digest => Outcome::Unchanged(at),
                _ => Outcome::New(codec::seal(plain, digest, level)),
            }
        });
        Ok(outcomes.collect())
    })
}
