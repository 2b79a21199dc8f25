//! Raw images to read: files and block devices.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom as Extent, seek};
use rustix::io::Errno;

use super::DiskImage;
use super::watch::Watch;
use crate::{Error, Result};

/// A raw image to read.
#[derive(Debug)]
pub(super) struct RawImage {
    watch: Watch,
}

impl RawImage {
    pub(super) fn new(path: &Path, file: File) -> Result<Self> {
        let watch = Watch::new(path, file)?;
        if watch.length() == 0 {
            return Err(Error::image(path, "it is empty; a disk has at least one byte", None));
        }
        Ok(Self { watch })
    }
}

impl DiskImage for RawImage {
    fn path(&self) -> &Path {
        self.watch.path()
    }

    fn size_bytes(&self) -> u64 {
        self.watch.length()
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        let size_bytes = self.size_bytes();
        if from >= size_bytes {
            return Ok(None);
        }
        let failed = |error: Errno| Error::image(self.path(), "its holes cannot be told", Some(error.into()));
        let start = match seek(self.watch.file(), Extent::Data(from)) {
            Ok(start) => start,
            // No data up to the end.
            Err(Errno::NXIO) => return Ok(None),
            // A place that knows no holes: everything is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..size_bytes)),
            Err(error) => return Err(failed(error)),
        };
        let end = seek(self.watch.file(), Extent::Hole(start)).map_err(failed)?;
        Ok((start < size_bytes).then(|| start..end.min(size_bytes)))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.watch.file().read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                Error::image(self.path(), "it became shorter while it was read; back up a snapshot of it", Some(error))
            }
            _ => Error::image(self.path(), format!("it cannot be read at byte {offset}"), Some(error)),
        })
    }

    fn settle(&self) -> Result<Option<String>> {
        self.watch.settle()
    }
}
