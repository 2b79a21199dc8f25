//! What a copy job's run stores, planned to the byte.

use offsite_core::format::head::Head;
use offsite_core::plan::{Plan, sync};
use offsite_core::retention::{Flags, Marks, Method, mark};
use offsite_core::{
    BlockMap, MachineName, MachineNumber, MachineState, ObjectId, Origin, PointKind, Sequence, Status, Timestamp,
};

use super::CopyJob;
use super::selection::Choice;
use crate::Result;
use crate::folder::JobFolder;
use crate::mover::OutputHeader;
use crate::point::{PointIndex, number_machines};
use crate::report::MachineCopy;

/// What the source offers at one moment.
pub(super) struct Offer {
    /// The new restore point; none if nothing is new.
    pub(super) stored: Option<NewPoint>,
    /// The machines that the job selects and the source has.
    pub(super) selected: Vec<MachineName>,
    /// Selected machines that the source has no whole restore point of.
    pub(super) missing: Vec<MachineName>,
}

/// A restore point that is about to be copied.
pub(super) struct NewPoint {
    pub(super) point: PointIndex,
    pub(super) plan: Plan,
    pub(super) header: OutputHeader,
    /// Flags for the point before it.
    pub(super) predecessor: Flags,
    /// The machines that are copied, and where they come from.
    pub(super) machines: Vec<MachineCopy>,
}

impl CopyJob {
    /// What a run at `now` copies to a chain whose newest state is `latest`.
    pub(super) async fn offer(
        &self,
        head: &Head,
        source: &JobFolder,
        latest: &BlockMap,
        now: Timestamp,
        mint: &mut (dyn FnMut() -> ObjectId + Send),
    ) -> Result<Offer> {
        let mut choice = self.selection.choose(source, latest, now).await?;
        let (selected, missing) = (choice.selected.clone(), choice.missing.clone());
        if choice.machines.is_empty() {
            return Ok(Offer { stored: None, selected, missing });
        }
        let (time, origin) = newest(&choice.machines, source);
        let marks = self.marks(head, time);
        let is_first = head.chain.latest().is_none();
        let is_active = !is_first && marks.point != Flags::NONE && self.reads_whole();
        let nothing = BlockMap::empty();
        if is_active {
            // All machines are read, those too that have not changed.
            choice = self.selection.choose(source, &nothing, now).await?;
        }
        let header = OutputHeader {
            folder: head.folder,
            sequence: head.next_sequence,
            time,
            block_size: source.chain().block_size(),
            alignment_bytes: head.alignment_bytes,
            machines: numbered(&head.machines, &choice),
        };
        let base = if is_active { &nothing } else { latest };
        let plan = sync(base, &choice.wanted, header.placement(&self.target), &mut *mint);
        let (mut map, mut machines) = (plan.index.clone(), states(&choice));
        if is_active {
            carry_over(latest, &mut map, &mut machines);
        }
        let point = PointIndex {
            id: mint(),
            sequence: head.next_sequence,
            time,
            kind: if is_first || is_active { PointKind::Full } else { PointKind::Increment },
            origin: Some(origin),
            machines,
            below: Vec::new(),
            stored: None,
            map,
            flags: marks.point,
        };
        let stored = NewPoint { point, plan, header, predecessor: marks.predecessor, machines: choice.machines };
        Ok(Offer { stored: Some(stored), selected, missing })
    }

    /// Whether points that stay as archives are read whole from the source.
    fn reads_whole(&self) -> bool {
        let gfs = self.transforms.retention.as_ref().and_then(|policy| policy.gfs.as_ref());
        gfs.is_some_and(|gfs| gfs.method() == Method::Active)
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

/// Puts the machines that the source has no more into a new full, with the blocks that the chain has of them: a merge would carry
/// them along too, and else the older chain could never go.
fn carry_over(latest: &BlockMap, map: &mut BlockMap, machines: &mut Vec<MachineState>) {
    for (name, machine) in latest.machines() {
        if map.machine(name).is_none() {
            map.insert(name.clone(), machine.clone());
            machines.push(MachineState { name: name.clone(), status: Status::Carried, captured: machine.captured });
        }
    }
    machines.sort_unstable_by(|left, right| left.name.cmp(&right.name));
}

/// The machines of a choice, as a point has them.
fn states(choice: &Choice) -> Vec<MachineState> {
    let states = choice.machines.iter().map(|machine| MachineState {
        name: machine.name.clone(),
        status: Status::Complete,
        captured: machine.captured,
    });
    states.collect()
}

/// The machines that a choice copies, with their numbers in a folder that knows these already.
fn numbered(known: &[MachineName], choice: &Choice) -> Vec<(MachineName, MachineNumber)> {
    let (_, numbers) = number_machines(known, choice.machines.iter().map(|machine| &machine.name));
    choice.machines.iter().map(|machine| (machine.name.clone(), numbers[&machine.name])).collect()
}

/// The time of the newest of the source's points that are copied, and that point.
fn newest(machines: &[MachineCopy], source: &JobFolder) -> (Timestamp, Origin) {
    let sequence = machines.iter().map(|machine| machine.source).max().unwrap_or(Sequence(0));
    let captured = machines.iter().map(|machine| machine.captured).max();
    let time = source.chain().get(sequence).map(|point| point.time).or(captured);
    (time.unwrap_or(source.head().clock), Origin { folder: source.id(), sequence })
}
