//! The index of a restore point, and committing the point.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::format::head::Head;
use offsite_core::format::index::Index;
use offsite_core::plan::{Files, Plan, Retired};
use offsite_core::retention::Flags;
use offsite_core::{
    BlockMap, Chain, ChainError, IndexReference, MachineMap, MachineName, MachineNumber, MachineState, ObjectId,
    PointKind, RestorePoint, Sequence, Stored, Timestamp,
};

use crate::release::prepare;
use crate::writer::{Writer, used_up};
use crate::{Error, Result};

/// A restore point that is about to be stored.
#[derive(Debug, Clone)]
pub(crate) struct PointIndex {
    pub(crate) id: ObjectId,
    pub(crate) sequence: Sequence,
    pub(crate) time: Timestamp,
    pub(crate) kind: PointKind,
    pub(crate) machines: Vec<MachineState>,
    /// What the index stands on.
    pub(crate) below: Vec<IndexReference>,
    /// What the point has stored, where it stands on other indexes; none: what `map` has.
    pub(crate) stored: Option<Stored>,
    pub(crate) map: BlockMap,
    /// What arrived of its incomplete machines.
    pub(crate) spare: BlockMap,
    pub(crate) flags: Flags,
}

/// The numbers of machines in a job folder; names that have none yet get the next ones.
pub(crate) fn number_machines<'a>(
    known: &[MachineName],
    names: impl Iterator<Item = &'a MachineName>,
) -> (Vec<MachineName>, BTreeMap<MachineName, MachineNumber>) {
    let mut all = known.to_vec();
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let numbers = all.iter().cloned().zip((0..).map(MachineNumber)).collect();
    (all, numbers)
}

/// The point, and the bytes of its index.
///
/// `files` knows every file that the index may refer to.
pub(crate) fn encode_index(head: &Head, point: PointIndex, files: &Files) -> Result<(RestorePoint, Vec<u8>)> {
    let (_, numbers) = number_machines(&head.machines, point.machines.iter().map(|machine| &machine.name));
    let mut spare =
        point.spare.project(|name| point.machines.iter().any(|machine| machine.name == *name && !machine.is_whole()));
    for machine in point.machines.iter().filter(|machine| !machine.is_whole()) {
        if spare.machine(&machine.name).is_none() {
            spare.insert(machine.name.clone(), MachineMap { captured: machine.captured, disks: BTreeMap::new() });
        }
    }
    let listed: BTreeSet<ObjectId> = point.map.files().union(&spare.files()).copied().collect();
    let listed = listed.into_iter().map(|id| match files.get(&id) {
        Some(file) => Ok((id, file.length)),
        None => Err(Error::Defect(format!("the index refers to backup file {id}, which is not the chain's"))),
    });
    let index = Index {
        folder: head.folder,
        id: point.id,
        sequence: point.sequence,
        time: point.time,
        kind: point.kind,
        block_size: head.chain.block_size(),
        below: point.below,
        files: listed.collect::<Result<_>>()?,
        machines: point
            .machines
            .into_iter()
            .map(|machine| {
                let number = numbers[&machine.name];
                (machine, number)
            })
            .collect(),
        map: point.map,
        spare,
    };
    let bytes = index.encode().map_err(|error| Error::Defect(error.to_string()))?;
    let described = index.point(&bytes).map_err(|error| Error::Defect(error.to_string()))?;
    Ok((RestorePoint { flags: point.flags, stored: point.stored.unwrap_or(described.stored), ..described }, bytes))
}

/// Commits a new restore point, whose files are durable, with its index.
///
/// If the point before it becomes another kind of point by that, `rollback` is what it is from then on.
pub(crate) async fn commit_point(
    writer: &mut Writer,
    rollback: Option<PointIndex>,
    point: PointIndex,
    plan: &Plan,
    predecessor_flags: Flags,
) -> Result<RestorePoint> {
    let defect = |error: ChainError| Error::Defect(error.to_string());
    let files = plan.files_after(&writer.head().files, writer.head().alignment_bytes.into());
    let before = writer.head().chain.flagged_latest(predecessor_flags).map_err(defect)?;
    let mut points = before.points().to_vec();
    if let Some((rollback, latest)) = rollback.zip(points.last_mut()) {
        let (rollback, bytes) = encode_index(writer.head(), rollback, &files)?;
        writer.put_index(rollback.index.id, bytes).await?;
        *latest = rollback;
    }
    let (point, bytes) = encode_index(writer.head(), point, &files)?;
    writer.put_index(point.index.id, bytes).await?;
    let next_sequence = point.sequence.0.checked_add(1).map(Sequence);
    let next_sequence = next_sequence.ok_or_else(|| used_up(writer.layout().job(), "numbers of restore points"))?;
    // A point that was made before in the same interval is put in place of.
    points.retain(|other| other.sequence != point.sequence);
    points.push(point.clone());
    let chain = Chain::with_archives(before.block_size(), before.archives().to_vec(), points).map_err(defect)?;
    let (machines, _) = number_machines(&writer.head().machines, point.machines.iter().map(|machine| &machine.name));
    // An index that was written again with the new one nobody stands on any more.
    let mut retired = Retired { indexes: before.indexes().map(|index| index.id).collect(), ..plan.retired.clone() };
    for index in chain.indexes() {
        retired.indexes.remove(&index.id);
    }
    let retirements = prepare(writer, &retired).await?;
    writer
        .commit(|head: &mut Head| {
            head.chain = chain;
            head.machines = machines;
            head.next_sequence = next_sequence;
            head.files = files;
            head.retired.extend(retirements);
        })
        .await?;
    Ok(point)
}
