//! Space inside a file that nothing refers to. It is derived from the indexes each time and stored nowhere, so it cannot
//! be wrong.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{ObjectId, StoredBlock};

use super::retire::joined;

/// The file that a merge writes into, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldTarget {
    /// The file.
    pub file: ObjectId,
    /// Its length.
    pub length: u64,
    /// The longest that it may become.
    pub length_max: u64,
    /// Frames start at multiples of this.
    pub alignment: u64,
    /// Ranges that no committed head refers to and no reader can need, ascending, apart from each other, aligned.
    pub free: Vec<Range<u64>>,
}

impl FoldTarget {
    /// Takes the place of a frame: the lowest that is free and long enough, else the end of the file.
    pub(super) fn take(&mut self, length: u32) -> Option<u64> {
        let bytes = u64::from(length).next_multiple_of(self.alignment);
        if let Some(range) = self.free.iter_mut().find(|range| range.end - range.start >= bytes) {
            let offset = range.start;
            range.start += bytes;
            return Some(offset);
        }
        // The last frame may have been stored without the padding after it.
        let offset = self.length.next_multiple_of(self.alignment);
        let end = offset.checked_add(bytes).filter(|end| *end <= self.length_max)?;
        self.length = end;
        Some(offset)
    }
}

/// The ranges of a file of `length` bytes from `first_offset` on in which no frame of `live` and no range of `held` lies.
///
/// `live` are frames of that file, by offset.
#[must_use]
pub fn free_ranges(
    live: &[StoredBlock],
    held: &BTreeMap<ObjectId, Vec<Range<u64>>>,
    file: ObjectId,
    first_offset: u64,
    length: u64,
    alignment: u64,
) -> Vec<Range<u64>> {
    let mut taken =
        joined(live.iter().copied().filter(|at| at.file == file), alignment).remove(&file).unwrap_or_default();
    taken.extend(held.get(&file).into_iter().flatten().cloned());
    taken.sort_unstable_by_key(|range| range.start);
    let mut free = Vec::new();
    let mut from = first_offset.next_multiple_of(alignment);
    for range in taken {
        if from < range.start {
            free.push(from..range.start);
        }
        from = from.max(range.end.next_multiple_of(alignment));
    }
    let end = length - length % alignment;
    if from < end {
        free.push(from..end);
    }
    free
}
