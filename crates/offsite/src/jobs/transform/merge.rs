//! Merging the oldest increments into the full.

use std::collections::BTreeMap;

use offsite_core::plan::{MergeInput, adopt, fold};
use offsite_core::{BlockMap, Chain, MachineState, ObjectId, PointKind, RestorePoint, Sequence, Status};
use offsite_repository::Repository;

use super::draft::DraftedOperation;
use super::room::fold_target;
use crate::commit::draft::BlockViews;
use crate::commit::new_index::PointIndex;
use crate::commit::plan_context::PlanContext;
use crate::commit::stack::stacked;
use crate::error::Context;
use crate::folder::layout::Layout;
use crate::folder::links::is_linked;
use crate::report::{MergeMethod, MergeReason, Operation};
use crate::seams::is_broken;
use crate::{Error, OpenRepository, Result};

/// Merges `increments`, which follow the oldest full, into it; if `archived`, the full stays beside the chain.
pub(super) async fn draft(
    context: &mut PlanContext<'_>,
    increments: &[Sequence],
    archived: Option<Sequence>,
    method: MergeMethod,
) -> Result<DraftedOperation> {
    let chain = context.head.chain.clone();
    let (Some(full), Some(rest)) = (chain.points().first(), chain.points().get(1..=increments.len())) else {
        return Err(Error::defect("a merge of more increments than there are".to_owned()));
    };
    let Some(last) = rest.last().filter(|_| rest.iter().map(|point| point.sequence).eq(increments.iter().copied()))
    else {
        return Err(Error::defect("a merge of increments that do not follow the full".to_owned()));
    };
    let mut steps = Vec::with_capacity(rest.len());
    for point in rest {
        steps.push(context.indexes.step(point).await?);
    }
    let coverage = MergeInput::coverage(&steps);
    let full_part = context.indexes.part(full, &coverage).await?;
    let mut others = Vec::new();
    for archive in chain.archives() {
        others.push(context.indexes.part(archive, &coverage).await?);
    }
    if archived.is_some() {
        others.push(full_part.clone());
    }
    let (mut method, mut why) = choose(context, method);
    let mut target = if method == MergeMethod::Fold { fold_target(context, full).await? } else { None };
    if let Some(into) = &target
        && let Some(hindrance) = hindrance(context, &steps, into.file).await?
    {
        (method, why, target) = (MergeMethod::Adopt, hindrance, None);
    }
    let reclaiming = context.reclaiming();
    let machines = merged_machines(std::iter::once(full).chain(rest));
    let is_newest = chain.latest().is_some_and(|latest| latest.sequence == last.sequence);
    let live = if is_newest { context.indexes.live_spare(context.head).await? } else { BlockMap::empty() };
    let is_incomplete = |name: &_| machines.iter().any(|machine| machine.name == *name && !machine.is_whole());
    let (spare, dropped) = (live.project(is_incomplete), live.project(|name| !is_incomplete(name)));
    let merge = MergeInput { increments: &steps, full: &full_part, others: &others, dropped: &dropped, reclaiming };
    let (plan, method, why) = match target.map(|target| fold(merge, target)) {
        Some(Some(plan)) => (plan, method, why),
        Some(None) => (adopt(merge), MergeMethod::Adopt, MergeReason::FileTooLong),
        None if method == MergeMethod::Fold => (adopt(merge), MergeMethod::Adopt, MergeReason::NoFile),
        None => (adopt(merge), method, why),
    };
    let merged = full_part.overlay(&plan.index);
    let stored = full.stored.exchanged(&full_part, &merged);
    let (map, stack) = stacked(context.indexes, &[full], &plan.index, stored).await?;
    let mut files = context.head.files.clone();
    for (id, length) in &plan.patched {
        if let Some(file) = files.get_mut(id) {
            file.length = *length;
        }
    }
    let id = context.mint();
    let new_full = PointIndex {
        id,
        sequence: last.sequence,
        time: last.time,
        kind: PointKind::Full,
        base: None,
        machines,
        map,
        stack: Some(stack),
        spare,
        flags: last.flags,
        is_back_filled: false,
    };
    let new_full = context.index(new_full, &files)?;
    let mut archives = chain.archives().to_vec();
    archives.extend(archived.is_some().then(|| full.clone()));
    let after = &chain.points()[1 + rest.len()..];
    let points = std::iter::once(new_full.point.clone()).chain(after.iter().cloned()).collect();
    let next = Chain::with_archives(chain.block_size(), archives, points);
    let before = [&full_part, &dropped].into_iter().chain(&steps).chain(&others).collect();
    let views = BlockViews { before, after: others.iter().chain([&merged]).collect(), others: Vec::new() };
    let absorbed = std::iter::once(full).chain(&rest[..rest.len() - 1]).map(|point| point.sequence).collect();
    let operation = Operation::Merge { absorbed, full: last.sequence, method, why, archived };
    context.draft_operation(operation, plan, next, vec![new_full], views).await
}

