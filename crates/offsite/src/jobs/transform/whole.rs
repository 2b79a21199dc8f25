//! Increments that become fulls, read whole from the source.
//!
//! An anchor flags the nearer of two points, and that can be the one which was copied before, as an increment. Where a
//! flagged point is to be read whole, that one is read afterwards. Which points wait for it, the head tells: those that are flagged and
//! are increments.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use offsite_core::plan::{Plan, SyncInput, relocate, retire, sync_from};
use offsite_core::retention::{ArchiveMethod, Policy};
use offsite_core::{BlockMap, Chain, Head, MachineName, MachineState, PointKind, RestorePoint, Sequence, Status};

use super::draft::DraftedOperation;
use super::stack::rewritten;
use crate::commit::draft::BlockViews;
use crate::commit::plan_context::PlanContext;
use crate::folder::disks::disks_of;
use crate::mover::FrameSource;
use crate::reader::job_folder::JobFolder;
use crate::report::{Carriage, FullFrom, Note, Operation};
use crate::{Error, Result};

/// The oldest point that is flagged and has to be a full, but is none yet.
pub(crate) fn waiting(head: &Head, policy: Option<&Policy>) -> Option<Sequence> {
    let gfs = policy?.gfs.filter(|gfs| gfs.method() == ArchiveMethod::Active)?;
    let is_flagged = |point: &&RestorePoint| gfs.tiers().any(|tier| point.flags.contains(tier));
    let mut waiting = head.chain.points().iter().filter(is_flagged);
    waiting.find(|point| point.kind == PointKind::Increment).map(|point| point.sequence)
}

/// Makes the increment `sequence` a full: with blocks from `sources` if these still have what the point has, and else with a copy of
/// the chain's own.
pub(crate) async fn draft(
    context: &mut PlanContext<'_>,
    sources: &[&JobFolder],
    sequence: Sequence,
) -> Result<DraftedOperation> {
    let chain = context.head.chain.clone();
    let (Some(point), Some(steps)) = (chain.get(sequence), chain.steps_to(sequence)) else {
        return Err(Error::defect(format!("restore point {sequence} is none")));
    };
    let state = context.indexes.state(&steps).await?;
    let mut others: Vec<BlockMap> = Vec::new();
    for other in chain.all().filter(|other| other.sequence != sequence) {
        others.push(context.indexes.step(other).await?);
    }
    let own = context.indexes.step(point).await?;
    let machines = all_machines(&steps, point);
    let is_newest = chain.latest().is_some_and(|latest| latest.sequence == sequence);
    let spare = if is_newest { context.indexes.live_spare(context.head).await? } else { BlockMap::empty() };
    // What arrived of a machine whose earlier state is carried now is let go, as a merge lets it go.
    let dropped = spare.project(|name| machines.iter().any(|machine| machine.name == *name && machine.is_whole()));
    let header = context.header(point, disks_of(&state), state.machines().keys());
    let placement = header.placement(context.repository);
    let reclaiming = context.reclaiming();
    let (found, folders) = found_in(sources, &state, point).await?;
    let has_own = own.machines().keys().all(|name| found.machine(name).is_some());
    let (mut plan, map, from) = if has_own {
        let nothing = BlockMap::empty();
        let sync = SyncInput { latest: &nothing, wanted: &found, spare: &nothing, sources: &folders, placement };
        let plan = sync_from(sync, || context.minter.mint());
        // What the source has no more stays where it is: nothing is copied of what may have been damaged here.
        let mut map = state.clone();
        for (name, machine) in plan.index.machines() {
            map.insert(name.clone(), machine.clone());
        }
        (plan, map, FullFrom::Source)
    } else {
        // What is damaged stays where it is.
        let noted = context.noted().await?;
        let relocation =
            relocate(&[&state], &[], |at| !noted.names(at), placement, || context.minter.mint(), reclaiming);
        let mut plan = relocation.plan;
        let carriage = context.carriage(&plan, &noted);
        plan.cloned = carriage == Carriage::Cloned;
        let map = relocation.indexes.iter().fold(state.clone(), |state, new| state.overlay(new));
        (plan, map, FullFrom::Chain(carriage))
    };
    plan.index = BlockMap::empty();
    plan.retired = retire(others.iter().chain([&own, &dropped]), others.iter().chain([&map]), reclaiming);
    let files = files_after(context, &plan);
    let full = point.clone().with_machines(machines);
    let index = rewritten(context, &full, PointKind::Full, map.clone(), &files).await?;
    let points = chain.points().iter().map(|old| if old.sequence == sequence { &index.point } else { old });
    let next = Chain::with_archives(chain.block_size(), chain.archives().to_vec(), points.cloned().collect());
    let operation = Operation::MakeFull { sequence, from };
    let before = others.iter().chain([&own, &dropped]).collect();
    let views = BlockViews { before, after: others.iter().chain([&map]).collect(), others: Vec::new() };
    let draft = context.draft_operation(operation, plan, next, vec![index], views).await?;
    let frames = |source: &&JobFolder| FrameSource::new(source.repository(), source.layout(), source.head());
    let frames = sources.iter().filter(|_| from == FullFrom::Source).map(frames);
    Ok(DraftedOperation { header: Some(header), sources: frames.collect(), ..draft })
}

