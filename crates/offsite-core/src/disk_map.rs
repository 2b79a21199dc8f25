//! Where the blocks of one disk lie, and how two such maps combine.

use std::ops::Range;

use crate::{Digest, DiskIdentity, ObjectId};

/// The place of one stored block.
// Exhaustive: the algebra moves frames by replacing file and offset, and keeps the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StoredBlock {
    /// The backup file that holds the frame.
    pub file: ObjectId,
    /// The position in the file where the frame starts, in bytes.
    pub offset: u64,
    /// The length of the frame in bytes, header included.
    pub length: u32,
    /// The digest of the block's uncompressed bytes.
    pub digest: Digest,
}

impl StoredBlock {
    /// Whether both are the same frame.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        self.file == other.file && self.offset == other.offset
    }
}

/// A run of consecutive blocks in a [`DiskMap`].
///
/// A block that no run covers is *absent*: an increment leaves it as it was.
// Exhaustive: the algebra knows nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Blocks that contain only zeros. Nothing is stored for them.
    Zero {
        /// The number of the first block.
        first: u32,
        /// The number of blocks.
        count: u32,
    },
    /// One stored block.
    Stored {
        /// The number of the block on the disk.
        block: u32,
        /// The place of its frame.
        at: StoredBlock,
    },
}

impl Run {
    /// The number of the first block of the run.
    #[must_use]
    pub const fn first(&self) -> u32 {
        match self {
            Self::Zero { first, .. } => *first,
            Self::Stored { block, .. } => *block,
        }
    }

    /// The number of the block after the last one of the run.
    #[must_use]
    pub const fn end(&self) -> u64 {
        match self {
            Self::Zero { first, count } => *first as u64 + *count as u64,
            Self::Stored { block, .. } => *block as u64 + 1,
        }
    }
}

/// The blocks of one disk, as a state or as a step between two states.
///
/// As a *state*, the map says what each block is. As a *step*, it leads from one state of the disk to the next:
///
/// - It replaces each block that a run covers.
/// - Of the other blocks, it keeps those below [`keeps_blocks`](DiskMap::keeps_blocks).
/// - It drops the rest: the disk had shrunk and grown again.
///
/// A map has one normal form, so `==` tells whether two steps are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskMap {
    identity: DiskIdentity,
    size_bytes: u64,
    block_count: u32,
    keeps_blocks: u32,
    runs: Vec<Run>,
}

/// The error for runs that form no [`DiskMap`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskMapError {
    /// The run that starts at this block is empty, or overlaps the run before it.
    #[error("the run at block {0} is empty or overlaps the one before it")]
    Order(u32),
    /// A run goes past the end of the disk.
    #[error("the run that ends at block {end} goes past the disk's {block_count} blocks")]
    PastEnd {
        /// The block number at which the run ends.
        end: u64,
        /// The disk's length in blocks.
        block_count: u32,
    },
    /// The disk has more blocks than an index can number. The value is its number of blocks.
    #[error("a disk of {0} blocks: the limit is 4294967295, use larger blocks")]
    TooLarge(u64),
}

impl DiskMap {
    /// Builds the map of a disk from its runs, in ascending order.
    ///
    /// `keeps_blocks` is the bound that [`DiskMap::keeps_blocks`] returns. The map stores its smallest equivalent.
    ///
    /// # Errors
    /// [`DiskMapError`] if the runs overlap, are out of order, or go past the end of the disk.
    pub fn new(
        identity: DiskIdentity,
        size_bytes: u64,
        block_count: u64,
        keeps_blocks: u32,
        runs: Vec<Run>,
    ) -> Result<Self, DiskMapError> {
        let block_count = u32::try_from(block_count).map_err(|_| DiskMapError::TooLarge(block_count))?;
        let mut end = 0;
        for run in &runs {
            if u64::from(run.first()) < end || run.end() == u64::from(run.first()) {
                return Err(DiskMapError::Order(run.first()));
            }
            end = run.end();
        }
        if end > u64::from(block_count) {
            return Err(DiskMapError::PastEnd { end, block_count });
        }
        Ok(Self::normal(identity, size_bytes, block_count, keeps_blocks, runs))
    }

    /// The identity of the disk.
    ///
    /// For a step, this is the identity after the step.
    #[must_use]
    pub const fn identity(&self) -> &DiskIdentity {
        &self.identity
    }

    /// The disk's size in bytes.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The disk's size in blocks.
    #[must_use]
    pub const fn block_count(&self) -> u32 {
        self.block_count
    }

    /// The bound below which a step keeps blocks that no run covers.
    #[must_use]
    pub const fn keeps_blocks(&self) -> u32 {
        self.keeps_blocks
    }

