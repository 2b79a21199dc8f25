//! Encodes new indexes before they are stored.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offsite_core::format::WireFormat;
use offsite_core::plan::Files;
use offsite_core::retention::Flags;
use offsite_core::{
    BlockMap, Head, Index, IndexReference, MachineMap, MachineName, MachineNumber, MachineState, ObjectId, PointKind,
    RestorePoint, Sequence, Stored, Timestamp,
};

use crate::error::causes;
use crate::reader::indexes::Indexes;
use crate::seams::is_broken;
use crate::{Error, Result};

/// A restore point that is about to be stored.
#[derive(Debug, Clone)]
pub(crate) struct PointIndex {
    pub(crate) id: ObjectId,
    pub(crate) sequence: Sequence,
    pub(crate) time: Timestamp,
    pub(crate) kind: PointKind,
    /// The point whose state it changes. `None` for a full.
    pub(crate) base: Option<Sequence>,
    pub(crate) machines: Vec<MachineState>,
    /// What its index says of complete machines.
    pub(crate) map: BlockMap,
    /// The indexes that its index stands on. `None` if it stands alone.
    pub(crate) stack: Option<Stack>,
    /// The spare blocks: what arrived of its incomplete machines.
    pub(crate) spare: BlockMap,
    pub(crate) flags: Flags,
    /// Whether it is an archive that is made later.
    pub(crate) is_back_filled: bool,
}

/// The indexes that an index stands on, and how they were chosen.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    /// The indexes that it stands on.
    pub(crate) below: Vec<IndexReference>,
    /// The indexes that were there before: `below`, followed by those that the new index replaces.
    pub(crate) lower: Vec<IndexReference>,
    /// The rows that the operation adds to the indexes that were there.
    pub(crate) step: BlockMap,
    /// What the point has stored.
    pub(crate) stored: Stored,
}

/// An encoded index.
#[derive(Debug)]
pub(crate) struct NewIndex {
    /// The point that it describes.
    pub(crate) point: RestorePoint,
    pub(crate) bytes: Bytes,
    pub(crate) stack: Option<Stack>,
    /// The index that the bytes should mean.
    index: Index,
}

impl NewIndex {
    /// Returns what it says of complete machines.
    pub(crate) fn map(&self) -> &BlockMap {
        &self.index.map
    }

    /// Returns what it says of incomplete machines.
    pub(crate) fn spare(&self) -> &BlockMap {
        &self.index.spare
    }

    /// Returns the backup files that it lists, with their lengths in bytes.
    pub(crate) fn files(&self) -> &BTreeMap<ObjectId, u64> {
        &self.index.files
    }

    /// Opens it as a reader does.
    ///
    /// # Errors
    /// [`Error::Defect`] if a reader would not accept it, or would read something else.
    pub(crate) fn open(&self, indexes: &mut Indexes) -> Result<()> {
        let id = self.point.index.id;
        if is_broken!(NotReadBack) {
            indexes.insert(id, self.index.map.clone());
            return Ok(());
        }
        let opened = indexes.open(&self.point, &self.bytes);
        let opened =
            opened.map_err(|error| Error::defect(format!("index {id} could not be read: {}", causes(&error))))?;
        if opened != self.index {
            return Err(Error::defect(format!("index {id} would be read as another one")));
        }
        Ok(())
    }
}

/// Returns the numbers of machines in a job folder. New names get the next numbers.
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

/// Encodes the index of a point.
///
/// `files` has every file that the index may refer to.
pub(crate) fn encode_index(head: &Head, point: PointIndex, files: &Files) -> Result<NewIndex> {
    let PointIndex { id, sequence, time, kind, base, machines, map, stack, spare, flags, is_back_filled } = point;
    let (_, numbers) = number_machines(&head.machines, machines.iter().map(|machine| &machine.name));
    let mut spare = spare.project(|name| machines.iter().any(|machine| machine.name == *name && !machine.is_whole()));
    for machine in machines.iter().filter(|machine| !machine.is_whole()) {
        if spare.machine(&machine.name).is_none() {
            spare.insert(machine.name.clone(), MachineMap::new(machine.captured, BTreeMap::new()));
        }
    }
    let listed: BTreeSet<ObjectId> = map.files().union(&spare.files()).copied().collect();
    let listed = listed.into_iter().map(|id| match files.get(&id) {
        Some(file) => Ok((id, file.length)),
        None => Err(Error::defect(format!("the index refers to backup file {id}, which is not the chain's"))),
    });
    let index = Index {
        folder: head.folder,
        id,
        sequence,
        time,
        kind,
        is_back_filled,
        base,
        block_size: head.chain.block_size(),
        below: stack.as_ref().map(|stack| stack.below.clone()).unwrap_or_default(),
        files: listed.collect::<Result<_>>()?,
        machines: machines
            .into_iter()
            .map(|machine| {
                let number = numbers[&machine.name];
                (machine, number)
            })
            .collect(),
        map,
        spare,
    };
    let bytes = index.encode().map_err(|error| Error::defect(error.to_string()))?;
    let described =
        offsite_core::format::index::point(&index, &bytes).map_err(|error| Error::defect(error.to_string()))?;
    let stored = stack.as_ref().map_or(described.stored, |stack| stack.stored);
    Ok(NewIndex { point: described.with_flags(flags).with_stored(stored), bytes: bytes.into(), stack, index })
}
