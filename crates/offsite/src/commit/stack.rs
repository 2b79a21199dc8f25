//! The indexes that the index of a full stands on.

use offsite_core::{BlockMap, IndexReference, RestorePoint, Stored};

use crate::Result;
use crate::commit::new_index::Stack;
use crate::reader::indexes::Indexes;

/// An older index is rewritten with the new one if its length is at most this many times that of the new one. So a full stands on
/// few indexes, and each row is rewritten only a few times, however many runs there are.
const STACK_RATIO: u64 = 2;
/// About the length of an index without blocks, and of one block in it, in bytes. They are compared with the lengths of other
/// indexes.
const HEADER_BYTES: u64 = 256;
const ROW_BYTES: u64 = 52;

/// Makes the index of a full whose state is the end of `steps` and then `new`. Returns its rows, and what it stands on. `stored` is
/// what the full has stored.
///
/// The indexes on top are rewritten together with the new rows if they are not much longer than these.
pub(crate) async fn stacked(
    indexes: &mut Indexes,
    steps: &[&RestorePoint],
    new: &BlockMap,
    stored: Stored,
) -> Result<(BlockMap, Stack)> {
    let all = steps.iter().flat_map(|point| point.indexes().map(move |index| (*index, *point)));
    let mut below: Vec<(IndexReference, &RestorePoint)> = all.collect();
    let lower = below.iter().map(|(index, _)| *index).collect();
    let mut bytes = length_of(new);
    let mut from = below.len();
    while from > 0 && below[from - 1].0.length <= STACK_RATIO * bytes {
        from -= 1;
        bytes += below[from].0.length;
    }
    let mut rows = BlockMap::empty();
    for (index, point) in below.split_off(from) {
        rows = rows.overlay(&indexes.rows(&[index], point).await?);
    }
    let below = below.into_iter().map(|(index, _)| index).collect();
    Ok((rows.overlay(new), Stack { below, lower, step: new.clone(), stored }))
}

fn length_of(map: &BlockMap) -> u64 {
    let disks = map.machines().values().flat_map(|machine| machine.disks.values());
    HEADER_BYTES + disks.map(|disk| disk.runs().len() as u64 * ROW_BYTES).sum::<u64>()
}
