//! Decides what a folder is to become. A reader's own code opens the kept chain before anything of it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use offsite_core::plan::{Files, references};
use offsite_core::{
    BlockMap, Chain, FileState, Head, MachineName, ObjectId, RestorePoint, RetiredObject, Run, Sequence, Stored,
};

use super::keep::{Gone, Keeper, Kept};
use super::known::Known;
use super::reading::Readings;
use super::survey::Survey;
use super::{Basis, LeftOut};
use crate::commit::new_index::NewIndex;
use crate::commit::read_back::{Proven, prove_states, steps_to};
use crate::folder::verification_notes::Place;
use crate::mover::{Flaw, FrameSource, Wanted, scrub};
use crate::progress::Task;
use crate::reader::indexes::Indexes;
use crate::reader::restore::wanted;
use crate::teller::Teller;
use crate::{Error, Progress, Result};

/// What a folder is to become.
pub(super) struct Target {
    pub(super) basis: Basis,
    pub(super) head: Head,
    /// Whether `head` differs from the newest one that can be read.
    pub(super) is_new: bool,
    /// The indexes to write before the head.
    pub(super) new_indexes: Vec<NewIndex>,
    /// The state of each point.
    pub(super) states: Vec<(Sequence, BlockMap)>,
    /// The damaged blocks of kept points, as far as blocks were read.
    pub(super) flaws: Vec<Flaw>,
    pub(super) left_out: Vec<LeftOut>,
    /// The files of `head` that no restore point needs, with their lengths in bytes.
    pub(super) unneeded: BTreeMap<ObjectId, u64>,
}

impl Target {
    /// Takes the unneeded files out of the head. Returns what to retire instead, with its bytes.
    pub(super) fn discard(&mut self) -> Vec<(RetiredObject, u64)> {
        self.is_new |= !self.unneeded.is_empty();
        self.head.files.retain(|id, _| !self.unneeded.contains_key(id));
        self.unneeded.iter().map(|(id, bytes)| (RetiredObject::File(*id), *bytes)).collect()
    }
}

/// Decides what becomes of `head`. `known` describes its chain, or more points than its chain has.
pub(super) async fn settle(
    survey: &Survey,
    basis: Basis,
    head: &Head,
    readings: &Readings,
    known: &Known,
    epoch: u32,
    progress: &dyn Progress,
) -> Result<Target> {
    // While a head says that the chain goes on, a lost file is damage. Its blocks may be found elsewhere.
    let by_length = match basis {
        Basis::Head => false,
        Basis::HeadCopy => !survey.has_head(),
        Basis::Indexes => true,
    };
    let mut gone = Gone { by_length, places: BTreeSet::new() };
    // Blocks that no head refers to may have been released.
    let is_read = |sequence: Sequence, name: &MachineName| {
        basis == Basis::Indexes || known.rescued.contains(&(sequence, name.clone()))
    };
    let (mut flaws, missing) = read(survey, head, known, is_read, progress).await?;
    gone.places = missing;
    gone.places.extend(flaws.iter().filter(|flaw| flaw.is_gone).map(|flaw| place(&flaw.block)));
    let mut files = head.files.clone();
    for (id, length) in &survey.files {
        files.entry(*id).or_insert(FileState::new(*length, *length));
    }
    let kept = Keeper { survey, head, known, gone: &gone, files: &files, epoch }.keep()?;
    let Kept { mut chain, states, new_indexes, left_out } = kept;
    if chain.points().is_empty() {
        // A chain that can go on has a newest point.
        let mut archives = chain.archives().to_vec();
        let newest = archives.iter().rposition(|archive| !archive.is_back_filled);
        let points = newest.map(|newest| archives.remove(newest)).into_iter().collect();
        chain = Chain::with_archives(chain.block_size(), archives, points).map_err(defect)?;
    }
    let is_in_a_state = |flaw: &Flaw| has(&states, &flaw.block);
    flaws.retain(|flaw| !flaw.is_gone && is_in_a_state(flaw));
    let steps = open(survey, head, &chain, readings, &new_indexes, &states).await?;
    let is_changed = chain != head.chain || basis == Basis::Indexes;
    let mut next = head.clone();
    let live = live(&steps, head.alignment_bytes.into());
    if is_changed {
        recount(survey, &mut next, &files, &live, &states);
        next.next_sequence = without_spare(head.next_sequence, chain.latest());
        if !known.rescued.is_empty() {
            // Something that was to be released is needed again.
            next.retired = Vec::new();
        }
        if basis == Basis::Indexes {
            chain = with_stored(&chain, &steps)?;
        }
        next.chain = chain;
    }
    // The blocks that arrived of an incomplete machine are in files that nothing else refers to.
    let spare = match Indexes::new(&survey.repository, &survey.layout, head.folder).live_spare(&next).await {
        Ok(spare) => spare.files(),
        // Any of the files may have them.
        Err(error) if error.is_loss() => next.files.keys().copied().collect(),
        Err(error) => return Err(error),
    };
    let is_unneeded = |(id, _): &(&ObjectId, &FileState)| !live.contains_key(*id) && !spare.contains(*id);
    let unneeded = next.files.iter().filter(is_unneeded).map(|(id, file)| (*id, file.length)).collect();
    let states = states.into_iter().collect();
    let is_new = is_changed || basis != Basis::Head;
    Ok(Target { basis, head: next, is_new, new_indexes, states, flaws, left_out, unneeded })
}

/// Opens the kept chain from the repository as a reader does, and checks that it gives the states that were kept.
///
/// # Errors
/// [`Error::Defect`] if it does not. Then nothing may be committed.
pub(super) async fn prove(survey: &Survey, target: &Target) -> Result<Proven> {
    let mut indexes = Indexes::new(&survey.repository, &survey.layout, target.head.folder);
    let (chain, files) = (target.head.chain.clone(), target.head.files.clone());
    prove_states(&mut indexes, chain, files, &target.states.iter().cloned().collect()).await
}

