//! Decides which machines of which restore points are kept, and writes the indexes for them.
//!
//! A machine of a point is kept if its state there is known and all its blocks are there. A point stays as it is if the kept points
//! before it lead a reader to that state. Otherwise it gets an index of its own.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::plan::Files;
use offsite_core::{
    BlockMap, Chain, Head, MachineMap, MachineName, MachineState, ObjectId, PointKind, RestorePoint, Sequence, Stored,
    StoredBlock,
};

use super::LeftOut;
use super::known::Known;
use super::reading::is_whole;
use super::survey::Survey;
use crate::commit::new_index::{NewIndex, PointIndex, encode_index};
use crate::commit::read_back::paths;
use crate::commit::writer::used_up;
use crate::folder::verification_notes::Place;
use crate::report::Loss;
use crate::{Error, Result};

/// The blocks that are lost.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// Whether blocks count as lost if their backup file is lost or too short for them.
    pub(super) by_length: bool,
    /// The places where a read found nothing of the block.
    pub(super) places: BTreeSet<Place>,
}

impl Gone {
    pub(super) fn has(&self, survey: &Survey, at: &StoredBlock) -> bool {
        (self.by_length && !survey.has(at)) || self.places.contains(&(at.file, at.offset))
    }
}

/// The part of a chain that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) chain: Chain,
    /// The state of each point, with the machines that it keeps.
    pub(super) states: BTreeMap<Sequence, BlockMap>,
    /// The indexes to write for it.
    pub(super) new_indexes: Vec<NewIndex>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Decides about each point.
pub(super) struct Keeper<'a> {
    pub(super) survey: &'a Survey,
    pub(super) head: &'a Head,
    pub(super) known: &'a Known,
    pub(super) gone: &'a Gone,
    /// All files that an index may refer to.
    pub(super) files: &'a Files,
    /// The epoch of the new indexes.
    pub(super) epoch: u32,
}

/// The state that a reader has at the end of a path, and the changes that it has not seen.
#[derive(Clone, Default)]
struct Reader {
    state: BlockMap,
    /// The changes of each machine since the last point that kept it.
    pending: BlockMap,
    /// The last point that was kept. The next one stands on it. `None` before the first point, which stands alone.
    last: Option<Sequence>,
}

impl Keeper<'_> {
    pub(super) fn keep(&self) -> Result<Kept> {
        let chain = &self.head.chain;
        let mut kept: BTreeMap<Sequence, RestorePoint> = BTreeMap::new();
        let mut states = BTreeMap::new();
        let mut new_indexes = Vec::new();
        let mut lost: BTreeMap<Sequence, BTreeMap<MachineName, Loss>> = BTreeMap::new();
        for path in paths(chain) {
            let mut reader = Reader::default();
            for point in path {
                let why_lost = self.lost(point)?;
                let survivors = survivors(point, &why_lost);
                let state = self.state(point, &survivors);
                let known = match kept.get(&point.sequence) {
                    // The point is a full from which one path leads onwards and another back.
                    Some(known) => Some(known.clone()),
                    None => self.point(&reader, point, survivors, &state, &mut new_indexes)?,
                };
                reader.follow(self.known, point, known.as_ref(), &state);
                lost.insert(point.sequence, why_lost);
                if let Some(known) = known {
                    kept.insert(point.sequence, known);
                    states.insert(point.sequence, state);
                }
            }
        }
        let left_out = chain.all().flat_map(|point| {
            let why = lost.remove(&point.sequence).unwrap_or_default();
            left_out(point, kept.contains_key(&point.sequence), why)
        });
        let left_out = left_out.collect();
        let of = |points: &[RestorePoint]| {
            points.iter().filter_map(|point| kept.get(&point.sequence).cloned()).collect::<Vec<_>>()
        };
        let chain = Chain::with_archives(chain.block_size(), of(chain.archives()), of(chain.points()));
        let chain = chain.map_err(|error| Error::defect(error.to_string()))?;
        Ok(Kept { chain, states, new_indexes, left_out })
    }

    /// Returns the machines that the point has complete but that cannot be kept in it, each with the reason.
    fn lost(&self, point: &RestorePoint) -> Result<BTreeMap<MachineName, Loss>> {
        let mut lost = BTreeMap::new();
        let Some(state) = self.known.states.get(&point.sequence) else { return Ok(lost) };
        for MachineState { name, .. } in point.machines.iter().filter(|machine| machine.is_whole()) {
            let why = match state.map.machine(name).filter(|machine| is_whole(machine)) {
                _ if state.why_unread(name).is_some() => state.why_unread(name).cloned(),
                None => Some(Loss::NotDescribed { machine: name.clone() }),
                Some(machine) => self.why_gone(machine)?,
            };
            if let Some(why) = why {
                lost.insert(name.clone(), why);
            }
        }
        Ok(lost)
    }

    fn why_gone(&self, machine: &MachineMap) -> Result<Option<Loss>> {
        let blocks = machine.disks.values().flat_map(|disk| disk.stored());
        let mut gone = blocks.map(|(_, at)| at).filter(|at| self.gone.has(self.survey, at));
        let Some(first) = gone.next() else { return Ok(None) };
        Ok(Some(Loss::Blocks {
            blocks: 1 + gone.count() as u64,
            file: self.survey.layout.backup_file(first.file)?,
            is_file_lost: self.gone.by_length && !self.survey.has(&first),
        }))
    }

    /// Returns the state of these machines at a point.
    fn state(&self, point: &RestorePoint, survivors: &[MachineState]) -> BlockMap {
        let is_kept = |name: &MachineName| survivors.iter().any(|machine| machine.name == *name && machine.is_whole());
        self.known.states.get(&point.sequence).map_or_else(BlockMap::empty, |state| state.map.project(is_kept))
    }

    /// Returns the point with these machines. `None` if there is nothing to keep.
    fn point(
        &self,
        reader: &Reader,
        point: &RestorePoint,
        survivors: Vec<MachineState>,
        state: &BlockMap,
        new_indexes: &mut Vec<NewIndex>,
    ) -> Result<Option<RestorePoint>> {
        let Some(step) = self.known.steps.get(&point.sequence) else { return Ok(None) };
        let is_kept = |name: &MachineName| state.machine(name).is_some();
        if survivors.len() < point.machines.len() && !survivors.iter().any(MachineState::is_whole) {
            return Ok(None);
        }
        let kind = if reader.last.is_some() { point.kind } else { PointKind::Full };
        let base = reader.last.filter(|_| kind != PointKind::Full);
        let own = step.map.project(is_kept);
        if step.is_accepted
            && (step.base, kind) == (base, point.kind)
            && has_content(&reader.state.overlay(&own), state)
        {
            let stored = if survivors.len() == point.machines.len() { point.stored } else { Stored::of(&own) };
            return Ok(Some(point.clone().with_machines(survivors).with_stored(stored)));
        }
        if *state == BlockMap::empty() {
            return Ok(None);
        }
        let mut map = BlockMap::empty();
        for (name, machine) in state.machines() {
            let rows = match kind {
                PointKind::Full => None,
                PointKind::Increment | PointKind::Rollback => reader.rows(name, &step.map, state),
            };
            map.insert(name.clone(), rows.unwrap_or_else(|| machine.clone()));
        }
        let count = u32::try_from(new_indexes.len()).ok().and_then(|count| count.checked_add(1));
        let count = count.ok_or_else(|| used_up(self.survey.layout.job(), "numbers of indexes"))?;
        let index = PointIndex {
            id: ObjectId::new(self.epoch, count),
            sequence: point.sequence,
            time: point.time,
            kind,
            base,
            machines: survivors,
            map,
            stack: None,
            spare: BlockMap::empty(),
            flags: point.flags,
            is_back_filled: point.is_back_filled,
        };
        let index = encode_index(self.head, index, self.files)?;
        let described = index.point.clone();
        new_indexes.push(index);
        Ok(Some(described))
    }
}

