//! Disk images into backup files.

use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, stream};
use offsite_core::plan::Placer;
use offsite_core::{BlockSize, DiskMap, DiskNumber, MachineName, MachineNumber, ObjectId, Run, StoredBlock};

use super::codec::{self, Sealed};
use super::output::Output;
use super::{BATCH_BYTES, IN_FLIGHT, blocking};
use crate::image::DiskImage;
use crate::progress::Progress;
use crate::{Error, Result};

/// A disk to back up.
#[derive(Debug, Clone)]
pub(crate) struct IngestDisk {
    pub(crate) machine: MachineName,
    pub(crate) number: MachineNumber,
    pub(crate) disk: DiskNumber,
    pub(crate) image: Arc<dyn DiskImage>,
    /// What the last restore point knows of the disk.
    pub(crate) previous: Option<Arc<DiskMap>>,
}

/// What came of a disk.
#[derive(Debug)]
pub(crate) struct Ingested {
    pub(crate) machine: MachineName,
    pub(crate) disk: DiskNumber,
    /// All of its blocks: unchanged ones where they were, new ones in the new files.
    pub(crate) map: DiskMap,
    /// Plain bytes that were read from the image.
    pub(crate) read_bytes: u64,
    /// Plain bytes of blocks that were stored.
    pub(crate) changed_bytes: u64,
}

/// Blocks that are read at once.
#[derive(Debug, Clone)]
struct Batch {
    disk: usize,
    blocks: Range<u32>,
}

enum Outcome {
    Zero,
    Unchanged(StoredBlock),
    New(Sealed),
}

/// Reads the disks, stores the blocks that differ from `previous`, and returns where everything lies.
pub(crate) async fn ingest(
    disks: &[IngestDisk],
    block_size: BlockSize,
    level: i32,
    output: &mut Output<'_>,
    placer: &mut Placer,
    mut mint: impl FnMut() -> ObjectId,
    progress: &dyn Progress,
) -> Result<Vec<Ingested>> {
    let batches = batches(disks, block_size).await?;
    let blocks: u64 = batches.iter().map(|batch| u64::from(batch.blocks.end - batch.blocks.start)).sum();
    progress.begin("backing up", blocks * u64::from(block_size.bytes()));
    let mut results = stream::iter(batches)
        .map(|batch| {
            let disk = disks[batch.disk].clone();
            async move { (batch.clone(), blocking(move || work(&disk, batch.blocks, block_size, level)).await) }
        })
        .buffered(IN_FLIGHT);
    let mut states: Vec<State> = disks.iter().map(|_| State::default()).collect();
    while let Some((batch, outcomes)) = results.next().await {
        let disk = &disks[batch.disk];
        let state = &mut states[batch.disk];
        for (block, outcome) in batch.blocks.zip(outcomes?) {
            let plain_bytes = block_size.length_at(block, disk.image.size_bytes());
            state.read_bytes += u64::from(plain_bytes);
            match outcome {
                Outcome::Zero => state.runs.push(Run::Zero { first: block, count: 1 }),
                Outcome::Unchanged(at) => state.runs.push(Run::Stored { block, at }),
                Outcome::New(sealed) => {
                    let digest = sealed.digest;
                    let length = sealed.frame_bytes();
                    let (file, offset) = placer.place(length, &mut mint);
                    output.append((file, offset), disk.number, disk.disk, block, sealed).await?;
                    state.runs.push(Run::Stored { block, at: StoredBlock { file, offset, length, digest } });
                    state.changed_bytes += u64::from(plain_bytes);
                }
            }
            progress.advance(u64::from(plain_bytes));
        }
    }
    progress.end();
    disks.iter().zip(states).map(|(disk, state)| state.finish(disk, block_size)).collect()
}

#[derive(Default)]
struct State {
    runs: Vec<Run>,
    read_bytes: u64,
    changed_bytes: u64,
}

impl State {
    /// Fills what no batch read with zeros: holes of the image.
    fn finish(self, disk: &IngestDisk, block_size: BlockSize) -> Result<Ingested> {
        let size_bytes = disk.image.size_bytes();
        let block_count = block_size.count(size_bytes);
        let mut runs = Vec::with_capacity(self.runs.len());
        let mut end = 0;
        for run in self.runs {
            push_hole(&mut runs, end, run.first().into());
            end = run.end();
            runs.push(run);
        }
        push_hole(&mut runs, end, block_count);
        let map = DiskMap::new(size_bytes, block_count, 0, runs);
        Ok(Ingested {
            machine: disk.machine.clone(),
            disk: disk.disk,
            map: map.map_err(|error| Error::image(disk.image.path(), error.to_string(), None))?,
            read_bytes: self.read_bytes,
            changed_bytes: self.changed_bytes,
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

/// The blocks of all disks that hold data, in batches.
async fn batches(disks: &[IngestDisk], block_size: BlockSize) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let step = (BATCH_BYTES / block_size.bytes()).max(1);
    for (position, disk) in disks.iter().enumerate() {
        let image = Arc::clone(&disk.image);
        for range in blocking(move || data_blocks(image.as_ref(), block_size)).await? {
            let mut start = range.start;
            while start < range.end {
                let end = range.end.min(start + step);
                batches.push(Batch { disk: position, blocks: start..end });
                start = end;
            }
        }
    }
    Ok(batches)
}

/// The ranges of blocks that are not holes, ascending and apart.
fn data_blocks(image: &dyn DiskImage, block_size: BlockSize) -> Result<Vec<Range<u32>>> {
    let count = block_size.count(image.size_bytes());
    let count = u32::try_from(count)
        .map_err(|_| Error::image(image.path(), format!("{count} blocks are too many; use larger blocks"), None))?;
    let mut ranges: Vec<Range<u32>> = Vec::new();
    let mut from = 0;
    while let Some(data) = image.next_data(from)? {
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
fn work(disk: &IngestDisk, blocks: Range<u32>, block_size: BlockSize, level: i32) -> Result<Vec<Outcome>> {
    let size_bytes = disk.image.size_bytes();
    let start = block_size.offset(blocks.start);
    let end = block_size.offset(blocks.end).min(size_bytes);
    PLAIN.with_borrow_mut(|plain| {
        plain.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        disk.image.read_at(plain, start)?;
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
