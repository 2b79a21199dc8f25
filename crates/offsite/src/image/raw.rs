//! Reads raw images: files and block devices.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom as Extent, seek};
use rustix::io::Errno;

use super::watch::Watch;
use super::{DiskImage, EMPTY};
use crate::report::ImageWarning;
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
            return Err(Error::image(path, EMPTY, None));
        }
        Ok(Self { watch })
    }
}

impl DiskImage for RawImage {
    fn location(&self) -> String {
        self.watch.path().display().to_string()
    }

    fn size_bytes(&self) -> u64 {
        self.watch.length()
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let size_bytes = self.size_bytes();
        if from >= size_bytes {
            return Ok(None);
        }
        let failed = |error: Errno| Error::image(self.watch.path(), "its holes cannot be told", Some(error.into()));
        let start = match seek(self.watch.file(), Extent::Data(from)) {
            Ok(start) => start,
            // There is no data up to the end.
            Err(Errno::NXIO) => return Ok(None),
            // The file system does not know holes, so everything is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..size_bytes)),
            Err(error) => return Err(failed(error).into()),
        };
        let end = seek(self.watch.file(), Extent::Hole(start)).map_err(failed)?;
        Ok((start < size_bytes).then(|| start..end.min(size_bytes)))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let path = self.watch.path();
        let read = self.watch.file().read_exact_at(buffer, offset);
        Ok(read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                Error::image(path, "it became shorter while it was read; back up a snapshot of it", Some(error))
            }
            _ => Error::image(path, format!("it cannot be read at byte {offset}"), Some(error)),
        })?)
    }

    fn settle(&self) -> io::Result<Option<ImageWarning>> {
        Ok(self.watch.settle()?)
    }
}
