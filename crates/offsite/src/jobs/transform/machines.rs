//! Machines that have left the job go from every point.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::plan::{Plan, retire};
use offsite_core::retention::{DeletedMachines, Zone};
use offsite_core::{BlockMap, Chain, Head, MachineName, PointKind, RestorePoint, Sequence, Status, Stored, Timestamp};

use super::draft::DraftedOperation;
use super::stack::rewritten;
use crate::Result;
use crate::commit::draft::BlockViews;
use crate::commit::plan_context::PlanContext;
use crate::report::Operation;

/// The machines whose days after their last selection are over.
///
/// Days count only as far as the job has seen which machines there are: while its sources are away, none goes.
pub(super) fn gone(
    head: &Head,
    deleted: Option<DeletedMachines>,
    zone: &Zone,
    now: Timestamp,
) -> BTreeSet<MachineName> {
    let Some(deleted) = deleted else { return BTreeSet::new() };
    let Some(seen) = head.last_selected.values().max().copied() else { return BTreeSet::new() };
    let due = deleted.due(&head.last_selected, zone).into_iter();
    due.filter(|(_, time)| *time <= now.min(seen)).map(|(name, _)| name).collect()
}

/// Those of `machines` that any point has.
pub(super) fn present(chain: &Chain, machines: &BTreeSet<MachineName>) -> BTreeSet<MachineName> {
    let names = chain.all().flat_map(|point| &point.machines).map(|machine| &machine.name);
    names.filter(|name| machines.contains(name)).cloned().collect()
}

/// Drops `machines` from every point.
///
/// A frame is of one machine, so all that the rows of these machines refer to is let go, and nothing else. The rows
/// themselves stay in the indexes, hidden: only a point that becomes a full is written anew.
pub(super) async fn draft(context: &mut PlanContext<'_>, machines: &BTreeSet<MachineName>) -> Result<DraftedOperation> {
    let chain = context.head.chain.clone();
    let mut lost: Vec<BlockMap> = Vec::new();
    let mut kept: Vec<BlockMap> = Vec::new();
    let mut removed: Vec<Sequence> = Vec::new();
    let mut left: BTreeMap<Sequence, (RestorePoint, BlockMap)> = BTreeMap::new();
    for point in chain.all() {
        let step = context.indexes.step(point).await?;
        lost.push(step.project(|name| machines.contains(name)));
        let step = step.project(|name| !machines.contains(name));
        let mut point = point.clone();
        point.machines.retain(|machine| !machines.contains(&machine.name));
        if point.machines.is_empty() {
            removed.push(point.sequence);
            continue;
        }
        point.stored = Stored::of(&step);
        kept.push(step.clone());
        left.insert(point.sequence, (point, step));
    }
    let spare = context.indexes.live_spare(context.head).await?;
    lost.push(spare.project(|name| machines.contains(name)));
    let plan =
        Plan { retired: retire(&lost, std::iter::empty::<&BlockMap>(), context.reclaiming()), ..Plan::default() };
    let files = plan.files_after(&context.head.files, context.head.alignment_bytes.into());
    let fulls = orphaned(&chain, &removed);
    let mut indexes = Vec::new();
    for sequence in &fulls {
        let Some((point, step)) = left.get_mut(sequence) else { continue };
        // What it stood on had none of its machines, so its own rows are all there is to say.
        let whole = point.machines.iter().any(|machine| machine.status != Status::Incomplete);
        *point = match whole {
            true => {
                let index = rewritten(context, point, PointKind::Full, step.clone(), &files).await?;
                let full = index.point.clone();
                indexes.push(index);
                full
            }
            false => point.clone().with_kind(PointKind::Full),
        };
    }
    let of = |points: &[RestorePoint]| {
        points.iter().filter_map(|point| left.get(&point.sequence)).map(|(point, _)| point.clone()).collect()
    };
    let next = Chain::with_archives(chain.block_size(), of(chain.archives()), of(chain.points()));
    let operation = Operation::RemoveMachines { machines: machines.iter().cloned().collect(), points: removed, fulls };
    let views = BlockViews { before: lost.iter().collect(), after: Vec::new(), others: kept.iter().collect() };
    context.draft_operation(operation, plan, next, indexes, views).await
}

/// The points that must be fulls because the full that they stood on is among `removed`: of each full's rollbacks the nearest
/// that is left, or else of its increments the first.
fn orphaned(chain: &Chain, removed: &[Sequence]) -> Vec<Sequence> {
    let points = chain.points();
    let is_left = |point: &&RestorePoint| !removed.contains(&point.sequence);
    let mut fulls = Vec::new();
    for (position, full) in points.iter().enumerate() {
        if full.kind != PointKind::Full || is_left(&full) {
            continue;
        }
        let rollbacks = points[..position].iter().rev().take_while(|point| point.kind == PointKind::Rollback);
        let increments = points[position + 1..].iter().take_while(|point| point.kind == PointKind::Increment);
        fulls.extend(rollbacks.chain(increments).find(is_left).map(|point| point.sequence));
    }
    fulls
}
