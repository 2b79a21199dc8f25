//! The folder that everything lies below, and the ways into it.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use offsite_repository::{Error, ErrorKind, Key, Prefix, Result};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatVfs};
use rustix::io::{Errno, retry_on_intr};

use super::errors::fault;
use super::errors::{doubt, is_in_doubt};
use super::flush::flush_folder;
use super::options::LocalOptions;
use super::spelling::Spelling;

const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);
const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// What a path below the root must not do: leave it, pass through a link, enter a mount.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A held folder. All paths are resolved from it, so a mount that appears or vanishes at its path changes nothing.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    dir: OwnedFd,
    device: u64,
    /// Whether paths are walked component by component, for kernels and sandboxes without `openat2`.
    walks: bool,
    /// Folders whose own names this process knows to be durable.
    durable: Mutex<HashSet<Prefix>>,
    /// Where names that differ in case are one.
    pub(super) spelling: Option<Spelling>,
}

impl Root {
    pub(super) fn open(path: PathBuf, options: &LocalOptions) -> Result<Self> {
        if options.make_folder {
            match fs::mkdir(&path, FOLDER_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(fault("make", path.display(), errno)),
            }
            // Also if it was there: whoever made it may not have come to this.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or_else(|| std::path::Path::new("."));
            // A parent that may not be read is made durable by the system in its own time.
            if let Ok(parent) = fs::open(parent, FOLDER_FLAGS, Mode::empty()) {
                flush_folder(&parent).map_err(|errno| fault("make", path.display(), errno))?;
            }
        }
        let dir = retry_on_intr(|| fs::open(&path, FOLDER_FLAGS, Mode::empty())).map_err(|errno| match errno {
            Errno::NOENT => {
                fault("open", path.display(), errno).with_detail("make the folder or mount the drive first")
            }
            errno => fault("open", path.display(), errno),
        })?;
        let device = fs::fstat(&dir).map_err(|errno| fault("open", path.display(), errno))?.st_dev;
        // Sandboxes refuse what they do not know with EPERM.
        let walks = options.walk_folders
            || matches!(fs::openat2(&dir, ".", FOLDER_FLAGS, Mode::empty(), INSIDE), Err(Errno::NOSYS | Errno::PERM));
        Ok(Self { dir, device, walks, durable: Mutex::default(), spelling: None, path })
    }

