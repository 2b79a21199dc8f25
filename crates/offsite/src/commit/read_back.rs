//! Opens what a new head will refer to, as a reader opens it, before the head is created.
//!
//! If no reader accepts a chain, it is lost, even if all its blocks are right. So only a [`Proven`] chain is committed. The proof
//! decodes the new indexes from the bytes that are stored, lays them over the indexes below, and compares the result with what the
//! operation means to say. It looks only at blocks that the operation can have changed. So it reads only what the operation has
//! read.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::plan::{Files, Retired, references};
use offsite_core::{
    BlockMap, Chain, Coverage, Head, IndexReference, MachineMap, MachineName, MachineState, ObjectId, PointKind,
    RestorePoint, Sequence, Stored,
};

use crate::commit::new_index::NewIndex;
use crate::reader::indexes::Indexes;
use crate::seams::is_broken;
use crate::{Error, Result};

/// A chain that a reader can read, and the files that it refers to.
#[derive(Debug, Clone)]
pub(crate) struct Proven {
    chain: Chain,
    files: Files,
}

impl Proven {
    pub(crate) fn into_parts(mut self) -> (Chain, Files) {
        if is_broken!(CarriedCountOff)
            && let Some(file) = self.files.values_mut().find(|file| file.live_bytes + 64 <= file.length)
        {
            file.live_bytes += 64;
        }
        if is_broken!(StaleBelow) {
            let mut points = self.chain.points().to_vec();
            points.iter_mut().filter(|point| !point.below.is_empty()).for_each(|point| {
                point.below.remove(0);
            });
            let archives = self.chain.archives().to_vec();
            if let Ok(chain) = Chain::with_archives(self.chain.block_size(), archives, points) {
                self.chain = chain;
            }
        }
        (self.chain, self.files)
    }
}

/// What an operation makes of a chain.
pub(crate) struct Change<'a> {
    /// The head before the operation.
    pub(crate) head: &'a Head,
    /// The chain after the operation.
    pub(crate) chain: Chain,
    /// The files after the operation.
    pub(crate) files: Files,
    /// The indexes that the operation has made.
    pub(crate) new: &'a [NewIndex],
    /// What points said before about the blocks that the operation changes, spare blocks included.
    pub(crate) before: Vec<&'a BlockMap>,
    /// What points say afterwards about these blocks.
    pub(crate) after: Vec<&'a BlockMap>,
}

/// Checks that the chain after `change` can be read, and says what the operation means. `indexes` has opened the new indexes from
/// their bytes.
///
/// # Errors
/// - [`Error::Defect`] if something differs. It names the difference.
/// - [`Error::Damaged`] if an older index of the chain cannot be read.
pub(crate) async fn prove(indexes: &mut Indexes, change: Change<'_>) -> Result<Proven> {
    let Change { head, chain, files, new, before, after } = change;
    if is_broken!(NotReadBack) {
        return Ok(Proven { chain, files });
    }
    let known: BTreeMap<ObjectId, &IndexReference> =
        head.chain.indexes().chain(new.iter().map(|new| &new.point.index)).map(|index| (index.id, index)).collect();
    for point in chain.all() {
        let old = head.chain.get(point.sequence);
        if old == Some(point) {
            continue;
        }
        if let Some(index) = point.indexes().find(|index| known.get(&index.id) != Some(index)) {
            return differs(point, &format!("it refers to index {}, which is none of the chain's", index.id));
        }
        match new.iter().find(|new| new.point.index == point.index) {
            Some(new) => check_new(indexes, &files, point, new).await?,
            None => check_kept(old, point)?,
        }
    }
    check_live_bytes(head, &files, &before, &after)?;
    Ok(Proven { chain, files })
}

/// Checks that a reader of `chain` gets exactly these states.
///
/// It relies on no chain that was proven before. `indexes` is empty, so all indexes are read from the repository.
///
/// # Errors
/// - [`Error::Defect`] if a state differs. It names the point and the machine.
/// - [`Error::Damaged`] if an index cannot be read.
pub(crate) async fn prove_states(
    indexes: &mut Indexes,
    chain: Chain,
    files: Files,
    states: &BTreeMap<Sequence, BlockMap>,
) -> Result<Proven> {
    steps_to(indexes, &chain, states).await?;
    Ok(Proven { chain, files })
}

