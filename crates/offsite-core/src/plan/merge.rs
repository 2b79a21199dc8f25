//! Merging the oldest increments into the full.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::plan::{Plan, Retired};
use crate::{BlockMap, ObjectId, StoredBlock};

/// A point that a merge takes up: what its index says, and which object that is.
#[derive(Debug, Clone, Copy)]
pub struct Absorbed<'a> {
    /// The index object.
    pub index: ObjectId,
    /// What it says.
    pub step: &'a BlockMap,
}

/// The plan that merges increments into the full by adopting their files: a new index, and no block is touched.
///
/// `alignment` is that of the frames: a superseded frame's padding goes with it.
#[must_use]
pub fn adopt(full: Absorbed<'_>, increments: &[Absorbed<'_>], alignment: u64) -> Plan {
    let mut superseded: Vec<StoredBlock> = Vec::new();
    let mut index = full.step.clone();
    let mut before = full.step.files();
    for increment in increments {
        before.extend(increment.step.files());
        index = index.overlay_with(increment.step, |displaced| superseded.push(displaced.at));
    }
    let live = index.files();
    let files: BTreeSet<ObjectId> = before.difference(&live).copied().collect();
    let frame_bytes = superseded.iter().map(|at| u64::from(at.length)).sum();
    superseded.retain(|at| !files.contains(&at.file));
    let indexes = std::iter::once(full.index).chain(increments.iter().map(|increment| increment.index)).collect();
    let retired = Retired { ranges: joined(superseded, alignment), files, indexes, frame_bytes };
    Plan { index, moves: Vec::new(), files: BTreeMap::new(), retired }
}

/// The frames' ranges by file, each up to its next aligned byte, neighbours as one.
fn joined(mut frames: Vec<StoredBlock>, alignment: u64) -> BTreeMap<ObjectId, Vec<Range<u64>>> {
    frames.sort_unstable_by_key(|at| (at.file, at.offset));
    let mut files: BTreeMap<ObjectId, Vec<Range<u64>>> = BTreeMap::new();
    for at in frames {
        let end = (at.offset + u64::from(at.length)).next_multiple_of(alignment);
        let ranges = files.entry(at.file).or_default();
        match ranges.last_mut() {
            Some(last) if last.end == at.offset => last.end = end,
            _ => ranges.push(at.offset..end),
        }
    }
    files
}