/// The same as [`prove`], before anything is written. Returns the steps.
async fn open(
    survey: &Survey,
    head: &Head,
    chain: &Chain,
    readings: &Readings,
    new_indexes: &[NewIndex],
    states: &BTreeMap<Sequence, BlockMap>,
) -> Result<BTreeMap<Sequence, BlockMap>> {
    let mut indexes = Indexes::new(&survey.repository, &survey.layout, head.folder);
    for index in new_indexes {
        index.open(&mut indexes)?;
    }
    for reference in chain.indexes() {
        if let Some(reading) = readings.get(reference).filter(|reading| reading.is_accepted) {
            indexes.insert(reference.id, reading.map.clone());
        }
    }
    steps_to(&mut indexes, chain, states).await
}

/// Reads the blocks of the machines that `is_read` names. Returns the damaged blocks, and the places that are in no file.
async fn read(
    survey: &Survey,
    head: &Head,
    known: &Known,
    is_read: impl Fn(Sequence, &MachineName) -> bool,
    progress: &dyn Progress,
) -> Result<(Vec<Flaw>, BTreeSet<Place>)> {
    let mut blocks: BTreeMap<Place, Wanted> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    for (sequence, state) in &known.states {
        let machines = state.map.machines().iter();
        for (name, machine) in machines.filter(|(name, _)| is_read(*sequence, name) && head.machines.contains(name)) {
            for block in wanted(name, machine.disks.iter()) {
                if survey.has(&block.at) {
                    blocks.insert(place(&block), block);
                } else {
                    missing.insert(place(&block));
                }
            }
        }
    }
    if blocks.is_empty() {
        return Ok((Vec::new(), missing));
    }
    let source = FrameSource::new(&survey.repository, &survey.layout, head);
    let progress = Teller::new(progress, Task::Repair, survey.layout.job());
    Ok((scrub(Arc::new(blocks.into_values().collect()), &source, progress).await?.flaws, missing))
}

pub(super) fn place(block: &Wanted) -> Place {
    (block.at.file, block.at.offset)
}

/// Whether a state has this block at this place.
fn has(states: &BTreeMap<Sequence, BlockMap>, block: &Wanted) -> bool {
    states.values().any(|state| {
        let disk = state.machine(&block.address.machine).and_then(|machine| machine.disks.get(&block.address.disk));
        let run = disk.and_then(|disk| disk.get(block.address.block));
        run == Some(Run::Stored { block: block.address.block, at: block.at })
    })
}

/// The number of the next point. If the newest point has an incomplete machine, it skips a number. Then the spare blocks no longer
/// count, as they are not counted again.
fn without_spare(next: Sequence, latest: Option<&RestorePoint>) -> Sequence {
    let has_spare = latest.is_some_and(|latest| latest.machines.iter().any(|machine| !machine.is_whole()));
    Sequence(next.0.saturating_add(u64::from(has_spare)))
}

/// The live bytes of each file: what the steps refer to.
fn live(steps: &BTreeMap<Sequence, BlockMap>, alignment: u64) -> BTreeMap<ObjectId, u64> {
    let mut live: BTreeMap<ObjectId, u64> = BTreeMap::new();
    for at in references(steps.values()) {
        *live.entry(at.file).or_default() += u64::from(at.length).next_multiple_of(alignment);
    }
    live
}

/// Counts the files of the head anew.
///
/// A file that nothing refers to holds blocks of what was left out. It stays until a repair discards it. All its bytes count as
/// live, so that nothing makes room in it. A lost file that nothing refers to leaves the head, and a file that was cut off after
/// its last needed block gets its new length.
fn recount(
    survey: &Survey,
    head: &mut Head,
    files: &Files,
    live: &BTreeMap<ObjectId, u64>,
    states: &BTreeMap<Sequence, BlockMap>,
) {
    let mut ends: BTreeMap<ObjectId, u64> = BTreeMap::new();
    for (_, _, _, at) in states.values().flat_map(BlockMap::stored) {
        let end = ends.entry(at.file).or_default();
        *end = (*end).max(at.offset + u64::from(at.length));
    }
    let is_listed = |id: &ObjectId| head.files.contains_key(id) || live.contains_key(id);
    let listed: Files = files.iter().filter(|(id, _)| is_listed(id)).map(|(id, file)| (*id, *file)).collect();
    head.files = Files::new();
    for (id, mut file) in listed {
        let (found, end) = (survey.files.get(&id), ends.get(&id).copied().unwrap_or(0));
        match found {
            None if end == 0 => continue,
            Some(length) if *length < file.length && end <= *length => file.length = *length,
            _ => {}
        }
        file.live_bytes = live.get(&id).copied().unwrap_or(file.length).min(file.length);
        head.files.insert(id, file);
    }
}

/// Returns the chain, each point with what it has stored. An index alone knows that only of its own rows.
fn with_stored(chain: &Chain, steps: &BTreeMap<Sequence, BlockMap>) -> Result<Chain> {
    let of = |points: &[RestorePoint]| {
        let stored = |point: &RestorePoint| steps.get(&point.sequence).map_or(point.stored, Stored::of);
        points.iter().map(|point| point.clone().with_stored(stored(point))).collect::<Vec<_>>()
    };
    Chain::with_archives(chain.block_size(), of(chain.archives()), of(chain.points())).map_err(defect)
}

fn defect(error: impl std::fmt::Display) -> Error {
    Error::defect(error.to_string())
}
