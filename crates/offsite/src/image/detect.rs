//! Opening an image's file, and what it is read as.

use std::fs::{File, FileType};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use offsite_core::ImageFormat;

use super::signature::{Signature, signature};
use crate::report::ImageWarning;
use crate::{Error, Result};

/// Guesses the format of an image of which nothing is known yet.
///
/// # Errors
/// [`Error::Image`] for a file that looks like another format: backing it up as a raw disk would surprise.
pub(super) fn guess(path: &Path, file: &File) -> Result<ImageFormat> {
    let (what, cure) = match looks_like(path, file)? {
        None => return Ok(ImageFormat::Raw),
        Some(Signature::Qcow2) => return Ok(ImageFormat::Qcow2),
        Some(Signature::Image(name)) => {
            (format!("{name} image"), "convert it first (qemu-img convert -O qcow2 IMAGE IMAGE.qcow2)")
        }
        Some(Signature::Packed(name)) => (format!("{name} file"), "unpack it first"),
    };
    let detail = format!(
        "it looks like a {what}, and its bytes would be backed up as they are; {cure}, or say that these bytes are the disk \
         (--format raw)"
    );
    Err(Error::image(path, detail, None))
}

/// What there is to say of an image that is read as a raw disk, as it was before, and looks like another format by now.
///
/// Whoever runs in the machine can have written that to the disk, so it is no reason to read it otherwise. Archives are not told of:
/// they lie on disks for good reasons.
pub(super) fn contradiction(path: &Path, file: &File) -> Result<Option<ImageWarning>> {
    let name = match looks_like(path, file)? {
        Some(Signature::Qcow2) => "qcow2",
        Some(Signature::Image(name)) => name,
        Some(Signature::Packed(_)) | None => return Ok(None),
    };
    Ok(Some(ImageWarning::LooksLike { location: path.display().to_string(), format: name.to_owned() }))
}

fn looks_like(path: &Path, file: &File) -> Result<Option<Signature>> {
    let unreadable = |error| Error::image(path, "it cannot be read", Some(error));
    signature(file, length(file).map_err(unreadable)?).map_err(unreadable)
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
