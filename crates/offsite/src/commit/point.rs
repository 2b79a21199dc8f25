//! The index of a restore point, and committing the point.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use offsite_core::format::head::Head;
use offsite_core::format::index::Index;
use offsite_core::plan::{Files, Plan, Retired};
use offsite_core::retention::Flags;
use offsite_core::{
    BlockMap, Chain, ChainError, IndexReference, MachineMap, MachineName, MachineNumber, MachineState, ObjectId,
    PointKind, RestorePoint, Sequence, Stored, Timestamp,
};

use crate::commit::read_back::{Change, keep_needed, prove};
use crate::commit::release::prepare;
use crate::commit::writer::{Writer, used_up};
use crate::error::causes;
use crate::folder::links::note_linked;
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
            opened.map_err(|error| Error::Defect(format!("index {id} could not be read: {}", causes(&error))))?;
        if opened != self.index {
            return Err(Error::Defect(format!("index {id} would be read as another one")));
        }
        Ok(())
    }
}

/// A restore point that is added to a chain.
pub(crate) struct Addition<'a> {
    /// What the point before it is from then on, if it becomes another kind of point by that.
    pub(crate) rollback: Option<PointIndex>,
    pub(crate) point: PointIndex,
    pub(crate) plan: &'a mut Plan,
    /// Flags for the point before it.
    pub(crate) predecessor_flags: Flags,
    /// What was spare before.
    pub(crate) spare: &'a BlockMap,
    /// What of the plan's new files is of machines that the point does not have.
    pub(crate) abandoned: Abandoned,
}

/// What was stored for machines that then failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abandoned {
    /// The machines, failed or not, in the order in which they were numbered for the frames.
    pub(crate) numbered: Vec<MachineName>,
    /// Ranges of files that nothing ever referred to.
    pub(crate) ranges: BTreeMap<ObjectId, Vec<Range<u64>>>,
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
            spare.insert(machine.name.clone(), MachineMap { captured: machine.captured, disks: BTreeMap::new() });
        }
    }
    let listed: BTreeSet<ObjectId> = map.files().union(&spare.files()).copied().collect();
    let listed = listed.into_iter().map(|id| match files.get(&id) {
        Some(file) => Ok((id, file.length)),
        None => Err(Error::Defect(format!("the index refers to backup file {id}, which is not the chain's"))),
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
    let bytes = index.encode().map_err(|error| Error::Defect(error.to_string()))?;
    let described = index.point(&bytes).map_err(|error| Error::Defect(error.to_string()))?;
    let stored = stack.as_ref().map_or(described.stored, |stack| stack.stored);
    Ok(NewIndex { point: RestorePoint { flags, stored, ..described }, bytes: bytes.into(), stack, index })
}

/// Commits a new restore point, whose files are durable, with its index.
pub(crate) async fn commit_point(
    writer: &mut Writer,
    indexes: &mut Indexes,
    addition: Addition<'_>,
) -> Result<RestorePoint> {
    let Addition { rollback, point, plan, predecessor_flags, spare, abandoned } = addition;
    let defect = |error: ChainError| Error::Defect(error.to_string());
    let mut head = writer.head().clone();
    // A machine that failed keeps its number: the frames of those after it bear theirs already.
    head.machines = number_machines(&head.machines, abandoned.numbered.iter()).0;
    let before = head.chain.flagged_latest(predecessor_flags).map_err(defect)?;
    // Points that the new one does not change: none of these may lose a file.
    keep_needed(indexes, &before, &mut plan.retired).await?;
    note_linked(writer.repository(), writer.layout(), &mut plan.retired).await?;
    let plan: &Plan = plan;
    let files = plan.files_after(&head.files, head.alignment_bytes.into());
    let mut points = before.points().to_vec();
    let mut new = Vec::new();
    if let Some((rollback, latest)) = rollback.zip(points.last_mut()) {
        let rollback = encode_index(&head, rollback, &files)?;
        *latest = rollback.point.clone();
        new.push(rollback);
    }
    let encoded = encode_index(&head, point, &files)?;
    let point = encoded.point.clone();
    new.push(encoded);
    let next_sequence = point.sequence.0.checked_add(1).map(Sequence);
    let next_sequence = next_sequence.ok_or_else(|| used_up(writer.layout().job(), "numbers of restore points"))?;
    // A point that was made before in the same interval is put in place of.
    points.retain(|other| other.sequence != point.sequence);
    points.push(point.clone());
    let chain = Chain::with_archives(before.block_size(), before.archives().to_vec(), points).map_err(defect)?;
    let (machines, _) = number_machines(&head.machines, point.machines.iter().map(|machine| &machine.name));
    for index in &new {
        index.open(indexes)?;
    }
    let mut after = vec![&plan.index];
    after.extend(new.last().map(|index| &index.index.spare));
    let change = Change { head: &head, chain, files, new: &new, before: vec![spare], after };
    let proven = prove(indexes, change).await?;
    for NewIndex { point, bytes, .. } in new {
        writer.put_index(point.index.id, bytes).await?;
    }
    // An index that was written again with the new one nobody stands on any more.
    let mut retired = Retired { indexes: before.indexes().map(|index| index.id).collect(), ..plan.retired.clone() };
    for index in proven.chain().indexes() {
        retired.indexes.remove(&index.id);
    }
    retired.punches |= writer.repository().backend_granularity().is_some();
    for (file, ranges) in abandoned.ranges {
        retired.ranges.entry(file).or_default().extend(ranges);
    }
    let retirements = prepare(writer, &retired).await?;
    let change = |head: &mut Head| {
        head.machines = machines;
        head.next_sequence = next_sequence;
        head.retired.extend(retirements);
    };
    writer.commit_chain(proven, change).await?;
    Ok(point)
}
