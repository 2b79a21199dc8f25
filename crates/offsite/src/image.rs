//! Disk images: what blocks are read from and written to.

mod detect;
mod device;
mod disk_image;
mod disk_sink;
mod io_error;
mod lock;
mod names;
mod qcow2;
mod qcow2_bounds;
mod raw;
mod raw_sink;
mod signature;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod watch;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite_core::DiskName;
pub(crate) use offsite_core::ImageFormat;

pub use disk_image::DiskImage;
pub use disk_sink::DiskSink;
pub(crate) use disk_sink::{ImageSink, WriteOver};
pub(crate) use io_error::failed;
pub(crate) use names::disk_names;

use crate::files::partial::{Content, Partial, Replace};
use crate::report::ImageWarning;
use crate::{Error, Result};

/// A disk to back up: the file of an image, a block device, or a [`DiskImage`] of your own.
#[derive(Debug, Clone)]
pub struct ImageSource {
    origin: Origin,
    name: Option<DiskName>,
    format: Option<ImageFormat>,
    trust: Trust,
}

/// Where the disk is read from.
#[derive(Debug, Clone)]
enum Origin {
    /// The file or block device at a path. Each run opens it anew.
    Path(PathBuf),
    /// An image of the caller.
    Own(Arc<dyn DiskImage>),
}

/// What the caller allows for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trust {
    /// Whether the names of backing files are followed.
    backing_files: bool,
    /// Whether the image is read although another process has it open for writing.
    shared: bool,
}

/// An open image.
#[derive(Debug, Clone)]
pub(crate) struct OpenImage {
    pub(crate) image: Arc<dyn DiskImage>,
    pub(crate) format: ImageFormat,
    /// A warning about the format. `None` if there is none.
    pub(crate) warning: Option<ImageWarning>,
}

impl ImageSource {
    /// The image at `path`.
    ///
    /// It is read in the same format as before. For a new disk, the first bytes of the file tell the format, and the job remembers
    /// it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { origin: Origin::Path(path.into()), name: None, format: None, trust: Trust::default() }
    }

    /// An image of your own, as the disk `name`.
    ///
    /// Settings for files, such as formats and locks, do not apply to it.
    ///
    /// ```
    /// use offsite::{DiskImage, DiskName, ImageSource};
    ///
    /// fn source(volume: impl DiskImage + 'static) -> Result<ImageSource, Box<dyn std::error::Error>> {
    ///     Ok(ImageSource::of(DiskName::new("vda")?, volume))
    /// }
    /// ```
    #[must_use]
    pub fn of(name: DiskName, image: impl DiskImage + 'static) -> Self {
        Self { origin: Origin::Own(Arc::new(image)), name: Some(name), format: None, trust: Trust::default() }
    }

    /// Sets the name of the disk (default: the name of its file).
    ///
    /// A disk keeps its identity from one restore point to the next by its name.
    #[must_use]
    pub fn named(mut self, name: DiskName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the format of the image from now on, whatever it was before and whatever its first bytes tell.
    #[must_use]
    pub fn with_format(mut self, format: ImageFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Follows the names of backing files.
    ///
    /// Use it only for images from a trusted place, as such a name can point to any file.
    #[must_use]
    pub fn allow_backing_files(mut self) -> Self {
        self.trust.backing_files = true;
        self
    }

    /// Reads the image although another process has it open for writing.
    ///
    /// That is right, for example, if the disk is read from a snapshot in the image.
    #[must_use]
    pub fn force_share(mut self) -> Self {
        self.trust.shared = true;
        self
    }

    /// Whether the caller has set the format.
    pub(crate) fn format_is_told(&self) -> bool {
        self.format.is_some()
    }

    /// Returns the path of the image's file or block device. `None` for an image of your own.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Path(path) => Some(path),
            Origin::Own(_) => None,
        }
    }

    /// Returns the name of the disk: the one that was [set](Self::named), or that of its file.
    #[must_use]
    pub fn name(&self) -> DiskName {
        self.name.clone().unwrap_or_else(|| names::of_path(self.path().unwrap_or(Path::new("")), 1))
    }

    /// Checks whether the image can be backed up. Returns about how many bytes there are to read. It blocks.
    pub(crate) fn examine(&self) -> Result<u64> {
        let path = match &self.origin {
            Origin::Path(path) => path,
            Origin::Own(image) => return own_size(image.as_ref()),
        };
        let file = self.open_file(path)?;
        let unreadable = |error| Error::image(path, "it cannot be examined", Some(error));
        let length = detect::length(&file).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        match length {
            0 => Err(Error::image(path, EMPTY, None)),
            _ if metadata.is_file() => Ok(length.min(metadata.blocks().saturating_mul(ALLOCATED_BLOCK_BYTES))),
            _ => Ok(length),
        }
    }

    /// Opens the image in the format that is `known` of its disk. `None` if nothing is known yet. It blocks.
    pub(crate) fn open(&self, known: Option<ImageFormat>) -> Result<OpenImage> {
        let path = match &self.origin {
            Origin::Path(path) => path,
            Origin::Own(image) => {
                own_size(image.as_ref())?;
                // Files of that disk would be read in this format. This image is no file.
                let format = self.format.or(known).unwrap_or(ImageFormat::Raw);
                return Ok(OpenImage { image: Arc::clone(image), format, warning: None });
            }
        };
        let file = self.open_file(path)?;
        let (format, warning) = match (self.format, known) {
            (Some(format), _) => (format, None),
            (None, Some(ImageFormat::Raw)) => (ImageFormat::Raw, detect::contradiction(path, &file)?),
            (None, Some(format)) => (format, None),
            (None, None) => (detect::guess(path, &file)?, None),
        };
        let image: Arc<dyn DiskImage> = match format {
            ImageFormat::Raw => Arc::new(raw::RawImage::new(path, file)?),
            ImageFormat::Qcow2 => Arc::new(qcow2::Qcow2Image::open(path, self.trust)?),
            _ => return Err(unknown(path, format)),
        };
        Ok(OpenImage { image, format, warning })
    }

    /// Returns the format that the disk will be known by, and its size in bytes. [`ImageSource::open`] finds the same if the image
    /// stays as it is. It blocks.
    pub(crate) fn look(&self, known: Option<ImageFormat>) -> Result<(ImageFormat, u64)> {
        let OpenImage { image, format, .. } = self.open(known)?;
        Ok((format, image.size_bytes()))
    }

    fn open_file(&self, path: &Path) -> Result<File> {
        let file = detect::open(path)?;
        if !self.trust.shared {
            lock::refuse_in_use(path, &file)?;
        }
        Ok(file)
    }
}

