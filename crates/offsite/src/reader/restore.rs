//! Restores: a machine's state into disk images, block devices, streams and whatever else takes a disk.

mod disk_target;
mod intact;
mod plan;
mod target;
mod work;

use std::path::Path;
use std::sync::Arc;

use disk_target::Place;
use futures::future::BoxFuture;
use offsite_core::plan::Address;
use offsite_core::{DiskMap, DiskNumber, MachineName};

use crate::error::within;
use crate::image::ImageFormat;
use crate::mover::Wanted;
use crate::progress::Task;
use crate::reader::disk_selector::DiskSelector;
use crate::reader::job_folder::PointSelector;
use crate::report::RestoreReport;
use crate::teller::{Control, Teller};
use crate::{Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Side, Silent};

pub use disk_target::DiskTarget;
pub use plan::{PlannedDisk, RestorePlan};

/// A restore of one machine.
///
/// Each block is compared with its digest before it is written; an image has its name only once it is whole and durable. So what
/// a restore delivers in files is right to the last bit, or it delivers nothing, unless a salvage is asked for. Of a block device and a
/// stream, an error tells that they hold a part of the disk.
#[derive(Clone)]
pub struct Restore {
    repository: OpenRepository,
    job: JobName,
    machine: MachineName,
    point: PointSelector,
    disk: Option<DiskSelector>,
    format: ImageFormat,
    overwrites: bool,
    salvages: bool,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
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
            overwrites: false,
            salvages: false,
            format: ImageFormat::Raw,
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        }
    }

    /// The state at this restore point.
    #[must_use]
    pub fn point(mut self, point: PointSelector) -> Self {
        self.point = point;
        self
    }

    /// Only this of its disks, by number or name.
    #[must_use]
    pub fn disk(mut self, disk: impl Into<DiskSelector>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// Whether to write over what is there: a file is replaced once the new image is whole, a block device is written to. Neither may be
    /// in use. Without it both are refused.
    #[must_use]
    pub fn overwrite(mut self, overwrites: bool) -> Self {
        self.overwrites = overwrites;
        self
    }

    /// Whether to restore what is left of damaged disks: zeros take the place of blocks that are lost, and the report lists them. Without
    /// it they are an error.
    #[must_use]
    pub fn salvage(mut self, salvages: bool) -> Self {
        self.salvages = salvages;
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

    /// Lets the block data of the restore through `gate`. [`Gate`] says what is kept when it ends there.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Restores to `to`: an image per disk if it is a folder, the only disk's image or block device if not.
    ///
    /// In a folder the images are called `MACHINE-disk0.raw` and so on. A folder that is missing is made: for several disks, or if
    /// `to` ends with `/`, `to` itself. On a device, all of the disk is written, zeros included; what the device has beyond it stays.
    ///
    /// # Errors
    /// [`Error::UnknownMachine`], [`Error::UnknownPoint`], [`Error::UnknownDisk`]; [`Error::Image`] for a path that is taken or cannot be
    /// written, [`Error::InRepository`] for one among a repository's own files, [`Error::InUse`] and [`Error::DeviceTooSmall`] for what
    /// cannot be written over; [`Error::MachineDamaged`] for blocks or indexes that are not what was stored. After an error no image has
    /// its name. [`Error::Torn`] tells of a device that was written to, with the cause.
    pub fn run<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<RestoreReport>> {
        within(|error| self.tell(error), async move { self.run_to(to, false).await })
    }

    /// Restores one disk to `target`: the machine's only one, or that which [`Restore::disk`] names.
    ///
    /// Each block is compared with its digest before it goes to the target. What a stream or a sink got before an error is no whole
    /// disk.
    ///
    /// ```
    /// use offsite::{DiskTarget, Restore};
    /// use tokio::io::{AsyncWrite, AsyncWriteExt};
    ///
    /// async fn send(
    ///     restore: &Restore,
    ///     mut connection: impl AsyncWrite + Send + Unpin,
    /// ) -> Result<(), Box<dyn std::error::Error>> {
    ///     let report = restore.disk_to(DiskTarget::async_writer(&mut connection)).await?;
    ///     connection.shutdown().await?;
    ///     println!("{} bytes as of {}", report.disks[0].size_bytes, report.captured);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Restore::run`]; [`Error::InvalidSetting`] if there are several disks, or if a stream or a sink is to be written in another format
    /// than raw; [`Error::Io`] if a stream fails; [`Error::Image`] if a sink fails.
    pub fn disk_to<'a>(&'a self, target: DiskTarget<'a>) -> BoxFuture<'a, Result<RestoreReport>> {
        within(|error| self.tell(error), async move {
            match target.0 {
                Place::Path(path) => self.run_to(&path, true).await,
                Place::Stream(sink) => self.stream_to(sink).await,
                Place::Sink(sink) => self.sink_to(&sink).await,
            }
        })
    }

    fn tell(&self, error: Error) -> Error {
        let error = match error {
            Error::Io { .. } | Error::InRepository { .. } => error.on(Side::Image),
            _ => error.on(Side::Source).at(|| self.repository.located()),
        };
        error.in_job(&self.job).of_machine(&self.machine)
    }

    pub(super) fn teller(&self) -> Teller<'_> {
        Control::new(self.progress.as_ref(), self.gate.as_ref()).teller(Task::Restore, &self.job).machine(&self.machine)
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
