//! Plans: what an operation will read, write and release, before it begins.
//!
//! A [`Plan`] is a value that follows from indexes alone. The engine compares it with what it has counted. A run that reads or
//! writes more than its plan says is a defect.
//!
//! Each operation has a function that makes its plan: [`sync`] and [`sync_from`] for a copy, [`adopt`] and [`fold`] for a merge,
//! [`relocate`] for compaction and archives, [`replace`] for damaged frames. [`Plan::cost`] adds up what it costs. [`Arrival`]
//! describes a copy that ends early.
//!
//! The engine builds the inputs and takes the plans apart. The types are exhaustive, so that it cannot forget a field.

use crate::FileState;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::{BlockMap, DiskNumber, MachineName, ObjectId, StoredBlock};

mod arrival;
mod detour;
mod merge;
mod relocate;
mod retire;
mod space;
mod sync;

pub use arrival::Arrival;
pub use detour::{Amount, Came, Detour, Lender, Loan, Loans, Saving, Savings, missing, sync_lent};
pub use merge::{MergeInput, adopt, fold};
pub use relocate::{Relocation, relocate, replace};
pub use retire::{Files, Reclaiming, references, retire};
pub use space::{FoldTarget, free_ranges, places};
pub use sync::{Placement, Placer, SyncInput, sync, sync_from};

/// The address of a block: its machine, disk and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The machine of the block.
    pub machine: MachineName,
    /// The disk of the block.
    pub disk: DiskNumber,
    /// The block's number on the disk.
    pub block: u32,
}

/// A block that moves from one place to another.
///
/// Its digest and length do not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The address of the block.
    pub address: Address,
    /// The number of the folder that the plan reads from, counted from 0.
    pub source: u32,
    /// The place of the frame now.
    pub from: StoredBlock,
    /// The place of the frame afterwards.
    pub to: StoredBlock,
}

/// What nothing refers to any more after the commit of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retired {
    /// Superseded frames in files that stay, with their padding, in bytes of the file. The ranges ascend, and no two touch.
    pub ranges: BTreeMap<ObjectId, Vec<Range<u64>>>,
    /// `true` if the repository can punch holes, so that the space of `ranges` comes back.
    pub punches: bool,
    /// Files without a live frame. They are deleted as a whole.
    pub files: BTreeMap<ObjectId, RetiredFile>,
    /// Indexes that no restore point needs any more.
    pub indexes: BTreeSet<ObjectId>,
    /// Files whose blocks others share. None of their space comes back.
    pub linked: BTreeSet<ObjectId>,
}

/// A file that is deleted as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetiredFile {
    /// The number of bytes that its deletion gives back.
    pub bytes: u64,
    /// The frames that this plan supersedes, as in [`Retired::ranges`].
    pub ranges: Vec<Range<u64>>,
}

/// What an operation does to the blocks of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The map that the new index gets.
    pub index: BlockMap,
    /// The blocks to move, in the order in which they are written.
    pub moves: Vec<Move>,
    /// The moves whose blocks are read elsewhere than from their own frames at the source, by their position in `moves`.
    pub detours: BTreeMap<usize, Detour>,
    /// The new files and their lengths in bytes, headers and padding included.
    pub files: BTreeMap<ObjectId, u64>,
    /// The existing files that the plan writes into, with their lengths afterwards.
    pub patched: BTreeMap<ObjectId, u64>,
    /// The alignment of frames in `patched` files, in bytes. Their padding moves with them.
    pub alignment: u64,
    /// `true` if the repository itself makes the new files from parts of others. Then no block data passes through this process.
    pub cloned: bool,
    /// What the plan retires.
    pub retired: Retired,
}

/// The cost of an operation: bytes of backup files, and requests for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Cost {
    /// The number of blocks that move.
    pub blocks: u64,
    /// Bytes read from backup files, with the padding between neighbouring frames.
    pub bytes_read: u64,
    /// Bytes written to backup files, with headers and padding.
    pub bytes_written: u64,
    /// Bytes that come back after the commit, as soon as no reader holds them.
    pub bytes_released: u64,
    /// Bytes that nothing refers to and that do not come back, as others share their files.
    pub bytes_linked: u64,
    /// The number of read requests for block data.
    pub read_requests: u64,
    /// The largest number of bytes that the target stores in addition, at any time of the operation.
    pub peak_extra_bytes: u64,
}

impl Move {
    /// The same move to another place.
    #[must_use]
    pub fn placed(&self, to: StoredBlock) -> Self {
        Self { to, ..self.clone() }
    }
}

