//! What the next run of a copy job will do, without doing it.

use offsite_core::format::head::{Head, Role};
use offsite_core::plan::{Cost, sync};
use offsite_core::{MachineName, MachineState, ObjectId, PointKind, Status, Timestamp};

use super::selection::Choice;
use super::{CopyJob, latest_state, newest, numbered};
use crate::folder::JobFolder;
use crate::indexes::Indexes;
use crate::layout::Layout;
use crate::mover::OutputHeader;
use crate::point::{PointIndex, encode_index};
use crate::report::MachineCopy;
use crate::transform::{PlannedOperation, plan};
use crate::writer::{WriterSettings, first_head};
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
        let choice = self.selection.choose(source, &latest, now).await?;
        // Ids that no writer will ever mint: nothing of this plan is carried out.
        let mut minted = 0;
        let mut mint = || {
            minted += 1;
            ObjectId::new(u32::MAX, minted)
        };
        let mut planned_sync = None;
        if !choice.machines.is_empty() {
            let (time, origin) = newest(&choice.machines, source);
            let header = OutputHeader {
                folder: head.folder,
                sequence: head.next_sequence,
                time,
                block_size: source.chain().block_size(),
                alignment_bytes: head.alignment_bytes,
                machines: numbered(&head.machines, &choice),
            };
            let plan = sync(&latest, &choice.wanted, header.placement(&self.target), &mut mint);
            let full = head.chain.latest().is_none();
            let marks = self.marks(&head, time);
            let point = PointIndex {
                id: mint(),
                sequence: head.next_sequence,
                time,
                kind: if full { PointKind::Full } else { PointKind::Increment },
                origin: Some(origin),
                machines: states(&choice),
                below: Vec::new(),
                stored: None,
                map: plan.index.clone(),
                flags: marks.point,
            };
            let files = plan.files_after(&head.files, head.alignment_bytes.into());
            let (point, _) = encode_index(&head, point, &files)?;
            let cost = plan.cost();
            indexes.insert(point.index.id, plan.index);
            let chain = head.chain.flagged_latest(marks.predecessor).and_then(|chain| chain.appended(point));
            head.chain = chain.map_err(|error| Error::Defect(error.to_string()))?;
            head.files = files;
            planned_sync = Some(PlannedSync { machines: choice.machines, full, cost });
        }
        let added = u32::from(planned_sync.is_some());
        let operations = plan(&self.target, &mut head, &mut indexes, &self.transforms, now, added, &mut mint).await?;
        Ok(RunPlan { sync: planned_sync, operations, missing: choice.missing })
    }
}

/// The machines of a choice, as a point has them.
pub(super) fn states(choice: &Choice) -> Vec<MachineState> {
    let states = choice.machines.iter().map(|machine| MachineState {
        name: machine.name.clone(),
        status: Status::Complete,
        captured: machine.captured,
    });
    states.collect()
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
