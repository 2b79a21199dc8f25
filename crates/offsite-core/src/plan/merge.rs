//! Merging the oldest increments into the full.

use std::collections::BTreeMap;
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

/// How a repository gives space back.
#[derive(Debug, Clone, Copy)]
pub struct Reclaiming<'a> {
    /// Frames start at multiples of this; a superseded frame's padding goes with it.
    pub alignment: u64,
    /// The lengths of the chain's files.
    pub lengths: &'a BTreeMap<ObjectId, u64>,
    /// Whether holes can be punched; if not, space comes back with whole files only.
    pub punches: bool,
}

/// The plan that merges increments into the full by adopting their files: a new index, and no block is touched.
#[must_use]
pub fn adopt(full: Absorbed<'_>, increments: &[Absorbed<'_>], reclaiming: Reclaiming<'_>) -> Plan {
    let mut superseded: Vec<StoredBlock> = Vec::new();
    let mut index = full.step.clone();
    let mut before = full.step.files();
    for increment in increments {
        before.extend(increment.step.files());
        index = index.overlay_with(increment.step, |displaced| superseded.push(displaced.at));
    }
    let live = index.files();
    let mut ranges = joined(superseded, reclaiming.alignment);
    let files = before.difference(&live).map(|id| {
        let punched_now = ranges.remove(id).unwrap_or_default().iter().map(|range| range.end - range.start).sum();
        // Where holes are punched, what was superseded earlier has come back already.
        let whole = reclaiming.lengths.get(id).copied().unwrap_or_default();
        (*id, if reclaiming.punches { punched_now } else { whole })
    });
    let files = files.collect();
    if !reclaiming.punches {
        ranges.clear();
    }
    let indexes = std::iter::once(full.index).chain(increments.iter().map(|increment| increment.index)).collect();
    Plan { index, moves: Vec::new(), files: BTreeMap::new(), retired: Retired { ranges, files, indexes } }
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
