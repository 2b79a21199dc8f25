//! The plan of a copy job's next run.

use futures::future::BoxFuture;
use offsite_core::plan::Cost;
use offsite_core::{MachineName, PointKind, Role, Timestamp};

use super::offer::{NewPoint, Offer, Settled};
use super::source::Sources;
use super::sync::is_fine;
use super::{CopyJob, SyncRequest, latest_state};
use crate::commit::dry_run::DryRun;
use crate::commit::point::{Abandoned, Addition};
use crate::commit::room::Room;
use crate::commit::writer::WriterSettings;
use crate::error::within;
use crate::folder::layout::Layout;
use crate::jobs::transform::{PlannedOperation, imagine, plan, plan_at, plan_healing, whole};
use crate::lending::lenders::Lenders;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{Doubt, LookUp, MachineCopy, MachineOutcome, MachineReport, Note, Savings, absent};
use crate::{Error, Result};

/// What the next run of a copy job will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RunPlan {
    /// The points of the sources' past that a new job brings first, oldest first.
    pub history: Vec<PlannedPast>,
    /// The planned copy. `None` if nothing is new, or if the past ends with what is newest.
    pub sync: Option<PlannedSync>,
    /// The transforms after the copy, in the order in which they will be done.
    pub operations: Vec<PlannedOperation>,
    /// The outcome of each selected machine, as it would be after the run.
    pub machines: Vec<MachineReport>,
    /// Further remarks, for example about sources that could not be read.
    pub notes: Vec<Note>,
    /// Settings that probably do not do what they were meant to: machines that no longer appear, and patterns that match nothing.
    pub doubts: Vec<Doubt>,
}

/// A point of the sources' past that is to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PlannedPast {
    /// The time of the restore point.
    pub time: Timestamp,
    /// The planned copy. Its room is compared with the space that is free now, before the points before it are copied.
    pub sync: PlannedSync,
    /// The transforms that follow it, in the order in which they will be done.
    pub operations: Vec<PlannedOperation>,
}

/// A planned copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PlannedSync {
    /// The machines to copy, with their states.
    pub machines: Vec<MachineCopy>,
    /// `true` if the new point will be a full.
    pub full: bool,
    /// What the copy costs.
    pub cost: Cost,
    /// The space that the copy needs, and the space that there is. If there is not enough, the copy does not begin.
    pub room: Room,
    /// What the copy is asked for, what of it comes from the source, and why the rest does not.
    pub savings: Savings,
    /// Whether the copy looks up what the side of the target already has.
    pub look_up: LookUp,
}

impl RunPlan {
    /// The selected machines of which the sources have nothing to copy.
    pub fn absent(&self) -> impl Iterator<Item = &MachineName> {
        absent(&self.machines)
    }
}

