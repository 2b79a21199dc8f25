//! Operations as values: a plan says what an operation will read, write and release before it does.
//!
//! Indexes alone make a plan. The engine compares it with what it has counted: a run that read or wrote more than its plan said
//! is a defect.
//!
//! The engine builds the inputs and takes the plans apart. These types are exhaustive, so that it cannot forget a field.

use crate::FileState;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::{BlockMap, DiskNumber, MachineName, ObjectId, StoredBlock};

mod arrival;
mod merge;
mod relocate;
mod retire;
mod space;
mod sync;

pub use arrival::Arrival;
pub use merge::{MergeInput, adopt, fold};
pub use relocate::{Relocation, relocate, replace};
pub use retire::{Files, Reclaiming, references, retire};
pub use space::{FoldTarget, free_ranges, places};
pub use sync::{Placement, Placer, SyncInput, sync, sync_from};

/// Which block of which disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The machine.
    pub machine: MachineName,
    /// Its disk.
    pub disk: DiskNumber,
    /// The block's number on the disk.
    pub block: u32,
}

/// A block on its way from one place to another. Digest and length stay what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which block.
    pub address: Address,
    /// Which of the folders that the plan reads from. 0 if there is one.
    pub source: u32,
    /// Where it lies now.
    pub from: StoredBlock,
    /// Where it will lie.
    pub to: StoredBlock,
}

/// What the commit of a plan leaves without a reference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retired {
    /// Superseded frames in files that live on, with their padding. The ranges ascend, and no two touch.
    pub ranges: BTreeMap<ObjectId, Vec<Range<u64>>>,
    /// Whether the repository can punch holes, so that the ranges' space comes back.
    pub punches: bool,
    /// Files without a live frame. They go as a whole.
    pub files: BTreeMap<ObjectId, RetiredFile>,
    /// Indexes that no point needs any more.
    pub indexes: BTreeSet<ObjectId>,
    /// Files that others share. None of their space comes back.
    pub linked: BTreeSet<ObjectId>,
}

/// A file that goes as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetiredFile {
    /// The bytes that its end brings back.
    pub bytes: u64,
    /// The frames that this plan supersedes, as in [`Retired::ranges`].
    pub ranges: Vec<Range<u64>>,
}

/// What a run will do to a repository's blocks, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What the new index says.
    pub index: BlockMap,
    /// The blocks to carry, in the order of the writes.
    pub moves: Vec<Move>,
    /// The new files and their lengths, headers and padding included.
    pub files: BTreeMap<ObjectId, u64>,
    /// Existing files that the plan writes into, with their lengths afterwards.
    pub patched: BTreeMap<ObjectId, u64>,
    /// Frames in `patched` files start at multiples of this, and their padding moves with them.
    pub alignment: u64,
    /// Whether the repository itself makes the new files of parts of others, so that no byte passes through here.
    pub cloned: bool,
    /// What the plan lets go.
    pub retired: Retired,
}

/// What an operation costs, in bytes of backup files and in requests for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Cost {
    /// Blocks that move.
    pub blocks: u64,
    /// Bytes read from backup files, with the padding between neighbours.
    pub bytes_read: u64,
    /// Bytes written to backup files, with headers and padding.
    pub bytes_written: u64,
    /// Bytes that come back after the commit, once no reader holds them.
    pub bytes_released: u64,
    /// Bytes without a reference that do not come back, as others share their files.
    pub bytes_linked: u64,
    /// Read requests for block data.
    pub read_requests: u64,
    /// The most that the target holds beyond what it held before.
    pub peak_extra_bytes: u64,
}

impl Retired {
    /// The bytes that come back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range_bytes() + self.files.keys().map(|file| self.file_bytes(*file)).sum::<u64>()
    }

    /// The bytes that the end of a file brings back.
    #[must_use]
    pub fn file_bytes(&self, file: ObjectId) -> u64 {
        if self.linked.contains(&file) { 0 } else { self.files.get(&file).map_or(0, |file| file.bytes) }
    }

    /// The bytes that do not come back, as others share their files.
    #[must_use]
    pub fn linked_bytes(&self) -> u64 {
        let all = Self { linked: BTreeSet::new(), ..self.clone() };
        all.bytes() - self.bytes()
    }

    /// Lets a file live on: only its superseded frames go.
    pub fn keep(&mut self, file: ObjectId) {
        if let Some(retired) = self.files.remove(&file) {
            self.ranges.insert(file, retired.ranges);
        }
    }

    /// The bytes that come back with ranges.
    #[must_use]
    pub fn range_bytes(&self) -> u64 {
        let files = self.ranges.iter().filter(|(file, _)| self.punches && !self.linked.contains(file));
        files.flat_map(|(_, ranges)| ranges).map(|range| range.end - range.start).sum()
    }

    /// A block of `step` that lies in what the plan lets go. `None` is the only right answer for a point that stays.
    #[must_use]
    pub fn touches(&self, step: &BlockMap) -> Option<StoredBlock> {
        step.stored().map(|(_, _, _, at)| at).find(|at| {
            let end = at.offset + u64::from(at.length);
            self.files.contains_key(&at.file)
                || self.ranges.get(&at.file).is_some_and(|ranges| {
                    let after = ranges.partition_point(|range| range.end <= at.offset);
                    ranges.get(after).is_some_and(|range| range.start < end)
                })
        })
    }
}

