//! One machine with one disk, and the jobs that are measured on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite::model::BlockSize;
use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::report::{BackupReport, CopyReport, RestoreReport};
use offsite::retention::Simple;
use offsite::{BackupJob, CopyJob, ImageSource, JobName, OpenRepository, Restore};
use offsite_backends::Local;
use offsite_cli::workload::Disk;

/// Whatever went wrong: a measurement that fails says so and ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// 2026-11-01T22:00:00Z.
const FIRST_EVENING_UNIX_SECS: i64 = 1_793_570_400;
/// The backup job's name.
pub const BACKUP_JOB: &str = "nightly";
/// The copy job's name.
pub const COPY_JOB: &str = "Offsite Copy";
/// The machine's name.
pub const MACHINE: &str = "web01";
/// What the disk's content is derived from.
const SEED: u64 = 1;

/// The evening of the day on which the disk is at `version`.
///
/// # Errors
/// None for versions of this age.
pub fn evening(version: u32) -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_unix_secs(FIRST_EVENING_UNIX_SECS + i64::from(version) * 86_400)?)
}

/// The disk that is measured.
#[must_use]
pub fn disk(size_mib: u64) -> Disk {
    Disk::new(MACHINE, SEED, size_mib)
}

/// A new repository in the folder at `path`.
///
/// # Errors
/// If the folder cannot be used.
pub async fn make_local(path: &Path) -> Result<OpenRepository, Failure> {
    let backend = Local::create(path).await?;
    Ok(OpenRepository::initialise(Arc::new(backend), evening(0)?).await?)
}

/// The repository in the folder at `path`.
///
/// # Errors
/// If there is none.
pub async fn open_local(path: &Path) -> Result<OpenRepository, Failure> {
    Ok(OpenRepository::open(Arc::new(Local::open(path).await?)).await?)
}

/// Backs the image up, as it is on the evening of `version`.
///
/// # Errors
/// Those of the job.
pub async fn backup(
    repository: &OpenRepository,
    image: &Path,
    version: u32,
    block_size: BlockSize,
) -> Result<BackupReport, Failure> {
    let job = BackupJob::new(repository, JobName::new(BACKUP_JOB)?).block_size(block_size);
    Ok(job.machine(MachineName::new(MACHINE)?, vec![ImageSource::new(image)]).run(evening(version)?).await?)
}

/// Copies the newest restore point up to the evening of `version`, and keeps `keep` of the target's.
///
/// # Errors
/// Those of the job.
pub async fn copy(
    source: &OpenRepository,
    target: &OpenRepository,
    version: u32,
    keep: u32,
) -> Result<CopyReport, Failure> {
    let job = CopyJob::new(JobName::new(COPY_JOB)?, source, JobName::new(BACKUP_JOB)?, target)?;
    Ok(job.transforms(Simple::new(keep)?).run(evening(version)?).await?)
}

/// Restores the newest restore point of the copy job to a raw image at `to`.
///
/// # Errors
/// Those of the restore.
pub async fn restore(repository: &OpenRepository, to: &Path) -> Result<RestoreReport, Failure> {
    Ok(Restore::new(repository, JobName::new(COPY_JOB)?, MachineName::new(MACHINE)?).run(to).await?)
}

/// The backup files of the backup job in the repository at `path`, oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub fn backup_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    frames(&path.join(BACKUP_JOB))
}

/// The backup files of the copy job in the repository at `path`, oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub fn copied_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    frames(&path.join(COPY_JOB))
}

/// The indexes of the backup job in the repository at `path`.
///
/// # Errors
/// If the folder cannot be read.
pub fn indexes(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    files(&path.join(BACKUP_JOB).join("index"))
}

/// The files with blocks in a job's folder; the second copies beside them, which have an extension, are none.
fn frames(job: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = files(&job.join("blocks"))?;
    files.retain(|file| file.extension().is_none());
    Ok(files)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}
