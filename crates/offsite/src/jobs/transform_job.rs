//! Transforms alone: retention, merges and release in a job folder, without a new restore point.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use offsite_core::{BlockSize, Role, Timestamp};

use crate::commit::dry_run::DryRun;
use crate::commit::writer::{Writer, WriterSettings};
use crate::error::within;
use crate::jobs::transform::{PlannedOperation, Transforms, heal_and_transform, plan, plan_healing};
use crate::reader::job_folder::JobFolder;
use crate::report::{Note, TransformReport};
use crate::teller::Control;
use crate::{DEFAULT_LEASE, Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Side, Silent};

/// The transform phase of a backup job or a copy job, without a new restore point.
///
/// A run does to the folder's chain what its [`Transforms`] ask for. Then it gives space back. It needs no source, and puts back
/// damaged blocks only if the chain itself has the same bytes intact.
#[derive(Clone)]
pub struct TransformJob {
    name: JobName,
    repository: OpenRepository,
    transforms: Transforms,
    lease_duration: Duration,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

/// What the next run of a [`TransformJob`] will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TransformPlan {
    /// The operations, in the order in which they will be done.
    pub operations: Vec<PlannedOperation>,
    /// Which damage will not be repaired, as the run will tell it.
    pub notes: Vec<Note>,
}

impl TransformJob {
    /// Transforms the folder `name` in `repository`.
    ///
    /// By default everything is kept. A run then only releases what earlier runs have retired.
    #[must_use]
    pub fn new(repository: &OpenRepository, name: JobName) -> Self {
        Self {
            name,
            repository: repository.clone(),
            transforms: Transforms::default(),
            lease_duration: DEFAULT_LEASE,
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        }
    }

    /// Sets what is done: retention, merging and so on.
    #[must_use]
    pub fn transforms(mut self, transforms: impl Into<Transforms>) -> Self {
        self.transforms = transforms.into();
        self
    }

    /// Sets how long another host waits for a sign of life before it takes the job over (default: a minute; at most an hour).
    #[must_use]
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = duration;
        self
    }

    /// Reports the progress of a run to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data of the transforms through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends them.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Does the transforms that are due at `now`, then gives space back.
    ///
    /// # Errors
    /// [`Error::UnknownJob`](crate::Error::UnknownJob) if there is no such folder. [`Error::Busy`](crate::Error::Busy) if the job
    /// is running. Errors of the repository. What was committed before the error stays, and the next run needs no repair.
    pub fn run(&self, now: Timestamp) -> BoxFuture<'_, Result<TransformReport>> {
        within(|error| self.tell(error), async move {
            let (role, block_size) = self.known().await?;
            let clock = self.transforms.clock();
            let settings = WriterSettings { role, block_size, lease_duration: self.lease_duration, now, clock };
            let mut writer =
                Writer::open(self.repository.clone(), &self.name, settings, self.progress.as_ref()).await?;
            let result = self.run_with(&mut writer, now).await;
            writer.close(result).await
        })
    }

    fn tell(&self, error: Error) -> Error {
        error.on(Side::Target).at(|| self.repository.located()).in_job(&self.name)
    }

    async fn run_with(&self, writer: &mut Writer, now: Timestamp) -> Result<TransformReport> {
        let mut indexes = crate::reader::indexes::Indexes::new(&self.repository, writer.layout(), writer.head().folder);
        let control = Control::new(self.progress.as_ref(), self.gate.as_ref());
        heal_and_transform(writer, &mut indexes, &self.transforms, now, 0, control).await
    }

    /// The kind and the block size of the folder, so that the run keeps them.
    ///
    /// Opening it as a writer would create a folder that does not exist.
    async fn known(&self) -> Result<(Role, BlockSize)> {
        let folder = JobFolder::open(&self.repository, &self.name).await?;
        Ok((folder.head().role, folder.chain().block_size()))
    }

    /// Plans a run at `now`.
    ///
    /// It writes nothing.
    ///
    /// # Errors
    /// The same as [`TransformJob::run`], except errors of writing.
    pub fn plan(&self, now: Timestamp) -> BoxFuture<'_, Result<TransformPlan>> {
        within(|error| self.tell(error), async move {
            let folder = JobFolder::open(&self.repository, &self.name).await?;
            let planned = async {
                let head = folder.head_for_next_run().await?;
                let mut dry_run = DryRun::new(&self.repository, head, folder.indexes());
                let (mut operations, notes) = plan_healing(&mut dry_run, &[]).await?;
                operations.extend(plan(&mut dry_run, &self.transforms, now, 0).await?);
                Ok(TransformPlan { operations, notes })
            };
            let planned = planned.await;
            folder.unpin(None, planned).await
        })
    }
}

impl std::fmt::Debug for TransformJob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TransformJob")
            .field("name", &self.name)
            .field("repository", &self.repository.location())
            .field("transforms", &self.transforms)
            .finish_non_exhaustive()
    }
}
