//! What the next run of a copy job will do, without doing it.

use futures::future::BoxFuture;
use offsite_core::plan::Cost;
use offsite_core::{Head, Role};
use offsite_core::{MachineName, ObjectId, PointKind, Sequence, Timestamp};

use super::offer::{Offer, Settled};
use super::room::Room;
use super::source::Sources;
use super::sync::is_fine;
use super::{CopyJob, SyncRequest, latest_state};
use crate::commit::clock_rule::ClockRule;
use crate::commit::new_index::{encode_index, number_machines};
use crate::commit::writer::{WriterSettings, first_head};
use crate::error::within;
use crate::folder::layout::Layout;
use crate::jobs::transform::{
    Drafting, PlannedOperation, Planning, imagine, imagine_retired, plan, plan_healing, whole,
};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{MachineCopy, MachineOutcome, MachineReport, absent};
use crate::{Error, OpenRepository, Result};

/// What the next run of a copy job will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunPlan {
    /// The copy, if anything is new.
    pub sync: Option<PlannedSync>,
    /// The transforms after it, in the order in which they will be done.
    pub operations: Vec<PlannedOperation>,
    /// Each machine that the job selects, as it would be after the run.
    pub machines: Vec<MachineReport>,
    /// What else should be known: sources that could not be looked at.
    pub notes: Vec<String>,
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
    /// The room that it needs, and that there is: without enough of it, it is not begun.
    pub room: Room,
}

impl RunPlan {
    /// Machines that the job selects and the sources have nothing of to copy.
    pub fn absent(&self) -> impl Iterator<Item = &MachineName> {
        absent(&self.machines)
    }
}

impl CopyJob {
    /// What a run at `now` would do. Nothing is written, neither here nor there.
    ///
    /// # Errors
    /// As for [`CopyJob::run`], but for writing.
    pub fn plan(&self, now: Timestamp) -> BoxFuture<'_, Result<RunPlan>> {
        within(|error| self.tell(error), async move {
            let sources = Sources::opened(self).await?;
            let target = match JobFolder::open(&self.target, &self.name).await {
                Err(Error::UnknownJob { .. }) => Ok(None),
                answer => answer.map(Some),
            };
            let result = match &target {
                Ok(target) => self.plan_with(&sources, target.as_ref(), now).await,
                Err(_) => Ok(RunPlan::default()),
            };
            let result = sources.unpin(result).await;
            match target? {
                Some(target) => target.unpin(None, result).await,
                None => result,
            }
        })
    }

    async fn plan_with(&self, sources: &Sources, target: Option<&JobFolder>, now: Timestamp) -> Result<RunPlan> {
        let layout = Layout::new(self.name.clone());
        let mut head = match target {
            Some(target) => target.head_for_next_run().await?,
            None => imagined_head(&self.target, sources, now)?,
        };
        if head.chain.latest().is_none() {
            head.chain = imagined_head(&self.target, sources, now)?.chain;
        }
        let stored_files = head.files.clone();
        let mut indexes = Indexes::new(&self.target, &layout, head.folder);
        let latest = latest_state(&head, &mut indexes).await?;
        // Ids that no writer will ever mint: nothing of this plan is carried out.
        let mut minted = 0;
        let mut mint = || {
            minted += 1;
            ObjectId::new(u32::MAX, minted)
        };
        let request = SyncRequest::at(now);
        let offer = self.offer(&head, &mut indexes, sources, &latest, &request, &mut mint).await?;
        let Offer { stored, selected, others: mut machines, failure, notes, doubts, .. } = offer;
        let mut planned_sync = None;
        if let Some(stored) = stored {
            let (copies, predecessor) = (stored.machines.clone(), stored.predecessor);
            let room = self.room(&stored.plan).await?;
            let Settled { point, plan, .. } = stored.settle(&head, &self.target, None)?;
            let (full, cost) = (point.kind == PointKind::Full, plan.cost());
            let files = plan.files_after(&head.files, head.alignment_bytes.into());
            let index = encode_index(&head, point, &files)?;
            index.open(&mut indexes)?;
            let point = index.point;
            (head.machines, _) = number_machines(&head.machines, point.machines.iter().map(|machine| &machine.name));
            head.next_sequence = Sequence(point.sequence.0.saturating_add(1));
            let chain = head.chain.flagged_latest(predecessor).and_then(|chain| chain.appended(point));
            head.chain = chain.map_err(|error| Error::defect(error.to_string()))?;
            head.files = files;
            imagine_retired(&mut head, &mut indexes, &mut mint, &plan.retired);
            let report = |copy: &MachineCopy| {
                let outcome = MachineOutcome::Complete { captured: copy.captured };
                MachineReport { name: copy.name.clone(), outcome }
            };
            machines.extend(copies.iter().map(report));
            machines.sort_by(|left, right| left.name.cmp(&right.name));
            planned_sync = Some(PlannedSync { machines: copies, full, cost, room });
        } else if let Some(error) = failure
            && !machines.iter().any(is_fine)
        {
            return Err(error);
        }
        head.last_selected = selected.dates(&head, self.transforms.clock().judge(head.clock, now).mark());
        let added = u32::from(planned_sync.is_some());
        let mut operations = Vec::new();
        let folders: Vec<&JobFolder> = sources.folders().collect();
        let target = Planning { repository: &self.target, stored: &stored_files };
        operations.extend(plan_healing(target, &mut head, &mut indexes, &folders, &mut mint).await?);
        while let Some(sequence) = whole::waiting(&head, self.transforms.retention.as_ref()) {
            let imagined = head.clone();
            let mut drafting = Drafting {
                repository: &self.target,
                head: &imagined,
                stored: &stored_files,
                indexes: &mut indexes,
                mint: &mut mint,
            };
            let draft = whole::draft(&mut drafting, &folders, sequence).await?;
            operations.push(imagine(&mut head, &mut indexes, &mut mint, draft));
        }
        let settings = &self.transforms;
        operations.extend(plan(target, &mut head, &mut indexes, settings, now, added, &mut mint).await?);
        Ok(RunPlan {
            sync: planned_sync,
            operations,
            machines,
            notes: sources.notes.iter().chain(&self.notes).cloned().chain(notes).chain(doubts).collect(),
        })
    }
}

/// The head of a folder that is not there yet.
fn imagined_head(target: &OpenRepository, sources: &Sources, now: Timestamp) -> Result<Head> {
    let settings = WriterSettings {
        role: Role::Copy,
        block_size: sources.block_size(),
        lease_duration: std::time::Duration::ZERO,
        now,
        clock: ClockRule::default(),
    };
    first_head(target, &settings, None)
}
