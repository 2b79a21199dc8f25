//! What an error number means to a caller.

use std::io;
use std::path::Display;

use offsite_repository::{Error, ErrorKind, Key};
use rustix::io::Errno;

/// What a call was made for.
pub(crate) trait Subject {
    fn named_in(self, error: Error) -> Error;
}

impl Subject for &Key {
    fn named_in(self, error: Error) -> Error {
        error.with_key(self)
    }
}

/// A place that is opened or measured as such.
impl Subject for Display<'_> {
    fn named_in(self, error: Error) -> Error {
        error.with_location(self.to_string())
    }
}

/// A folder or a hidden file, by its path from the root on.
impl Subject for &str {
    fn named_in(self, error: Error) -> Error {
        error.with_subject(self)
    }
}

/// The error of a system call that was made for `subject`.
pub(crate) fn fault(action: &'static str, subject: impl Subject, errno: Errno) -> Error {
    let (kind, detail) = meaning(errno);
    let error = subject.named_in(Error::new(kind, action)).with_source(io::Error::from(errno));
    if detail.is_empty() { error } else { error.with_detail(detail) }
}

/// As [`fault`], where the call may have done its work nevertheless.
pub(super) fn doubt(action: &'static str, key: &Key, errno: Errno, detail: &str) -> Error {
    let error = Error::new(ErrorKind::Indeterminate, action).with_key(key);
    error.with_detail(detail).with_source(io::Error::from(errno))
}

/// Whether a call that changes names may have done so though it failed: a share or a drive lost the answer.
pub(super) fn is_in_doubt(errno: Errno) -> bool {
    matches!(meaning(errno).0, ErrorKind::Unavailable | ErrorKind::MediaAbsent)
}

fn meaning(errno: Errno) -> (ErrorKind, &'static str) {
    match errno {
        Errno::NOENT => (ErrorKind::NotFound, ""),
        Errno::EXIST => (ErrorKind::AlreadyExists, ""),
        Errno::NOSPC => (ErrorKind::NoSpace, ""),
        Errno::DQUOT => (ErrorKind::NoSpace, "the quota of this user is used up"),
        Errno::ACCESS => {
            let detail =
                "this user lacks a permission on the folder or file: run as its owner, or change its owner (chown)";
            (ErrorKind::PermissionDenied, detail)
        }
        Errno::PERM => (ErrorKind::PermissionDenied, "the file system forbids it: perhaps the file is immutable"),
        Errno::ROFS => (ErrorKind::PermissionDenied, "the file system is mounted read-only"),
        Errno::XDEV => {
            (ErrorKind::WrongMedia, "another file system is mounted there: open the repository at its folder instead")
        }
        Errno::NODEV | Errno::NXIO => (ErrorKind::MediaAbsent, "the device is gone"),
        Errno::NOMEDIUM => {
            (ErrorKind::MediaAbsent, "its folder is gone: mount the drive, and open the repository anew")
        }
        Errno::NOTCONN => (ErrorKind::MediaAbsent, "the file system's driver is gone: unmount it and mount it again"),
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
        // From here on, a fault of the device, the network or the machine.
        Errno::IO => (ErrorKind::Unavailable, "the device or its network fails: the kernel's log (dmesg) says more"),
        Errno::STALE => (ErrorKind::Unavailable, "the share was exported anew, or somebody else removed it: try again"),
        Errno::TIMEDOUT => (ErrorKind::Unavailable, "the server of the share does not answer"),
        Errno::NOLCK => (ErrorKind::Unavailable, "the server of the share has no lock left, or no lock service"),
        Errno::BUSY => {
            (ErrorKind::Unavailable, "another writer is at it; if none is, remove the hidden files beside it")
        }
        Errno::MFILE | Errno::NFILE => (ErrorKind::Unavailable, "too many files are open: raise the limit (ulimit -n)"),
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
