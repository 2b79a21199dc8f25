//! The index of a restore point, and committing the point.

use std::collections::BTreeMap;
use std::ops::Range;

use offsite_core::Head;
use offsite_core::plan::{Plan, Retired};
use offsite_core::retention::Flags;
use offsite_core::{BlockMap, Chain, ChainError, MachineName, ObjectId, RestorePoint, Sequence};

use crate::commit::new_index::{NewIndex, PointIndex, encode_index, number_machines};
use crate::commit::read_back::{Change, keep_needed, prove};
use crate::commit::release::prepare;
use crate::commit::writer::{Writer, used_up};
use crate::folder::links::note_linked;
use crate::reader::indexes::Indexes;
use crate::{Error, Result};

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

/// Commits a new restore point, whose files are durable, with its index.
pub(crate) async fn commit_point(
    writer: &mut Writer,
    indexes: &mut Indexes,
    addition: Addition<'_>,
) -> Result<RestorePoint> {
    let Addition { rollback, point, plan, predecessor_flags, spare, abandoned } = addition;
    let defect = |error: ChainError| Error::defect(error.to_string());
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
    after.extend(new.last().map(|index| index.spare()));
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
