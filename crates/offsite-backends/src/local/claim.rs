//! Claims on names, where the file system cannot give a file a name on condition that it is free.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::writer_files::{FILE_MODE, cannot_lock};

/// What the names of claims start with. A key never starts with a dot.
pub(super) const CLAIM: &str = ".claim-";

/// Returns the name that a claim is on. `None` if this is no name of a claim.
pub(super) fn claimed(name: &str) -> Option<&str> {
    name.strip_prefix(CLAIM)
}

/// Each try that fails means that another writer has come and gone.
const TRIES: usize = 1_000;

/// The right to create one name in a folder. One writer at a time has it. Dropping it gives the right back.
///
/// It is a file that is created only if it does not exist, and locked as long as it is open. The lock ends with its process,
/// however the process ends. So a claim that can be locked belongs to a dead writer, and passes to whoever locks it. Without
/// locks nobody can tell, and the claim of a dead writer stays until a person removes it.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    folder: &'a OwnedFd,
    name: String,
    _locked: OwnedFd,
}

impl<'a> Claim<'a> {
    /// Claims `name`, after its current holder is done. Fails with `BUSY` if there are no locks to tell that.
    pub(super) fn take(folder: &'a OwnedFd, name: &str) -> Result<Self, Errno> {
        // Where names that differ in case are one, their claims are too.
        let claim = format!("{CLAIM}{}", name.to_ascii_lowercase());
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |flags| retry_on_intr(|| fs::openat(folder, claim.as_str(), flags, FILE_MODE));
        for _ in 0..TRIES {
            let (file, is_new) = match open(flags | OFlags::CREATE | OFlags::EXCL) {
                Ok(file) => (file, true),
                Err(Errno::EXIST) => match open(flags) {
                    Ok(file) => (file, false),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno),
                },
                Err(errno) => return Err(errno),
            };
            match retry_on_intr(|| fs::flock(&file, FlockOperation::LockExclusive)) {
                // Whoever had it has removed it, perhaps while this call was waiting for the lock.
                Ok(()) if !is_named(folder, &claim, &file)? => continue,
                Ok(()) => {}
                Err(errno) if cannot_lock(errno) && is_new => {}
                Err(errno) if cannot_lock(errno) => return Err(Errno::BUSY),
                Err(errno) => return Err(errno),
            }
            return Ok(Self { folder, name: claim, _locked: file });
        }
        Err(Errno::BUSY)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // Still locked, so that who waits for it learns that it is gone. If this fails, it is as that of a dead writer.
        let _ = fs::unlinkat(self.folder, self.name.as_str(), AtFlags::empty());
    }
}

/// Removes a hidden file if the writer that it belongs to is gone.
pub(super) fn remove_orphan(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        // Just finished; or another user's, who can sweep it.
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    // Any failure means that it cannot be told whether a writer is at work. And a claim that was locked after its writer
    // was done may have been made anew by another.
    if fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !is_named(folder, name, &file)? {
        return Ok(());
    }
    // Still locked, so that a writer that has just made it finds out when it gets the lock.
    match fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether `name` is still that of `file`.
fn is_named(folder: &OwnedFd, name: &str, file: impl AsFd) -> Result<bool, Errno> {
    let held = fs::fstat(file)?;
    match fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
