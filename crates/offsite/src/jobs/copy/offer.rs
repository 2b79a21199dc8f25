//! What a copy job's run stores, planned to the byte.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use offsite_core::plan::{Arrival, Move, Placement, Plan, Reclaiming, Savings, SyncInput, retire, sync_lent};
use offsite_core::retention::{ArchiveMethod, Flags, Marks, mark};
use offsite_core::{
    BlockMap, Head, Labels, MachineName, MachineNumber, MachineState, ObjectId, Origin, PointKind, RestorePoint,
    Sequence, Status, Stored, StoredBlock, Timestamp, Transferred,
};

use super::CopyJob;
use super::guard::lost_disks;
use super::request::SyncRequest;
use super::selection::{Choice, copied, origin_in};
use super::source::Sources;
use crate::commit::new_index::{PointIndex, Stack, number_machines};
use crate::commit::plan_context::PlanContext;
use crate::commit::read_back::check_step;
use crate::commit::selected::Selected;
use crate::folder::disks::disks_of;
use crate::lending::lenders::Lenders;
use crate::mover::OutputHeader;
use crate::report::{Doubt, MachineCopy, MachineOutcome, MachineReport, Note};
use crate::{Error, OpenRepository, Result};

/// What the sources offer at one moment.
pub(super) struct Offer {
    /// The new restore point; none if nothing is new.
    pub(super) stored: Option<NewPoint>,
    /// The error of a selection of which no source has anything. `None` if a source has some of it.
    pub(super) nothing: Option<Error>,
    /// The machines that the job selects.
    pub(super) selected: Selected,
    /// What is known of those that a source has.
    pub(super) labels: BTreeMap<MachineName, Labels>,
    /// What becomes of selected machines that are not copied.
    pub(super) others: Vec<MachineReport>,
    /// Why a machine that was chosen cannot be copied.
    pub(super) failure: Option<Error>,
    /// What else the report is to say.
    pub(super) notes: Vec<Note>,
    /// What nobody is likely to have meant.
    pub(super) doubts: Vec<Doubt>,
}

/// A restore point that is about to be copied.
pub(super) struct NewPoint {
    pub(super) id: ObjectId,
    time: Timestamp,
    kind: PointKind,
    flags: Flags,
    /// What is carried, and what the index says if all of it arrives.
    pub(super) plan: Plan,
    /// What crosses the link of what was asked for, and why the rest does not.
    pub(super) savings: Savings,
    /// Ids of further files, should what is lent be of no use.
    pub(super) reserve: Vec<ObjectId>,
    pub(super) header: OutputHeader,
    /// Flags for the point before it.
    pub(super) predecessor: Flags,
    /// The machines that are copied, and where they come from.
    pub(super) machines: Vec<MachineCopy>,
    pub(super) sources: BTreeMap<MachineName, u32>,
    origins: BTreeMap<MachineName, Origin>,
    /// What was spare before.
    spare: BlockMap,
    /// That of selected machines that are not copied now, which stay as incomplete as they are.
    waiting: (Vec<MachineState>, BlockMap),
    /// The chain's newest state, for a new full to take over what the sources have no more.
    carried: Option<BlockMap>,
    /// The newest point, if this one is put in its place and holds what it holds; and what its own index says.
    base: Option<(RestorePoint, BlockMap)>,
    /// The newest state, where the point that is joined stands on other indexes.
    base_state: BlockMap,
    /// Whether it joins the newest point.
    pub(super) joins: bool,
}

/// What a checkpoint has made of the machines of a copy.
pub(super) struct Checkpoint {
    /// What it has added to the state.
    pub(super) whole: BlockMap,
    /// What is spare now.
    pub(super) spare: BlockMap,
    /// The machines that are not whole yet.
    pub(super) transferred: BTreeMap<MachineName, Transferred>,
    /// Machines that could not be read whole, and of which the chain has the same state.
    pub(super) kept: BTreeSet<MachineName>,
}

/// A restore point as it is once it is known what has arrived.
pub(super) struct Settled {
    pub(super) point: PointIndex,
    /// What was spare before.
    pub(super) spare_before: BlockMap,
    pub(super) plan: Plan,
    /// The machines that are not whole.
    pub(super) transferred: BTreeMap<MachineName, Transferred>,
    /// Machines that could not be read whole, and of which the chain has the same state.
    pub(super) kept: BTreeSet<MachineName>,
}