/// Returns the step of each point by which `chain` leads to these states.
///
/// # Errors
/// The same as [`prove_states`].
pub(crate) async fn steps_to(
    indexes: &mut Indexes,
    chain: &Chain,
    states: &BTreeMap<Sequence, BlockMap>,
) -> Result<BTreeMap<Sequence, BlockMap>> {
    let mut steps = BTreeMap::new();
    for path in paths(chain) {
        let mut state = BlockMap::empty();
        for point in path {
            let step = indexes.step(point).await?;
            state = state.overlay(&step);
            let is_right = |name: &MachineName, machine: &MachineMap| {
                state.machine(name).is_some_and(|found| found.disks == machine.disks)
            };
            let expected = states.get(&point.sequence).into_iter().flat_map(BlockMap::machines);
            if let Some((name, _)) = expected.clone().find(|(name, machine)| !is_right(name, machine)) {
                return differs(point, &format!("its state of {name} is another than was found"));
            }
            steps.insert(point.sequence, step);
        }
    }
    Ok(steps)
}

/// Returns the paths on which states are overlaid: each archive alone, and from each full its increments, and its rollbacks.
pub(crate) fn paths(chain: &Chain) -> Vec<Vec<&RestorePoint>> {
    let mut paths: Vec<Vec<&RestorePoint>> = chain.archives().iter().map(|archive| vec![archive]).collect();
    let points = chain.points();
    for (position, full) in points.iter().enumerate().filter(|(_, point)| point.kind == PointKind::Full) {
        let of = |kind: PointKind| move |point: &&RestorePoint| point.kind == kind;
        let forward = points[position + 1..].iter().take_while(of(PointKind::Increment));
        paths.push(std::iter::once(full).chain(forward).collect());
        let back: Vec<_> = points[..position].iter().rev().take_while(of(PointKind::Rollback)).collect();
        if !back.is_empty() {
            paths.push(std::iter::once(full).chain(back).collect());
        }
    }
    paths
}

/// Keeps those files of `retired` that a point of `chain` refers to (release rule 4).
///
/// The live bytes in the head only propose that a file is dead. Here, the indexes decide. It reads the indexes that name the file,
/// and of other points only the blocks of their rows. So its cost depends on the number of the file's blocks.
///
/// # Errors
/// [`Error::Damaged`] if an index cannot be read.
pub(crate) async fn keep_needed(indexes: &mut Indexes, chain: &Chain, retired: &mut Retired) -> Result<()> {
    let dead: BTreeSet<ObjectId> = retired.files.keys().copied().collect();
    if dead.is_empty() {
        return Ok(());
    }
    let mut rows: BTreeMap<ObjectId, BlockMap> = BTreeMap::new();
    for point in chain.all() {
        for reference in point.indexes() {
            if rows.contains_key(&reference.id) {
                continue;
            }
            let mut own = BlockMap::empty();
            if indexes.files(reference, point).await?.iter().any(|file| dead.contains(file)) {
                own = indexes.map(reference, point).await?.picked(|_, _, _, at| dead.contains(&at.file).then_some(at));
            }
            rows.insert(reference.id, own);
        }
    }
    let coverage = rows.values().map(Coverage::of).fold(Coverage::default(), Coverage::union);
    for point in chain.all() {
        for file in indexes.part(point, &coverage).await?.files().intersection(&dead) {
            retired.keep(*file);
        }
    }
    Ok(())
}

/// Checks that a point with an unchanged index says nothing new.
fn check_kept(old: Option<&RestorePoint>, point: &RestorePoint) -> Result<()> {
    let Some(old) = old else { return differs(point, "it is new and has no index of its own") };
    let has = |machine: &MachineState| old.machine(&machine.name) == Some(machine);
    if (old.index, &old.below, old.time) != (point.index, &point.below, point.time) || !point.machines.iter().all(has) {
        return differs(point, "it changes and has no new index");
    }
    Ok(())
}

