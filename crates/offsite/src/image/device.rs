//! Block devices that a restore overwrites.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::detect::length;
use crate::files::in_use;
use crate::{Error, ErrorPlace, Result};

/// Whether a block device is at `path`, or behind a link there.
pub(super) fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// A block device that nothing else uses while its file is open.
#[derive(Debug)]
pub(super) struct Device {
    path: PathBuf,
    size_bytes: u64,
}

impl Device {
    /// Claims the device at `path`, to overwrite its first `disk_bytes`. It changes nothing on the device.
    pub(super) fn claim(path: &Path, disk_bytes: u64) -> Result<(Self, File)> {
        let file = open_alone(path)?;
        let unknown = |error| Error::image(path, "its size cannot be told", Some(error));
        if !file.metadata().map_err(unknown)?.file_type().is_block_device() {
            return Err(Error::image(path, "it is no block device any more", None));
        }
        let size_bytes = length(&file).map_err(unknown)?;
        if size_bytes < disk_bytes {
            return Err(Error::DeviceTooSmall {
                path: path.to_owned(),
                device_bytes: size_bytes,
                disk_bytes,
                at: ErrorPlace::default(),
            });
        }
        // Machines on the device and loop devices open it like any other file.
        let holders = in_use::device_holders(path);
        if !holders.is_empty() {
            return Err(Error::InUse { path: path.to_owned(), holders, at: ErrorPlace::default() });
        }
        Ok((Self { path: path.to_owned(), size_bytes }, file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(super) fn failed(&self, error: io::Error) -> Error {
        Error::image(&self.path, "it cannot be written", Some(error))
    }
}

/// How often a device is tried that is busy though nobody is seen to use it, and how long after the try before.
///
/// A process that this program starts holds every file of this program until it has become its own program. So a device that this
/// program had open a moment ago can be busy for another moment.
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// Opens the device at `path`, so that nothing else can open it in the same way.
fn open_alone(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    // For a device, this flag excludes others that set it: mounts, swap, device mapper, RAID.
    options.read(true).write(true).custom_flags(OFlags::EXCL.bits().cast_signed());
    let mut left = BUSY_ATTEMPTS;
    loop {
        left -= 1;
        match options.open(path) {
            Ok(file) => return Ok(file),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
                let holders = in_use::device_holders(path);
                if left == 0 || !holders.is_empty() {
                    return Err(Error::InUse { path: path.to_owned(), holders, at: ErrorPlace::default() });
                }
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(Error::image(path, refusal(error.kind()), Some(error))),
        }
    }
}

/// Says why a device cannot be opened for writing.
fn refusal(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => "no permission to write to it, or it is read-only",
        ErrorKind::ReadOnlyFilesystem => "it is read-only",
        _ => "it cannot be opened to write to it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_may_not_be_written_to_is_told_from_one_that_fails() {
        assert!(refusal(ErrorKind::PermissionDenied).contains("no permission"));
        assert_eq!(refusal(ErrorKind::ReadOnlyFilesystem), "it is read-only");
        assert!(refusal(ErrorKind::NotFound).contains("cannot be opened"));
    }
}
