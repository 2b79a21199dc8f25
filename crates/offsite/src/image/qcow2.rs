//! qcow2 images, read and written by the library imago.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, Mapping, PermissiveImplicitOpenGate,
    Storage, StorageOpenOptions,
};

use super::watch::Watch;
use super::{DiskImage, DiskSink, EMPTY, ImageSink, Trust, check_size, qcow2_bounds};
use crate::files::partial::{Content, Partial, Replace};
use crate::report::ImageWarning;
use crate::{Error, Result};

/// A qcow2 image to read.
#[derive(Debug)]
pub(super) struct Qcow2Image {
    path: PathBuf,
    access: FormatAccess<File>,
    /// The image's own file and its backing files.
    watches: Vec<Watch>,
}

impl Qcow2Image {
    pub(super) fn open(path: &Path, trust: Trust) -> Result<Self> {
        // imago reads zeros past the end of a file. So a truncated image must be found before it is read.
        let watches = qcow2_bounds::check(path, trust)?;
        let refused = |error| Error::image(path, "it is no qcow2 image that can be read", Some(error));
        let storage = File::open(StorageOpenOptions::new().filename(path)).map_err(refused)?;
        let builder = Qcow2::<File>::builder(storage);
        let image = if trust.backing_files {
            builder.open(PermissiveImplicitOpenGate::default())
        } else {
            builder.open(DenyImplicitOpenGate::default())
        };
        let access = FormatAccess::new(image.map_err(refused)?);
        if access.size() == 0 {
            return Err(Error::image(path, EMPTY, None));
        }
        Ok(Self { path: path.to_owned(), access, watches })
    }
}

impl DiskImage for Qcow2Image {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn size_bytes(&self) -> u64 {
        self.access.size()
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let mut offset = from;
        while offset < self.size_bytes() {
            let mapping = self.access.get_mapping(offset, self.size_bytes() - offset);
            let (mapping, length) = mapping.map_err(|error| {
                Error::image(&self.path, format!("its map is damaged at byte {offset}"), Some(error))
            })?;
            if matches!(mapping, Mapping::Eof { .. }) || length == 0 {
                break;
            }
            if !matches!(mapping, Mapping::Zero { .. }) {
                return Ok(Some(offset..(offset + length).min(self.size_bytes())));
            }
            offset += length;
        }
        Ok(None)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.access
            .read(buffer, offset)
            .map_err(|error| Error::image(&self.path, format!("it cannot be read at byte {offset}"), Some(error)))?;
        // If a file was cut off meanwhile, these may be zeros that nobody wrote.
        Ok(self.watches.iter().try_for_each(Watch::check_length)?)
    }

    fn settle(&self) -> io::Result<Option<ImageWarning>> {
        let mut note = None;
        for watch in &self.watches {
            note = note.or(watch.settle()?);
        }
        Ok(note)
    }
}

/// QEMU counts the size of a disk in sectors of this many bytes, and ignores a last part of a sector.
const SECTOR_BYTES: u64 = 512;

/// A qcow2 image that is being restored.
#[derive(Debug)]
pub(super) struct Qcow2Sink {
    partial: Partial,
    size_bytes: u64,
    // Writes allocate clusters, so only one runs at a time. The blocks have a size that suits imago.
    access: Mutex<Option<FormatAccess<File>>>,
}

impl Qcow2Sink {
    pub(super) fn create(path: &Path, size_bytes: u64, replace: Replace) -> Result<Self> {
        let (partial, _) = Partial::create(path, Content::Image, replace)?;
        let created =
            File::open(StorageOpenOptions::new().filename(partial.partial_path()).write(true)).and_then(|storage| {
                Qcow2::<File>::create_builder(storage)
                    .size(size_bytes.next_multiple_of(SECTOR_BYTES))
                    .create_open(DenyImplicitOpenGate::default(), |image| {
                        Ok(Qcow2::<File>::builder(image).backing(None).write(true))
                    })
            });
        let image = created.map_err(|error| partial.failed(error))?;
        Ok(Self { partial, size_bytes, access: Mutex::new(Some(FormatAccess::new(image))) })
    }
}

impl Qcow2Sink {
    fn access(&self) -> MutexGuard<'_, Option<FormatAccess<File>>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` to the image. Fails if the image is finished.
    fn write(&self, work: impl FnOnce(&FormatAccess<File>) -> io::Result<()>) -> io::Result<()> {
        let access = self.access();
        let access = access.as_ref().ok_or_else(|| Error::defect("a finished image is written to".to_owned()))?;
        Ok(work(access).map_err(|error| self.partial.failed(error))?)
    }
}

impl DiskSink for Qcow2Sink {
    fn location(&self) -> String {
        self.partial.path().display().to_string()
    }

    fn begin(&self, size_bytes: u64) -> io::Result<()> {
        Ok(check_size(self.partial.path(), self.size_bytes, size_bytes)?)
    }

    fn is_zeroed(&self) -> bool {
        true
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(|access| access.write(bytes, offset))
    }

    fn finish(&self) -> io::Result<()> {
        let access = self.access().take();
        if let Some(access) = access {
            access.flush().and_then(|()| access.sync()).map_err(|error| self.partial.failed(error))?;
        }
        Ok(())
    }
}

impl ImageSink for Qcow2Sink {
    fn keep(&self) -> Result<()> {
        self.partial.keep()
    }

    fn discard(&self) {
        drop(self.access().take());
        self.partial.discard();
    }
}