    /// The runs, in ascending order.
    ///
    /// Runs of zeros never touch each other.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The stored blocks with their numbers, in ascending order.
    pub fn stored(&self) -> impl Iterator<Item = (u32, StoredBlock)> + '_ {
        self.runs.iter().filter_map(|run| match run {
            Run::Stored { block, at } => Some((*block, *at)),
            Run::Zero { .. } => None,
        })
    }

    /// Returns `true` if runs cover every block of the disk.
    ///
    /// Such a map describes a state without any map below it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        covered_from(&self.runs, 0) == u64::from(self.block_count)
    }

    /// The run that covers block number `block`.
    ///
    /// `None` if no run covers it.
    #[must_use]
    pub fn get(&self, block: u32) -> Option<Run> {
        let after = self.runs.partition_point(|run| run.end() <= u64::from(block));
        self.runs.get(after).copied().filter(|run| run.first() <= block)
    }

    /// Replaces the place of each stored block with what `place` returns.
    #[must_use]
    pub fn relocated(mut self, mut place: impl FnMut(u32, StoredBlock) -> StoredBlock) -> Self {
        for run in &mut self.runs {
            if let Run::Stored { block, at } = run {
                *at = place(*block, *at);
            }
        }
        self
    }

    /// Applies `upper` on top of this map: `self ⊕ upper`.
    ///
    /// `displaced` receives each stored block of `self` that the result no longer holds, with its number.
    #[must_use]
    pub fn overlay(&self, upper: &Self, mut displaced: impl FnMut(u32, StoredBlock)) -> Self {
        let mut runs = Vec::with_capacity(self.runs.len().max(upper.runs.len()));
        let mut above = upper.runs.iter().copied().peekable();
        let kept_end = u64::from(upper.keeps_blocks);
        for lower in &self.runs {
            while let Some(run) = above.next_if(|run| run.end() <= u64::from(lower.first())) {
                runs.push(run);
            }
            match *lower {
                Run::Stored { block, at } => {
                    match above.peek().filter(|run| run.first() <= block) {
                        // A step that was done before names the same frame, which then must not be let go.
                        Some(Run::Stored { at: again, .. }) if again.same_place(&at) => {}
                        None if u64::from(block) < kept_end => runs.push(*lower),
                        _ => displaced(block, at),
                    }
                }
                Run::Zero { first, .. } => {
                    let end = lower.end().min(kept_end);
                    let mut from = u64::from(first);
                    while from < end {
                        match above.peek().copied().filter(|run| u64::from(run.first()) < end) {
                            Some(run) => {
                                push_zero(&mut runs, from, u64::from(run.first()));
                                from = run.end();
                                // A run that reaches past this one may cover the next one too.
                                if run.end() <= lower.end() {
                                    runs.push(run);
                                    above.next();
                                }
                            }
                            None => {
                                push_zero(&mut runs, from, end);
                                from = end;
                            }
                        }
                    }
                }
            }
        }
        runs.extend(above);
        Self::normal(
            upper.identity.clone(),
            upper.size_bytes,
            upper.block_count,
            self.keeps_blocks.min(upper.keeps_blocks),
            runs,
        )
    }

    /// The smallest step from `self` to `next`, which must be full.
    ///
    /// The step has the blocks whose digest differs, and the blocks that `self` lacks.
    #[must_use]
    pub fn diff(&self, next: &Self) -> Self {
        let keeps_blocks = self.block_count.min(next.block_count);
        let mut runs = Vec::new();
        let mut below = self.runs.iter().copied().peekable();
        for run in &next.runs {
            while below.next_if(|lower| lower.end() <= u64::from(run.first())).is_some() {}
            match *run {
                Run::Stored { block, at } => {
                    let same = match below.peek() {
                        Some(Run::Stored { block: lower, at: old }) => *lower == block && old.digest == at.digest,
                        _ => false,
                    };
                    if !same {
                        runs.push(*run);
                    }
                }
                Run::Zero { first, .. } => {
                    let mut from = u64::from(first);
                    while from < run.end() {
                        match below.peek().copied().filter(|lower| u64::from(lower.first()) < run.end()) {
                            Some(Run::Zero { first: zero, .. }) => {
                                push_zero(&mut runs, from, u64::from(zero));
                                from = from.max(below.peek().map_or(from, Run::end)).min(run.end());
                            }
                            Some(Run::Stored { block, .. }) => {
                                push_zero(&mut runs, from, u64::from(block) + 1);
                                from = from.max(u64::from(block) + 1);
                            }
                            None => {
                                push_zero(&mut runs, from, run.end());
                                from = run.end();
                            }
                        }
                        while below.next_if(|lower| lower.end() <= from).is_some() {}
                    }
                }
            }
        }
        Self::normal(next.identity.clone(), next.size_bytes, next.block_count, keeps_blocks, runs)
    }

    /// The runs inside `ranges` (ascending, apart from each other), zeros cut at their ends.
    pub(crate) fn restricted(&self, ranges: &[Range<u32>]) -> Self {
        let mut runs = Vec::new();
        for range in ranges {
            let start = self.runs.partition_point(|run| run.end() <= u64::from(range.start));
            for run in self.runs[start..].iter().take_while(|run| run.first() < range.end) {
                match *run {
                    Run::Stored { .. } => runs.push(*run),
                    Run::Zero { first, .. } => {
                        let end = run.end().min(u64::from(range.end));
                        push_zero(&mut runs, u64::from(first.max(range.start)), end);
                    }
                }
            }
        }
        Self::normal(self.identity.clone(), self.size_bytes, self.block_count, self.keeps_blocks, runs)
    }

    /// The step that puts those stored blocks that `place` says where it says, and keeps all others.
    pub(crate) fn picked(&self, mut place: impl FnMut(u32, StoredBlock) -> Option<StoredBlock>) -> Self {
        let runs = self.stored().filter_map(|(block, at)| Some(Run::Stored { block, at: place(block, at)? }));
        Self::normal(self.identity.clone(), self.size_bytes, self.block_count, self.block_count, runs.collect())
    }

    /// This map without the stored blocks that `is_lost` says are lost.
    pub(crate) fn without(&self, mut is_lost: impl FnMut(&StoredBlock) -> bool) -> Self {
        let is_kept = |run: &Run| !matches!(run, Run::Stored { at, .. } if is_lost(at));
        let mut map = self.clone();
        map.runs.retain(is_kept);
        map
    }

    /// The step that leads from `self` ⊕ `step` back to `self`, which is a state.
    pub(crate) fn inverse(&self, step: &Self) -> Self {
        let kept = step.keeps_blocks;
        // What the step let go of comes back as a whole. A run below the bound ends below it: else the bound would be smaller.
        let below = step.runs.iter().filter(|run| run.first() < kept);
        let mut ranges: Vec<Range<u32>> =
            below.map(|run| run.first()..u32::try_from(run.end()).unwrap_or(u32::MAX)).collect();
        ranges.push(kept..u32::MAX);
        let runs = self.restricted(&ranges).runs;
        Self::normal(self.identity.clone(), self.size_bytes, self.block_count, kept.min(self.block_count), runs)
    }

    /// Returns `true` if both maps have the same identity, size and content.
    ///
    /// The places of the blocks do not matter.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        let content = |run: &Run| match *run {
            Run::Zero { first, count } => (first, count, None),
            Run::Stored { block, at } => (block, 1, Some(at.digest)),
        };
        self.identity == other.identity
            && self.size_bytes == other.size_bytes
            && self.runs.iter().map(content).eq(other.runs.iter().map(content))
    }

    /// This step on a disk of which nothing came before.
    pub(crate) fn keeping_nothing(&self) -> Self {
        Self { keeps_blocks: 0, ..self.clone() }
    }

    fn normal(
        identity: DiskIdentity,
        size_bytes: u64,
        block_count: u32,
        keeps_blocks: u32,
        mut runs: Vec<Run>,
    ) -> Self {
        // In place: most maps are in normal form already, and a copy of millions of runs is what an index costs.
        runs.dedup_by(|next, previous| match (previous, next) {
            (Run::Zero { first, count }, Run::Zero { first: after, count: more })
                if u64::from(*first) + u64::from(*count) == u64::from(*after) =>
            {
                *count += *more;
                true
            }
            _ => false,
        });
        let keeps_blocks = kept_uncovered(&runs, keeps_blocks.min(block_count));
        Self { identity, size_bytes, block_count, keeps_blocks, runs }
    }
}

/// Appends zeros for the blocks from `from` up to `end`, if there are any.
fn push_zero(runs: &mut Vec<Run>, from: u64, end: u64) {
    if let (Ok(first), Ok(count)) = (u32::try_from(from), u32::try_from(end.saturating_sub(from)))
        && count > 0
    {
        runs.push(Run::Zero { first, count });
    }
}

/// The first block at or after `from` that no run covers.
fn covered_from(runs: &[Run], from: u64) -> u64 {
    let start = runs.partition_point(|run| run.end() <= from);
    let mut end = from;
    for run in &runs[start..] {
        if u64::from(run.first()) > end {
            break;
        }
        end = run.end();
    }
    end
}

/// The smallest bound that keeps the same blocks as `keeps_blocks`: those just below it that are covered do not count.
fn kept_uncovered(runs: &[Run], keeps_blocks: u32) -> u32 {
    let mut bound = keeps_blocks;
    let below = runs.partition_point(|run| run.first() < keeps_blocks);
    for run in runs[..below].iter().rev() {
        if run.end() < u64::from(bound) {
            break;
        }
        bound = run.first();
    }
    bound
}

#[cfg(test)]
mod tests;
