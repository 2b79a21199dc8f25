//! The images of a restore.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite_core::{DiskMap, DiskNumber, MachineName};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::files::free_space;
use crate::image::{DiskSink, ImageFormat, ImageSink, create, examine, failed};
use crate::reader::disk_selector::DiskSelector;
use crate::{Error, Result};

const NO_FOLDER: &str = "the folder cannot be made";

/// What is to be made.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) machine: MachineName,
    pub(super) format: ImageFormat,
    pub(super) overwrites: bool,
    /// The sizes of the disks in bytes.
    pub(super) disks: BTreeMap<DiskNumber, u64>,
}

/// A disk's image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) sink: Arc<dyn ImageSink>,
}

/// The images of a restore, all of them open.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) images: BTreeMap<DiskNumber, Image>,
    /// The folders that were created for them, outer ones first.
    folders: Vec<PathBuf>,
}

impl Target {
    /// Creates the images of `request` at `to`. It blocks. After an error nothing is left of them.
    pub(super) fn create(request: &Request, to: &Path) -> Result<Self> {
        let mut target = Self { images: BTreeMap::new(), folders: Vec::new() };
        match target.fill(request, to) {
            Ok(()) => Ok(target),
            Err(error) => {
                target.discard();
                Err(error)
            }
        }
    }

    fn fill(&mut self, request: &Request, to: &Path) -> Result<()> {
        let Layout { folder, paths } = Layout::of(request, to)?;
        self.make_folders(&folder)?;
        for ((disk, path), size_bytes) in paths.into_iter().zip(request.disks.values()) {
            let sink = create(&path, request.format, *size_bytes, request.overwrites)?;
            self.images.insert(disk, Image { path, sink });
        }
        Ok(())
    }

    fn make_folders(&mut self, folder: &Path) -> Result<()> {
        if folder.as_os_str() == OsStr::new("") || folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.make_folders(parent)?;
        }
        match std::fs::create_dir(folder) {
            Ok(()) => self.folders.push(folder.to_owned()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(Error::image(folder, NO_FOLDER, Some(error))),
        }
        Ok(())
    }

    /// Makes all images durable, and then gives each its name.
    pub(super) fn keep(&self) -> Result<()> {
        self.sinks().try_for_each(|sink| finish(sink.as_ref()))?;
        self.sinks().try_for_each(|sink| sink.keep())
    }

    /// Removes everything that was created: the images, with or without their final names, and the folders.
    pub(super) fn discard(&self) {
        self.sinks().for_each(|sink| sink.discard());
        for folder in self.folders.iter().rev() {
            // Somebody else may have put something there.
            let _ = std::fs::remove_dir(folder);
        }
    }

    /// The block device that was written to. `None` if there is none.
    pub(super) fn torn(&self) -> Option<PathBuf> {
        self.sinks().filter_map(|sink| sink.write_over()).find(|device| device.is_begun).map(|device| device.path)
    }

    fn sinks(&self) -> impl Iterator<Item = &Arc<dyn ImageSink>> {
        self.images.values().map(|image| &image.sink)
    }
}

/// Where the images of a restore are to be.
struct Layout {
    /// The folder that they need.
    folder: PathBuf,
    paths: BTreeMap<DiskNumber, PathBuf>,
}

impl Layout {
    fn of(request: &Request, to: &Path) -> Result<Self> {
        let is_there = to.symlink_metadata().is_ok();
        let is_named_as_folder = to.as_os_str().as_bytes().ends_with(b"/");
        let is_folder = if is_there { to.is_dir() } else { is_named_as_folder || request.disks.len() > 1 };
        if !is_folder && request.disks.len() > 1 {
            return Err(Error::setting(
                "disk",
                format!(
                    "machine {} has {} disks, and {} is no folder: name a folder, or choose one of the disks",
                    request.machine,
                    request.disks.len(),
                    to.display()
                ),
            ));
        }
        let name = |disk: &DiskNumber| format!("{}-disk{disk}.{}", request.machine, request.format.name());
        let path = |disk: &DiskNumber| if is_folder { to.join(name(disk)) } else { to.to_owned() };
        let folder = if is_folder { to } else { to.parent().unwrap_or(Path::new("")) };
        let paths = request.disks.keys().map(|disk| (*disk, path(disk))).collect();
        Ok(Self { folder: folder.to_owned(), paths })
    }
}

/// What can be told of the images of a restore before they are made.
#[derive(Debug, Default)]
pub(super) struct Prospect {
    /// The path of each image, and the size of the block device there.
    pub(super) images: BTreeMap<DiskNumber, (PathBuf, Option<u64>)>,
    /// What is free where new images would be.
    pub(super) free_bytes: Option<u64>,
}

impl Prospect {
    /// Looks whether the images of `request` can be made at `to`. Makes nothing. Blocks.
    pub(super) fn of(request: &Request, to: &Path) -> Result<Self> {
        let Layout { folder, paths } = Layout::of(request, to)?;
        let mut prospect = Self::default();
        for ((disk, path), size_bytes) in paths.into_iter().zip(request.disks.values()) {
            let device_bytes = examine(&path, request.format, *size_bytes, request.overwrites)?;
            prospect.images.insert(disk, (path, device_bytes));
        }
        let new = prospect.images.values().find(|(_, device_bytes)| device_bytes.is_none());
        if let Some((path, _)) = new {
            prospect.free_bytes = free_bytes(&folder, path)?;
        }
        Ok(prospect)
    }
}

/// What is free in the file system of a folder, which may be yet to be made, for the image `path` in it. `None` where it does not tell.
///
/// # Errors
/// [`Error::Image`] if the folder cannot be made, or the image in it.
fn free_bytes(folder: &Path, path: &Path) -> Result<Option<u64>> {
    let existing = folder.ancestors().find(|above| above.symlink_metadata().is_ok());
    let existing = existing.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !existing.is_dir() {
        return Err(Error::image(existing, NO_FOLDER, Some(Errno::EXIST.into())));
    }
    if let Err(error) = access(existing, Access::WRITE_OK) {
        let (path, detail) = match folder.is_dir() {
            true => (path, "no permission to write in its folder"),
            false => (folder, NO_FOLDER),
        };
        return Err(Error::image(path, detail, Some(error.into())));
    }
    Ok(free_space::free_bytes(existing))
}

/// Makes a disk whole and durable. Blocks.
pub(super) fn finish(sink: &dyn DiskSink) -> Result<()> {
    sink.finish().map_err(|error| failed(&sink.location(), "it cannot be made durable", error))
}

/// The disk that is meant, of those of a machine.
pub(super) fn find_disk(
    machine: &MachineName,
    disks: &BTreeMap<DiskNumber, DiskMap>,
    disk: &DiskSelector,
) -> Result<DiskNumber> {
    disk.find(machine, disks.iter().map(|(number, disk)| (*number, &disk.identity().name)))
}
