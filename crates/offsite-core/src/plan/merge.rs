//! Merging the oldest increments into the full.

use std::collections::BTreeMap;

use super::retire::retire;
use super::space::FoldTarget;
use super::{Address, Move, Plan, Reclaiming};
use crate::{BlockMap, Coverage, ObjectId, StoredBlock};

/// What a merge has to know.
///
/// Only blocks of the increments change, so the rest need only be known as far as [`MergeInput::coverage`] goes. A merge costs what its
/// increments cost, however large the full is.
#[derive(Debug, Clone, Copy)]
pub struct MergeInput<'a> {
    /// The increments, oldest first.
    pub increments: &'a [BlockMap],
    /// What the full says of their blocks.
    pub full: &'a BlockMap,
    /// What the points that stay as they are say of those blocks: archives, and a full that becomes one.
    pub others: &'a [BlockMap],
    /// What no point says afterwards: blocks of machines that never arrived whole.
    pub dropped: &'a BlockMap,
    /// How space comes back.
    pub reclaiming: Reclaiming<'a>,
}

impl MergeInput<'_> {
    /// The blocks that merging `increments` can touch.
    #[must_use]
    pub fn coverage(increments: &[BlockMap]) -> Coverage {
        increments.iter().map(Coverage::of).fold(Coverage::default(), Coverage::union)
    }

    /// All increments as one step. Blocks that a later one supersedes are not in it, so nothing is moved twice.
    fn step(&self) -> BlockMap {
        self.increments.iter().fold(BlockMap::empty(), |step, increment| step.overlay(increment))
    }

    fn plan(&self, index: BlockMap, moves: Vec<Move>) -> Plan {
        let before =
            std::iter::once(self.full).chain(self.increments).chain(self.others).chain(std::iter::once(self.dropped));
        let merged = self.full.overlay(&index);
        let retired = retire(before, std::iter::once(&merged).chain(self.others), self.reclaiming);
        Plan { index, moves, retired, ..Plan::default() }
    }
}

/// The plan that merges by adopting the increments' files: a new index, and no move.
///
/// The plan's index goes on top of the full's.
#[must_use]
pub fn adopt(merge: MergeInput<'_>) -> Plan {
    merge.plan(merge.step(), Vec::new())
}

/// The plan that merges by writing the increments' blocks into free space of the full's own file. It reads and writes each once.
/// `None` if they do not fit.
#[must_use]
pub fn fold(merge: MergeInput<'_>, mut target: FoldTarget) -> Option<Plan> {
    let step = merge.step();
    let length = target.length;
    let mut moves: Vec<Move> = Vec::new();
    let file = target.file;
    let mut places: BTreeMap<(ObjectId, u64), u64> = BTreeMap::new();
    // In the order of the increments' files, so that reading goes on and on.
    let mut frames: Vec<(Address, StoredBlock)> = step
        .stored()
        .filter(|(_, _, _, at)| at.file != file)
        .map(|(machine, disk, block, at)| (Address { machine: machine.clone(), disk, block }, at))
        .collect();
    frames.sort_unstable_by_key(|(_, at)| (at.file, at.offset));
    for (address, from) in frames {
        let offset = target.take(from.length)?;
        places.insert((from.file, from.offset), offset);
        moves.push(Move { address, source: 0, from, to: StoredBlock { file, offset, ..from } });
    }
    let index = step.relocated(|_, _, _, at| match places.get(&(at.file, at.offset)) {
        Some(offset) => StoredBlock { file, offset: *offset, ..at },
        None => at,
    });
    let mut plan = merge.plan(index, moves);
    plan.patched.insert(file, length.max(target.length));
    plan.alignment = target.alignment;
    Some(plan)
}
