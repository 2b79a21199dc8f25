//! Disk images: where blocks come from and where they go to.

mod detect;
mod device;
mod in_use;
mod partial;
mod qcow2;
mod qcow2_bounds;
mod raw;
mod raw_sink;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use detect::ImageFormat;
pub use in_use::Holder;
use partial::Replace;

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
    format: Option<ImageFormat>,
    backing_files: bool,
}

impl ImageSource {
    /// The image at `path`, in the format that its first bytes tell.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: None, backing_files: false }
    }

    /// Takes the image for one of `format`, whatever its first bytes tell: a guest can write a qcow2 header to its raw disk.
    #[must_use]
    pub fn with_format(mut self, format: ImageFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Follows the names of backing files. Only for images from a trusted place: such a name can point at any file.
    #[must_use]
    pub fn allow_backing_files(mut self) -> Self {
        self.backing_files = true;
        self
    }

    /// The image's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the image. Blocks.
    pub(crate) fn open(&self) -> Result<Arc<dyn DiskImage>> {
        let format = match self.format {
            Some(format) => format,
            None => detect::detect(&self.path)?,
        };
        Ok(match format {
            ImageFormat::Raw => Arc::new(raw::RawImage::open(&self.path)?),
            ImageFormat::Qcow2 => Arc::new(qcow2::Qcow2Image::open(&self.path, self.backing_files)?),
        })
    }
}

/// Makes an image of `size_bytes` at `path`. Blocks.
///
/// A file is written beside `path` under a name ending in `.partial`, and gets its own name by [`DiskSink::keep`]. One that is
/// dropped before that is removed. A block device is written over where it is. With `overwrites`, a file that is there already is
/// replaced; without, whatever is there is left alone.
pub(crate) fn create(path: &Path, format: ImageFormat, size_bytes: u64, overwrites: bool) -> Result<Arc<dyn DiskSink>> {
    if device::is_device(path) {
        return match (overwrites, format) {
            (true, ImageFormat::Raw) => Ok(Arc::new(raw_sink::RawSink::open_device(path, size_bytes)?)),
            (true, ImageFormat::Qcow2) => Err(Error::image(
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
    })
}
