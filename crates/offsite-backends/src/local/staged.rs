//! Files that have no name yet.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use offsite_repository::{Error, ErrorKind, Key, Result};
use rustix::fs::{self, AtFlags, CWD, FlockOperation, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::claim::Claim;
use super::errors::fault;
use super::flush::{flush_folder, give_name};
use super::options::CreateMethod;
use super::root::Root;
use super::writer_files::{FILE_MODE, cannot_lock};

/// What the names of staged files start with. A key never starts with a dot.
pub(super) const STAGED: &str = ".staged-";

/// A sweep can meet a new staged file before it is locked; that it does so this often is not by chance.
const STAGE_TRIES: usize = 16;

/// A file being written, before it has its name.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: File,
    pub(super) folder: OwnedFd,
    by: CreateMethod,
    /// Its hidden name, if it has one. The file is locked as long as it is open, which tells a sweep to spare it.
    hidden: Option<String>,
}

impl Staged {
    /// Starts the file of a new object.
    pub(super) fn begin(root: &Root, by: Option<CreateMethod>, key: &Key) -> Result<Self> {
        let Some(by) = by else {
            let detail = "the file system can neither link files nor rename one without replacing another; \
                          use a file system that can, or a share that is backed by one";
            return Err(Error::new(ErrorKind::Unsupported, "create").with_key(key).with_detail(detail));
        };
        let folder = root.make_folder(&key.folder()).map_err(|errno| fault("create", key, errno))?;
        // Only to save the writing: what decides is the link or the rename.
        match fs::statat(&folder, key.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(fault("create", key, root.taken(&folder, key))),
            Err(errno) => return Err(fault("create", key, errno)),
        }
        Self::open(folder, by).map_err(|errno| fault("create", key, errno))
    }

    pub(super) fn open(folder: OwnedFd, by: CreateMethod) -> Result<Self, Errno> {
        if by == CreateMethod::LinkingUnnamed {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = retry_on_intr(|| fs::openat(&folder, ".", flags, FILE_MODE))?;
            return Ok(Self { file: File::from(file), folder, by, hidden: None });
        }
        for _ in 0..STAGE_TRIES {
            let hidden = hidden_name()?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = retry_on_intr(|| fs::openat(&folder, hidden.as_str(), flags, FILE_MODE))?;
            match retry_on_intr(|| fs::flock(&file, FlockOperation::LockExclusive)) {
                // Without locks a sweep cannot take one either, and spares everything.
                Ok(()) => {}
                Err(errno) if cannot_lock(errno) => {}
                Err(errno) => {
                    let _ = fs::unlinkat(&folder, hidden.as_str(), AtFlags::empty());
                    return Err(errno);
                }
            }
            // A sweep may have come between the two calls, and have removed the name.
            match fs::statat(&folder, hidden.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => return Ok(Self { file: File::from(file), folder, by, hidden: Some(hidden) }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::BUSY)
    }

    /// Gives the file its name, if that is free.
    pub(super) fn publish(&self, name: &str) -> Result<(), Errno> {
        give_name(|| self.name_it(name))
    }

    fn name_it(&self, name: &str) -> Result<(), Errno> {
        match (self.by, &self.hidden) {
            (CreateMethod::RenamingStaged, Some(hidden)) => {
                let free = RenameFlags::NOREPLACE;
                fs::renameat_with(&self.folder, hidden.as_str(), &self.folder, name, free)
            }
            (CreateMethod::RenamingClaimed, Some(hidden)) => {
                let _claim = Claim::take(&self.folder, name)?;
                match fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => fs::renameat(&self.folder, hidden.as_str(), &self.folder, name),
                    Ok(_) => Err(Errno::EXIST),
                    Err(errno) => Err(errno),
                }
            }
            (_, Some(hidden)) => {
                fs::linkat(&self.folder, hidden.as_str(), &self.folder, name, AtFlags::empty())?;
                // The object is there now; if this fails, a sweep does it later.
                let _ = fs::unlinkat(&self.folder, hidden.as_str(), AtFlags::empty());
                Ok(())
            }
            (_, None) => {
                // The one way to link an unnamed file that needs no privilege.
                let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                fs::linkat(CWD, path, &self.folder, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }

    /// Makes the name durable.
    pub(super) fn sync_name(&self) -> Result<(), Errno> {
        flush_folder(&self.folder)
    }

    /// Removes the hidden name. An unnamed file ends when it is closed.
    pub(super) fn discard(&self) -> Result<(), Errno> {
        match self.hidden.as_deref().map(|hidden| fs::unlinkat(&self.folder, hidden, AtFlags::empty())) {
            None | Some(Ok(()) | Err(Errno::NOENT)) => Ok(()),
            Some(Err(errno)) => Err(errno),
        }
    }
}

pub(super) fn hidden_name() -> Result<String, Errno> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Errno::IO)?;
    Ok(format!("{STAGED}{:032x}", u128::from_le_bytes(random)))
}

/// Returns `true` for the names that [`hidden_name`] makes.
pub(super) fn is_staged(name: &str) -> bool {
    let digit = |letter: char| letter.is_ascii_digit() || ('a'..='f').contains(&letter);
    name.strip_prefix(STAGED).is_some_and(|number| number.len() == 32 && number.chars().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_making_are_left_over() {
        let hidden = hidden_name().expect("random bytes");
        assert!(is_staged(&hidden), "{hidden}");
        for other in ["", ".staged-", "photo.jpg", ".staged-notes", &hidden[1..], &hidden[..hidden.len() - 1]] {
            assert!(!is_staged(other), "{other}");
        }
        assert!(!is_staged(&format!("{hidden}0")) && !is_staged(&hidden.replace(STAGED, ".STAGED-")));
    }
}