impl CopyJob {
    /// Plans a run at `now`.
    ///
    /// It writes nothing, neither to the source nor to the target.
    ///
    /// # Errors
    /// The same as [`CopyJob::run`], except errors of writing and [`Error::UnknownMachine`]: [`RunPlan::machines`] tells
    /// of selected machines that no source has.
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
        let settings = WriterSettings {
            role: Role::Copy,
            block_size: sources.block_size(),
            lease_duration: self.lease_duration,
            now,
            clock: self.transforms.clock(),
        };
        let head = DryRun::next_head(&self.target, &self.name, &settings, target).await?;
        let indexes = Indexes::new(&self.target, &layout, head.folder);
        let mut dry_run = DryRun::new(&self.target, head, indexes);
        let folders: Vec<&JobFolder> = sources.folders().collect();
        let history = self.plan_past(&mut dry_run, sources, &folders, now).await?;
        let request = SyncRequest::at(now);
        let mut lenders = Lenders::new(false);
        let offer = self.imagined_offer(&mut dry_run, sources, &request, &mut lenders).await?;
        let Offer { stored, nothing, selected, others: mut machines, failure, notes, doubts, .. } = offer;
        // A scheduled run looks first, and copies nothing if nothing is there. So a machine that nobody has is no error of a plan.
        if let Some(error) = nothing.filter(|error| !matches!(error, Error::UnknownMachine { .. })) {
            return Err(error);
        }
        let mut planned_sync = None;
        if let Some(stored) = stored {
            let planned = self.imagine_sync(&mut dry_run, stored, lenders.look_up).await?;
            let report = |copy: &MachineCopy| {
                let outcome = MachineOutcome::Complete { captured: copy.captured };
                MachineReport { name: copy.name.clone(), outcome }
            };
            machines.extend(planned.machines.iter().map(report));
            machines.sort_by(|left, right| left.name.cmp(&right.name));
            planned_sync = Some(planned);
        } else if let Some(error) = failure
            && !machines.iter().any(is_fine)
        {
            return Err(error);
        }
        let filled = self.plan_filling(&mut dry_run, sources, now).await?;
        let clock = self.transforms.clock().judge(dry_run.head.clock, now);
        dry_run.head.last_selected = selected.dates(&dry_run.head, clock.mark());
        let added = u32::from(planned_sync.is_some());
        let (mut operations, _) = plan_healing(&mut dry_run, &folders).await?;
        operations.splice(0..0, filled);
        operations.extend(self.plan_fulls(&mut dry_run, &folders).await?);
        operations.extend(plan(&mut dry_run, &self.transforms, now, added).await?);
        Ok(RunPlan {
            history,
            sync: planned_sync,
            operations,
            machines,
            notes: sources.notes().chain(self.notes.iter().cloned()).chain(notes).chain(lenders.notes).collect(),
            doubts,
        })
    }

    /// What the run does first: the past that waits.
    async fn plan_past(
        &self,
        dry_run: &mut DryRun<'_>,
        sources: &Sources,
        folders: &[&JobFolder],
        now: Timestamp,
    ) -> Result<Vec<PlannedPast>> {
        let latest = latest_state(&dry_run.head, &mut dry_run.indexes).await?;
        let past = self.past(sources, Some((&dry_run.head, &latest)), now)?.unwrap_or_default();
        drop(latest);
        let mut planned = Vec::new();
        if !self.transforms.clock().judge(dry_run.head.clock, now).may_prune() {
            return Ok(planned);
        }
        for moment in past {
            let time = moment.time;
            let request = self.of_past(&SyncRequest::at(now), &dry_run.head, moment);
            // What cannot be read the run leaves out as well.
            let mut lenders = Lenders::new(false);
            let offer = match self.imagined_offer(dry_run, sources, &request, &mut lenders).await {
                Err(error) if error.is_loss() => continue,
                offer => offer?,
            };
            let Some(stored) = offer.stored else { continue };
            let sync = self.imagine_sync(dry_run, stored, lenders.look_up).await?;
            let mut operations = self.plan_fulls(dry_run, folders).await?;
            operations.extend(plan_at(dry_run, &self.transforms, time, 1).await?);
            planned.push(PlannedPast { time, sync, operations });
        }
        Ok(planned)
    }

    async fn imagined_offer(
        &self,
        dry_run: &mut DryRun<'_>,
        sources: &Sources,
        request: &SyncRequest,
        lenders: &mut Lenders,
    ) -> Result<Offer> {
        let latest = latest_state(&dry_run.head, &mut dry_run.indexes).await?;
        self.offer(&mut dry_run.context(), sources, &latest, request, lenders).await
    }

    /// Continues as if `stored` had been copied.
    async fn imagine_sync(&self, dry_run: &mut DryRun<'_>, stored: NewPoint, look_up: LookUp) -> Result<PlannedSync> {
        let (machines, savings) = (stored.machines.clone(), stored.savings);
        let room = Room::of(&self.target, &stored.plan.cost(), self.min_free_bytes).await?;
        let predecessor_flags = stored.predecessor;
        let Settled { point, plan, spare_before, .. } = stored.whole(&dry_run.head, &self.target)?;
        let full = point.kind == PointKind::Full;
        let addition = Addition {
            rollback: None,
            point,
            plan,
            predecessor_flags,
            spare: &spare_before,
            abandoned: Abandoned::default(),
        };
        let (draft, _) = dry_run.context().draft_point(addition).await?;
        let cost = dry_run.imagine(draft);
        Ok(PlannedSync { machines, full, cost, room, savings, look_up })
    }

    /// Continues as if the flagged increments had been read whole that must be.
    async fn plan_fulls(&self, dry_run: &mut DryRun<'_>, folders: &[&JobFolder]) -> Result<Vec<PlannedOperation>> {
        let mut operations = Vec::new();
        while let Some(sequence) = whole::waiting(&dry_run.head, self.transforms.retention.as_ref()) {
            let drafted = whole::draft(&mut dry_run.context(), folders, sequence).await?;
            operations.push(imagine(dry_run, drafted));
        }
        Ok(operations)
    }
}