/// What a user should know of it: that the source was not read.
pub(crate) fn note(operation: &Operation) -> Option<Note> {
    match operation {
        Operation::MakeFull { sequence, from: FullFrom::Chain(_) } => Some(Note::FullFromChain { sequence: *sequence }),
        _ => None,
    }
}

fn files_after(context: &PlanContext<'_>, plan: &Plan) -> offsite_core::plan::Files {
    plan.files_after(&context.head.files, context.head.alignment_bytes.into())
}

/// The machines of `state` that a source still has in that very state, and which source has each.
async fn found_in(
    sources: &[&JobFolder],
    state: &BlockMap,
    point: &RestorePoint,
) -> Result<(BlockMap, BTreeMap<MachineName, u32>)> {
    let (mut found, mut folders) = (BlockMap::empty(), BTreeMap::new());
    for (source, number) in sources.iter().zip(0..) {
        let wanted = state.project(|name| found.machine(name).is_none());
        for (name, machine) in found_here(source, &wanted, point).await?.machines() {
            found.insert(name.clone(), machine.clone());
            folders.insert(name.clone(), number);
        }
    }
    Ok((found, folders))
}

async fn found_here(source: &JobFolder, state: &BlockMap, point: &RestorePoint) -> Result<BlockMap> {
    let mut states: BTreeMap<Sequence, BlockMap> = BTreeMap::new();
    let mut found = BlockMap::empty();
    for (name, machine) in state.machines() {
        let has = |candidate: &&RestorePoint| {
            let held = candidate.machine(name);
            held.is_some_and(|held| held.status != Status::Incomplete && held.captured == machine.captured)
        };
        let origin = point.machine(name).and_then(|state| state.origin).filter(|origin| origin.folder == source.id());
        let origin = origin.and_then(|origin| source.chain().get(origin.sequence)).filter(has);
        let Some(candidate) = origin.or_else(|| source.chain().all().find(has)) else { continue };
        let state = match states.entry(candidate.sequence) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => match source.state_at(candidate.sequence).await {
                // The chain has it as well.
                Err(error) if error.is_loss() => continue,
                state => unknown.insert(state?),
            },
        };
        let there = state.machine(name);
        if let Some(there) = there.filter(|there| there.has_content_of(machine)) {
            found.insert(name.clone(), there.clone());
        }
    }
    Ok(found)
}

/// All machines of the state at `point`; those that it does not have itself, or not whole, are carried.
fn all_machines(steps: &[&RestorePoint], point: &RestorePoint) -> Vec<MachineState> {
    let mut machines: BTreeMap<MachineName, MachineState> = BTreeMap::new();
    for step in steps {
        for machine in step.machines.iter().filter(|machine| machine.status != Status::Incomplete) {
            let status = if step.sequence == point.sequence { machine.status } else { Status::Carried };
            machines.insert(machine.name.clone(), machine.clone().with_status(status));
        }
    }
    // What has never arrived whole stays as far as it came.
    for machine in &point.machines {
        machines.entry(machine.name.clone()).or_insert_with(|| machine.clone());
    }
    machines.into_values().collect()
}
