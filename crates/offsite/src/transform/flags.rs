//! Flags that leave damaged points: where a point is to become an archive and cannot be restored, another one of its slot that can be
//! takes its place.

use std::collections::BTreeMap;

use offsite_core::plan::Plan;
use offsite_core::retention::{Ageing, Expiry, Flags, Gfs, Method, Tier, stand_in};
use offsite_core::{BlockMap, Chain, MachineName, MachineState, PointKind, RestorePoint, Sequence};

use super::Transforms;
use super::draft::{Draft, Drafting, Says};
use crate::Result;
use crate::report::Operation;

/// Moves a flag from the oldest damaged point that has one, if a point of its slot can stand for it.
///
/// Only where increments become archives as they are merged: with fulls at dates or from the source a point that is no full cannot become one.
pub(super) async fn draft(drafting: &mut Drafting<'_>, settings: &Transforms) -> Result<Option<Draft>> {
    let Some(policy) = settings.retention.as_ref().filter(|_| settings.ageing == Ageing::Merge) else {
        return Ok(None);
    };
    let ages = |gfs: &&Gfs| gfs.method() != Method::Active && gfs.expiry() != Expiry::Date;
    let Some(gfs) = policy.gfs.as_ref().filter(ages) else { return Ok(None) };
    let chain = drafting.head.chain.clone();
    let points = chain.points();
    let is_flagged = |point: &&RestorePoint| gfs.tiers().any(|tier| point.flags.contains(tier));
    if !points.iter().any(|point| is_flagged(&point)) {
        return Ok(None);
    }
    let damage = damage(drafting, points).await?;
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
        let next = moved(&chain, tier, damaged.sequence, sequence);
        let operation = Operation::StandIn { tier, damaged: damaged.sequence, sequence };
        return drafting.draft(operation, Plan::default(), next, Vec::new(), Says::default()).await.map(Some);
    }
    Ok(None)
}

/// The machines of which each point has known damage.
async fn damage(drafting: &mut Drafting<'_>, points: &[RestorePoint]) -> Result<BTreeMap<Sequence, Vec<MachineName>>> {
    let mut damage = BTreeMap::new();
    let findings = drafting.findings().await?;
    // Nothing is overlaid from a later point here: chains that are merged have no rollbacks.
    if findings.is_empty() || points.iter().any(|point| point.kind == PointKind::Rollback) {
        return Ok(damage);
    }
    let mut state = BlockMap::empty();
    for point in points {
        let step = drafting.indexes.step(point).await?;
        state = if point.kind == PointKind::Full { step } else { state.overlay(&step) };
        let own = state.project(|name| point.machine(name).is_some_and(MachineState::is_whole));
        damage.insert(point.sequence, findings.machines(&own).into_keys().collect());
    }
    Ok(damage)
}

fn moved(
    chain: &Chain,
    tier: Tier,
    from: Sequence,
    to: Sequence,
) -> std::result::Result<Chain, offsite_core::ChainError> {
    let flags = |point: &RestorePoint| -> Flags {
        match point.sequence {
            sequence if sequence == from => point.flags.without(tier),
            sequence if sequence == to => point.flags.with(tier),
            _ => point.flags,
        }
    };
    let points = chain.points().iter().map(|point| RestorePoint { flags: flags(point), ..point.clone() });
    Chain::with_archives(chain.block_size(), chain.archives().to_vec(), points.collect())
}
