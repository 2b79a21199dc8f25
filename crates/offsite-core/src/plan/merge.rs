//! Plans that merge the oldest increments into the full.

use std::collections::BTreeMap;

use super::retire::retire;
use super::space::FoldTarget;
use super::{Address, Move, Plan, Reclaiming};
use crate::{BlockMap, Coverage, ObjectId, StoredBlock};

/// The input of a merge.
///
/// A merge changes only blocks of the increments. So the other maps may be restricted to [`MergeInput::coverage`]. The cost of a
/// merge depends on its increments, not on the size of the full.
#[derive(Debug, Clone, Copy)]
pub struct MergeInput<'a> {
    /// The increments, oldest first.
    pub increments: &'a [BlockMap],
    /// The full's map of their blocks.
    pub full: &'a BlockMap,
    /// The maps of those blocks for points that stay as they are: archives, and a full that becomes one.
    pub others: &'a [BlockMap],
    /// Blocks that no point has afterwards: those of machines that never arrived whole.
    pub dropped: &'a BlockMap,
    /// How the repository gives space back.
    pub reclaiming: Reclaiming<'a>,
}

impl MergeInput<'_> {
    /// The blocks that merging `increments` can touch.
    #[must_use]
    pub fn coverage(increments: &[BlockMap]) -> Coverage {
        increments.iter().map(Coverage::of).fold(Coverage::default(), Coverage::union)
    }

    /// All increments as one step.
    ///
    /// It lacks the blocks that a later increment supersedes, so nothing moves twice.
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

/// The plan that merges by adopting the increments' files.
///
/// It makes a new index that goes on top of the full's, and moves no block.
#[must_use]
pub fn adopt(merge: MergeInput<'_>) -> Plan {
    merge.plan(merge.step(), Vec::new())
}

/// The plan that merges by writing the increments' blocks into free space of the full's own file.
///
/// It reads and writes each block once. `None` if the blocks do not fit.
#[must_use]
pub fn fold(merge: MergeInput<'_>, mut target: FoldTarget) -> Option<Plan> {
    let step = merge.step();
    let length = target.length;
    let mut moves: Vec<Move> = Vec::new();
    let file = target.file;
    let mut places: BTreeMap<(ObjectId, u64), u64> = BTreeMap::new();
    // In the order of the increments' files, so that the reads are sequential.
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
