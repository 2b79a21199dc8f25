//! Free space inside a file.
//!
//! It is computed from the indexes each time and stored nowhere, so it cannot be out of date.

use std::ops::Range;

use crate::{ObjectId, StoredBlock};

use super::retire::joined;

/// The file that a merge writes into, with its free ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldTarget {
    /// The file.
    pub file: ObjectId,
    /// The length of the file in bytes.
    pub length: u64,
    /// The largest length that the file may get, in bytes.
    pub length_max: u64,
    /// The alignment in bytes. Each frame starts at a multiple of it.
    pub alignment: u64,
    /// Ranges that no committed head refers to and no reader can need. They are aligned and ascend, and no two touch.
    pub free: Vec<Range<u64>>,
}

impl FoldTarget {
    /// Takes the place of a frame: the lowest that is free and long enough, else the end of the file. `None` if the file is full.
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

/// The parts of `domain` that contain no frame of `live` and no range of `held`, ascending.
///
/// All are of one file. `live` must be sorted by offset. The ranges of `domain` may be in any order and may overlap.
#[must_use]
pub fn free_ranges(
    domain: impl IntoIterator<Item = Range<u64>>,
    live: &[StoredBlock],
    held: &[Range<u64>],
    alignment: u64,
) -> Vec<Range<u64>> {
    let mut taken = places(live, alignment);
    taken.extend(held.iter().cloned());
    taken.sort_unstable_by_key(|range| range.start);
    let mut domain: Vec<Range<u64>> = domain.into_iter().collect();
    domain.sort_unstable_by_key(|range| range.start);
    let mut taken = taken.into_iter().peekable();
    let mut free: Vec<Range<u64>> = Vec::new();
    // Nothing below is free any more: it is taken, or listed already.
    let mut from = 0;
    for range in domain {
        let end = range.end - range.end % alignment;
        from = range.start.next_multiple_of(alignment).max(from);
        while let Some(next) = taken.next_if(|next| next.start < end) {
            add(&mut free, from..next.start);
            from = next.end.next_multiple_of(alignment).max(from);
        }
        add(&mut free, from..end);
        from = from.max(end);
    }
    free
}

/// The ranges of frames, each up to the next aligned byte.
///
/// `frames` must be sorted by offset.
#[must_use]
pub fn places(frames: &[StoredBlock], alignment: u64) -> Vec<Range<u64>> {
    joined(frames.iter().copied(), alignment).into_values().flatten().collect()
}

fn add(free: &mut Vec<Range<u64>>, range: Range<u64>) {
    match free.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => free.push(range),
    }
}
