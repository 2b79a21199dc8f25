//! Copying a restore point into another chain.

use std::collections::BTreeMap;

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
    /// The place of the next frame, of `length` bytes, after those that `files` already holds; `files` then holds it too.
    fn place(
        self,
        length: u32,
        files: &mut BTreeMap<ObjectId, u64>,
        current: &mut Option<ObjectId>,
        mint: &mut impl FnMut() -> ObjectId,
    ) -> (ObjectId, u64) {
        let end_of = |offset: u64| (offset + u64::from(length)).next_multiple_of(self.alignment);
        if let Some((file, offset)) = current.and_then(|file| files.get_mut(&file).map(|offset| (file, offset)))
            && end_of(*offset) <= self.file_bytes_max
        {
            let start = *offset;
            *offset = end_of(start);
            return (file, start);
        }
        let file = mint();
        *current = Some(file);
        files.insert(file, end_of(self.first_offset));
        (file, self.first_offset)
    }
}

/// The plan that gives a chain whose newest state is `latest` a point with the content of `wanted`.
///
/// Only blocks whose digest differs are carried. The index's blocks lie in new files, named by `mint`.
#[must_use]
pub fn sync(latest: &BlockMap, wanted: &BlockMap, placement: Placement, mut mint: impl FnMut() -> ObjectId) -> Plan {
    let step = latest.diff(wanted);
    let (mut files, mut current) = (BTreeMap::new(), None);
    let mut moves = Vec::new();
    let index = step.relocated(|machine, disk, block, from| {
        let (file, offset) = placement.place(from.length, &mut files, &mut current, &mut mint);
        let to = StoredBlock { file, offset, ..from };
        moves.push(Move { address: Address { machine: machine.clone(), disk, block }, from, to });
        to
    });
    Plan { index, moves, files, retired: Retired::default() }
}