/// The message about a disk without bytes.
const EMPTY: &str = "it is empty; a disk has at least one byte";

/// Returns the size of a caller's own image in bytes.
fn own_size(image: &dyn DiskImage) -> Result<u64> {
    match image.size_bytes() {
        0 => Err(Error::image(Path::new(&image.location()), EMPTY, None)),
        size_bytes => Ok(size_bytes),
    }
}

/// The unit in which the metadata of a file counts its allocated space, in bytes.
const ALLOCATED_BLOCK_BYTES: u64 = 512;

/// Makes an image of `size_bytes` at `path`. It blocks.
///
/// - A new file has a name that ends in `.partial`, and gets its own name from [`ImageSink::keep`]. If it is dropped before that,
///   it is removed.
/// - A block device is overwritten in place.
/// - With `overwrites`, an existing file is replaced. Without it, anything that exists stays as it is.
pub(crate) fn create(
    path: &Path,
    format: ImageFormat,
    size_bytes: u64,
    overwrites: bool,
) -> Result<Arc<dyn ImageSink>> {
    if is_device_for(path, format, overwrites)? {
        return Ok(Arc::new(raw_sink::RawSink::open_device(path, size_bytes)?));
    }
    let replace = replacing(overwrites);
    Ok(match format {
        ImageFormat::Raw => Arc::new(raw_sink::RawSink::create(path, size_bytes, replace)?),
        ImageFormat::Qcow2 => Arc::new(qcow2::Qcow2Sink::create(path, size_bytes, replace)?),
        _ => return Err(unknown(path, format)),
    })
}

/// Checks whether [`create`] could make an image of `size_bytes` at `path`, without making it. It blocks.
///
/// Returns the size in bytes of the block device that it would overwrite. `None` if it would make a file.
pub(crate) fn examine(path: &Path, format: ImageFormat, size_bytes: u64, overwrites: bool) -> Result<Option<u64>> {
    if is_device_for(path, format, overwrites)? {
        let (device, _) = device::Device::claim(path, size_bytes)?;
        return Ok(Some(device.size_bytes()));
    }
    match format {
        ImageFormat::Raw | ImageFormat::Qcow2 => Partial::examine(path, Content::Image, replacing(overwrites))?,
        _ => return Err(unknown(path, format)),
    }
    Ok(None)
}

/// Whether a block device is at `path`. Refuses a device that no such image may be written to.
fn is_device_for(path: &Path, format: ImageFormat, overwrites: bool) -> Result<bool> {
    match (device::is_device(path), overwrites, format) {
        (false, _, _) => Ok(false),
        (true, true, ImageFormat::Raw) => Ok(true),
        (true, true, _) => {
            let why = "it is a block device, to which disks are restored raw: leave the format out";
            Err(Error::image(path, why, None))
        }
        (true, false, _) => Err(Error::path_taken(path, true)),
    }
}

fn replacing(overwrites: bool) -> Replace {
    if overwrites { Replace::WhenWhole } else { Replace::Never }
}

fn unknown(path: &Path, format: ImageFormat) -> Error {
    Error::image(path, format!("this version has no reader or writer of the format {format}"), None)
}

/// Refuses a disk of another size than the image was made for.
fn check_size(path: &Path, made_for: u64, size_bytes: u64) -> Result<()> {
    if made_for == size_bytes {
        return Ok(());
    }
    Err(Error::defect(format!("{} was made for a disk of {made_for} bytes, not of {size_bytes}", path.display())))
}
