//! Points whose indexes change while their content stays: the new rows lie on top of what is there, or everything is written
//! anew.

use offsite_core::plan::Files;
use offsite_core::{BlockMap, PointKind, RestorePoint};

use super::draft::Drafting;
use crate::Result;
use crate::point::{NewIndex, PointIndex, Stack};
use crate::stack::stacked;

/// The point with `new` on top of what it says: the same blocks, elsewhere.
pub(super) async fn restacked(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    new: &BlockMap,
    files: &Files,
) -> Result<NewIndex> {
    let (map, stack) = stacked(drafting.indexes, &[point], new, point.stored).await?;
    write(drafting, point, point.kind, (map, Some(stack)), files).await
}

/// The point with an index that says all that it says, by itself.
pub(super) async fn rewritten(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    kind: PointKind,
    map: BlockMap,
    files: &Files,
) -> Result<NewIndex> {
    write(drafting, point, kind, (map, None), files).await
}

async fn write(
    drafting: &mut Drafting<'_>,
    point: &RestorePoint,
    kind: PointKind,
    (map, stack): (BlockMap, Option<Stack>),
    files: &Files,
) -> Result<NewIndex> {
    // What arrived of machines that were cut off is of use to the next copy while the point is the newest.
    let is_newest = drafting.head.chain.latest().is_some_and(|latest| latest.sequence == point.sequence);
    let spare = if is_newest { drafting.indexes.live_spare(drafting.head).await? } else { BlockMap::empty() };
    let RestorePoint { sequence, time, flags, .. } = *point;
    let machines = point.machines.clone();
    let index = PointIndex { id: (drafting.mint)(), sequence, time, kind, machines, map, stack, spare, flags };
    drafting.index(index, files)
}