/// Checks that a new index describes its point, and adds what the operation means to the older indexes.
async fn check_new(indexes: &mut Indexes, files: &Files, point: &RestorePoint, new: &NewIndex) -> Result<()> {
    let described = new.point.clone().with_flags(point.flags);
    if described != *point {
        return differs(point, "its index describes another point");
    }
    let map = indexes.map(&point.index, point).await?;
    for (file, length) in new.files() {
        if files.get(file).is_none_or(|state| state.length != *length) {
            return differs(point, &format!("its index lists backup file {file} with {length} bytes"));
        }
    }
    let Some(stack) = &new.stack else {
        let is_whole = point.kind != PointKind::Full
            || (map.is_full()
                && point.machines.iter().all(|state| !state.is_whole() || map.machine(&state.name).is_some()));
        return match (point.below.is_empty() && is_whole, Stored::of(&map) == point.stored) {
            (false, _) => differs(point, "its index does not say all of it"),
            (true, false) => differs(point, "its sum of stored blocks is not that of its index"),
            (true, true) => Ok(()),
        };
    };
    // The older indexes are still there, except those on top that were written again together with the new rows.
    if !stack.lower.starts_with(&point.below) {
        return differs(point, "it does not stand on what it stood on");
    }
    let rewritten = indexes.rows(&stack.lower[point.below.len()..], point).await?;
    if rewritten.overlay(&stack.step) != *map {
        return differs(
            point,
            "its index does not say what those say that it takes the place of, with what is new on top",
        );
    }
    let coverage = Coverage::of(&stack.step);
    let before = indexes.part_of_stack(&stack.lower, point, &coverage).await?;
    let meant = before.overlay(&stack.step.restricted(&coverage));
    if indexes.part(point, &coverage).await? != meant {
        return differs(point, "its indexes, one above the other, do not say what is meant");
    }
    Ok(())
}

/// Checks that the live bytes of each file have followed the frames that came and went.
fn check_live_bytes(head: &Head, files: &Files, before: &[&BlockMap], after: &[&BlockMap]) -> Result<()> {
    let alignment = u64::from(head.alignment_bytes);
    let count = |maps: &[&BlockMap]| {
        let mut bytes: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for at in references(maps.iter().copied()) {
            *bytes.entry(at.file).or_default() += u64::from(at.length).next_multiple_of(alignment);
        }
        bytes
    };
    let (gone, come) = (count(before), count(after));
    for (id, file) in files {
        let of = |bytes: &BTreeMap<ObjectId, u64>| bytes.get(id).copied().unwrap_or(0);
        let known = head.files.get(id).map_or(0, |file| file.live_bytes);
        // A count that was wrong before is only a hint, and no reason to stop.
        let meant = known.saturating_add(of(&come)).saturating_sub(of(&gone));
        if file.live_bytes != meant {
            return Err(Error::defect(format!(
                "backup file {id} is said to have {} live bytes, and its blocks have {meant}",
                file.live_bytes
            )));
        }
    }
    Ok(())
}

/// Checks that `step` over the state `before` gives the content of `wanted`, for the machines that `step` names. It looks only at
/// the blocks of `step`.
///
/// # Errors
/// [`Error::Defect`] if the content differs. It names the machine.
pub(crate) fn check_step(before: &BlockMap, step: &BlockMap, wanted: &BlockMap) -> Result<()> {
    let touched = Coverage::of(step);
    let after = before.restricted(&touched).overlay(step);
    for (name, machine) in wanted.restricted(&touched).machines() {
        if after.machine(name).is_none_or(|after| !after.has_content_of(machine)) {
            return Err(Error::defect(format!("what is planned for machine {name} does not lead to what it holds")));
        }
    }
    Ok(())
}

fn differs<T>(point: &RestorePoint, what: &str) -> Result<T> {
    Err(Error::defect(format!("restore point {} would not be what it is meant to be: {what}", point.sequence)))
}

#[cfg(test)]
mod tests {
    use offsite_core::retention::Flags;

    use super::*;
    use crate::commit::new_index::{PointIndex, encode_index};
    use crate::sample::Sample;

    /// If the index of a full stands alone and does not say all blocks, the full cannot be read.
    #[tokio::test]
    async fn a_full_that_does_not_say_all_is_refused() {
        let sample = Sample::new(2).await;
        let part = sample.state.picked(|_, _, block, at| (block == 0).then_some(at));
        for (map, is_right) in [(sample.state.clone(), true), (part, false)] {
            let index = PointIndex {
                id: ObjectId::new(9, 9),
                sequence: Sequence(2),
                time: sample.point.time,
                kind: PointKind::Full,
                base: None,
                machines: sample.point.machines.clone(),
                map,
                stack: None,
                spare: BlockMap::empty(),
                flags: Flags::NONE,
                is_back_filled: false,
            };
            let new = encode_index(&sample.head, index, &sample.head.files).unwrap();
            let mut indexes = sample.indexes();
            new.open(&mut indexes).unwrap();
            let checked = check_new(&mut indexes, &sample.head.files, &new.point, &new).await;
            match checked {
                Ok(()) => assert!(is_right),
                Err(error) => assert!(!is_right && error.to_string().contains("does not say all of it"), "{error}"),
            }
        }
    }
}
