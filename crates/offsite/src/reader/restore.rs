//! Restores: a machine's state into disk images, block devices, streams and sinks.

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

/// Restores one machine.
///
/// Each block is compared with its digest before it is written. An image gets its name only when it is complete and durable. So a
/// restore to files delivers images that are right to the last bit, or none, unless [`salvage`](Self::salvage) is on. After an
/// error, a block device or a stream may have got a part of a disk; the error says so.
///
/// ```
/// use std::path::Path;
///
/// use offsite::{JobName, MachineName, OpenRepository, PointSelector, Restore, Sequence};
///
/// async fn restore(repository: &OpenRepository) -> Result<(), Box<dyn std::error::Error>> {
///     let restore = Restore::new(repository, JobName::new("Offsite Copy")?, MachineName::new("web01")?);
///     // The newest state, one image per disk.
///     restore.run(Path::new("/var/tmp/web01/")).await?;
///     // An older state of one disk.
///     restore.point(PointSelector::Sequence(Sequence(7))).disk("vda").run(Path::new("/var/tmp/vda.raw")).await?;
///     Ok(())
/// }
/// ```
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
    /// Restores the newest state of `machine` that `job` has, as raw images.
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

    /// Sets the restore point (default: the newest that has the machine complete).
    #[must_use]
    pub fn point(mut self, point: PointSelector) -> Self {
        self.point = point;
        self
    }

    /// Restores only this disk (default: all disks).
    #[must_use]
    pub fn disk(mut self, disk: impl Into<DiskSelector>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// Sets whether to overwrite existing files and devices (default: no).
    ///
    /// A file is replaced when the new image is complete. A block device is written in place. Neither may be in use.
    #[must_use]
    pub fn overwrite(mut self, overwrites: bool) -> Self {
        self.overwrites = overwrites;
        self
    }

    /// Sets whether to restore what is left of damaged disks (default: no).
    ///
    /// Zeros replace lost blocks, and the report lists them. Without it, lost blocks are an error.
    #[must_use]
    pub fn salvage(mut self, salvages: bool) -> Self {
        self.salvages = salvages;
        self
    }

    /// Sets the format of the images (default: raw).
    #[must_use]
    pub fn format(mut self, format: ImageFormat) -> Self {
        self.format = format;
        self
    }

    /// Reports the progress of the restore to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data of the restore through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends the restore.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Restores to the path `to`.
    ///
    /// - `to` is a folder if it exists as one. If it does not exist, it is a folder if it ends with `/`, or if there are several
    ///   disks. Each disk then becomes an image in it, named `MACHINE-disk0.raw` and so on.
    /// - Otherwise, `to` is the image or the block device of the only disk.
    /// - Missing folders are created.
    /// - On a device, all of the disk is written, zeros included. What lies beyond the disk stays.
    ///
    /// # Errors
    /// - [`Error::UnknownMachine`], [`Error::UnknownPoint`], [`Error::UnknownDisk`] for what the job does not have.
    /// - [`Error::PathTaken`] for a path that exists and must not be overwritten; [`Error::Image`] for a path that cannot be
    ///   written.
    /// - [`Error::InRepository`] for a path among a repository's own files.
    /// - [`Error::InUse`] and [`Error::DeviceTooSmall`] for what cannot be overwritten.
    /// - [`Error::MachineDamaged`] for blocks or indexes that differ from what was stored.
    /// - [`Error::Torn`] if a device was partly written, with the cause.
    ///
    /// After an error, no image has its name.
    pub fn run<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<RestoreReport>> {
        within(|error| self.tell(error), async move { self.run_to(to, false).await })
    }

    /// Restores one disk to `target`.
    ///
    /// It is the only disk of the machine, or the one that [`Restore::disk`] selects. Each block is compared with its digest
    /// before it goes to the target. After an error, what a stream or a sink has got is not a complete disk.
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
    /// The same as [`Restore::run`]. [`Error::InvalidSetting`] if there are several disks, or if a stream or sink is to get
    /// another format than raw. [`Error::Io`] if a stream fails. [`Error::Image`] if a sink fails.
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
