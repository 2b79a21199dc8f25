//! Finds out whether another process has an image open for writing, from the locks that QEMU holds on it.
#![allow(unsafe_code, reason = "no safe call asks who else holds a lock; the proof stands at the call")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::{Error, Result};

/// The offset of the byte that a QEMU process locks if it writes to an image.
///
/// QEMU locks a byte for each permission: from 100 on for what it does itself, and from 200 on for what it lets nobody else do
/// (`block/file-posix.c` and `BLK_PERM_*` in QEMU). The locks looked at here tell that the disk changes, or that nobody else may
/// read it. A backing file that is only read has none of them.
const WRITTEN: libc::off_t = 101;
const RESIZED: libc::off_t = 103;
const READ_BY_NO_OTHER: libc::off_t = 200;

/// The call below passes 64-bit offsets on every target. So the struct must have them, too.
const _: () = assert!(size_of::<libc::off_t>() == 8);

/// Refuses an image that another process writes to.
///
/// # Errors
/// [`Error::Image`], which names the way out.
pub(super) fn refuse_in_use(path: &Path, file: &File) -> Result<()> {
    if ![WRITTEN, RESIZED, READ_BY_NO_OTHER].into_iter().any(|byte| is_locked(file, byte)) {
        return Ok(());
    }
    let detail = "it is in use: a process (QEMU, most likely) has it open for writing, so what is read may be of no one moment; back up \
                  a snapshot of it, or say that it is meant (--force-share)";
    Err(Error::image(path, detail, None))
}

/// Whether another process has a lock on this byte. `false` where the system cannot tell.
fn is_locked(file: &File, byte: libc::off_t) -> bool {
    // These are small numbers. The struct has another type for them than the constants.
    let short = |value: libc::c_int| libc::c_short::try_from(value).unwrap_or_default();
    let mut lock = libc::flock {
        l_type: short(libc::F_WRLCK),
        l_whence: short(libc::SEEK_SET),
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, as `file` lives until after the call. F_OFD_GETLK takes a pointer to a `struct flock` with
    // 64-bit offsets (asserted above), which `lock` is; it is initialised, borrowed by nobody else, and outlives the call. The
    // kernel writes the same struct back and keeps no pointer to it. Every bit pattern is a valid `libc::flock`.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    answer == 0 && lock.l_type != short(libc::F_UNLCK)
}
