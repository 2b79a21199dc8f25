//! What the next run of a copy job will do, without doing it.

use std::collections::BTreeMap;

use offsite_core::plan::{Cost, Reclaiming, sync};
use offsite_core::{
    BlockMap, IndexReference, MachineName, MachineState, ObjectId, PointKind, RestorePoint, Sequence, Status, Timestamp,
};

use super::selection::Choice;
use super::{CopyJob, numbered, state_of};
use crate::folder::{JobFolder, load_index};
use crate::mover::OutputHeader;
use crate::report::MachineCopy;
use crate::transform::{Steps, plan_merge};
use crate::{Error, Result};

/// What the next run of a copy job will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPlan {
    /// The copy, if anything is new.
    pub sync: Option<PlannedSync>,
    /// The merge after it, if one is due.
    pub merge: Option<PlannedMerge>,
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

/// A merge that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMerge {
    /// The points that will be absorbed.
    pub absorbed: Vec<Sequence>,
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
        let mut steps = Steps::new();
        if let Some(target) = target {
            self.check_block_size(source, target.chain().block_size(), !target.chain().points().is_empty())?;
            for point in target.chain().points() {
                steps.push((point.clone(), load(target, point).await?));
            }
        }
        let latest = state_of(&steps);
        let choice = self.selection.choose(source, &latest, now).await?;
        let known = target.map_or(&[][..], |target| &target.head().machines);
        let alignment_bytes = match target {
            Some(target) => target.head().alignment_bytes,
            None => self.target.backend_granularity().unwrap_or(64).max(64),
        };
        let sequence = target.map_or(Sequence(1), |target| target.head().next_sequence);
        let mut lengths = target.map_or_else(BTreeMap::new, |target| target.head().file_lengths());
        let mut planned_sync = None;
        if !choice.machines.is_empty() {
            let header = OutputHeader {
                folder: source.id(),
                sequence,
                time: now,
                block_size: source.chain().block_size(),
                alignment_bytes,
                machines: numbered(known, &choice),
            };
            // Ids that no writer will ever mint: nothing of this plan is carried out.
            let mut minted = 0;
            let mint = || {
                minted += 1;
                ObjectId::new(u32::MAX, minted)
            };
            let plan = sync(&latest, &choice.wanted, header.placement(&self.target), mint);
            lengths.extend(&plan.files);
            let full = steps.is_empty();
            let cost = plan.cost();
            steps.push((imagined_point(sequence, now, full, &choice), plan.index));
            planned_sync = Some(PlannedSync { machines: choice.machines, full, cost });
        }
        let punches = self.target.backend_granularity().is_some();
        let reclaiming = Reclaiming { alignment: alignment_bytes.into(), lengths: &lengths, punches };
        let merge = plan_merge(&steps, Some(self.keep), reclaiming, now)?.map(|merge| PlannedMerge {
            absorbed: steps[..merge.increments].iter().map(|(point, _)| point.sequence).collect(),
            cost: merge.plan.cost(),
        });
        Ok(RunPlan { sync: planned_sync, merge, missing: choice.missing })
    }
}

async fn load(folder: &JobFolder, point: &RestorePoint) -> Result<BlockMap> {
    let index = load_index(folder.repository(), folder.layout(), folder.head(), point).await?;
    Ok(index.map)
}

/// The point that a sync would make, as far as a merge after it looks at points.
fn imagined_point(sequence: Sequence, time: Timestamp, full: bool, choice: &Choice) -> RestorePoint {
    let machines = choice.machines.iter().map(|machine| MachineState {
        name: machine.name.clone(),
        status: Status::Complete,
        captured: machine.captured,
    });
    RestorePoint {
        sequence,
        time,
        kind: if full { PointKind::Full } else { PointKind::Increment },
        machines: machines.collect(),
        index: IndexReference { id: ObjectId::new(u32::MAX, 0), length: 0, directory_checksum: 0 },
        stored_blocks: 0,
        stored_bytes: 0,
        origin: None,
    }
}
