//! Plans that move live blocks to new files, or put other frames in place of damaged ones.

use std::collections::BTreeMap;

use super::retire::retire;
use super::{Address, Move, Placement, Placer, Plan, Reclaiming};
use crate::{BlockMap, DiskNumber, MachineName, ObjectId, StoredBlock};

/// Moves to new files, and the new maps of the points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    /// The moves and files. The index of the plan is empty.
    pub plan: Plan,
    /// For each given map, the step to put on top of it: its moved blocks at their new places. An empty step needs no new index.
    pub indexes: Vec<BlockMap>,
}

/// The plan that moves frames to new files.
///
/// It is for compaction and for independent archives.
///
/// It moves each frame for which `moves` returns `true`, once. `mint` returns ids for the files. `maps` belong to the points
/// whose blocks move, and `others` to those whose blocks stay. They may be restricted to the blocks that move. Frames that
/// several of `maps` share stay shared.
#[must_use]
pub fn relocate(
    maps: &[&BlockMap],
    others: &[&BlockMap],
    moves: impl Fn(&StoredBlock) -> bool,
    placement: Placement,
    mut mint: impl FnMut() -> ObjectId,
    reclaiming: Reclaiming<'_>,
) -> Relocation {
    placed(maps, others, |at| moves(at).then_some((0, *at)), placement, &mut mint, reclaiming)
}

/// The plan that puts other frames in place of damaged ones.
///
/// `found` maps a damaged frame (file and position) to its replacement: the number of the source folder, and the frame there.
/// `maps` belong to the points that need the frames, and `others` to the rest, as for [`relocate`].
#[must_use]
pub fn replace(
    maps: &[&BlockMap],
    others: &[&BlockMap],
    found: &BTreeMap<(ObjectId, u64), (u32, StoredBlock)>,
    placement: Placement,
    mut mint: impl FnMut() -> ObjectId,
    reclaiming: Reclaiming<'_>,
) -> Relocation {
    let from = |at: &StoredBlock| found.get(&(at.file, at.offset)).copied();
    placed(maps, others, from, placement, &mut mint, reclaiming)
}

fn placed(
    maps: &[&BlockMap],
    others: &[&BlockMap],
    from: impl Fn(&StoredBlock) -> Option<(u32, StoredBlock)>,
    placement: Placement,
    mut mint: &mut dyn FnMut() -> ObjectId,
    reclaiming: Reclaiming<'_>,
) -> Relocation {
    let mut frames: BTreeMap<(ObjectId, u64), (Address, u32, StoredBlock)> = BTreeMap::new();
    for map in maps {
        for (machine, disk, block, at) in map.stored() {
            if let Some((source, from)) = from(&at) {
                frames
                    .entry((at.file, at.offset))
                    .or_insert_with(|| (Address { machine: machine.clone(), disk, block }, source, from));
            }
        }
    }
    let mut placer = Placer::new(placement);
    let mut places: BTreeMap<(ObjectId, u64), StoredBlock> = BTreeMap::new();
    let steps = frames.into_iter().map(|(place, (address, source, from))| {
        let (file, offset) = placer.place(from.length, &mut mint);
        let to = StoredBlock { file, offset, ..from };
        places.insert(place, to);
        Move { address, source, from, to }
    });
    let steps: Vec<Move> = steps.collect();
    let place = |at: StoredBlock| places.get(&(at.file, at.offset)).copied();
    let indexes: Vec<BlockMap> =
        maps.iter().map(|map| map.picked(|_: &MachineName, _: DiskNumber, _, at| place(at))).collect();
    let after: Vec<BlockMap> = maps.iter().zip(&indexes).map(|(map, index)| map.overlay(index)).collect();
    let others = others.iter().copied();
    let retired = retire(maps.iter().copied().chain(others.clone()), after.iter().chain(others), reclaiming);
    Relocation { plan: Plan { moves: steps, files: placer.into_files(), retired, ..Plan::default() }, indexes }
}
