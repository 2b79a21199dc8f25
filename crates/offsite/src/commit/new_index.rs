//! Indexes in the bytes that are stored, before they are.

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
    /// The point whose state it changes; a full has none.
    pub(crate) base: Option<Sequence>,
    pub(crate) machines: Vec<MachineState>,
    /// What its index says of whole machines.
    pub(crate) map: BlockMap,
    /// What the index stands on. `None` if it stands alone.
    pub(crate) stack: Option<Stack>,
    /// What arrived of its incomplete machines.
    pub(crate) spare: BlockMap,
    pub(crate) flags: Flags,
}

/// What an index stands on, and how it came to that.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    /// The indexes that it stands on.
    pub(crate) below: Vec<IndexReference>,
    /// Those that were there before: `below`, and then those that the index takes the place of.
    pub(crate) lower: Vec<IndexReference>,
    /// What comes on top of what was there.
    pub(crate) step: BlockMap,
    /// What the point has stored.
    pub(crate) stored: Stored,
}

/// An index in the bytes that are stored.
#[derive(Debug)]
pub(crate) struct NewIndex {
    /// The point that it describes.
    pub(crate) point: RestorePoint,
    pub(crate) bytes: Bytes,
    pub(crate) stack: Option<Stack>,
    /// What is meant.
    index: Index,
}

impl NewIndex {
    /// What it says of whole machines.
    pub(crate) fn map(&self) -> &BlockMap {
        &self.index.map
    }

    /// What it says of machines that are not whole.
    pub(crate) fn spare(&self) -> &BlockMap {
        &self.index.spare
    }

    /// The backup files that it lists, with their lengths.
    pub(crate) fn files(&self) -> &BTreeMap<ObjectId, u64> {
        &self.index.files
    }

    /// Opens it as a reader does.
    ///
    /// # Errors
    /// [`Error::Defect`] if a reader would not accept it, or would read something else in it than is meant.
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

/// The point with its index, encoded.
///
/// `files` knows every file that the index may refer to.
pub(crate) fn encode_index(head: &Head, point: PointIndex, files: &Files) -> Result<NewIndex> {
    let PointIndex { id, sequence, time, kind, base, machines, map, stack, spare, flags } = point;
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