impl CopyJob {
    /// What a sync copies to a chain whose newest state is `latest`.
    pub(super) async fn offer(
        &self,
        context: &mut PlanContext<'_>,
        sources: &Sources,
        latest: &BlockMap,
        request: &SyncRequest,
        lenders: &mut Lenders,
    ) -> Result<Offer> {
        let head = context.head;
        let asked = self.selection_input(request);
        let had = copied(head, latest);
        let mut choice = asked.choose(sources, &had, &had, head).await?;
        if choice.machines.is_empty() {
            let nothing = asked.nothing(sources, &choice);
            let Choice { selected, labels, others, failure, notes, doubts, .. } = choice;
            return Ok(Offer { stored: None, nothing, selected, labels, others, failure, notes, doubts });
        }
        let base = self.joined(head, request, &choice);
        let newest = head.chain.latest().map(|point| point.time);
        // A point holds the newest states of all machines, so it is not older than the point before it.
        let past = request.moment.as_ref();
        let time = past.map(|moment| moment.time).or(choice.time).max(newest).unwrap_or(request.now);
        let marks = match past.and_then(|moment| moment.marks) {
            _ if base.is_some() => Marks::default(),
            Some(marks) => marks,
            None => self.marks(head, time),
        };
        let is_first = head.chain.latest().is_none();
        let is_active = !is_first && marks.point != Flags::NONE && self.reads_whole();
        let nothing = BlockMap::empty();
        if is_active {
            // All machines are read: those that have changed as they were chosen, the others as they are.
            let doubts = std::mem::take(&mut choice.doubts);
            let is_unchanged = |report: &&MachineReport| matches!(report.outcome, MachineOutcome::Unchanged { .. });
            let unchanged: BTreeSet<&MachineName> =
                choice.others.iter().filter(is_unchanged).map(|report| &report.name).collect();
            let mut changed = had.clone();
            changed.retain(|name, _| !unchanged.contains(name));
            choice = asked.choose(sources, &had, &changed, head).await?;
            choice.doubts = doubts;
        }
        choice.notes.extend(lost_disks(latest, &choice.wanted));
        let spare = context.indexes.live_spare(head).await?;
        let sequence = base.as_ref().map_or(head.next_sequence, |base| base.sequence);
        let header = OutputHeader {
            folder: head.folder,
            sequence,
            time,
            block_size: head.chain.block_size(),
            alignment_bytes: head.alignment_bytes,
            machines: numbered(&head.machines, &choice),
            disks: disks_of(&choice.wanted),
        };
        let placement = header.placement(&self.target);
        let from = if is_active { &nothing } else { latest };
        let sync =
            SyncInput { latest: from, wanted: &choice.wanted, spare: &spare, sources: &choice.sources, placement };
        let loans = self.borrowed(context, sources, sync, lenders).await?;
        let (plan, savings) = sync_lent(sync, &loans, || context.mint());
        let reserve = reserve(&plan, placement, || context.mint());
        check_step(from, &plan.index, &choice.wanted)?;
        let waiting = waiting(head, &choice, &spare);
        let kind = match &base {
            Some(base) => base.kind,
            None if is_first || is_active => PointKind::Full,
            None => PointKind::Increment,
        };
        let base = match base {
            Some(base) => {
                let map = context.indexes.map(&base.index, &base).await?;
                let map = map.project(|name| base.machine(name).is_some_and(MachineState::is_whole));
                Some((base, map))
            }
            None => None,
        };
        let Choice { machines, sources, origins, labels, selected, others, failure, notes, doubts, .. } = choice;
        let stored = NewPoint {
            id: context.mint(),
            time,
            kind,
            flags: base.as_ref().map_or(marks.point, |(base, _)| base.flags),
            plan,
            savings,
            reserve,
            header,
            predecessor: marks.predecessor,
            machines,
            sources,
            origins,
            spare,
            waiting,
            carried: is_active.then(|| latest.clone()),
            base_state: if base.is_some() { latest.clone() } else { BlockMap::empty() },
            joins: base.is_some(),
            base,
        };
        Ok(Offer { stored: Some(stored), nothing: None, selected, labels, others, failure, notes, doubts })
    }

    /// The newest point, if what is copied is to join it and can.
    fn joined(&self, head: &Head, request: &SyncRequest, choice: &Choice) -> Option<RestorePoint> {
        let is_newest = |sequence: &Sequence| sequence.0.checked_add(1) == Some(head.next_sequence.0);
        let sequence = request.joins.filter(is_newest)?;
        let latest = head.chain.latest().filter(|point| point.sequence == sequence)?;
        let is_new = |copy: &MachineCopy| latest.machine(&copy.name).is_none_or(|machine| !machine.is_whole());
        choice.machines.iter().all(is_new).then(|| latest.clone())
    }