    /// Opens an object's file.
    pub(super) fn open_file(&self, key: &Key, flags: OFlags) -> Result<(OwnedFd, Stat), Errno> {
        // A pipe that somebody put there must not block.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match self.open_below(key.as_str(), flags) {
            // A file where the key has a folder, or a folder where it has the file: there is no such object.
            Err(Errno::NOTDIR | Errno::ISDIR) => return Err(Errno::NOENT),
            other => other?,
        };
        let stat = fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file, stat)),
            FileType::Directory => Err(Errno::NOENT),
            _ => Err(Errno::LOOP),
        }
    }

    /// How much room its file system has.
    pub(super) fn space(&self) -> Result<StatVfs, Errno> {
        retry_on_intr(|| fs::fstatvfs(&self.dir))
    }

    /// Opens a folder that is there.
    pub(super) fn open_folder(&self, folder: &str) -> Result<OwnedFd, Errno> {
        self.open_below(if folder.is_empty() { "." } else { folder }, FOLDER_FLAGS)
    }

    /// Opens a folder, and makes it and its parents if need be. Their names are durable on return.
    pub(super) fn make_folder(&self, folder: &Prefix) -> Result<OwnedFd, Errno> {
        if folder.as_str().is_empty() {
            return self.open_folder("");
        }
        let known = self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder);
        if known {
            match self.open_folder(folder.as_str()) {
                Err(Errno::NOENT) => {}
                other => return other,
            }
        }
        let mut dir = self.open_folder("")?;
        for (path, name) in ancestors(folder.as_str()) {
            match fs::mkdirat(&dir, name, FOLDER_MODE) {
                Ok(()) => {}
                Err(Errno::EXIST) if self.is_spelt(&dir, path)? => {}
                Err(Errno::EXIST) => return Err(Errno::NOTUNIQ),
                Err(errno) => return Err(errno),
            }
            // Also if it was there: another process may have made it a moment ago, and not have come to this.
            flush_folder(&dir)?;
            dir = self.open_child(&dir, name, FOLDER_FLAGS)?;
        }
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone());
        Ok(dir)
    }

    /// Removes an object's name, durably.
    pub(super) fn remove(&self, key: &Key) -> Result<()> {
        let dir = match self.open_folder(key.folder().as_str()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(fault("delete", key, errno)),
        };
        let is_there = self.is_spelt(&dir, key.as_str()).map_err(|errno| fault("delete", key, errno))?;
        if let Some(spelling) = &self.spelling {
            spelling.forget(key.as_str());
        }
        let unlinked = if is_there { fs::unlinkat(&dir, key.name(), AtFlags::empty()) } else { Err(Errno::NOENT) };
        match unlinked {
            // A folder is no object.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(errno) if is_in_doubt(errno) => {
                return Err(doubt("delete", key, errno, "delete it again"));
            }
            Err(errno) => return Err(fault("delete", key, errno)),
        }
        // Also if it was gone: that may be an earlier try, which failed to make it durable.
        flush_folder(&dir).map_err(|errno| doubt("delete", key, errno, "it may come back after a power cut"))
    }

    fn open_below(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        if let Some(spelling) = self.spelling.as_ref().filter(|_| path != ".") {
            for (path, _) in ancestors(path).filter(|(path, _)| !spelling.knows(path)) {
                let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
                if !spelling.look(self.open_path(parent, FOLDER_FLAGS)?, path)? {
                    return Err(Errno::NOENT);
                }
            }
        }
        match self.open_path(path, flags) {
            // The folder itself is gone: that nothing is in it would be the wrong answer.
            Ok(_) | Err(Errno::NOENT) if self.is_removed() => Err(Errno::NOMEDIUM),
            Err(Errno::STALE) if path == "." => Err(Errno::NOMEDIUM),
            other => other,
        }
    }

    fn is_removed(&self) -> bool {
        fs::fstat(&self.dir).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whether the last name of `path`, which `folder` has in some spelling, is there as it is spelt.
    fn is_spelt(&self, folder: impl AsFd, path: &str) -> Result<bool, Errno> {
        self.spelling.as_ref().map_or(Ok(true), |spelling| spelling.look(folder, path))
    }

    /// What is wrong with a key whose name is taken.
    pub(super) fn taken(&self, folder: impl AsFd, key: &Key) -> Errno {
        match self.is_spelt(folder, key.as_str()) {
            Ok(true) => Errno::EXIST,
            Ok(false) => Errno::NOTUNIQ,
            Err(errno) => errno,
        }
    }

    fn open_path(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        if self.walks {
            return self.walk(path, flags);
        }
        // Without NOFOLLOW, which would make of a link at the end a wrong kind of file and not a link that is refused.
        retry_on_intr(|| fs::openat2(&self.dir, path, flags, Mode::empty(), INSIDE))
    }

    fn walk(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let Some((folder, name)) = path.rsplit_once('/') else { return self.open_child(&self.dir, path, flags) };
        let mut dir = self.open_child(&self.dir, ".", FOLDER_FLAGS)?;
        for component in folder.split('/') {
            dir = self.open_child(&dir, component, FOLDER_FLAGS)?;
        }
        self.open_child(&dir, name, flags)
    }

    fn open_child(&self, dir: impl AsFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let opened = retry_on_intr(|| fs::openat(&dir, name, flags | OFlags::NOFOLLOW, Mode::empty()));
        let child = match opened {
            // A link that a folder was expected of is told as such.
            Err(Errno::NOTDIR) => {
                let stat = fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                return Err(if is_link { Errno::LOOP } else { Errno::NOTDIR });
            }
            other => other?,
        };
        if fs::fstat(&child)?.st_dev != self.device { Err(Errno::XDEV) } else { Ok(child) }
    }
}

/// The paths that lead to `path`, it being the last, each with its last name.
fn ancestors(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = path.match_indices('/').map(|(slash, _)| slash).chain([path.len()]);
    ends.map(|end| &path[..end]).map(|path| (path, path.rsplit('/').next().unwrap_or(path)))
}

/// An error for bytes that a file does not have.
pub(super) fn past_end(action: &'static str, key: &Key, asked: &std::ops::Range<u64>, length: u64) -> Error {
    let detail = format!("bytes {} to {} were asked for, it has {length}", asked.start, asked.end);
    Error::new(ErrorKind::Corrupt, action).with_key(key).with_detail(detail)
}
