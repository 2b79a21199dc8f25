//! Opens the file of an image, and finds out its format.

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
/// [`Error::Image`] for a file that looks like another format. A user would not expect it to be backed up as a raw disk.
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

/// Returns a warning if an image that is read as a raw disk looks like another format by now. `None` if it does not.
///
/// A user inside the machine can have written those bytes to the disk. So the image is still read as before. There is no warning of
/// archives: they lie on disks for good reasons.
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

/// Returns the length of an image's file in bytes. The length of a block device is the position of its end, as its metadata has
/// none.
pub(super) fn length(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Opens an image's file for reading. The error says what is wrong with the path, for example that it is a folder or missing.
pub(super) fn open(path: &Path) -> Result<File> {
    // This comes before opening it, as opening a pipe waits for a writer.
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