/// The method, and why that one.
fn choose(context: &PlanContext<'_>, method: MergeMethod) -> (MergeMethod, MergeReason) {
    let punches = context.repository.backend_granularity().is_some();
    let patches = context.repository.backend().patch().is_some();
    match method {
        MergeMethod::Adopt => (MergeMethod::Adopt, MergeReason::AsAsked),
        MergeMethod::Fold if patches => (MergeMethod::Fold, MergeReason::AsAsked),
        MergeMethod::Fold => (MergeMethod::Adopt, MergeReason::CannotPatch),
        MergeMethod::Auto if punches => (MergeMethod::Adopt, MergeReason::HolesGiveBack),
        MergeMethod::Auto if patches => (MergeMethod::Fold, MergeReason::CannotPunch),
        MergeMethod::Auto => (MergeMethod::Adopt, MergeReason::CannotPunchOrPatch),
    }
}

/// Why a fold of `steps` into a file cannot be, if so: of known damage, or as others share the file.
///
/// Adopting moves nothing, and lets the chain go on.
async fn hindrance(context: &mut PlanContext<'_>, steps: &[BlockMap], into: ObjectId) -> Result<Option<MergeReason>> {
    let noted = context.noted().await?;
    if steps.iter().flat_map(BlockMap::stored).any(|(_, _, _, at)| noted.names(&at)) {
        return Ok(Some(MergeReason::DamagedBlock));
    }
    if is_linked(context.repository, context.indexes.layout(), into).await? {
        return Ok(Some(MergeReason::Linked));
    }
    // A file that was cut off may not have been verified since, and cannot be written into beyond its end.
    let Some(least) = context.stored.get(&into).map(|file| file.length) else { return Ok(None) };
    let length = length_of(context.repository, context.indexes.layout(), into).await?;
    Ok(length.is_none_or(|length| length < least).then_some(MergeReason::FileCutOff))
}

/// How long a backup file is, if it is there. No block is read for it.
pub(super) async fn length_of(repository: &OpenRepository, layout: &Layout, file: ObjectId) -> Result<Option<u64>> {
    let key = layout.backup_file(file)?;
    // Between the names of two ids that follow each other there are but a few second copies.
    let mut after = layout.backup_file(ObjectId::from_stored(file.stored().saturating_sub(1)))?;
    loop {
        let page = repository.backend().list(&layout.backup_files()?, Some(&after), 8).await;
        let page = page.while_doing(|| format!("looking for backup file {key}"))?;
        let found = page.objects.iter().find(|object| object.key >= key);
        match page.objects.last() {
            Some(last) if found.is_none() && page.more => after = last.key.clone(),
            _ => return Ok(found.filter(|object| object.key == key).map(|object| object.length)),
        }
    }
}

/// The machines of merged points: each with its newest state; those that the last point does not have are carried.
fn merged_machines<'a>(absorbed: impl Iterator<Item = &'a RestorePoint> + Clone) -> Vec<MachineState> {
    let last = absorbed.clone().last().map(|point| point.sequence);
    let mut machines: BTreeMap<_, MachineState> = BTreeMap::new();
    for point in absorbed.clone() {
        for machine in point.machines.iter().filter(|machine| machine.status != Status::Incomplete) {
            let status = if Some(point.sequence) == last { machine.status } else { Status::Carried };
            machines.insert(machine.name.clone(), machine.clone().with_status(status));
        }
    }
    // What has never arrived whole stays as far as it came in the last of them.
    for machine in absorbed.last().into_iter().flat_map(|point| &point.machines) {
        let status = if is_broken!(SpareTakenForLive) { Status::Complete } else { machine.status };
        machines.entry(machine.name.clone()).or_insert_with(|| machine.clone().with_status(status));
    }
    machines.into_values().collect()
}

#[cfg(test)]
mod tests {
    use offsite_core::{MachineName, Sequence, Timestamp};

    use super::*;

    fn point(sequence: u64, machines: &[(&str, Status)]) -> Option<RestorePoint> {
        let time = Timestamp::from_unix_secs(i64::try_from(sequence).ok()?).ok()?;
        let state =
            |(name, status): &(&str, Status)| Some(MachineState::new(MachineName::new(name).ok()?, *status, time));
        let kind = if sequence == 1 { PointKind::Full } else { PointKind::Increment };
        let index = offsite_core::IndexReference::new(ObjectId::new(1, 1), 0, offsite_core::Digest([0; 32]));
        let machines = machines.iter().map(state).collect::<Option<_>>()?;
        Some(RestorePoint::new(Sequence(sequence), time, kind, machines, index))
    }

    /// Each machine is what it was last; only those of the last point are of that point, and what never arrived whole stays incomplete.
    #[test]
    fn a_merged_point_has_each_machine_as_it_was_last() {
        use Status::{Carried, Complete, Incomplete};
        let points = [
            point(1, &[("a", Complete), ("b", Complete), ("c", Complete), ("d", Incomplete)]),
            point(2, &[("a", Complete), ("b", Complete), ("e", Incomplete)]),
            point(3, &[("a", Complete), ("c", Incomplete), ("e", Incomplete), ("f", Carried)]),
        ];
        let points: Vec<RestorePoint> = points.into_iter().flatten().collect();
        assert_eq!(points.len(), 3);
        let merged = merged_machines(points.iter());
        let found: Vec<_> = merged
            .iter()
            .map(|machine| (machine.name.as_str(), machine.status, machine.captured.unix_secs()))
            .collect();
        assert_eq!(
            found,
            [("a", Complete, 3), ("b", Carried, 2), ("c", Carried, 1), ("e", Incomplete, 3), ("f", Carried, 3)]
        );
    }
}
