//! Points whose indexes change while their content stays: the new rows lie on top of what is there, or everything is written
//! anew.

use offsite_core::format::index::Stored;
use offsite_core::plan::Files;
use offsite_core::{BlockMap, IndexReference, ObjectId, PointKind, RestorePoint, Status};

use super::draft::Drafting;
use crate::Result;
use crate::point::PointIndex;

/// An index below is rewritten with the new one if it is not longer than this many times that. So a point stands on few
/// indexes, and each row is written again a few times only, however many transforms there are.
const STACK_RATIO: u64 = 2;

/// What a point's new index stands on, and what it says itself: the indexes on top of the old stack that are not much
/// longer than what is new are written again together with it.
pub(super) async fn stacked(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    new: &BlockMap,
) -> Result<(Vec<IndexReference>, BlockMap)> {
    let mut below: Vec<IndexReference> = point.indexes().copied().collect();
    let mut bytes = index_bytes(new);
    let mut from = below.len();
    while from > 0 && below[from - 1].length <= STACK_RATIO * bytes {
        from -= 1;
        bytes += below[from].length;
    }
    let top = below.split_off(from);
    let map = drafting.indexes.rows(&top, point).await?.overlay(new);
    Ok((below, map))
}

/// The point with `new` on top of what it says.
pub(super) async fn restacked(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    new: &BlockMap,
    files: &Files,
    indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
) -> Result<RestorePoint> {
    let (below, map) = stacked(drafting, point, new).await?;
    let stored = Stored { blocks: point.stored_blocks, bytes: point.stored_bytes };
    let stored = (!below.is_empty()).then_some(stored);
    write(drafting, point, Rows { kind: point.kind, below, stored, map }, files, indexes)
}

/// The point with an index that says all that it says, by itself.
pub(super) fn rewritten(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    kind: PointKind,
    map: BlockMap,
    files: &Files,
    indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
) -> Result<RestorePoint> {
    write(drafting, point, Rows { kind, below: Vec::new(), stored: None, map }, files, indexes)
}

struct Rows {
    kind: PointKind,
    below: Vec<IndexReference>,
    stored: Option<Stored>,
    map: BlockMap,
}

fn write(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    rows: Rows,
    files: &Files,
    indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
) -> Result<RestorePoint> {
    // What arrived of machines that were cut off is no content; a new index does not speak of it.
    let whole = point.machines.iter().filter(|machine| machine.status != Status::Incomplete);
    let index = PointIndex {
        id: (drafting.mint)(),
        sequence: point.sequence,
        time: point.time,
        kind: rows.kind,
        origin: point.origin,
        machines: whole.cloned().collect(),
        below: rows.below,
        stored: rows.stored,
        map: rows.map,
        flags: point.flags,
    };
    let written = drafting.index(index, files, indexes)?;
    Ok(RestorePoint { machines: point.machines.clone(), ..written })
}

const HEADER_BYTES: u64 = 256;
const ROW_BYTES: u64 = 52;

/// A rough length of an index, for comparison with the lengths of others.
fn index_bytes(map: &BlockMap) -> u64 {
    let disks = map.machines().values().flat_map(|machine| machine.disks.values());
    HEADER_BYTES + disks.map(|disk| disk.runs().len() as u64 * ROW_BYTES).sum::<u64>()
}
