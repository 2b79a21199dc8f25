//! What an error number means to a caller.

use std::io;

use offsite_repository::{Error, ErrorKind};
use rustix::io::Errno;

/// The error of a system call that was made for `place`, an object or a folder.
pub(super) fn fault(action: &'static str, place: impl ToString, errno: Errno) -> Error {
    let (kind, detail) = meaning(errno);
    let error = Error::new(kind, action).with_place(place.to_string()).with_source(io::Error::from(errno));
    if detail.is_empty() { error } else { error.with_detail(detail) }
}

/// As [`fault`], where the call may have done its work nevertheless.
pub(super) fn doubt(action: &'static str, place: impl ToString, errno: Errno, detail: &str) -> Error {
    let error = Error::new(ErrorKind::Indeterminate, action).with_place(place.to_string());
    error.with_detail(detail).with_source(io::Error::from(errno))
}

pub(super) fn meaning(errno: Errno) -> (ErrorKind, &'static str) {
    match errno {
        Errno::NOENT => (ErrorKind::NotFound, ""),
        Errno::EXIST => (ErrorKind::AlreadyExists, ""),
        Errno::NOSPC => (ErrorKind::NoSpace, ""),
        Errno::DQUOT => (ErrorKind::NoSpace, "the quota of this user is used up"),
        Errno::ACCESS => (ErrorKind::PermissionDenied, "this user lacks a permission on the folder or file"),
        Errno::PERM => (ErrorKind::PermissionDenied, "the file system forbids it: perhaps the file is immutable"),
        Errno::ROFS => (ErrorKind::PermissionDenied, "the file system is mounted read-only"),
        Errno::XDEV => {
            (ErrorKind::WrongMedia, "another file system is mounted there: open the repository at its folder instead")
        }
        Errno::NODEV | Errno::NXIO | Errno::NOMEDIUM => (ErrorKind::MediaAbsent, "the device is gone"),
        Errno::LOOP => (ErrorKind::Corrupt, "a symbolic link stands there, and links are not followed"),
        Errno::UCLEAN => (ErrorKind::Corrupt, "the file system is damaged: check it"),
        Errno::NOTUNIQ => {
            let detail = "a name that differs only in case is there, and the file system takes both for one";
            (ErrorKind::Unsupported, detail)
        }
        Errno::FBIG => (ErrorKind::Unsupported, "the file system cannot hold a file of that size"),
        Errno::NAMETOOLONG | Errno::INVAL => (ErrorKind::Unsupported, "the file system refuses the name or the call"),
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY => (ErrorKind::Unsupported, "the file system cannot do this"),
        Errno::NOTDIR => (ErrorKind::Unsupported, "a file stands where a folder is needed"),
        Errno::ISDIR => (ErrorKind::Unsupported, "a folder has that name"),
        // A fault of the device, the network or the machine, among them EIO, ESTALE, ETIMEDOUT, ENOTCONN, EMFILE, ENOMEM.
        _ => (ErrorKind::Unavailable, ""),
    }
}

/// Whether the number says that a way of doing something does not exist here, rather than that it failed.
pub(super) fn says_unsupported(errno: Errno) -> bool {
    // FAT refuses links with EPERM; a kernel without unnamed files takes the flag for that of a folder; without /proc an
    // unnamed file has no path to link from.
    let unsupported = [
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::INVAL,
        Errno::ISDIR,
        Errno::PERM,
        Errno::NOENT,
        Errno::XDEV,
        Errno::NOTTY,
        Errno::MLINK,
    ];
    unsupported.contains(&errno)
}
