//! Adds a restore point to a chain.

use std::collections::BTreeMap;
use std::ops::Range;

use offsite_core::plan::Plan;
use offsite_core::retention::Flags;
use offsite_core::{BlockMap, Chain, ChainError, MachineName, ObjectId, RestorePoint, Sequence};

use crate::commit::draft::{BlockViews, Draft, Outline, commit};
use crate::commit::new_index::{PointIndex, encode_index, number_machines};
use crate::commit::plan_context::PlanContext;
use crate::commit::writer::{Writer, used_up};
use crate::reader::indexes::Indexes;
use crate::{Error, Result};

/// A restore point that is added to a chain.
pub(crate) struct Addition<'a> {
    /// The rollback that the point before becomes. `None` if that point stays as it is.
    pub(crate) rollback: Option<PointIndex>,
    pub(crate) point: PointIndex,
    pub(crate) plan: Plan,
    /// The flags for the point before.
    pub(crate) predecessor_flags: Flags,
    /// The spare blocks before.
    pub(crate) spare: &'a BlockMap,
    /// The parts of the plan's new files that belong to machines that the point does not have.
    pub(crate) abandoned: Abandoned,
}

/// What was stored for machines that failed afterwards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abandoned {
    /// The machines, failed or not, in the order in which they were numbered for the frames.
    pub(crate) numbered: Vec<MachineName>,
    /// Ranges of files that nothing ever referred to.
    pub(crate) ranges: BTreeMap<ObjectId, Vec<Range<u64>>>,
}

impl PlanContext<'_> {
    /// Returns the draft of a chain with this point, and the point.
    ///
    /// # Errors
    /// The same as [`PlanContext::draft`].
    pub(crate) async fn draft_point(&mut self, addition: Addition<'_>) -> Result<(Draft, RestorePoint)> {
        let Addition { rollback, point, plan, predecessor_flags, spare, abandoned } = addition;
        let defect = |error: ChainError| Error::defect(error.to_string());
        // A machine that failed keeps its number, as the frames of the machines after it already have theirs.
        let numbered = number_machines(&self.head.machines, abandoned.numbered.iter()).0;
        let before = self.head.chain.flagged_latest(predecessor_flags).map_err(defect)?;
        let files = plan.files_after(&self.head.files, self.head.alignment_bytes.into());
        let mut head = self.head.clone();
        head.machines = numbered;
        let mut points = before.points().to_vec();
        let mut indexes = Vec::new();
        if let Some((rollback, latest)) = rollback.zip(points.last_mut()) {
            let rollback = encode_index(&head, rollback, &files)?;
            *latest = rollback.point.clone();
            indexes.push(rollback);
        }
        let new = encode_index(&head, point, &files)?;
        let (point, spare_after) = (new.point.clone(), new.spare().clone());
        indexes.push(new);
        for index in &indexes {
            index.open(self.indexes)?;
        }
        let next_sequence = point.sequence.0.checked_add(1).map(Sequence);
        let next_sequence =
            next_sequence.ok_or_else(|| used_up(self.indexes.layout().job(), "numbers of restore points"))?;
        // The point replaces one that was made earlier in the same interval.
        points.retain(|other| other.sequence != point.sequence);
        points.push(point.clone());
        let chain = Chain::with_archives(before.block_size(), before.archives().to_vec(), points);
        let machines = number_machines(&head.machines, point.machines.iter().map(|machine| &machine.name)).0;
        let views = BlockViews { before: vec![spare], after: vec![&spare_after], others: Vec::new() };
        let outline = Outline {
            machines: Some(machines),
            next_sequence: Some(next_sequence),
            shows_step: true,
            abandoned: abandoned.ranges,
            ..Outline::new(plan, chain, indexes, views)
        };
        Ok((self.draft(outline).await?, point))
    }
}

/// Commits a new restore point with its index. Its files must be durable.
pub(crate) async fn commit_point(
    writer: &mut Writer,
    indexes: &mut Indexes,
    addition: Addition<'_>,
) -> Result<RestorePoint> {
    let (draft, point) = writer.plan_context(indexes).draft_point(addition).await?;
    commit(writer, draft).await?;
    Ok(point)
}
