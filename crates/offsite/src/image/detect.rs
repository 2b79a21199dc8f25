//! What kind of image a file is.

use std::fs::{File, FileType};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::{Error, Result};

/// How a disk image is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageFormat {
    /// The disk's bytes as they are.
    #[default]
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
}

impl ImageFormat {
    /// The usual ending of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// Formats that are told by their first bytes and not read: backing them up as raw disks would surprise.
const FOREIGN: [(&[u8], &str); 4] = [(b"KDMV", "VMDK"), (b"vhdxfile", "VHDX"), (b"conectix", "VHD"), (b"<<< ", "VDI")];

/// Tells the format by the first bytes; what starts like no known format is raw.
pub(super) fn detect(path: &Path) -> Result<ImageFormat> {
    let mut start = [0; 8];
    let mut file = open(path)?;
    let mut filled = 0;
    while filled < start.len() {
        match file.read(&mut start[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::image(path, "it cannot be read", Some(error))),
        }
    }
    if start.starts_with(b"QFI\xfb") {
        return Ok(ImageFormat::Qcow2);
    }
    match FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, name)) => Err(Error::image(
            path,
            format!("it is a {name} image; convert it first: qemu-img convert -O qcow2 IMAGE IMAGE.qcow2"),
            None,
        )),
        None => Ok(ImageFormat::Raw),
    }
}

/// The length of an image's file. A block device has its length at its end, and none in its metadata.
pub(super) fn length(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Opens an image's file for reading; a directory, a missing file and the like get an error that says so.
pub(super) fn open(path: &Path) -> Result<File> {
    // Before it is opened, as the opening of a pipe waits for someone who writes to it.
    let is_odd = |kind: FileType| !(kind.is_file() || kind.is_dir() || kind.is_block_device());
    if path.metadata().is_ok_and(|metadata| is_odd(metadata.file_type())) {
        return Err(Error::image(path, "it is neither a file nor a block device", None));
    }
    let file = File::open(path).map_err(|error| {
        let detail = match error.kind() {
            ErrorKind::NotFound => "there is no such file",
            ErrorKind::PermissionDenied => "no permission to read it",
            _ => "it cannot be opened",
        };
        Error::image(path, detail, Some(error))
    })?;
    let metadata = file.metadata().map_err(|error| Error::image(path, "it cannot be examined", Some(error)))?;
    if metadata.is_dir() {
        return Err(Error::image(path, "it is a directory; name the image file in it", None));
    }
    Ok(file)
}
