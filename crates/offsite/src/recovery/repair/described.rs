//! The restore points that a folder's indexes describe, whether a head refers to them or not.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::format::index::INDEX_BYTES_MAX;
use offsite_core::{
    BlockSize, Chain, FolderId, Head, MachineNumber, MachineState, ObjectId, PointKind, RestorePoint, Sequence,
};
use offsite_repository::{ErrorKind, RepositoryExt};

use super::known::{Elsewhere, Known};
use super::reading::{self, Reading, Readings};
use super::survey::Survey;
use crate::error::Context;
use crate::report::IndexLoss;
use crate::{Error, Result};

/// An index whose directory can be read, and the point that it describes.
pub(super) struct Described {
    pub(super) folder: FolderId,
    pub(super) block_size: BlockSize,
    pub(super) machines: Vec<(MachineState, MachineNumber)>,
    pub(super) point: RestorePoint,
    reading: Reading,
}

/// The indexes of a folder.
pub(super) struct All {
    pub(super) indexes: BTreeMap<ObjectId, Described>,
    /// The indexes that do not even tell their point, each with what is wrong.
    pub(super) unreadable: Vec<IndexLoss>,
}

impl All {
    /// Reads all indexes. Of each index and its second copy, the better one counts.
    pub(super) async fn of(survey: &Survey) -> Result<Self> {
        let mut all = Self { indexes: BTreeMap::new(), unreadable: Vec::new() };
        for id in &survey.indexes {
            match load(survey, *id).await? {
                Ok(described) => drop(all.indexes.insert(*id, described)),
                Err(why) => all.unreadable.push(why),
            }
        }
        Ok(all)
    }

    /// Leaves out indexes of another folder, which were put here by hand, and indexes with another block size.
    pub(super) fn retain(&mut self, folder: FolderId, block_size: BlockSize) {
        self.indexes.retain(|_, index| index.folder == folder && index.block_size == block_size);
    }

    /// Returns the readings of all indexes.
    pub(super) fn readings(&self) -> Readings {
        let mut readings = Readings::default();
        for described in self.indexes.values() {
            readings.insert(described.point.index, described.reading.clone());
        }
        readings
    }

    /// Returns the points that the newest indexes describe, one for each number. Ids ascend, so the last operation on a point wrote
    /// its newest index.
    pub(super) fn newest(&self, is_eligible: impl Fn(&RestorePoint) -> bool) -> Vec<RestorePoint> {
        let points = || self.indexes.values().map(|described| &described.point).filter(|point| is_eligible(point));
        let mut newest: BTreeMap<Sequence, &RestorePoint> = points().map(|point| (point.sequence, point)).collect();
        let last = newest.iter().rfind(|(_, point)| !point.is_back_filled);
        if let Some((sequence, last)) = last.filter(|(_, last)| last.kind == PointKind::Rollback) {
            // The rollback is of a commit that was never made: the full after it does not exist.
            let before = points().filter(|point| point.sequence == *sequence && point.kind != PointKind::Rollback);
            let last = before.last().unwrap_or(*last);
            newest.insert(last.sequence, last);
        }
        newest.into_values().cloned().collect()
    }
}

/// Returns the states that intact indexes tell, to stand in for indexes of `head` that are lost.
pub(super) async fn elsewhere(survey: &Survey, head: &Head) -> Result<Elsewhere> {
    let mut all = All::of(survey).await?;
    all.retain(head.folder, head.chain.block_size());
    states_elsewhere(&all, head.chain.block_size(), Some(head))
}

/// The same as [`elsewhere`], with indexes that were read already.
pub(super) fn states_elsewhere(all: &All, block_size: BlockSize, head: Option<&Head>) -> Result<Elsewhere> {
    let readings = all.readings();
    let (chain, baseless) = arranged(block_size, all.newest(|point| readings.accept(point.indexes())))?;
    Ok(Known::of(&chain, &readings, &Elsewhere::new(), |before, point, base| {
        stands_on(head, &baseless, before, (point, base))
    })
    .into_elsewhere())
}

