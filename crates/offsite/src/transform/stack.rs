//! Points whose indexes change while their content stays: the new rows lie on top of what is there, or everything is written
//! anew.

use offsite_core::plan::Files;
use offsite_core::{BlockMap, IndexReference, ObjectId, PointKind, RestorePoint, Stored};

use super::draft::Drafting;
use crate::Result;
use crate::point::PointIndex;
use crate::stack::stacked;

/// The point with `new` on top of what it says.
pub(super) async fn restacked(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    new: &BlockMap,
    files: &Files,
    indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
) -> Result<RestorePoint> {
    let (below, map) = stacked(drafting.indexes, &[point], new).await?;
    let stored = (!below.is_empty()).then_some(point.stored);
    write(drafting, point, Rows { kind: point.kind, below, stored, map }, files, indexes).await
}

/// The point with an index that says all that it says, by itself.
pub(super) async fn rewritten(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    kind: PointKind,
    map: BlockMap,
    files: &Files,
    indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
) -> Result<RestorePoint> {
    write(drafting, point, Rows { kind, below: Vec::new(), stored: None, map }, files, indexes).await
}

struct Rows {
    kind: PointKind,
    below: Vec<IndexReference>,
    stored: Option<Stored>,
    map: BlockMap,
}

async fn write(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    rows: Rows,
    files: &Files,
    indexes: &mut Vec<(ObjectId, Vec<u8>, BlockMap)>,
) -> Result<RestorePoint> {
    // What arrived of machines that were cut off is of use to the next copy while the point is the newest.
    let is_newest = drafting.head.chain.latest().is_some_and(|latest| latest.sequence == point.sequence);
    let spare = if is_newest { drafting.indexes.live_spare(drafting.head).await? } else { BlockMap::empty() };
    let index = PointIndex {
        id: (drafting.mint)(),
        sequence: point.sequence,
        time: point.time,
        kind: rows.kind,
        machines: point.machines.clone(),
        below: rows.below,
        stored: rows.stored,
        map: rows.map,
        spare,
        flags: point.flags,
    };
    drafting.index(index, files, indexes)
}