impl Plan {
    /// What carrying the plan out costs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let reads = self.batches();
        let (bytes_read, bytes_written) = match () {
            () if self.cloned => (0, 0),
            // What is written into an existing file is what the frames take, and nothing between them.
            () if !self.patched.is_empty() => {
                let bytes = self.moves.iter().map(|step| padded(step.from, self.alignment)).sum();
                (bytes, bytes)
            }
            () => {
                (reads.iter().map(|batch| batch.range.end - batch.range.start).sum(), self.files.values().sum::<u64>())
            }
        };
        Cost {
            blocks: self.moves.len() as u64,
            bytes_read,
            bytes_written,
            bytes_released: self.retired.bytes(),
            bytes_linked: self.retired.linked_bytes(),
            read_requests: if self.cloned { 0 } else { reads.len() as u64 },
            peak_extra_bytes: if self.patched.is_empty() { self.files.values().sum() } else { bytes_written },
        }
    }

    /// The reads, in the order of the moves.
    #[must_use]
    pub fn batches(&self) -> Vec<Batch> {
        move_batches(&self.moves)
    }

    /// The chain's files after the commit. `files` are those before it.
    #[must_use]
    pub fn files_after(&self, files: &Files, alignment: u64) -> Files {
        let mut after = files.clone();
        for (id, length) in &self.files {
            after.insert(*id, FileState { length: *length, live_bytes: 0, retain_until: None });
        }
        for (id, length) in &self.patched {
            if let Some(file) = after.get_mut(id) {
                file.length = *length;
            }
        }
        // A backup's blocks come from images, so its plan has no moves; its index has nothing but what is new.
        let is_new = |at: &StoredBlock| self.moves.is_empty() && self.files.contains_key(&at.file);
        let stored = self.index.stored().map(|(_, _, _, at)| at).filter(is_new);
        for at in self.moves.iter().map(|step| step.to).chain(stored) {
            if let Some(file) = after.get_mut(&at.file) {
                file.live_bytes += padded(at, alignment);
            }
        }
        for (id, ranges) in &self.retired.ranges {
            if let Some(file) = after.get_mut(id) {
                let dead: u64 = ranges.iter().map(|range| range.end - range.start).sum();
                file.live_bytes = file.live_bytes.saturating_sub(dead);
            }
        }
        after.retain(|id, _| !self.retired.files.contains_key(id));
        after
    }
}

/// The bytes that a frame takes in its file, the padding after it included.
fn padded(at: StoredBlock, alignment: u64) -> u64 {
    (at.offset + u64::from(at.length)).next_multiple_of(alignment) - at.offset
}

/// Neighbouring frames that one request reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The file.
    pub file: ObjectId,
    /// The bytes to read, padding between the frames included.
    pub range: Range<u64>,
    /// Which items of the slice they belong to.
    pub items: Range<usize>,
}

/// The most bytes that one request reads, unless a single frame is longer.
pub const BATCH_BYTES_MAX: u64 = 4 << 20;
/// Padding between two frames that is cheaper to read than to skip.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// The batches of `moves`. No batch reads from two folders.
#[must_use]
pub fn move_batches(moves: &[Move]) -> Vec<Batch> {
    let mut all = Vec::new();
    let mut start = 0;
    for part in moves.chunk_by(|left, right| left.source == right.source) {
        let shift = |batch: Batch| Batch { items: batch.items.start + start..batch.items.end + start, ..batch };
        all.extend(batches(part, |step| step.from).into_iter().map(shift));
        start += part.len();
    }
    all
}

/// Groups the neighbours in `items` whose frames follow each other in one file. The items keep their order.
pub fn batches<T>(items: &[T], place: impl Fn(&T) -> StoredBlock) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let at = place(item);
        let end = at.offset + u64::from(at.length);
        match batches.last_mut() {
            Some(batch)
                if batch.file == at.file
                    && (batch.range.end..=batch.range.end + GAP_BYTES_MAX).contains(&at.offset)
                    && end - batch.range.start <= BATCH_BYTES_MAX =>
            {
                batch.range.end = end;
                batch.items.end = position + 1;
            }
            _ => batches.push(Batch { file: at.file, range: at.offset..end, items: position..position + 1 }),
        }
    }
    batches
}
