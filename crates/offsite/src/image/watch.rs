//! Checks whether an image is still the same as when it was opened.
//!
//! If an image changes while it is read, its copy mixes two moments, or has zeros where the image ended. Offsite cannot prevent
//! that. So it looks for signs of a change when everything has been read.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::detect::length;
use crate::report::ImageWarning;
use crate::{Error, Result};

/// One file of an image, as it was when it was opened.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    file: File,
    length: u64,
    identity: Identity,
    modified: (i64, i64),
}

/// The identity of the file at a path.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// Nodes of devices are sometimes made anew. The device has a number of its own.
    Device(u64),
    File(u64, u64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() {
            Self::Device(metadata.rdev())
        } else {
            Self::File(metadata.dev(), metadata.ino())
        }
    }
}

impl Watch {
    /// Watches the file that was opened at `path`.
    pub(super) fn new(path: &Path, file: File) -> Result<Self> {
        let unreadable = |error| Error::image(path, "it cannot be examined", Some(error));
        let metadata = file.metadata().map_err(unreadable)?;
        let length = length(&file).map_err(|error| Error::image(path, "it is no file with a size", Some(error)))?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Self { path: path.to_owned(), file, length, identity: Identity::of(&metadata), modified })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The length of the file when it was opened, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Refuses a file whose length has changed since.
    pub(super) fn check_length(&self) -> Result<()> {
        let now = length(&self.file).map_err(|error| Error::image(&self.path, "it cannot be examined", Some(error)))?;
        if now == self.length {
            return Ok(());
        }
        let changed = if now < self.length { "shorter" } else { "longer" };
        let detail = format!(
            "it became {changed} while it was read ({} bytes, now {now}); back up a snapshot of it, or stop what changes it",
            self.length
        );
        Err(Error::image(&self.path, detail, None))
    }

    /// Checks the file again when all of it has been read. A process may have written to it meanwhile.
    ///
    /// # Errors
    /// [`Error::Image`] if it has another length, or if its path leads to another file.
    pub(super) fn settle(&self) -> Result<Option<ImageWarning>> {
        self.check_length()?;
        let replaced = |error| {
            let detail = "it was replaced or removed while it was read; run the backup again when nothing changes it";
            Err(Error::image(&self.path, detail, error))
        };
        match self.path.metadata() {
            Ok(now) if Identity::of(&now) == self.identity => {}
            Ok(_) => return replaced(None),
            Err(error) => return replaced(Some(error)),
        }
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|error| Error::image(&self.path, "it cannot be examined", Some(error)))?;
        let is_written = metadata.is_file() && (metadata.mtime(), metadata.mtime_nsec()) != self.modified;
        Ok(is_written.then(|| ImageWarning::WrittenTo { location: self.path.display().to_string() }))
    }
}
