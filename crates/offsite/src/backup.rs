//! Backup jobs: disk images into restore points.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use offsite_core::format::head::Role;
use offsite_core::plan::{Placer, Plan};
use offsite_core::retention::{Flags, Policy, Regular, Simple};
use offsite_core::{
    BlockMap, BlockSize, DiskNumber, MachineMap, MachineName, MachineState, PointKind, Status, Timestamp,
};

use crate::image::{DiskImage, ImageSource};
use crate::indexes::Indexes;
use crate::mover::{DEFAULT_LEVEL, IngestDisk, Ingested, Output, OutputHeader, ingest};
use crate::point::{PointIndex, commit_point, number_machines};
use crate::report::{BackupReport, BlockTraffic, MachineBackup, TransformReport};
use crate::transform::{Transforms, transform};
use crate::writer::{Writer, WriterSettings};
use crate::{DEFAULT_LEASE, Error, JobName, OpenRepository, Progress, Result, Silent};

/// A primary backup job: each run makes one restore point of its machines from their disk images.
///
/// The first is a full; later ones hold the blocks that changed. The images must not change while they are read: back up
/// snapshots of machines that run.
#[derive(Clone)]
pub struct BackupJob {
    repository: OpenRepository,
    job: JobName,
    machines: Vec<(MachineName, Vec<ImageSource>)>,
    block_size: Option<BlockSize>,
    transforms: Transforms,
    lease_duration: Duration,
    progress: Arc<dyn Progress>,
}

