//! What nothing refers to any more after an operation.

use crate::FileState;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Retired, RetiredFile, padded};
use crate::{BlockMap, ObjectId, StoredBlock};

/// The backup files of a chain, with what its head knows about them.
pub type Files = BTreeMap<ObjectId, FileState>;

/// How a repository gives space back.
#[derive(Debug, Clone, Copy)]
pub struct Reclaiming<'a> {
    /// The alignment of frames, in bytes. The padding of a superseded frame is retired with it.
    pub alignment: u64,
    /// The files of the chain.
    pub files: &'a Files,
    /// `true` if the repository can punch holes. If it cannot, only whole files give space back.
    pub punches: bool,
}

/// The frames that maps refer to, sorted by place, each once.
#[must_use]
pub fn references<'a>(maps: impl IntoIterator<Item = &'a BlockMap>) -> Vec<StoredBlock> {
    let mut frames: Vec<StoredBlock> = maps.into_iter().flat_map(BlockMap::stored).map(|(_, _, _, at)| at).collect();
    frames.sort_unstable_by_key(place);
    frames.dedup_by_key(|at| place(at));
    frames
}

/// Computes what the maps `before` refer to and the maps `after` do not.
///
/// The maps may be parts of the points' maps, as long as all of them contain each block that the operation changes. A frame
/// belongs to one block, so the other blocks make no difference.
#[must_use]
pub fn retire<'a>(
    before: impl IntoIterator<Item = &'a BlockMap>,
    after: impl IntoIterator<Item = &'a BlockMap>,
    reclaiming: Reclaiming<'_>,
) -> Retired {
    let (before, after) = (references(before), references(after));
    let mut kept = after.iter().peekable();
    let dead = before.into_iter().filter(|at| {
        while kept.next_if(|kept| place(kept) < place(at)).is_some() {}
        kept.peek().is_none_or(|kept| place(kept) != place(at))
    });
    // What a fold has just written into a file is in no head's sum yet, so that the sum alone could give the file up.
    let used: BTreeSet<ObjectId> = after.iter().map(|at| at.file).collect();
    let mut ranges = joined(dead, reclaiming.alignment);
    let mut files = BTreeMap::new();
    ranges.retain(|id, ranges: &mut Vec<Range<u64>>| {
        let dead: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let file = reclaiming.files.get(id).filter(|file| file.live_bytes <= dead && !used.contains(id));
        let Some(file) = file else { return true };
        // Where holes are punched, what was superseded earlier has come back already.
        let bytes = if reclaiming.punches { dead } else { file.length };
        files.insert(*id, RetiredFile { bytes, ranges: std::mem::take(ranges) });
        false
    });
    Retired { ranges, punches: reclaiming.punches, files, ..Retired::default() }
}

fn place(at: &StoredBlock) -> (ObjectId, u64) {
    (at.file, at.offset)
}

/// The ranges of frames that come in order, by file, each up to its next aligned byte, neighbours as one.
pub(super) fn joined(frames: impl Iterator<Item = StoredBlock>, alignment: u64) -> BTreeMap<ObjectId, Vec<Range<u64>>> {
    let mut files: BTreeMap<ObjectId, Vec<Range<u64>>> = BTreeMap::new();
    for at in frames {
        let range = at.offset..at.offset + padded(at, alignment);
        let ranges = files.entry(at.file).or_default();
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    files
}
