//! Flags that change their points.
//!
//! Only heads have them, so a repair without heads leaves archives without: these get them again. And where a point is to become
//! an archive and is damaged, an intact one of its slot takes its place.

use std::collections::BTreeMap;

use offsite_core::plan::Plan;
use offsite_core::retention::{Ageing, ArchiveMethod, Expiry, Flags, Gfs, Policy, mark_again, stand_in};
use offsite_core::{BlockMap, Chain, MachineName, MachineState, PointKind, RestorePoint, Sequence};

use super::Transforms;
use super::draft::DraftedOperation;
use crate::Result;
use crate::commit::draft::BlockViews;
use crate::commit::plan_context::PlanContext;
use crate::report::Operation;

/// The next change of flags that is due.
pub(super) async fn draft(context: &mut PlanContext<'_>, settings: &Transforms) -> Result<Option<DraftedOperation>> {
    let Some((policy, gfs)) = settings.retention.as_ref().and_then(|policy| Some((policy, policy.gfs.as_ref()?)))
    else {
        return Ok(None);
    };
    // Only here increments become archives as they are merged: with fulls at dates or from the source a point that is no full cannot
    // become one.
    let merges =
        settings.ageing == Ageing::Merge && gfs.method() != ArchiveMethod::Active && gfs.expiry() != Expiry::Date;
    if let Some(draft) = marked_again(context, policy, gfs, merges).await? {
        return Ok(Some(draft));
    }
    if merges { moved_from_damage(context, policy, gfs).await } else { Ok(None) }
}

/// Flags archives anew, if one has no flag, and with them the points of the chain that are to become archives.
async fn marked_again(
    context: &mut PlanContext<'_>,
    policy: &Policy,
    gfs: &Gfs,
    merges: bool,
) -> Result<Option<DraftedOperation>> {
    let chain = context.head.chain.clone();
    if !chain.archives().iter().any(|archive| archive.flags.is_empty()) {
        return Ok(None);
    }
    let all: Vec<&RestorePoint> = chain.archives().iter().chain(chain.points().iter().filter(|_| merges)).collect();
    let marks = mark_again(gfs, &policy.zone, all.iter().map(|point| (point.sequence, point.time)));
    let flags = |point: &RestorePoint| {
        let own = marks.get(&point.sequence).filter(|_| point.flags.is_empty());
        own.map_or(point.flags, |marks| *marks)
    };
    let points: Vec<Sequence> =
        all.iter().filter(|point| flags(point) != point.flags).map(|point| point.sequence).collect();
    if points.is_empty() {
        return Ok(None);
    }
    let next = flagged(&chain, flags);
    let operation = Operation::MarkAgain { points };
    context.draft_operation(operation, Plan::default(), next, Vec::new(), BlockViews::default()).await.map(Some)
}

/// Moves a flag from the oldest damaged point that has one, if a point of its slot can stand for it.
async fn moved_from_damage(
    context: &mut PlanContext<'_>,
    policy: &Policy,
    gfs: &Gfs,
) -> Result<Option<DraftedOperation>> {
    let chain = context.head.chain.clone();
    let points = chain.points();
    let is_flagged = |point: &&RestorePoint| gfs.tiers().any(|tier| point.flags.contains(tier));
    if !points.iter().any(|point| is_flagged(&point)) {
        return Ok(None);
    }
    let damage = damage(context, points).await?;
    let damage_of = |point: &RestorePoint| damage.get(&point.sequence).into_iter().flatten();
    for damaged in points.iter().filter(is_flagged).filter(|point| damage_of(point).next().is_some()) {
        let is_better = |point: &&RestorePoint| {
            let has = |machine: &MachineState| point.machine(&machine.name).is_some_and(MachineState::is_whole);
            damage_of(point).next().is_none() && damaged.machines.iter().filter(|machine| machine.is_whole()).all(has)
        };
        let intact = points.iter().filter(is_better).map(|point| (point.sequence, point.time, point.flags));
        let found = gfs.tiers().filter(|tier| damaged.flags.contains(*tier)).find_map(|tier| {
            let sequence = stand_in(gfs, &policy.zone, tier, damaged.time, intact.clone())?;
            Some((tier, sequence))
        });
        let Some((tier, sequence)) = found else { continue };
        let flags = |point: &RestorePoint| match point.sequence {
            own if own == damaged.sequence => point.flags.without(tier),
            own if own == sequence => point.flags.with(tier),
            _ => point.flags,
        };
        let next = flagged(&chain, flags);
        let operation = Operation::StandIn { tier, damaged: damaged.sequence, sequence };
        return context
            .draft_operation(operation, Plan::default(), next, Vec::new(), BlockViews::default())
            .await
            .map(Some);
    }
    Ok(None)
}

/// The machines of which each point has known damage.
///
/// While an index cannot be read, nothing is said of any point: flags wait for its repair, and the run goes on.
async fn damage(
    context: &mut PlanContext<'_>,
    points: &[RestorePoint],
) -> Result<BTreeMap<Sequence, Vec<MachineName>>> {
    let mut damage = BTreeMap::new();
    let noted = context.noted().await?;
    // Nothing is overlaid from a later point here: chains that are merged have no rollbacks.
    if noted.is_empty() || points.iter().any(|point| point.kind == PointKind::Rollback) {
        return Ok(damage);
    }
    let mut state = BlockMap::empty();
    for point in points {
        let step = match context.indexes.step(point).await {
            Err(error) if error.is_loss() => return Ok(BTreeMap::new()),
            answer => answer?,
        };
        state = if point.kind == PointKind::Full { step } else { state.overlay(&step) };
        let own = state.project(|name| point.machine(name).is_some_and(MachineState::is_whole));
        damage.insert(point.sequence, noted.machines(&own).into_keys().collect());
    }
    Ok(damage)
}

/// The chain with these flags.
fn flagged(
    chain: &Chain,
    flags: impl Fn(&RestorePoint) -> Flags,
) -> std::result::Result<Chain, offsite_core::ChainError> {
    let flagged = |points: &[RestorePoint]| -> Vec<RestorePoint> {
        points.iter().map(|point| point.clone().with_flags(flags(point))).collect()
    };
    Chain::with_archives(chain.block_size(), flagged(chain.archives()), flagged(chain.points()))
}
