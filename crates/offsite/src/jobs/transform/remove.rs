//! Points that go as they are: archives, rollbacks, whole chains.

use offsite_core::plan::{Plan, retire};
use offsite_core::{BlockMap, Chain, RestorePoint, Sequence};

use super::draft::{Draft, Drafting, Says};
use crate::Result;
use crate::report::Operation;

/// Lets go of an archive.
pub(super) async fn archive(drafting: &mut Drafting<'_>, sequence: Sequence) -> Result<Draft> {
    let chain = drafting.head.chain.clone();
    let (gone, archives): (Vec<_>, Vec<_>) =
        chain.archives().iter().cloned().partition(|archive| archive.sequence == sequence);
    let next = Chain::with_archives(chain.block_size(), archives, chain.points().to_vec());
    let operation = Operation::RemoveArchive { sequence };
    let next = next.map_err(|error| crate::Error::defect(error.to_string()))?;
    without(drafting, operation, next, &gone).await
}

/// Lets go of these points at the old end of the chain, but for those that stay beside it as archives.
pub(super) async fn points(drafting: &mut Drafting<'_>, points: &[Sequence], archived: &[Sequence]) -> Result<Draft> {
    let chain = drafting.head.chain.clone();
    let (leaving, rest): (Vec<_>, Vec<_>) =
        chain.points().iter().cloned().partition(|point| points.contains(&point.sequence));
    let (kept, gone): (Vec<_>, Vec<_>) = leaving.into_iter().partition(|point| archived.contains(&point.sequence));
    let archives = chain.archives().iter().cloned().chain(kept).collect();
    let next = Chain::with_archives(chain.block_size(), archives, rest);
    let next = next.map_err(|error| crate::Error::defect(error.to_string()))?;
    let operation = Operation::RemovePoints { points: points.to_vec(), archived: archived.to_vec() };
    without(drafting, operation, next, &gone).await
}

/// The draft that leads to `next`, in which `gone` are no more.
///
/// What only they refer to is what the others do not: all points are looked at, as a block of a point that goes may be in any
/// of them.
async fn without(
    drafting: &mut Drafting<'_>,
    operation: Operation,
    next: Chain,
    gone: &[RestorePoint],
) -> Result<Draft> {
    let mut lost: Vec<BlockMap> = Vec::with_capacity(gone.len());
    for point in gone {
        lost.push(drafting.indexes.step(point).await?);
    }
    let mut kept: Vec<BlockMap> = Vec::new();
    for point in next.all() {
        kept.push(drafting.indexes.step(point).await?);
    }
    let retired = retire(lost.iter().chain(&kept), &kept, drafting.reclaiming());
    let plan = Plan { retired, ..Plan::default() };
    let says = Says { before: lost.iter().chain(&kept).collect(), after: kept.iter().collect(), others: Vec::new() };
    drafting.draft(operation, plan, Ok(next), Vec::new(), says).await
}