    /// Whether points that stay as archives are read whole from the source.
    fn reads_whole(&self) -> bool {
        let gfs = self.transforms.retention.as_ref().and_then(|policy| policy.gfs.as_ref());
        gfs.is_some_and(|gfs| gfs.method() == ArchiveMethod::Active)
    }

    /// The flags that a point of this time brings.
    fn marks(&self, head: &Head, time: Timestamp) -> Marks {
        let policy = self.transforms.retention.as_ref();
        let Some((gfs, predecessor)) = policy.and_then(|policy| policy.gfs.as_ref()).zip(head.chain.latest()) else {
            return Marks::default();
        };
        let zone = policy.map(|policy| &policy.zone);
        zone.map_or_else(Marks::default, |zone| mark(gfs, zone, predecessor.time, time))
    }
}

/// What a copy has brought since the point was committed last.
pub(super) struct Brought<'a> {
    /// The blocks, at the places where they are.
    pub(super) moves: Vec<Move>,
    /// The new files with their lengths in bytes.
    pub(super) files: BTreeMap<ObjectId, u64>,
    /// Where each block is that has arrived since the copy began, by the place that was planned for it.
    pub(super) places: &'a BTreeMap<(ObjectId, u64), StoredBlock>,
    /// The machines with blocks that cannot be read.
    pub(super) damaged: &'a BTreeSet<MachineName>,
}

impl NewPoint {
    /// The point and its plan, if all of it arrives.
    pub(super) fn whole(&self, head: &Head, target: &OpenRepository) -> Result<Settled> {
        self.arrived(head, target, self.id, self.plan.clone(), &BTreeSet::new(), |at| Some(*at))
    }

    /// The point and its plan with what has arrived. Its index gets this id.
    pub(super) fn settle(
        &self,
        head: &Head,
        target: &OpenRepository,
        id: ObjectId,
        brought: Brought<'_>,
    ) -> Result<Settled> {
        let Brought { moves, files, places, damaged } = brought;
        let plan = Plan { index: self.plan.index.clone(), moves, files, ..Plan::default() };
        let here = |at: &StoredBlock| match self.plan.files.contains_key(&at.file) {
            // Spare blocks of a copy before.
            false => Some(*at),
            true => places.get(&(at.file, at.offset)).copied(),
        };
        self.arrived(head, target, id, plan, damaged, here)
    }

    /// The rest of the copy, after a checkpoint has committed `point`, whose own index says `map`.
    ///
    /// It joins that point, as the next sync would.
    pub(super) fn go_on(&mut self, point: RestorePoint, map: BlockMap, settled: Checkpoint) {
        let Checkpoint { whole, spare, transferred, .. } = settled;
        self.plan.index = self.plan.index.project(|name| transferred.contains_key(name));
        self.machines.retain(|copy| transferred.contains_key(&copy.name));
        if !point.below.is_empty() {
            self.base_state = self.base_state.overlay(&whole);
        }
        self.predecessor = Flags::NONE;
        self.spare = spare;
        self.base = Some((point, map));
    }

