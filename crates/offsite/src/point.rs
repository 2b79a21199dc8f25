//! Storing the index of a restore point, and committing the point.

use std::collections::BTreeMap;

use offsite_core::format::head::{FileState, Head};
use offsite_core::format::index::Index;
use offsite_core::{
    BlockMap, MachineName, MachineNumber, MachineState, ObjectId, Origin, PointKind, RestorePoint, Sequence, Timestamp,
};

use crate::writer::{Writer, used_up};
use crate::{Error, Result};

/// A restore point that is about to be stored.
#[derive(Debug, Clone)]
pub(crate) struct PointIndex {
    pub(crate) id: ObjectId,
    pub(crate) sequence: Sequence,
    pub(crate) time: Timestamp,
    pub(crate) kind: PointKind,
    pub(crate) origin: Option<Origin>,
    pub(crate) machines: Vec<MachineState>,
    pub(crate) map: BlockMap,
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

/// Stores the index, durably, and returns the point that it describes.
///
/// `lengths` knows every file that the index may refer to.
pub(crate) async fn store_index(
    writer: &Writer,
    point: PointIndex,
    lengths: &BTreeMap<ObjectId, u64>,
) -> Result<RestorePoint> {
    let head = writer.head();
    let (_, numbers) = number_machines(&head.machines, point.machines.iter().map(|machine| &machine.name));
    let files = point.map.files().into_iter().map(|id| match lengths.get(&id) {
        Some(length) => Ok((id, *length)),
        None => Err(Error::Defect(format!("the index refers to backup file {id}, which is not the chain's"))),
    });
    let index = Index {
        folder: head.folder,
        id: point.id,
        sequence: point.sequence,
        time: point.time,
        kind: point.kind,
        block_size: head.chain.block_size(),
        origin: point.origin,
        files: files.collect::<Result<_>>()?,
        machines: point
            .machines
            .into_iter()
            .map(|machine| {
                let number = numbers[&machine.name];
                (machine, number)
            })
            .collect(),
        map: point.map,
        spare: BlockMap::empty(),
    };
    let bytes = index.encode().map_err(|error| Error::Defect(error.to_string()))?;
    let point = index.point(&bytes).map_err(|error| Error::Defect(error.to_string()))?;
    writer.put(&writer.layout().index(index.id)?, bytes).await?;
    Ok(point)
}

/// Commits a new restore point, whose index and files are durable.
pub(crate) async fn commit_point(
    writer: &mut Writer,
    point: RestorePoint,
    files: &BTreeMap<ObjectId, u64>,
) -> Result<()> {
    let next_sequence = point.sequence.0.checked_add(1).map(Sequence);
    let next_sequence = next_sequence.ok_or_else(|| used_up(writer.layout().job(), "numbers of restore points"))?;
    let chain = writer.head().chain.appended(point.clone()).map_err(|error| Error::Defect(error.to_string()))?;
    let (machines, _) = number_machines(&writer.head().machines, point.machines.iter().map(|machine| &machine.name));
    writer
        .commit(|head: &mut Head| {
            head.chain = chain;
            head.machines = machines;
            head.next_sequence = next_sequence;
            let files = files.iter().map(|(id, length)| (*id, FileState { length: *length, retain_until: None }));
            head.files.extend(files);
        })
        .await
}