impl Retired {
    /// The number of bytes that come back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range_bytes() + self.files.keys().map(|file| self.file_bytes(*file)).sum::<u64>()
    }

    /// The number of bytes that the deletion of `file` gives back.
    #[must_use]
    pub fn file_bytes(&self, file: ObjectId) -> u64 {
        if self.linked.contains(&file) { 0 } else { self.files.get(&file).map_or(0, |file| file.bytes) }
    }

    /// The number of bytes that do not come back, as others share their files.
    #[must_use]
    pub fn linked_bytes(&self) -> u64 {
        let all = Self { linked: BTreeSet::new(), ..self.clone() };
        all.bytes() - self.bytes()
    }

    /// Keeps a file that would be deleted.
    ///
    /// Only its superseded frames are then retired.
    pub fn keep(&mut self, file: ObjectId) {
        if let Some(retired) = self.files.remove(&file) {
            self.ranges.insert(file, retired.ranges);
        }
    }

    /// The number of bytes that come back from ranges of files that stay.
    #[must_use]
    pub fn range_bytes(&self) -> u64 {
        let files = self.ranges.iter().filter(|(file, _)| self.punches && !self.linked.contains(file));
        files.flat_map(|(_, ranges)| ranges).map(|range| range.end - range.start).sum()
    }

    /// A block of `step` that lies in what the plan retires.
    ///
    /// For a restore point that stays, it must be `None`.
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
    /// The cost of the plan.
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

    /// The read requests, in the order of the moves.
    #[must_use]
    pub fn batches(&self) -> Vec<Batch> {
        self.batches_of_first(self.moves.len())
    }

    /// The read requests for the first `count` moves, in the order of the moves.
    #[must_use]
    pub fn batches_of_first(&self, count: usize) -> Vec<Batch> {
        let count = count.min(self.moves.len());
        if self.detours.is_empty() {
            return move_batches(&self.moves[..count]);
        }
        let reads: Vec<(u32, StoredBlock)> = (0..count).filter_map(|position| self.read(position)).collect();
        batches_of_folders(&reads, |(source, _)| *source, |(_, from)| *from)
    }

    /// The plan to move only what `is_wanted` picks, with the detours of these moves.
    ///
    /// It has neither an index nor files.
    #[must_use]
    pub fn part(&self, is_wanted: impl Fn(&Move) -> bool) -> Self {
        let mut part = Self::default();
        for (position, step) in self.moves.iter().enumerate().filter(|(_, step)| is_wanted(step)) {
            if let Some(detour) = self.detours.get(&position) {
                part.detours.insert(part.moves.len(), detour.clone());
            }
            part.moves.push(step.clone());
        }
        part
    }

    /// The number of the folder that a move reads from, and the frame that it reads there.
    ///
    /// `None` if there is no such move.
    #[must_use]
    pub fn read(&self, position: usize) -> Option<(u32, StoredBlock)> {
        let step = self.moves.get(position)?;
        Some(self.detours.get(&position).map_or((step.source, step.from), |detour| (detour.source, detour.from)))
    }

    /// The files of the chain after the commit.
    ///
    /// `files` are those before it. `alignment` is that of their frames, in bytes.
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

/// The number of bytes that a frame takes in its file, with the padding after it.
fn padded(at: StoredBlock, alignment: u64) -> u64 {
    (at.offset + u64::from(at.length)).next_multiple_of(alignment) - at.offset
}

/// Neighbouring frames that one request reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The file.
    pub file: ObjectId,
    /// The bytes of the file to read, with the padding between the frames.
    pub range: Range<u64>,
    /// The positions of the frames in the slice that the batches were made from.
    pub items: Range<usize>,
}

/// The largest number of bytes that one request reads.
///
/// A single longer frame is still read by one request.
pub const BATCH_BYTES_MAX: u64 = 4 << 20;
/// The largest padding between two frames, in bytes, that is read and not skipped.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// The read requests for `moves`.
///
/// No request reads from two folders.
#[must_use]
pub fn move_batches(moves: &[Move]) -> Vec<Batch> {
    batches_of_folders(moves, |step| step.source, |step| step.from)
}

fn batches_of_folders<T>(items: &[T], source: impl Fn(&T) -> u32, from: impl Fn(&T) -> StoredBlock) -> Vec<Batch> {
    let mut all = Vec::new();
    let mut start = 0;
    for part in items.chunk_by(|left, right| source(left) == source(right)) {
        let shift = |batch: Batch| Batch { items: batch.items.start + start..batch.items.end + start, ..batch };
        all.extend(batches(part, &from).into_iter().map(shift));
        start += part.len();
    }
    all
}

/// Groups neighbouring items whose frames follow each other in one file, or that share a frame.
///
/// `place` returns where the frame of an item lies. The items keep their order.
pub fn batches<T>(items: &[T], place: impl Fn(&T) -> StoredBlock) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let at = place(item);
        let end = at.offset + u64::from(at.length);
        let before = position.checked_sub(1).and_then(|before| items.get(before)).map(&place);
        match batches.last_mut() {
            // The same frame, for another block.
            Some(batch) if before.is_some_and(|before| before.same_place(&at) && before.length == at.length) => {
                batch.items.end = position + 1;
            }
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
