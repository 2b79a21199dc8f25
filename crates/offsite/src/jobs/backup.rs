//! Backup jobs: disk images into restore points.

mod method;
mod plan;
mod points;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use offsite_core::retention::{Flags, Policy, Simple};
use offsite_core::{BlockMap, BlockSize, Labels, MachineName, PointKind, Role, Stored, Timestamp};

use crate::commit::point::{Addition, commit_point};
use crate::commit::writer::{Writer, WriterSettings};
use crate::error::within;
use crate::image::{ImageSource, disk_names};
use crate::jobs::transform::{Transforms, heal_and_transform};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{BackupReport, BlockTraffic, MachineFailure, Tally};
use crate::teller::Control;
use crate::{DEFAULT_LEASE, Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Side, Silent};

pub use method::{BackupMethod, FullKind};
pub use plan::{BackupPlan, PlannedBackup};

use method::Making;
use points::{Place, Points};
use store::{Before, Images, StoredStep, store_blocks};

/// A backup job: each run makes one restore point of its machines from their disk images.
///
/// The first point is a full. Later runs store the blocks that changed, and the [`BackupMethod`] decides what they make of them.
/// An image must not change while it is read, so back up snapshots of running machines.
///
/// ```
/// use offsite::retention::Simple;
/// use offsite::{BackupJob, ImageSource, JobName, MachineName, OpenRepository, Timestamp};
///
/// async fn back_up(repository: &OpenRepository) -> Result<(), Box<dyn std::error::Error>> {
///     let job = BackupJob::new(repository, JobName::new("nightly")?)
///         .machine(MachineName::new("web01")?, vec![ImageSource::new("/var/lib/vm/web01.qcow2")])
///         .keep(Simple::new(14)?);
///     let report = job.run(Timestamp::parse("2026-11-22T20:00:00Z")?).await?;
///     println!("restore point {}: {} bytes stored", report.sequence, report.stored_bytes);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct BackupJob {
    repository: OpenRepository,
    job: JobName,
    machines: Vec<(MachineName, Vec<ImageSource>)>,
    labels: BTreeMap<MachineName, Labels>,
    block_size: Option<BlockSize>,
    method: BackupMethod,
    full: Option<FullKind>,
    transforms: Transforms,
    lease_duration: Duration,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

