//! Archives for slots that the job missed, from older points that the sources still have.
//!
//! A back-filled archive is a full beside the chain. It shares those blocks with the points beside it that are the same, and the
//! rest comes from the source. It gets the next number, as no number may be used twice, and its time says how old it is.
//!
//! It is a part of the sync, as blocks cross: so the window and the limits of traffic hold. What is missing is asked anew before
//! each archive, so a run that was cut off leaves the rest to the next sync.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use offsite_core::plan::{SyncInput, sync_from};
use offsite_core::retention::{ArchiveMethod, BackFill, missed};
use offsite_core::selection::Choice as Chosen;
use offsite_core::{
    BlockMap, Chain, MachineName, MachineState, PointKind, RestorePoint, Run, Sequence, Status, StoredBlock, Timestamp,
};

use offsite_repository::ErrorKind;

use super::moment::Moment;
use super::moments::Moments;
use super::request::SyncRequest;
use super::selection::{Taken, copied};
use super::source::Sources;
use super::{CopyJob, latest_state};
use crate::commit::draft::{BlockViews, Outline};
use crate::commit::dry_run::DryRun;
use crate::commit::new_index::{PointIndex, encode_index, number_machines};
use crate::commit::plan_context::PlanContext;
use crate::commit::read_back::check_step;
use crate::commit::room::Room;
use crate::commit::writer::{Writer, used_up};
use crate::folder::disks::disks_of;
use crate::jobs::transform::{DraftedOperation, PlannedOperation, carried_out, imagine};
use crate::mover::{Aliases, OutputHeader};
use crate::progress::Task;
use crate::reader::indexes::Indexes;
use crate::report::{Note, Operation, OperationReport};
use crate::teller::Control;
use crate::{Error, Result};

/// What was filled, and what is to be told.
#[derive(Default)]
pub(super) struct Filled {
    pub(super) operations: Vec<OperationReport>,
    pub(super) notes: Vec<Note>,
}

/// What fills a slot: the moment that it is taken from, and what becomes of the flags.
struct Filling {
    moment: Moment,
    fill: BackFill,
}

