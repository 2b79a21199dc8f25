//! The plan of a backup job's next run.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use offsite_core::plan::Plan;
use offsite_core::retention::Flags;
use offsite_core::{BlockMap, MachineMap, MachineName, PointKind, Role, Sequence, Timestamp};

use super::BackupJob;
use super::method::Making;
use super::points::{Place, Points};
use super::store::{Before, Images, measured};
use crate::commit::dry_run::DryRun;
use crate::commit::point::{Abandoned, Addition};
use crate::commit::writer::WriterSettings;
use crate::error::within;
use crate::folder::layout::Layout;
use crate::jobs::transform::{PlannedOperation, Transforms, plan, plan_healing};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::MachineFailure;
use crate::{Error, Result};

/// What the next run of a backup job will do.
///
/// Only reading the images tells which blocks have changed. So the plan has upper bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BackupPlan {
    /// The number of the new restore point.
    pub sequence: Sequence,
    /// `true` if the new point will be a full.
    pub full: bool,
    /// The machines whose images can be read.
    pub machines: Vec<PlannedBackup>,
    /// The machines with an image that cannot be backed up, each with the reason.
    pub failed: Vec<MachineFailure>,
    /// The transforms after the backup, as far as they do not depend on what has changed.
    pub operations: Vec<PlannedOperation>,
}

/// The planned backup of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PlannedBackup {
    /// The name of the machine.
    pub name: MachineName,
    /// The number of its disks.
    pub disks: usize,
    /// The largest number of bytes of its images that the run reads.
    pub read_bytes_max: u64,
    /// `true` if the job has no restore point of the machine yet.
    pub is_new: bool,
}

impl BackupPlan {
    /// The largest number of bytes of all images that the run reads.
    #[must_use]
    pub fn read_bytes_max(&self) -> u64 {
        self.machines.iter().fold(0, |sum: u64, machine| sum.saturating_add(machine.read_bytes_max))
    }
}

impl BackupJob {
    /// Plans a run at `now`.
    ///
    /// It opens the images without reading their blocks, and it writes nothing.
    ///
    /// # Errors
    /// The same as [`BackupJob::run`], except errors of reading blocks and of writing.
    pub fn plan(&self, now: Timestamp) -> BoxFuture<'_, Result<BackupPlan>> {
        within(|error| self.tell(error), async move {
            let images = self.images().await?;
            let folder = match JobFolder::open(&self.repository, &self.job).await {
                Err(Error::UnknownJob { .. }) => None,
                folder => Some(folder?),
            };
            let planned = self.plan_with(folder.as_ref(), images, now).await;
            match folder {
                Some(folder) => folder.unpin(None, planned).await,
                None => planned,
            }
        })
    }

    async fn plan_with(&self, folder: Option<&JobFolder>, images: Images, now: Timestamp) -> Result<BackupPlan> {
        let settings = WriterSettings {
            role: Role::Backup,
            block_size: self.block_size.unwrap_or_default(),
            lease_duration: self.lease_duration,
            now,
            clock: self.transforms.clock(),
        };
        let head = DryRun::next_head(&self.repository, &self.job, &settings, folder).await?;
        self.refuse_block_size(head.chain.block_size())?;
        let indexes = Indexes::new(&self.repository, &Layout::new(self.job.clone()), head.folder);
        let mut dry_run = DryRun::new(&self.repository, head, indexes);
        let chain = dry_run.head.chain.clone();
        let making = Making::choose(&self.job, &chain, self.method, self.full)?;
        let steps = chain.latest().and_then(|point| chain.steps_to(point.sequence)).unwrap_or_default();
        let latest = dry_run.indexes.state(&steps).await?;
        let sequence = dry_run.head.next_sequence;
        let nothing = BlockMap::empty();
        let blocks = if making == Making::ActiveFull { &nothing } else { &latest };
        let images = measured(images, &dry_run.head, Before { blocks, latest: &latest }).await?;
        if images.machines.is_empty() {
            return Err(Error::no_machine(&self.job, images.failed));
        }
        let machines = images.bytes.iter().map(|(name, bytes)| PlannedBackup {
            name: name.clone(),
            disks: images.machines.get(name).map_or(0, Vec::len),
            read_bytes_max: *bytes,
            is_new: latest.machine(name).is_none(),
        });
        let machines: Vec<PlannedBackup> = machines.collect();
        let step = unchanged(making, &latest, images.machines.keys(), now);
        let plan_of_step = Plan { index: step, ..Plan::default() };
        let place = Place { sequence, now, steps: &steps, latest: &latest };
        let mut context = dry_run.context();
        let Points { point, rollback } =
            place.points(making, &plan_of_step, context.indexes, || context.minter.mint()).await?;
        let full = point.kind == PointKind::Full;
        let addition = Addition {
            rollback,
            point,
            plan: plan_of_step,
            predecessor_flags: Flags::NONE,
            spare: &BlockMap::empty(),
            abandoned: Abandoned::default(),
        };
        let (draft, _) = context.draft_point(addition).await?;
        dry_run.imagine(draft);
        let transforms = Transforms { ageing: self.method.ageing(), ..self.transforms.clone() };
        let (mut operations, _) = plan_healing(&mut dry_run, &[]).await?;
        operations.extend(plan(&mut dry_run, &transforms, now, 1).await?);
        let failed = images.failed.into_iter();
        let failed = failed.map(|(name, error)| MachineFailure { name, why: (&error).into() }).collect();
        Ok(BackupPlan { sequence, full, machines, failed, operations })
    }
}

/// The step of a run in which no block has changed.
///
/// The new blocks of a machine are not known yet, so it has none here.
fn unchanged<'a>(
    making: Making,
    latest: &BlockMap,
    names: impl Iterator<Item = &'a MachineName>,
    now: Timestamp,
) -> BlockMap {
    let empty = MachineMap::new(now, BTreeMap::new());
    let mut state = BlockMap::empty();
    for name in names {
        let known = latest.machine(name).filter(|_| making != Making::ActiveFull);
        let machine = known.map_or_else(|| empty.clone(), |known| MachineMap::new(now, known.disks.clone()));
        state.insert(name.clone(), machine);
    }
    if making == Making::ActiveFull { state } else { latest.diff(&state) }
}