impl BackupJob {
    /// A job that writes to the folder `job` in `repository`.
    ///
    /// By default it keeps every restore point.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            machines: Vec::new(),
            labels: BTreeMap::new(),
            block_size: None,
            method: BackupMethod::default(),
            full: None,
            transforms: Transforms::default(),
            lease_duration: DEFAULT_LEASE,
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        }
    }

    /// Adds a machine with its disk images, in the order of its disks.
    #[must_use]
    pub fn machine(mut self, name: MachineName, disks: Vec<ImageSource>) -> Self {
        self.machines.push((name, disks));
        self
    }

    /// Sets the tags of a machine, and the containers that it is in.
    ///
    /// Copy jobs select machines by them. They replace what is known of the machine. Machines without a call keep their labels.
    #[must_use]
    pub fn labels(mut self, name: MachineName, labels: Labels) -> Self {
        self.labels.insert(name, labels);
        self
    }

    /// Sets whether to trust the clock, whatever the job has known before.
    ///
    /// See [`Transforms::trusts_clock`].
    #[must_use]
    pub fn trust_clock(mut self, trusts_clock: bool) -> Self {
        self.transforms.trusts_clock = trusts_clock;
        self
    }

    /// Sets the block size of a job that has no restore point yet.
    #[must_use]
    pub fn block_size(mut self, block_size: BlockSize) -> Self {
        self.block_size = Some(block_size);
        self
    }

    /// Sets how the chain grows and ages, from the next run on.
    #[must_use]
    pub fn method(mut self, method: BackupMethod) -> Self {
        self.method = method;
        self
    }

    /// Makes the point of the next run a full.
    ///
    /// The first point of a job is a full in any case. It is read as a whole.
    #[must_use]
    pub fn full(mut self, full: FullKind) -> Self {
        self.full = Some(full);
        self
    }

    /// Keeps only the newest restore points.
    #[must_use]
    pub fn keep(mut self, policy: Simple) -> Self {
        self.transforms.retention = Some(Policy::new(policy));
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

    /// Passes the block data of the backup through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends the backup.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Makes one restore point with the time `now`.
    ///
    /// The run leaves out a machine if one of its images cannot be read, or changes while it is read. The report lists such
    /// machines.
    ///
    /// # Errors
    /// [`Error::Image`] or [`Error::NoMachine`] if no machine could be read. [`Error::InvalidSetting`] for settings that do not
    /// fit the chain, for example a reverse-incremental run after an increment. [`Error::Busy`] if the job is running already.
    /// Errors of the repository. What was committed before the error stays, and the next run needs no repair.
    pub fn run(&self, now: Timestamp) -> BoxFuture<'_, Result<BackupReport>> {
        within(|error| self.tell(error), async move {
            let images = self.images().await?;
            let settings = WriterSettings {
                role: Role::Backup,
                block_size: self.block_size.unwrap_or_default(),
                lease_duration: self.lease_duration,
                now,
                clock: self.transforms.clock(),
            };
            let mut writer = Writer::open(self.repository.clone(), &self.job, settings, self.progress.as_ref()).await?;
            let result = self.run_with(&mut writer, images, now).await;
            writer.close(result).await
        })
    }

    fn tell(&self, error: Error) -> Error {
        error.on(Side::Target).at(|| self.repository.located()).in_job(&self.job)
    }

    async fn run_with(&self, writer: &mut Writer, images: Images, now: Timestamp) -> Result<BackupReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        writer.label(&self.labels);
        let block_size = writer.head().chain.block_size();
        self.refuse_block_size(block_size)?;
        let head = writer.head();
        let making = Making::choose(&self.job, &head.chain, self.method, self.full)?;
        let mut indexes = Indexes::new(&self.repository, writer.layout(), head.folder);
        let chain = head.chain.clone();
        let steps = chain.latest().and_then(|point| chain.steps_to(point.sequence)).unwrap_or_default();
        let latest = indexes.state(&steps).await?;
        let nothing = BlockMap::empty();
        let blocks = if making == Making::ActiveFull { &nothing } else { &latest };
        let control = Control::new(self.progress.as_ref(), self.gate.as_ref());
        let before_step = Before { blocks, latest: &latest };
        let stored = store_blocks(&self.repository, writer, images, before_step, now, control).await?;
        let StoredStep { plan, machines, failed, abandoned } = stored;
        let place = Place { sequence: writer.head().next_sequence, now, steps: &steps, latest: &latest };
        let Points { point, rollback } = place.points(making, &plan, &mut indexes, || writer.mint()).await?;
        let rolled_back = rollback.as_ref().map(|rollback| rollback.sequence);
        drop(latest);
        let mut planned = plan.cost();
        planned.blocks = Stored::of(&plan.index).blocks;
        let addition = Addition { rollback, point, plan, predecessor_flags: Flags::NONE, spare: &nothing, abandoned };
        let point = commit_point(writer, &mut indexes, addition).await?;
        let tally = Tally {
            planned,
            source: BlockTraffic::default(),
            target: BlockTraffic::between(before, self.repository.block_counts()),
            duration: start.elapsed(),
        };
        let transforms = Transforms { ageing: self.method.ageing(), ..self.transforms.clone() };
        let transform = heal_and_transform(writer, &mut indexes, &transforms, now, 1, control).await?;
        Ok(BackupReport {
            sequence: point.sequence,
            time: now,
            full: point.kind == PointKind::Full,
            rolled_back,
            machines,
            failed: failed.into_iter().map(|(name, error)| MachineFailure { name, why: (&error).into() }).collect(),
            stored_blocks: planned.blocks,
            stored_bytes: tally.target.bytes_written,
            duration: tally.duration,
            tally,
            transform,
        })
    }

    fn refuse_block_size(&self, block_size: BlockSize) -> Result<()> {
        match self.block_size.filter(|wanted| *wanted != block_size) {
            Some(wanted) => Err(Error::setting(
                "block_size",
                format!(
                    "job {} has blocks of {block_size} and cannot go on with {wanted}; start another job",
                    self.job
                ),
            )),
            None => Ok(()),
        }
    }

    /// The images.
    ///
    /// Each was looked at. They are opened one after the other as they are read.
    async fn images(&self) -> Result<Images> {
        if self.machines.is_empty() {
            return Err(Error::setting("machine", format!("job {} has no machine to back up", self.job)));
        }
        let mut images = Images { machines: BTreeMap::new(), failed: BTreeMap::new(), bytes: BTreeMap::new() };
        for (name, sources) in &self.machines {
            if sources.is_empty() || sources.len() > usize::from(u16::MAX) {
                return Err(Error::setting("machine", format!("machine {name} has {} disks", sources.len())));
            }
            let names = disk_names(sources).map_err(|disk| {
                Error::setting(
                    "machine",
                    format!("two disks of machine {name} are called {disk}; give each a name of its own"),
                )
            })?;
            let named = names.into_iter().zip(sources.iter().cloned()).collect();
            if images.machines.insert(name.clone(), named).is_some() {
                return Err(Error::setting(
                    "machine",
                    format!("machine {name} is given twice; name each once, with all its disks"),
                ));
            }
        }
        let known = match JobFolder::open(&self.repository, &self.job).await {
            Ok(folder) => Some(folder.head().machines.iter().cloned().collect()),
            Err(Error::UnknownJob { .. }) => Some(BTreeSet::new()),
            // What is wrong with it the run tells.
            Err(_) => None,
        };
        let images = crate::seams::blocking(move || images.examined(known.as_ref())).await?;
        if images.machines.is_empty() {
            return Err(Error::no_machine(&self.job, images.failed));
        }
        Ok(images)
    }
}

impl std::fmt::Debug for BackupJob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BackupJob")
            .field("job", &self.job)
            .field("machines", &self.machines)
            .finish_non_exhaustive()
    }
}
