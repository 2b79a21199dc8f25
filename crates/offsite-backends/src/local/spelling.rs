//! Whether a name is there as it is spelt, on file systems to which `a` and `A` are one name.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self, AtFlags, Dir};
use rustix::io::Errno;

/// More is not remembered at a time.
const KNOWN_MAX: usize = 100_000;
/// So many names of a folder are tried at most, each of which would tell.
const TRIED_MAX: usize = 16;

/// Paths that are known to be spelt as they are stored. A name is looked for in its folder's listing once.
#[derive(Debug, Default)]
pub(super) struct Spelling {
    known: Mutex<HashSet<String>>,
}

impl Spelling {
    pub(super) fn knows(&self, path: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// Looks for the last name of `path` in its folder.
    pub(super) fn look(&self, folder: impl AsFd, path: &str) -> Result<bool, Errno> {
        if self.knows(path) {
            return Ok(true);
        }
        let name = path.rsplit('/').next().unwrap_or(path).as_bytes();
        for entry in Dir::read_from(folder)? {
            if entry?.file_name().to_bytes() == name {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                known.insert(path.to_owned());
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn forget(&self, path: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

/// Whether a folder, told by the names that are in it, takes names that differ in case for one.
pub(super) fn folds_case(folder: impl AsFd) -> Result<bool, Errno> {
    let mut names = HashSet::new();
    for entry in Dir::read_from(&folder)? {
        names.insert(entry?.file_name().to_bytes().to_vec());
    }
    let telling = names.iter().filter_map(|name| {
        let other = other_case(std::str::from_utf8(name).ok()?);
        (!names.contains(other.as_bytes())).then_some(other)
    });
    for other in telling.take(TRIED_MAX) {
        match fs::statat(&folder, other.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => return Ok(true),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

/// `name` in capitals where it has small letters, and the other way round.
fn other_case(name: &str) -> String {
    let swap = |letter: char| {
        if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    name.chars().map(swap).collect()
}