/// Whether a point is known to stand on the one before it on its path, or on none. It is known if its index names that base, or if
/// a head has the two side by side.
///
/// If the point between them is lost, the changes of the later point would be laid over the wrong state.
pub(super) fn stands_on(
    head: Option<&Head>,
    baseless: &BTreeSet<Sequence>,
    before: Option<&RestorePoint>,
    (point, base): (&RestorePoint, Option<Sequence>),
) -> bool {
    let Some(before) = before else { return !baseless.contains(&point.sequence) };
    let says_so = |head: &Head| {
        let numbers = head.chain.points().iter().map(|point| point.sequence);
        let mut pairs = numbers.clone().zip(numbers.skip(1));
        pairs.any(|pair| [pair, (pair.1, pair.0)].contains(&(before.sequence, point.sequence)))
    };
    base == Some(before.sequence) || head.is_some_and(says_so)
}

/// Arranges points as a chain with its archives. Archives are fulls before another full that nothing stands on.
///
/// If the full that a point stands on is not known, the point takes the place of the full, and its number is in the returned set.
/// For such a point, only the machines count whose blocks its own indexes say completely.
pub(super) fn arranged(block_size: BlockSize, points: Vec<RestorePoint>) -> Result<(Chain, BTreeSet<Sequence>)> {
    let mut baseless = BTreeSet::new();
    let mut chain: Vec<RestorePoint> = Vec::new();
    // What was made later stands beside the chain, whatever its number.
    let (back_filled, points): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| point.is_back_filled);
    let mut stand_alone = |point: &mut RestorePoint| {
        point.kind = PointKind::Full;
        baseless.insert(point.sequence);
    };
    for mut point in points.into_iter().filter(|point| !point.machines.is_empty()) {
        if let (PointKind::Increment, last) = (point.kind, chain.last_mut())
            && last.as_ref().is_none_or(|last| last.kind == PointKind::Rollback)
        {
            last.into_iter().for_each(&mut stand_alone);
            stand_alone(&mut point);
        }
        chain.push(point);
    }
    chain.last_mut().filter(|last| last.kind == PointKind::Rollback).into_iter().for_each(&mut stand_alone);
    let is_alone = |pair: &[RestorePoint]| pair.iter().all(|point| point.kind == PointKind::Full);
    let archives = chain.windows(2).take_while(|pair| is_alone(pair)).count();
    let points = chain.split_off(archives);
    chain.extend(back_filled.into_iter().filter(|point| !point.machines.is_empty()));
    let chain = Chain::with_archives(block_size, chain, points).map_err(|error| Error::defect(error.to_string()))?;
    Ok((chain, baseless))
}

/// Reads the index, or its second copy. Returns the reason if neither can be read.
async fn load(survey: &Survey, id: ObjectId) -> Result<std::result::Result<Described, IndexLoss>> {
    let own = survey.layout.index(id)?;
    let mut best = Err(IndexLoss::WithCopy { index: own.clone() });
    for key in [own, survey.layout.index_second_copy(id)?] {
        let bytes = match survey.repository.backend().get(&key, INDEX_BYTES_MAX).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => continue,
            answer => answer.while_doing(|| format!("reading {key}"))?,
        };
        let read = reading::read(&bytes, &key);
        let reference = read.as_ref().ok().and_then(|(directory, _)| directory.reference(&bytes).ok());
        match (read, reference) {
            (Ok((directory, reading)), Some(index)) if directory.id == id => {
                let is_better = best.as_ref().is_err() || reading.is_accepted;
                let machines = directory.machines.iter().map(|(state, _)| state.clone()).collect();
                let point = RestorePoint::new(directory.sequence, directory.time, directory.kind, machines, index)
                    .with_below(directory.below)
                    .with_back_filled(directory.is_back_filled);
                let (folder, block_size, machines) = (directory.folder, directory.block_size, directory.machines);
                let is_whole = reading.is_accepted;
                if is_better {
                    best = Ok(Described { folder, block_size, machines, point, reading });
                }
                if is_whole {
                    break;
                }
            }
            (Err(why), _) if best.is_err() => best = Err(why),
            _ => {}
        }
    }
    Ok(best)
}
