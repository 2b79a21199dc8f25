//! Copying a restore point into another chain.

use crate::plan::{Address, Move, Plan, Retired};
use crate::{BlockMap, ObjectId, StoredBlock};

/// How frames are laid out in new backup files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Where the first frame of a file starts.
    pub first_offset: u64,
    /// Frames start at multiples of this.
    pub alignment: u64,
    /// A file ends before it would be longer than this.
    pub file_bytes_max: u64,
}

impl Placement {
    /// Places frames one after the other; `mint` names each further file.
    fn places<'a>(self, mut mint: impl FnMut() -> ObjectId + 'a) -> impl FnMut(StoredBlock) -> StoredBlock + 'a {
        let mut current: Option<(ObjectId, u64)> = None;
        move |from| {
            let length = u64::from(from.length);
            let (file, offset) = match current {
                Some((file, end)) if end + length <= self.file_bytes_max => (file, end),
                _ => (mint(), self.first_offset),
            };
            current = Some((file, (offset + length).next_multiple_of(self.alignment)));
            StoredBlock { file, offset, ..from }
        }
    }
}

/// The plan that gives a chain whose newest state is `latest` a point with the content of `wanted`.
///
/// Only blocks whose digest differs are carried. The index's blocks lie in new files, named by `mint`.
#[must_use]
pub fn sync(latest: &BlockMap, wanted: &BlockMap, placement: Placement, mint: impl FnMut() -> ObjectId) -> Plan {
    let step = latest.diff(wanted);
    let mut place = placement.places(mint);
    let mut moves = Vec::new();
    let index = step.relocated(|machine, disk, block, from| {
        let to = place(from);
        moves.push(Move { address: Address { machine: machine.clone(), disk, block }, from, to });
        to
    });
    Plan { index, moves, retired: Retired::default() }
}