impl BackupJob {
    /// A job that writes to the folder of its name in `repository`. It keeps every restore point, unless told otherwise.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            machines: Vec::new(),
            block_size: None,
            transforms: Transforms::default(),
            lease_duration: DEFAULT_LEASE,
            progress: Arc::new(Silent),
        }
    }

    /// Adds a machine with its disks, in order.
    #[must_use]
    pub fn machine(mut self, name: MachineName, disks: Vec<ImageSource>) -> Self {
        self.machines.push((name, disks));
        self
    }

    /// The size of the blocks, for a job that has no restore point yet.
    #[must_use]
    pub fn block_size(mut self, block_size: BlockSize) -> Self {
        self.block_size = Some(block_size);
        self
    }

    /// Keeps the newest restore points only.
    #[must_use]
    pub fn keep(mut self, policy: Simple) -> Self {
        self.transforms.retention = Some(Policy { regular: Regular::Simple(policy), ..Policy::default() });
        self
    }

    /// How long another host waits for a sign of life before it takes the job over (default: a minute).
    #[must_use]
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = duration;
        self
    }

    /// Tells `progress` how far a run is.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Makes one restore point, of the time `now`.
    ///
    /// # Errors
    /// [`Error::Image`] before anything is written if an image cannot be used; [`Error::Busy`] if the job is running already;
    /// those of the repository. What was committed before the error stays; the next run needs no repair.
    pub async fn run(&self, now: Timestamp) -> Result<BackupReport> {
        let images = self.open_images().await?;
        let settings = WriterSettings {
            role: Role::Backup,
            block_size: self.block_size.unwrap_or_default(),
            lease_duration: self.lease_duration,
            now,
        };
        let mut writer = Writer::open(self.repository.clone(), &self.job, settings, self.progress.as_ref()).await?;
        let result = self.run_with(&mut writer, &images, now).await;
        writer.close(result).await
    }

    async fn run_with(
        &self,
        writer: &mut Writer,
        images: &BTreeMap<MachineName, Vec<Arc<dyn DiskImage>>>,
        now: Timestamp,
    ) -> Result<BackupReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let block_size = writer.head().chain.block_size();
        if let Some(wanted) = self.block_size.filter(|wanted| *wanted != block_size) {
            return Err(Error::Settings(format!(
                "job {} has blocks of {block_size} and cannot go on with {wanted}; start another job",
                self.job
            )));
        }
        let mut indexes = Indexes::new(&self.repository, writer.layout(), writer.head().folder);
        let head = writer.head();
        let steps = head.chain.latest().and_then(|point| head.chain.steps_to(point.sequence)).unwrap_or_default();
        let latest = indexes.state(&steps).await?;
        let kind = if steps.is_empty() { PointKind::Full } else { PointKind::Increment };
        let (plan, machines) = self.store_blocks(writer, images, &latest, now).await?;
        let states = machines.iter().map(|machine| MachineState {
            name: machine.name.clone(),
            status: Status::Complete,
            captured: now,
        });
        let point = PointIndex {
            id: writer.mint(),
            sequence: writer.head().next_sequence,
            time: now,
            kind,
            origin: None,
            machines: states.collect(),
            below: Vec::new(),
            stored: None,
            map: plan.index.clone(),
            flags: Flags::NONE,
        };
        let point = commit_point(writer, point, &plan, Flags::NONE).await?;
        indexes.insert(point.index.id, plan.index);
        let stored = BlockTraffic::between(before, self.repository.block_counts());
        let mut report = BackupReport {
            sequence: point.sequence,
            time: now,
            full: kind == PointKind::Full,
            machines,
            stored_blocks: point.stored_blocks,
            stored_bytes: stored.bytes_written,
            duration: start.elapsed(),
            transform: TransformReport::default(),
        };
        let progress = self.progress.as_ref();
        report.transform = transform(writer, &mut indexes, &self.transforms, now, 1, progress).await?;
        Ok(report)
    }

    /// Stores the blocks that changed; the step to the new state with its files, and what was read.
    async fn store_blocks(
        &self,
        writer: &mut Writer,
        images: &BTreeMap<MachineName, Vec<Arc<dyn DiskImage>>>,
        latest: &BlockMap,
        now: Timestamp,
    ) -> Result<(Plan, Vec<MachineBackup>)> {
        let (_, numbers) = number_machines(&writer.head().machines, images.keys());
        let mut disks = Vec::new();
        for (name, images) in images {
            for (image, number) in images.iter().zip(0..) {
                let disk = DiskNumber(number);
                let previous = latest.machine(name).and_then(|machine| machine.disks.get(&disk)).cloned();
                disks.push(IngestDisk {
                    machine: name.clone(),
                    number: numbers[name],
                    disk,
                    image: Arc::clone(image),
                    previous: previous.map(Arc::new),
                });
            }
        }
        let head = writer.head();
        let header = OutputHeader {
            folder: head.folder,
            sequence: head.next_sequence,
            time: now,
            block_size: head.chain.block_size(),
            alignment_bytes: head.alignment_bytes,
            machines: images.keys().map(|name| (name.clone(), numbers[name])).collect(),
        };
        let block_size = header.block_size;
        let mut placer = Placer::new(header.placement(&self.repository));
        let layout = writer.layout().clone();
        let mut output = Output::new(&self.repository, &layout, header);
        let progress = self.progress.as_ref();
        let ingested =
            ingest(&disks, block_size, DEFAULT_LEVEL, &mut output, &mut placer, || writer.mint(), progress).await;
        let ingested = match ingested {
            Ok(ingested) => ingested,
            Err(error) => {
                output.abort().await;
                return Err(error);
            }
        };
        output.finish().await?;
        let index = latest.diff(&state_of(&ingested, now));
        Ok((Plan { index, files: placer.into_files(), ..Plan::default() }, summaries(&ingested)))
    }

    async fn open_images(&self) -> Result<BTreeMap<MachineName, Vec<Arc<dyn DiskImage>>>> {
        if self.machines.is_empty() {
            return Err(Error::Settings(format!("job {} has no machine to back up", self.job)));
        }
        let mut seen = BTreeSet::new();
        for (name, sources) in &self.machines {
            if !seen.insert(name) {
                return Err(Error::Settings(format!(
                    "machine {name} is given twice; name each once, with all its disks"
                )));
            }
            if sources.is_empty() || sources.len() > usize::from(u16::MAX) {
                return Err(Error::Settings(format!("machine {name} has {} disks", sources.len())));
            }
        }
        let machines = self.machines.clone();
        let open = move || {
            let machines = machines.into_iter().map(|(name, sources)| {
                let images = sources.iter().map(ImageSource::open).collect::<Result<Vec<_>>>()?;
                Ok((name, images))
            });
            machines.collect::<Result<_>>()
        };
        tokio::task::spawn_blocking(open).await.map_err(|error| Error::Defect(error.to_string()))?
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

fn state_of(ingested: &[Ingested], now: Timestamp) -> BlockMap {
    let mut machines: BTreeMap<MachineName, MachineMap> = BTreeMap::new();
    for disk in ingested {
        let machine = machines
            .entry(disk.machine.clone())
            .or_insert_with(|| MachineMap { captured: now, disks: BTreeMap::new() });
        machine.disks.insert(disk.disk, disk.map.clone());
    }
    let mut state = BlockMap::empty();
    machines.into_iter().for_each(|(name, machine)| state.insert(name, machine));
    state
}

fn summaries(ingested: &[Ingested]) -> Vec<MachineBackup> {
    let mut machines: Vec<MachineBackup> = Vec::new();
    for disk in ingested {
        if machines.last().is_none_or(|machine| machine.name != disk.machine) {
            let name = disk.machine.clone();
            machines.push(MachineBackup { name, disk_bytes: 0, read_bytes: 0, changed_bytes: 0 });
        }
        if let Some(machine) = machines.last_mut() {
            machine.disk_bytes += disk.map.size_bytes();
            machine.read_bytes += disk.read_bytes;
            machine.changed_bytes += disk.changed_bytes;
        }
    }
    machines
}
