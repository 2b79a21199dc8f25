//! Restores: a machine's state into disk images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use offsite_core::plan::Address;
use offsite_core::{
    DiskMap, DiskName, DiskNumber, MachineMap, MachineName, MachineState, RestorePoint, Sequence, Status,
};

use crate::folder::{JobFolder, PointSelector};
use crate::image::{DiskSink, ImageFormat, create};
use crate::mover::{FrameSource, Wanted, extract};
use crate::report::{BlockTraffic, RestoreReport, RestoredDisk};
use crate::{Error, JobName, OpenRepository, Progress, Result, Silent};

/// Which disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSelector {
    /// The one of this number.
    Number(DiskNumber),
    /// The one of this name.
    Name(DiskName),
}

impl DiskSelector {
    fn selects(&self, number: DiskNumber, disk: &DiskMap) -> bool {
        match self {
            Self::Number(wanted) => number == *wanted,
            Self::Name(wanted) => disk.identity().name == *wanted,
        }
    }
}

/// A restore of one machine.
///
/// Each block is compared with its digest before it is written; an image has its name only once it is whole and durable. So what
/// a restore delivers is right to the last bit, or it delivers nothing.
#[derive(Clone)]
pub struct Restore {
    repository: OpenRepository,
    job: JobName,
    machine: MachineName,
    point: PointSelector,
    disk: Option<DiskSelector>,
    format: ImageFormat,
    progress: Arc<dyn Progress>,
}

