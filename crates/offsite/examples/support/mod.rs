//! What the examples share: a scratch folder with repositories and generated disks.

#![allow(dead_code, reason = "each example uses some of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite::{BackupJob, ImageSource, JobName, MachineName, OpenRepository, Timestamp};
use offsite_backends::Local;
use tempfile::TempDir;

/// What an example returns.
pub(crate) type Fallible<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A folder that goes when the example ends.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Fallible<Self> {
        Ok(Self(TempDir::new()?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new repository in a folder of this name.
    pub(crate) async fn repository(&self, name: &str) -> Fallible<OpenRepository> {
        let backend = Arc::new(Local::create(self.path(name)).await?);
        Ok(OpenRepository::initialise(backend, day(0)?).await?)
    }

    /// Writes a disk of so many MiB, each of which holds its number and `version`.
    pub(crate) fn disk(&self, name: &str, mebibytes: u8, version: u8) -> Fallible<PathBuf> {
        let path = self.path(name);
        let bytes: Vec<u8> =
            (0..mebibytes).flat_map(|number| vec![number.wrapping_mul(7) ^ version; 1 << 20]).collect();
        std::fs::write(&path, bytes)?;
        Ok(path)
    }
}

/// Noon of a day in January 2026.
pub(crate) fn day(number: i64) -> Fallible<Timestamp> {
    Ok(Timestamp::from_unix_secs(1_767_268_800 + number * 86_400)?)
}

/// A backup job of one machine with one disk.
pub(crate) fn backup(repository: &OpenRepository, disk: &Path) -> Fallible<BackupJob> {
    let machine = MachineName::new("web01")?;
    Ok(BackupJob::new(repository, JobName::new("nightly")?).machine(machine, vec![ImageSource::new(disk)]))
}
