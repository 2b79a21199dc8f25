//! What the next run of a copy job will do, without doing it.

use offsite_core::format::head::{Head, Role};
use offsite_core::plan::Cost;
use offsite_core::{MachineName, ObjectId, PointKind, Timestamp};

use super::offer::{NewPoint, Offer};
use super::{CopyJob, latest_state};
use crate::folder::JobFolder;
use crate::indexes::Indexes;
use crate::layout::Layout;
use crate::point::{encode_index, number_machines};
use crate::report::MachineCopy;
use crate::transform::{Drafting, PlannedOperation, imagine, plan, whole};
use crate::writer::{WriterSettings, first_head, last_selected};
use crate::{Error, OpenRepository, Result};

/// What the next run of a copy job will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPlan {
    /// The copy, if anything is new.
    pub sync: Option<PlannedSync>,
    /// The transforms after it, in the order in which they will be done.
    pub operations: Vec<PlannedOperation>,
    /// Selected machines that the source has no whole restore point of.
    pub missing: Vec<MachineName>,
}

/// A copy that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSync {
    /// The machines, with the states that will be copied.
    pub machines: Vec<MachineCopy>,
    /// Whether the new point will stand alone.
    pub full: bool,
    /// What it costs.
    pub cost: Cost,
}

impl CopyJob {
    /// What a run at `now` would do. Nothing is written, neither here nor there.
    ///
    /// # Errors
    /// As for [`CopyJob::run`], but for writing.
    pub async fn plan(&self, now: Timestamp) -> Result<RunPlan> {
        let source = JobFolder::open(&self.source, &self.source_job).await?;
        let target = match JobFolder::open(&self.target, &self.name).await {
            Err(Error::UnknownJob { .. }) => None,
            answer => Some(answer?),
        };
        let result = self.plan_with(&source, target.as_ref(), now).await;
        let result = source.unpin(None, result).await;
        match &target {
            Some(target) => target.unpin(None, result).await,
            None => result,
        }
    }

    async fn plan_with(&self, source: &JobFolder, target: Option<&JobFolder>, now: Timestamp) -> Result<RunPlan> {
        let layout = Layout::new(self.name.clone());
        let mut head = match target {
            Some(target) => target.head().clone(),
            None => imagined_head(&self.target, source, now)?,
        };
        self.check_block_size(source, head.chain.block_size(), head.chain.latest().is_some())?;
        let mut indexes = Indexes::new(&self.target, &layout, head.folder);
        let latest = latest_state(&head, &mut indexes).await?;
        // Ids that no writer will ever mint: nothing of this plan is carried out.
        let mut minted = 0;
        let mut mint = || {
            minted += 1;
            ObjectId::new(u32::MAX, minted)
        };
        let Offer { stored, selected, missing } = self.offer(&head, source, &latest, now, &mut mint).await?;
        let mut planned_sync = None;
        if let Some(NewPoint { point, plan, predecessor, machines, .. }) = stored {
            let (full, cost, map) = (point.kind == PointKind::Full, plan.cost(), point.map.clone());
            let files = plan.files_after(&head.files, head.alignment_bytes.into());
            let (point, _) = encode_index(&head, point, &files)?;
            indexes.insert(point.index.id, map);
            (head.machines, _) = number_machines(&head.machines, point.machines.iter().map(|machine| &machine.name));
            let chain = head.chain.flagged_latest(predecessor).and_then(|chain| chain.appended(point));
            head.chain = chain.map_err(|error| Error::Defect(error.to_string()))?;
            head.files = files;
            planned_sync = Some(PlannedSync { machines, full, cost });
        }
        head.last_selected = last_selected(&head, &selected, now.max(head.clock));
        let added = u32::from(planned_sync.is_some());
        let mut operations = Vec::new();
        while let Some(sequence) = whole::waiting(&head, self.transforms.retention.as_ref()) {
            let imagined = head.clone();
            let mut drafting =
                Drafting { repository: &self.target, head: &imagined, indexes: &mut indexes, mint: &mut mint };
            let draft = whole::draft(&mut drafting, source, sequence).await?;
            operations.push(imagine(&mut head, draft));
        }
        let settings = &self.transforms;
        operations.extend(plan(&self.target, &mut head, &mut indexes, settings, now, added, &mut mint).await?);
        Ok(RunPlan { sync: planned_sync, operations, missing })
    }
}

/// The head of a folder that is not there yet.
fn imagined_head(target: &OpenRepository, source: &JobFolder, now: Timestamp) -> Result<Head> {
    let settings = WriterSettings {
        role: Role::Copy,
        block_size: source.chain().block_size(),
        lease_duration: std::time::Duration::ZERO,
        now,
    };
    first_head(target, &settings, None)
}