impl CopyJob {
    /// Fills the slots that were missed, as far as the sources can and the gate lets it.
    pub(super) async fn back_fill_slots(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
    ) -> Result<Filled> {
        let mut filled = Filled::default();
        // By a wrong clock, slots look missed that are yet to come.
        if self.fills_slots_of.is_none() || !writer.clock().may_prune() {
            return Ok(filled);
        }
        let mut lost: BTreeSet<Timestamp> = BTreeSet::new();
        loop {
            let mut context = writer.plan_context(indexes);
            let Some(filling) = self.next_filling(&mut context, sources, request.now, &lost).await? else {
                return Ok(filled);
            };
            let time = filling.moment.time;
            let drafted = match self.draft_filling(&mut context, sources, request.now, filling).await {
                Ok(Some(drafted)) => drafted,
                Ok(None) => {
                    lost.insert(time);
                    continue;
                }
                Err(error) if error.is_loss() => {
                    filled.notes.push(Note::SlotNotFilled { time, why: (&error).into() });
                    lost.insert(time);
                    continue;
                }
                Err(error) if waits(&error) => {
                    filled.notes.push(Note::SlotNotFilled { time, why: (&error).into() });
                    return Ok(filled);
                }
                Err(error) => return Err(error),
            };
            let room = Room::of(&self.target, &drafted.draft.plan.cost(), self.min_free_bytes).await?;
            if let Err(error) = room.require(&self.target, Task::Copy) {
                filled.notes.push(Note::SlotNotFilled { time, why: (&error).into() });
                return Ok(filled);
            }
            let control = Control::new(self.progress.as_ref(), request.gate.as_ref());
            match carried_out(writer, drafted, control).await {
                Ok(report) => filled.operations.extend(report),
                Err(Error::Stopped { .. }) => return Ok(filled),
                Err(error) if error.is_loss() => {
                    filled.notes.push(Note::SlotNotFilled { time, why: (&error).into() });
                    lost.insert(time);
                }
                Err(error) if waits(&error) => {
                    filled.notes.push(Note::SlotNotFilled { time, why: (&error).into() });
                    return Ok(filled);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Continues a dry run as if the slots that were missed had been filled.
    pub(super) async fn plan_filling(
        &self,
        dry_run: &mut DryRun<'_>,
        sources: &Sources,
        now: Timestamp,
    ) -> Result<Vec<PlannedOperation>> {
        let mut planned = Vec::new();
        if self.fills_slots_of.is_none() || !self.transforms.clock().judge(dry_run.head.clock, now).may_prune() {
            return Ok(planned);
        }
        let mut lost: BTreeSet<Timestamp> = BTreeSet::new();
        loop {
            let filling = self.next_filling(&mut dry_run.context(), sources, now, &lost).await?;
            let Some(filling) = filling else { return Ok(planned) };
            let time = filling.moment.time;
            let drafted = self.draft_filling(&mut dry_run.context(), sources, now, filling).await;
            match drafted {
                Ok(Some(drafted)) => planned.push(imagine(dry_run, drafted)),
                // The run leaves it out as well.
                Ok(None) => drop(lost.insert(time)),
                Err(error) if error.is_loss() => drop(lost.insert(time)),
                Err(error) => return Err(error),
            }
        }
    }

    /// The oldest slot that was missed and can be filled, without those of `lost`.
    async fn next_filling(
        &self,
        context: &mut PlanContext<'_>,
        sources: &Sources,
        now: Timestamp,
        lost: &BTreeSet<Timestamp>,
    ) -> Result<Option<Filling>> {
        let head = context.head;
        let (Some(schedule), Some(policy)) = (&self.fills_slots_of, &self.transforms.retention) else {
            return Ok(None);
        };
        // Spare blocks are those of the newest point ever made. A filled slot would be newer.
        if head.brings_history || context.indexes.live_spare(head).await? != BlockMap::empty() {
            return Ok(None);
        }
        let request = SyncRequest::at(now);
        let moments = Moments::of(&self.selection_input(&request), sources, self.target.id(), now).into_moments();
        let moments: Vec<Moment> = moments.into_iter().filter(|moment| !lost.contains(&moment.time)).collect();
        let times: Vec<Timestamp> = moments.iter().map(|moment| moment.time).collect();
        let missed = missed(&head.chain, &self.transforms.elsewhere, &times, policy, schedule, now);
        let filling = missed.into_iter().next().and_then(|fill| {
            let moment = moments.into_iter().nth(fill.position)?;
            Some(Filling { moment, fill })
        });
        Ok(filling)
    }

    /// The draft of an archive. `None` if none of its machines can be taken.
    async fn draft_filling(
        &self,
        context: &mut PlanContext<'_>,
        sources: &Sources,
        now: Timestamp,
        Filling { moment, fill }: Filling,
    ) -> Result<Option<DraftedOperation>> {
        let head = context.head;
        let time = moment.time;
        let Some(States { wanted, folders, machines }) = self.states_at(context, sources, now, moment).await? else {
            return Ok(None);
        };
        let own = self.own_blocks(context, &wanted, &fill).await?;
        let (numbered, numbers) = number_machines(&head.machines, wanted.machines().keys());
        let sequence = head.next_sequence;
        let header = OutputHeader {
            folder: head.folder,
            sequence,
            time,
            block_size: head.chain.block_size(),
            alignment_bytes: head.alignment_bytes,
            machines: wanted.machines().keys().map(|name| (name.clone(), numbers[name])).collect(),
            disks: disks_of(&wanted),
        };
        let (nothing, placement) = (BlockMap::empty(), header.placement(&self.target));
        let sync = SyncInput { latest: &nothing, wanted: &wanted, spare: &own, sources: &folders, placement };
        let plan = sync_from(sync, || context.minter.mint());
        check_step(&nothing, &plan.index, &wanted)?;
        let map = plan.index.clone();
        let files = plan.files_after(&head.files, head.alignment_bytes.into());
        let index = PointIndex {
            id: context.mint(),
            sequence,
            time,
            kind: PointKind::Full,
            base: None,
            machines,
            map: map.clone(),
            stack: None,
            spare: BlockMap::empty(),
            flags: fill.flags,
            is_back_filled: true,
        };
        let mut described = head.clone();
        described.machines.clone_from(&numbered);
        let index = encode_index(&described, index, &files)?;
        index.open(context.indexes)?;
        let flagged = |points: &[RestorePoint]| -> Vec<RestorePoint> {
            let flags = |point: &RestorePoint| fill.moved.get(&point.sequence).copied().unwrap_or(point.flags);
            points.iter().map(|point| point.clone().with_flags(flags(point))).collect()
        };
        let mut archives = flagged(head.chain.archives());
        archives.push(index.point.clone());
        let chain = Chain::with_archives(head.chain.block_size(), archives, flagged(head.chain.points()));
        let next = sequence.0.checked_add(1).map(Sequence);
        let next = next.ok_or_else(|| used_up(context.indexes.layout().job(), "numbers of restore points"))?;
        let operation = Operation::BackFill {
            sequence,
            time,
            tiers: fill.flags.tiers().collect(),
            moved: fill.moved.keys().copied().collect(),
        };
        let views = BlockViews { before: vec![&own], after: vec![&map], others: Vec::new() };
        let outline = Outline {
            machines: Some(numbered),
            next_sequence: Some(next),
            ..Outline::new(plan, chain, vec![index], views)
        };
        let draft = context.draft(outline).await?;
        let (header, sources) = (Some(header), sources.frames());
        Ok(Some(DraftedOperation { operation, draft, header, sources, aliases: Aliases::new() }))
    }

    /// The states of the selected machines at a moment.
    async fn states_at(
        &self,
        context: &mut PlanContext<'_>,
        sources: &Sources,
        now: Timestamp,
        moment: Moment,
    ) -> Result<Option<States>> {
        let head = context.head;
        let latest = latest_state(head, context.indexes).await?;
        let had = copied(head, &latest);
        let request = SyncRequest { moment: Some(moment), ..SyncRequest::at(now) };
        let asked = self.selection_input(&request);
        let mut states = States { wanted: BlockMap::empty(), folders: BTreeMap::new(), machines: Vec::new() };
        let mut known: BTreeMap<(usize, Sequence), BlockMap> = BTreeMap::new();
        for (Chosen { machine, .. }, taken) in asked.decide(sources, &BTreeMap::new(), &BTreeMap::new()) {
            let Some(Taken { folder: number, sequence, origin, .. }) = taken else { continue };
            let Some(folder) = sources.get(number) else { continue };
            // It may be another machine of that name.
            let is_other = had.get(&machine).is_some_and(|had| asked.other_origin(sources, had).is_some());
            if is_other || folder.chain().block_size() != head.chain.block_size() {
                continue;
            }
            let state = match known.entry((number, sequence)) {
                Entry::Occupied(state) => state.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(folder.state_at(sequence).await?),
            };
            let Some(found) = state.machine(&machine) else { continue };
            states.wanted.insert(machine.clone(), found.clone());
            states.folders.insert(machine.clone(), u32::try_from(number).unwrap_or(u32::MAX));
            let own = MachineState::new(machine, Status::Complete, found.captured);
            states.machines.push(own.with_origin(origin));
        }
        states.machines.sort_by(|left, right| left.name.cmp(&right.name));
        Ok((!states.machines.is_empty()).then_some(states))
    }

    /// The blocks of `wanted` that the points beside it have.
    async fn own_blocks(&self, context: &mut PlanContext<'_>, wanted: &BlockMap, fill: &BackFill) -> Result<BlockMap> {
        let gfs = self.transforms.retention.as_ref().and_then(|policy| policy.gfs.as_ref());
        if gfs.is_some_and(|gfs| gfs.method() == ArchiveMethod::Independent) {
            return Ok(BlockMap::empty());
        }
        let noted = context.noted().await?;
        let mut states = Vec::new();
        for sequence in [fill.after, fill.before] {
            let steps = context.head.chain.steps_to(sequence).unwrap_or_default();
            match context.indexes.state(&steps).await {
                // What is damaged here comes from the source.
                Err(error) if error.is_loss() => {}
                state => states.push(state?),
            }
        }
        Ok(wanted.picked(|machine, disk, block, from| {
            let has = |state: &BlockMap| -> Option<StoredBlock> {
                match state.machine(machine)?.disks.get(&disk)?.get(block)? {
                    Run::Stored { at, .. } if at.digest == from.digest && !noted.names(&at) => Some(at),
                    _ => None,
                }
            };
            states.iter().find_map(has)
        }))
    }
}

/// Whether a slot waits for the next run, as a place does not answer. The copy before it is made, and its report must not be lost.
fn waits(error: &Error) -> bool {
    error.repository_kind() == Some(ErrorKind::Unavailable)
}

/// The states of a moment.
struct States {
    wanted: BlockMap,
    /// The folder of each.
    folders: BTreeMap<MachineName, u32>,
    machines: Vec<MachineState>,
}