impl Restore {
    /// The newest state of `machine` that `job` holds, as raw images.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName, machine: MachineName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            machine,
            point: PointSelector::Latest,
            disk: None,
            format: ImageFormat::Raw,
            progress: Arc::new(Silent),
        }
    }

    /// The state at this restore point.
    #[must_use]
    pub fn point(mut self, point: PointSelector) -> Self {
        self.point = point;
        self
    }

    /// This disk only.
    #[must_use]
    pub fn disk(mut self, disk: DiskSelector) -> Self {
        self.disk = Some(disk);
        self
    }

    /// The format of the images.
    #[must_use]
    pub fn format(mut self, format: ImageFormat) -> Self {
        self.format = format;
        self
    }

    /// Tells `progress` how far the restore is.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Restores to `to`: an image per disk if it is a folder, the only disk's image if not.
    ///
    /// In a folder the images are called `MACHINE-disk0.raw` and so on. A qcow2 image has whole sectors of 512 bytes, so the disk in it
    /// may be longer by zeros.
    ///
    /// # Errors
    /// [`Error::UnknownMachine`], [`Error::UnknownPoint`], [`Error::UnknownDisk`]; [`Error::Image`] for a path that is taken or cannot be written;
    /// [`Error::Damaged`] for a block that is not what was stored. After an error no image has its name.
    pub fn run<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<RestoreReport>> {
        Box::pin(async move {
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let result = self.run_pinned(&folder, to).await;
            folder.unpin(pin, result).await
        })
    }

    async fn run_pinned(&self, folder: &JobFolder, to: &Path) -> Result<RestoreReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let (sequence, machine) = self.machine_at(folder).await?;
        let paths = self.paths(&machine, to)?;
        let sinks = self.create_sinks(&machine, &paths).await?;
        match self.fill(folder, &machine, &sinks).await {
            Ok(()) => {}
            Err(error) => {
                let sinks: Vec<_> = sinks.into_values().collect();
                crate::seams::blocking(move || sinks.iter().for_each(|sink| sink.discard())).await?;
                return Err(error);
            }
        }
        let disks = paths.into_iter().zip(&machine.disks).map(|(path, (number, disk))| RestoredDisk {
            number: *number,
            name: disk.identity().name.clone(),
            path,
            size_bytes: disk.size_bytes(),
            data_bytes: disk
                .stored()
                .map(|(block, _)| u64::from(folder.chain().block_size().length_at(block, disk.size_bytes())))
                .sum(),
        });
        Ok(RestoreReport {
            sequence,
            captured: machine.captured,
            disks: disks.collect(),
            traffic: BlockTraffic::between(before, self.repository.block_counts()),
            duration: start.elapsed(),
        })
    }

    /// The machine's state, and the point that it is taken from.
    async fn machine_at(&self, folder: &JobFolder) -> Result<(Sequence, MachineMap)> {
        let point = match self.point {
            // The newest state of the machine may be older than the newest point.
            PointSelector::Latest => folder.newest_whole(&self.machine, offsite_core::Timestamp::MAX),
            PointSelector::At(time) => folder.newest_whole(&self.machine, time),
            PointSelector::Sequence(_) => None,
        };
        let point = match point {
            Some(point) => point,
            None => folder.point(self.point)?,
        };
        let unknown = || Error::UnknownMachine {
            machine: self.machine.to_string(),
            place: format!("restore point {} of job {}", point.sequence, self.job),
            known: point.machines.iter().map(|machine| machine.name.to_string()).collect(),
        };
        let state = point.machine(&self.machine).ok_or_else(unknown)?;
        if state.status == Status::Incomplete {
            let has_it = |other: &&RestorePoint| other.machine(&self.machine).is_some_and(MachineState::is_whole);
            let way_out = match folder.chain().all().rev().filter(|other| other.sequence < point.sequence).find(has_it)
            {
                Some(older) => format!("restore point {}, of {}, has it whole", older.sequence, older.time),
                None => "no older restore point has it whole; a later copy may".to_owned(),
            };
            return Err(Error::Settings(format!(
                "machine {} is incomplete in restore point {}; {way_out}",
                self.machine, point.sequence
            )));
        }
        let map = folder.state_at(point.sequence).await?;
        let mut machine = map.machine(&self.machine).cloned().ok_or_else(unknown)?;
        if let Some(wanted) = &self.disk {
            let known = machine.disks.iter().map(|(number, disk)| format!("{number} ({})", disk.identity().name));
            let known: Vec<String> = known.collect();
            machine.disks.retain(|number, disk| wanted.selects(*number, disk));
            if machine.disks.is_empty() {
                let wanted = match wanted {
                    DiskSelector::Number(number) => number.to_string(),
                    DiskSelector::Name(name) => name.to_string(),
                };
                return Err(Error::UnknownDisk { machine: self.machine.clone(), wanted, known });
            }
        }
        if let Some((disk, _)) = machine.disks.iter().find(|(_, disk)| !disk.is_full()) {
            return Err(Error::Defect(format!(
                "disk {disk} of {} is not whole in point {}",
                self.machine, point.sequence
            )));
        }
        Ok((point.sequence, machine))
    }

    fn paths(&self, machine: &MachineMap, to: &Path) -> Result<Vec<PathBuf>> {
        if to.is_dir() {
            let name = |disk: &DiskNumber| format!("{}-disk{disk}.{}", self.machine, self.format.name());
            return Ok(machine.disks.keys().map(|disk| to.join(name(disk))).collect());
        }
        if machine.disks.len() == 1 {
            return Ok(vec![to.to_owned()]);
        }
        Err(Error::Settings(format!(
            "machine {} has {} disks, and {} is no folder; make the folder first",
            self.machine,
            machine.disks.len(),
            to.display()
        )))
    }

    async fn create_sinks(
        &self,
        machine: &MachineMap,
        paths: &[PathBuf],
    ) -> Result<BTreeMap<DiskNumber, Arc<dyn DiskSink>>> {
        let format = self.format;
        let wanted: Vec<(DiskNumber, u64, PathBuf)> = machine
            .disks
            .iter()
            .zip(paths)
            .map(|((number, disk), path)| (*number, disk.size_bytes(), path.clone()))
            .collect();
        let create_all = move || {
            let mut sinks: BTreeMap<DiskNumber, Arc<dyn DiskSink>> = BTreeMap::new();
            for (number, size_bytes, path) in wanted {
                match create(&path, format, size_bytes) {
                    Ok(sink) => {
                        sinks.insert(number, sink);
                    }
                    Err(error) => {
                        sinks.values().for_each(|sink| sink.discard());
                        return Err(error);
                    }
                }
            }
            Ok(sinks)
        };
        crate::seams::blocking(create_all).await?
    }

    async fn fill(
        &self,
        folder: &JobFolder,
        machine: &MachineMap,
        sinks: &BTreeMap<DiskNumber, Arc<dyn DiskSink>>,
    ) -> Result<()> {
        let wanted = wanted(&self.machine, machine.disks.iter());
        let source = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let sink_of = |disk: DiskNumber| {
            let size_bytes = machine.disks.get(&disk)?.size_bytes();
            sinks.get(&disk).map(|sink| (Arc::clone(sink), size_bytes))
        };
        extract(Arc::new(wanted), &source, folder.chain().block_size(), sink_of, self.progress.as_ref()).await?;
        let sinks: Vec<_> = sinks.values().cloned().collect();
        // All of them are whole before one has its name.
        let finish = move || {
            sinks.iter().try_for_each(|sink| sink.finish())?;
            sinks.iter().try_for_each(|sink| sink.keep())
        };
        crate::seams::blocking(finish).await?
    }
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Restore")
            .field("job", &self.job)
            .field("machine", &self.machine)
            .field("point", &self.point)
            .finish_non_exhaustive()
    }
}

/// The stored blocks of disks, in the order in which they lie in their files.
pub(crate) fn wanted<'a>(
    machine: &MachineName,
    disks: impl Iterator<Item = (&'a DiskNumber, &'a DiskMap)>,
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (disk, map) in disks {
        wanted.extend(map.stored().map(|(block, at)| {
            let address = Address { machine: machine.clone(), disk: *disk, block };
            Wanted { address, at }
        }));
    }
    wanted.sort_unstable_by_key(|block| (block.at.file, block.at.offset));
    wanted
}
