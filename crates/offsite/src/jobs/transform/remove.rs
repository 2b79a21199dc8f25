//! Points that go as they are: archives, rollbacks, whole chains.

use offsite_core::plan::{Plan, retire};
use offsite_core::{BlockMap, Chain, RestorePoint, Sequence};

use super::draft::DraftedOperation;
use crate::Result;
use crate::commit::draft::BlockViews;
use crate::commit::plan_context::PlanContext;
use crate::report::Operation;

/// Lets go of an archive.
pub(super) async fn archive(context: &mut PlanContext<'_>, sequence: Sequence) -> Result<DraftedOperation> {
    let chain = context.head.chain.clone();
    let (gone, archives): (Vec<_>, Vec<_>) =
        chain.archives().iter().cloned().partition(|archive| archive.sequence == sequence);
    let next = Chain::with_archives(chain.block_size(), archives, chain.points().to_vec());
    let operation = Operation::RemoveArchive { sequence };
    let next = next.map_err(|error| crate::Error::defect(error.to_string()))?;
    without(context, operation, next, &gone).await
}

/// Lets go of these points at the old end of the chain, but for those that stay beside it as archives.
pub(super) async fn points(
    context: &mut PlanContext<'_>,
    points: &[Sequence],
    archived: &[Sequence],
) -> Result<DraftedOperation> {
    let chain = context.head.chain.clone();
    let (leaving, rest): (Vec<_>, Vec<_>) =
        chain.points().iter().cloned().partition(|point| points.contains(&point.sequence));
    let (kept, gone): (Vec<_>, Vec<_>) = leaving.into_iter().partition(|point| archived.contains(&point.sequence));
    let archives = chain.archives().iter().cloned().chain(kept).collect();
    let next = Chain::with_archives(chain.block_size(), archives, rest);
    let next = next.map_err(|error| crate::Error::defect(error.to_string()))?;
    let operation = Operation::RemovePoints { points: points.to_vec(), archived: archived.to_vec() };
    without(context, operation, next, &gone).await
}

/// The draft that leads to `next`, in which `gone` are no more.
///
/// What only they refer to is what the others do not: all points are looked at, as a block of a point that goes may be in any
/// of them.
async fn without(
    context: &mut PlanContext<'_>,
    operation: Operation,
    next: Chain,
    gone: &[RestorePoint],
) -> Result<DraftedOperation> {
    let mut lost: Vec<BlockMap> = Vec::with_capacity(gone.len());
    for point in gone {
        lost.push(context.indexes.step(point).await?);
    }
    let mut kept: Vec<BlockMap> = Vec::new();
    for point in next.all() {
        kept.push(context.indexes.step(point).await?);
    }
    let retired = retire(lost.iter().chain(&kept), &kept, context.reclaiming());
    let plan = Plan { retired, ..Plan::default() };
    let views =
        BlockViews { before: lost.iter().chain(&kept).collect(), after: kept.iter().collect(), others: Vec::new() };
    context.draft_operation(operation, plan, Ok(next), Vec::new(), views).await
}
