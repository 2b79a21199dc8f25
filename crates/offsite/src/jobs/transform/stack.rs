//! Points whose indexes change while their content stays: the new rows lie on top of what is there, or everything is written
//! anew.

use std::collections::BTreeMap;

use offsite_core::plan::Files;
use offsite_core::{BlockMap, Chain, ChainError, PointKind, RestorePoint, Sequence};

use crate::commit::new_index::{NewIndex, PointIndex, Stack};
use crate::commit::plan_context::PlanContext;
use crate::commit::stack::stacked;
use crate::{Error, Result};

/// The point with `new` on top of what it says: the same blocks, elsewhere.
async fn restacked(
    context: &mut PlanContext<'_>,
    point: &RestorePoint,
    new: &BlockMap,
    files: &Files,
) -> Result<NewIndex> {
    let (map, stack) = stacked(context.indexes, &[point], new, point.stored).await?;
    write(context, point, point.kind, (map, Some(stack)), files).await
}

/// Points that say the same of some of their blocks, elsewhere.
pub(super) struct Relaid {
    /// Their new indexes.
    pub(super) indexes: Vec<NewIndex>,
    /// The chain with them.
    pub(super) chain: std::result::Result<Chain, ChainError>,
    /// What they say of these blocks now.
    pub(super) after: Vec<BlockMap>,
}

/// Puts what is in `new` on top of the points that say `parts` of the same blocks, and of `steps`, which are all that they say.
pub(super) async fn relaid(
    context: &mut PlanContext<'_>,
    parts: &[(Sequence, BlockMap)],
    new: &[BlockMap],
    files: &Files,
    steps: &mut BTreeMap<Sequence, BlockMap>,
) -> Result<Relaid> {
    let chain = context.head.chain.clone();
    let (mut indexes, mut after) = (Vec::new(), Vec::new());
    let mut changed: BTreeMap<Sequence, RestorePoint> = BTreeMap::new();
    for ((sequence, part), new) in parts.iter().zip(new) {
        let Some(point) = chain.get(*sequence) else {
            return Err(Error::defect(format!("restore point {sequence} is none")));
        };
        let index = restacked(context, point, new, files).await?;
        changed.insert(*sequence, index.point.clone());
        indexes.push(index);
        after.push(part.overlay(new));
        if let Some(step) = steps.get_mut(sequence) {
            *step = step.overlay(new);
        }
    }
    let of = |points: &[RestorePoint]| {
        points.iter().map(|point| changed.get(&point.sequence).unwrap_or(point).clone()).collect()
    };
    let chain = Chain::with_archives(chain.block_size(), of(chain.archives()), of(chain.points()));
    Ok(Relaid { indexes, chain, after })
}

/// The point with an index that says all that it says, by itself.
pub(super) async fn rewritten(
    context: &mut PlanContext<'_>,
    point: &RestorePoint,
    kind: PointKind,
    map: BlockMap,
    files: &Files,
) -> Result<NewIndex> {
    write(context, point, kind, (map, None), files).await
}

async fn write(
    context: &mut PlanContext<'_>,
    point: &RestorePoint,
    kind: PointKind,
    (map, stack): (BlockMap, Option<Stack>),
    files: &Files,
) -> Result<NewIndex> {
    // What arrived of machines that were cut off is of use to the next copy while the point is the newest.
    let is_newest = context.head.chain.latest().is_some_and(|latest| latest.sequence == point.sequence);
    let spare = if is_newest { context.indexes.live_spare(context.head).await? } else { BlockMap::empty() };
    let RestorePoint { sequence, time, flags, is_back_filled, .. } = *point;
    let machines = point.machines.clone();
    let base = context.head.chain.base_of(sequence, kind);
    let id = context.mint();
    let index = PointIndex { id, sequence, time, kind, base, machines, map, stack, spare, flags, is_back_filled };
    context.index(index, files)
}