impl Reader {
    /// Goes on to the next point of a path. `kept` is that point with the machines that it keeps, or `None` if it is not kept.
    fn follow(&mut self, known: &Known, point: &RestorePoint, kept: Option<&RestorePoint>, state: &BlockMap) {
        if let Some(step) = known.steps.get(&point.sequence) {
            self.pending = self.pending.overlay(&step.map);
        }
        if kept.is_some() {
            self.last = Some(point.sequence);
            self.state = self.state.overlay(state);
            self.pending = self.pending.project(|name| state.machine(name).is_none());
        }
    }

    /// Returns the rows that bring a machine from the reader's state to `state`: those that the reader has not seen, with those of
    /// `step`. `None` if they are not known.
    fn rows(&self, name: &MachineName, step: &BlockMap, state: &BlockMap) -> Option<MachineMap> {
        let (before, wanted) = (self.state.machine(name)?, state.machine(name)?);
        let of = |machine: &MachineMap| {
            let mut map = BlockMap::empty();
            map.insert(name.clone(), machine.clone());
            map
        };
        // A step without changes still names the machine and its disks.
        let unseen = self.pending.project(|other| other == name).overlay(&step.project(|other| other == name));
        let rows = match unseen.machine(name) {
            Some(unseen) => unseen.clone(),
            None => of(before).diff(&of(wanted)).machine(name)?.clone(),
        };
        has_content(&of(before).overlay(&of(&rows)), &of(wanted)).then_some(rows)
    }
}

/// Whether both have the same disks of the same machines, with every block in the same place.
fn has_content(left: &BlockMap, right: &BlockMap) -> bool {
    let same =
        |name: &MachineName, machine: &MachineMap| right.machine(name).is_none_or(|other| machine.disks == other.disks);
    right.machines().keys().all(|name| left.machine(name).is_some())
        && left.machines().iter().all(|(name, machine)| same(name, machine))
}

/// Returns the machines of a point without the lost ones.
fn survivors(point: &RestorePoint, lost: &BTreeMap<MachineName, Loss>) -> Vec<MachineState> {
    point.machines.iter().filter(|machine| !lost.contains_key(&machine.name)).cloned().collect()
}

/// Returns one entry if nothing of the point is kept, else one entry for each lost machine.
fn left_out(point: &RestorePoint, is_kept: bool, lost: BTreeMap<MachineName, Loss>) -> Vec<LeftOut> {
    let of = |machine, why| LeftOut { sequence: point.sequence, machine, why };
    if is_kept {
        return lost.into_iter().map(|(name, why)| of(Some(name), vec![why])).collect();
    }
    let mut losses: Vec<Loss> = lost.into_values().collect();
    losses.dedup();
    if losses.is_empty() {
        losses.push(Loss::Base);
    }
    vec![of(None, losses)]
}
