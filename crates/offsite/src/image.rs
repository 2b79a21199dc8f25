//! Disk images: where blocks come from and where they go to.

mod detect;
mod device;
mod lock;
mod names;
mod qcow2;
mod qcow2_bounds;
mod raw;
mod raw_sink;
mod signature;
mod watch;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite_core::DiskName;
pub(crate) use offsite_core::ImageFormat;

pub(crate) use names::disk_names;

use crate::files::partial::Replace;
use crate::{Error, Result};

/// A disk to read. Calls block.
pub(crate) trait DiskImage: fmt::Debug + Send + Sync {
    /// The image's file, for messages.
    fn path(&self) -> &Path;

    /// The disk's size.
    fn size_bytes(&self) -> u64;

    /// The next bytes from `from` on that may be something else than zero.
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>>;

    /// Fills `buffer` from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// Looks, when all has been read, whether the image is still what it was when it was opened: an error if it has another length or
    /// was replaced, a warning if it was written to.
    fn settle(&self) -> Result<Option<String>>;
}

/// A disk to write. Calls block.
pub(crate) trait DiskSink: fmt::Debug + Send + Sync {
    /// What is written over, if it is not a new image, which is zero at first.
    fn write_over(&self) -> Option<WriteOver> {
        None
    }

    /// Makes a range read as zeros. Of a new image it has not been written, so there is nothing to do.
    fn write_zeros(&self, _range: Range<u64>) -> Result<()> {
        Ok(())
    }

    /// Writes `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Makes the image whole and durable.
    fn finish(&self) -> Result<()>;

    /// Gives the finished image its name.
    fn keep(&self) -> Result<()>;

    /// Removes the image, whether it has its name already or not.
    fn discard(&self);
}

/// A block device that an image is written to, over what was there.
#[derive(Debug, Clone)]
pub(crate) struct WriteOver {
    pub(crate) path: PathBuf,
    pub(crate) device_bytes: u64,
    /// Whether something of it may have been written over.
    pub(crate) is_begun: bool,
}

/// A disk image to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    path: PathBuf,
    name: Option<DiskName>,
    format: Option<ImageFormat>,
    trust: Trust,
}

/// What is taken on trust of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trust {
    /// The names of backing files are followed.
    backing_files: bool,
    /// It is read although another process has it open for writing.
    shared: bool,
}

/// An image that was opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenImage {
    pub(crate) image: Arc<dyn DiskImage>,
    pub(crate) format: ImageFormat,
    /// What there is to say of that format.
    pub(crate) warning: Option<String>,
}

impl ImageSource {
    /// The image at `path`. It is read in the format in which the job has read its disk before; that of a new disk is told by its
    /// first bytes, and remembered.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), name: None, format: None, trust: Trust::default() }
    }

    /// Calls the disk so, in place of what its file is called. By its name a disk is known from one restore point to the next.
    #[must_use]
    pub fn named(mut self, name: DiskName) -> Self {
        self.name = Some(name);
        self
    }

    /// Takes the image for one of `format` from now on, whatever it was before and whatever its first bytes tell.
    #[must_use]
    pub fn with_format(mut self, format: ImageFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Follows the names of backing files. Only for images from a trusted place: such a name can point at any file.
    #[must_use]
    pub fn allow_backing_files(mut self) -> Self {
        self.trust.backing_files = true;
        self
    }

    /// Reads the image although another process has it open for writing: because what is read is a snapshot of it, say.
    #[must_use]
    pub fn force_share(mut self) -> Self {
        self.trust.shared = true;
        self
    }

    /// Whether the user says the format.
    pub(crate) fn format_is_told(&self) -> bool {
        self.format.is_some()
    }

    /// The image's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the disk is called: as it was [named](Self::named), or as its image's file.
    #[must_use]
    pub fn name(&self) -> DiskName {
        self.name.clone().unwrap_or_else(|| names::of_path(&self.path, 1))
    }

    /// Looks whether the image can be backed up at all, and tells about how many bytes there are to read. Blocks.
    pub(crate) fn examine(&self) -> Result<u64> {
        let file = self.open_file()?;
        let unreadable = |error| Error::image(&self.path, "it cannot be examined", Some(error));
        let length = detect::length(&file).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        match length {
            0 => Err(Error::image(&self.path, "it is empty; a disk has at least one byte", None)),
            _ if metadata.is_file() => Ok(length.min(metadata.blocks().saturating_mul(ALLOCATED_BLOCK_BYTES))),
            _ => Ok(length),
        }
    }

    /// Opens the image, as one of the format that is `known` of its disk, if it is. Blocks.
    pub(crate) fn open(&self, known: Option<ImageFormat>) -> Result<OpenImage> {
        let file = self.open_file()?;
        let (format, warning) = match (self.format, known) {
            (Some(format), _) => (format, None),
            (None, Some(ImageFormat::Raw)) => (ImageFormat::Raw, detect::contradiction(&self.path, &file)?),
            (None, Some(format)) => (format, None),
            (None, None) => (detect::guess(&self.path, &file)?, None),
        };
        let image: Arc<dyn DiskImage> = match format {
            ImageFormat::Raw => Arc::new(raw::RawImage::new(&self.path, file)?),
            ImageFormat::Qcow2 => Arc::new(qcow2::Qcow2Image::open(&self.path, self.trust)?),
            _ => return Err(unknown(&self.path, format)),
        };
        Ok(OpenImage { image, format, warning })
    }

    /// What the disk is known by from now on, and its size: what [`ImageSource::open`] finds, if the image stays as it is. Blocks.
    pub(crate) fn look(&self, known: Option<ImageFormat>) -> Result<(ImageFormat, u64)> {
        let OpenImage { image, format, .. } = self.open(known)?;
        Ok((format, image.size_bytes()))
    }

    fn open_file(&self) -> Result<File> {
        let file = detect::open(&self.path)?;
        if !self.trust.shared {
            lock::refuse_in_use(&self.path, &file)?;
        }
        Ok(file)
    }
}

/// The unit in which a file's metadata counts the space that it takes.
const ALLOCATED_BLOCK_BYTES: u64 = 512;

/// Makes an image of `size_bytes` at `path`. Blocks.
///
/// A file is written beside `path` under a name ending in `.partial`, and gets its own name by [`DiskSink::keep`]. One that is
/// dropped before that is removed. A block device is written over where it is. With `overwrites`, a file that is there already is
/// replaced; without, whatever is there is left alone.
pub(crate) fn create(path: &Path, format: ImageFormat, size_bytes: u64, overwrites: bool) -> Result<Arc<dyn DiskSink>> {
    if device::is_device(path) {
        return match (overwrites, format) {
            (true, ImageFormat::Raw) => Ok(Arc::new(raw_sink::RawSink::open_device(path, size_bytes)?)),
            (true, _) => Err(Error::image(
                path,
                "it is a block device, to which disks are restored raw: leave the format out",
                None,
            )),
            (false, _) => {
                let detail = "it is a block device; to write over what is on it, say so (`--overwrite`)";
                Err(Error::image(path, detail, None))
            }
        };
    }
    let replace = if overwrites { Replace::WhenWhole } else { Replace::Never };
    Ok(match format {
        ImageFormat::Raw => Arc::new(raw_sink::RawSink::create(path, size_bytes, replace)?),
        ImageFormat::Qcow2 => Arc::new(qcow2::Qcow2Sink::create(path, size_bytes, replace)?),
        _ => return Err(unknown(path, format)),
    })
}

fn unknown(path: &Path, format: ImageFormat) -> Error {
    Error::image(path, format!("this version has no reader or writer of the format {format}"), None)
}