    fn arrived(
        &self,
        head: &Head,
        target: &OpenRepository,
        id: ObjectId,
        mut plan: Plan,
        damaged: &BTreeSet<MachineName>,
        here: impl FnMut(&StoredBlock) -> Option<StoredBlock>,
    ) -> Result<Settled> {
        let Arrival { whole, mut spare, mut transferred } = Arrival::of(&plan.index, here);
        // A full that is read whole takes from the chain what has not changed and is damaged at its source.
        let kept: BTreeSet<MachineName> = match &self.carried {
            None => BTreeSet::new(),
            Some(latest) => {
                let has = |copy: &&MachineCopy| {
                    let had = latest.machine(&copy.name).filter(|had| had.captured == copy.captured);
                    had.is_some() && damaged.contains(&copy.name) && transferred.contains_key(&copy.name)
                };
                self.machines.iter().filter(has).map(|copy| copy.name.clone()).collect()
            }
        };
        transferred.retain(|name, _| !kept.contains(name));
        let dropped = spare.project(|name| kept.contains(name));
        spare = spare.project(|name| !kept.contains(name));
        let mut machines: BTreeMap<MachineName, MachineState> = BTreeMap::new();
        let mut map = whole.clone();
        let mut stack = None;
        if let Some((base, own)) = &self.base {
            let stays = base.machines.iter().filter(|machine| !kept.contains(&machine.name));
            machines.extend(stays.map(|machine| (machine.name.clone(), machine.clone())));
            map = own.overlay(&whole);
        }
        for state in &self.waiting.0 {
            machines.insert(state.name.clone(), state.clone());
        }
        for (name, machine) in self.waiting.1.machines() {
            spare.insert(name.clone(), machine.clone());
        }
        for copy in self.machines.iter().filter(|copy| !kept.contains(&copy.name)) {
            let (status, far) = match transferred.get(&copy.name) {
                None => (Status::Complete, Transferred::default()),
                Some(far) => (Status::Incomplete, *far),
            };
            let origin = self.origins.get(&copy.name).copied();
            let state = MachineState::new(copy.name.clone(), status, copy.captured);
            machines.insert(copy.name.clone(), state.with_origin(origin).with_transferred(far));
        }
        if let Some(latest) = &self.carried {
            // A merge would carry what the sources have no more along too, and else the older chain could never go.
            for (name, machine) in latest.machines() {
                if let Entry::Vacant(unknown) = machines.entry(name.clone()) {
                    map.insert(name.clone(), machine.clone());
                    let origin = origin_in(head, name, machine.captured);
                    let state = MachineState::new(name.clone(), Status::Carried, machine.captured);
                    unknown.insert(state.with_origin(origin));
                }
            }
        }
        if let Some((base, _)) = self.base.as_ref().filter(|(base, _)| !base.below.is_empty()) {
            let is_whole = |name: &MachineName| machines.get(name).is_some_and(MachineState::is_whole);
            let stored = Stored::of(&self.base_state.overlay(&whole).project(is_whole));
            let lower = base.indexes().copied().collect();
            stack = Some(Stack { below: base.below.clone(), lower, step: whole.clone(), stored });
        }
        let is_whole = |name: &MachineName| !transferred.contains_key(name) && !kept.contains(name);
        if !whole.same_content(&plan.index.project(is_whole)) {
            return Err(Error::defect("what has arrived of whole machines is not what was planned".to_owned()));
        }
        // What has arrived in new files and is not kept goes as well.
        let files = plan.files_after(&head.files, head.alignment_bytes.into());
        let reclaiming = Reclaiming {
            alignment: head.alignment_bytes.into(),
            files: &files,
            punches: target.backend_granularity().is_some(),
        };
        plan.retired = retire([&self.spare, &dropped], [&whole, &spare], reclaiming);
        if let Some(at) = [&map, &spare].into_iter().find_map(|map| plan.retired.touches(map)) {
            return Err(Error::defect(format!(
                "the frame at {} of {} is needed and would be released",
                at.offset, at.file
            )));
        }
        plan.index = whole;
        let point = PointIndex {
            id,
            sequence: self.header.sequence,
            time: self.time,
            kind: self.kind,
            base: head.chain.base_of(self.header.sequence, self.kind),
            machines: machines.into_values().collect(),
            map,
            stack,
            spare,
            flags: self.flags,
            is_back_filled: false,
        };
        Ok(Settled { point, spare_before: self.spare.clone(), plan, transferred, kept })
    }
}

/// The machines that a copy was cut off at before and that are not copied now, though the job still selects them, with what
/// arrived of them.
///
/// They stay as incomplete as they are.
fn waiting(head: &Head, choice: &Choice, spare: &BlockMap) -> (Vec<MachineState>, BlockMap) {
    let is_left =
        |name: &MachineName| choice.known.contains(name) && !choice.machines.iter().any(|copy| copy.name == *name);
    let spare = spare.project(is_left);
    let machines = head.chain.latest().into_iter().flat_map(|point| &point.machines);
    let states = machines.filter(|machine| !machine.is_whole() && spare.machine(&machine.name).is_some());
    (states.cloned().collect(), spare)
}

/// The machines that a choice copies, with their numbers in a folder that knows these already.
fn numbered(known: &[MachineName], choice: &Choice) -> Vec<(MachineName, MachineNumber)> {
    let (_, numbers) = number_machines(known, choice.machines.iter().map(|machine| &machine.name));
    choice.machines.iter().map(|machine| (machine.name.clone(), numbers[&machine.name])).collect()
}

/// Ids of further files, should nothing that is lent be of use: frames of the source may be longer.
fn reserve(plan: &Plan, placement: Placement, mut mint: impl FnMut() -> ObjectId) -> Vec<ObjectId> {
    if plan.detours.is_empty() {
        return Vec::new();
    }
    let longest = |(position, step): (usize, &Move)| {
        let lent = plan.read(position).map_or(0, |(_, at)| at.length);
        u64::from(lent.max(step.from.length)).next_multiple_of(placement.alignment.max(1))
    };
    let bytes: u64 = plan.moves.iter().enumerate().map(longest).sum();
    // Two files that follow each other have more frames than fit into one.
    let count = 2 * bytes.div_ceil(placement.file_bytes_max.saturating_sub(placement.first_offset).max(1)) + 1;
    (0..count).map(|_| mint()).collect()
}
