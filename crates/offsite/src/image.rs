//! Disk images: where blocks come from and where they go to.

mod detect;
mod qcow2;
mod qcow2_bounds;
mod raw;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use detect::ImageFormat;

use crate::Result;

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

/// A disk to write. It is zero at first. Calls block.
pub(crate) trait DiskSink: fmt::Debug + Send + Sync {
    /// Writes `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Makes the image whole and durable.
    fn finish(&self) -> Result<()>;

    /// Gives the finished image its name.
    fn keep(&self) -> Result<()>;

    /// Removes the image, whether it has its name already or not.
    fn discard(&self);
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

/// Makes a new image of `size_bytes` zeros at `path`. Blocks.
///
/// It is written beside `path` under a name ending in `.partial`, and gets its own name by [`DiskSink::keep`]. One that is
/// dropped before that is removed.
pub(crate) fn create(path: &Path, format: ImageFormat, size_bytes: u64) -> Result<Arc<dyn DiskSink>> {
    Ok(match format {
        ImageFormat::Raw => Arc::new(raw::RawSink::create(path, size_bytes)?),
        ImageFormat::Qcow2 => Arc::new(qcow2::Qcow2Sink::create(path, size_bytes)?),
    })
}
