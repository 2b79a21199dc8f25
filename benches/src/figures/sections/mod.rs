//! The sets of measurements.

pub(super) mod backup;
pub(super) mod block_size;
pub(super) mod copy;
pub(super) mod flat;
pub(super) mod merge;
pub(super) mod read_back;
pub(super) mod restore;
pub(super) mod s3;
pub(super) mod s3_once;
mod s3_options;
mod s3_upload;
pub(super) mod streams;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use offsite::OpenRepository;
use offsite::model::BlockSize;
use offsite_cli::workload::Disk;
use tokio::runtime::Runtime;

use super::sample::Caches;
use crate::jobs::{self, Failure};

/// What the sections work with: a folder, the disk's image, and a repository with its backups.
pub(super) struct Bench {
    pub(super) folder: PathBuf,
    pub(super) disk: Disk,
    pub(super) image: PathBuf,
    /// Bytes of the image that are not holes, at version 0.
    pub(super) allocated_bytes: u64,
    pub(super) runs: u32,
    pub(super) caches: Caches,
    pub(super) runtime: Runtime,
    /// The version that the image is at.
    version: u32,
    /// How many versions, from 0 on, the backup repository has.
    backed_up: u32,
}

impl Bench {
    /// Makes the image in `folder`.
    pub(super) fn new(folder: &Path, disk: Disk, runs: u32) -> Result<Self, Failure> {
        let image = folder.join("disk.img");
        disk.write_full(&image, 0)?;
        let allocated_bytes = allocated_bytes(&image)?;
        Ok(Self {
            folder: folder.to_owned(),
            disk,
            image,
            allocated_bytes,
            runs,
            caches: Caches::of_this_process(),
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
            version: 0,
            backed_up: 0,
        })
    }

    /// Brings the image to `version`.
    pub(super) fn bring_image_to(&mut self, version: u32) -> Result<(), Failure> {
        if version < self.version {
            self.disk.write_full(&self.image, version)?;
        } else {
            for next in self.version + 1..=version {
                self.disk.apply(&self.image, next)?;
            }
        }
        self.version = version;
        Ok(())
    }

    /// The folder of the repository with the backups that the sections read from.
    pub(super) fn source_folder(&self) -> PathBuf {
        self.folder.join("source")
    }

    /// The repository with backups of all versions from 0 to `version`, in blocks of the default size.
    pub(super) fn source_with(&mut self, version: u32) -> Result<OpenRepository, Failure> {
        let folder = self.source_folder();
        let source = if self.backed_up == 0 {
            self.runtime.block_on(jobs::make_local(&folder))?
        } else {
            self.runtime.block_on(jobs::open_local(&folder))?
        };
        while self.backed_up <= version {
            self.bring_image_to(self.backed_up)?;
            let block_size = BlockSize::default();
            self.runtime.block_on(jobs::backup(&source, &self.image, self.backed_up, block_size))?;
            self.backed_up += 1;
        }
        Ok(source)
    }

    /// A path in the folder that is free.
    pub(super) fn free_path(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        remove(&path)?;
        Ok(path)
    }

    /// A folder that is empty.
    pub(super) fn empty_folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.free_path(name)?;
        std::fs::create_dir(&path)?;
        Ok(path)
    }
}

/// Removes a file or a folder with all that is in it, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The storage behind a file.
pub(super) fn allocated_bytes(path: &Path) -> Result<u64, Failure> {
    Ok(path.metadata()?.blocks() * 512)
}

/// The lengths of files, together.
pub(super) fn length_bytes(paths: &[PathBuf]) -> Result<u64, Failure> {
    let lengths = paths.iter().map(|path| Ok(path.metadata()?.len())).collect::<std::io::Result<Vec<u64>>>()?;
    Ok(lengths.iter().sum())
}
