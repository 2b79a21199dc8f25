//! Listing in the order of keys.

use std::os::fd::OwnedFd;
use std::vec;

use offsite_repository::{Key, ListPage, ObjectInfo, Prefix, Result, RootFolder};
use rustix::fs::{self, AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::errors::fault;
use super::root::Root;

/// Belongs to the file system, lies at its root, and only the superuser may look into it.
const LOST_FOUND: &str = "lost+found/";

/// A page of the objects below `prefix` after `after`.
pub(super) fn page(root: &Root, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
    let limit = limit.max(1);
    let after = after.map_or("", Key::as_str);
    let path = if prefix.as_str().is_empty() { String::new() } else { format!("{prefix}/") };
    let mut objects = Vec::new();
    let mut folders: Vec<Folder> = Folder::open(root, path)?.into_iter().collect();
    while let Some(folder) = folders.last_mut() {
        let Some(name) = folder.names.next() else {
            folders.pop();
            continue;
        };
        let path = format!("{}{name}", folder.path);
        if name.ends_with('/') {
            // All of a folder's keys start with its path: they are all too small, or some may not be.
            if path.as_str() > after || after.starts_with(&path) {
                folders.extend(Folder::open(root, path)?);
            }
            continue;
        }
        if path.as_str() <= after {
            continue;
        }
        let Some(length) = folder.length_of(&name)? else { continue };
        let Ok(key) = Key::new(path) else { continue };
        if objects.len() == limit {
            return Ok(ListPage::new(objects, true));
        }
        objects.push(ObjectInfo::new(key, length));
    }
    Ok(ListPage::new(objects, false))
}

/// The folders at the root, and what stands there in place of one.
pub(super) fn root_folders(root: &Root, location: &str) -> Result<Vec<RootFolder>> {
    let failed = |errno| fault("list", "the root", errno);
    let dir = root.open_folder("").map_err(failed)?;
    let mut folders = Vec::new();
    for entry in Dir::read_from(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if Key::new(name).is_err() || LOST_FOUND.trim_end_matches('/') == name {
            continue;
        }
        let closed = match kind_of(&dir, name, entry.file_type()).map_err(failed)? {
            FileType::Directory => root.open_folder(name).err(),
            // One whose end is away may have led to a folder; one to a file leads to no object either.
            FileType::Symlink => match fs::statat(&dir, name, AtFlags::empty()) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => continue,
                _ => Some(Errno::LOOP),
            },
            _ => continue,
        };
        if closed != Some(Errno::NOENT) {
            folders.push(match closed {
                None => RootFolder::open(name),
                Some(errno) => RootFolder::closed(name, fault("list", name, errno).with_location(location)),
            });
        }
    }
    folders.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(folders)
}

/// A folder that the walk is in.
struct Folder {
    /// Empty for the root, else with a slash at its end.
    path: String,
    dir: OwnedFd,
    /// What is left to visit. Folders have a slash at their ends, with which they sort as their content does.
    names: vec::IntoIter<String>,
}

impl Folder {
    /// None if it is not there, perhaps no longer.
    fn open(root: &Root, path: String) -> Result<Option<Self>> {
        let failed = |errno| fault("list", if path.is_empty() { "the root" } else { path.as_str() }, errno);
        let dir = match root.open_folder(path.trim_end_matches('/')) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let mut names = names(&dir).map_err(failed)?;
        if path.is_empty() {
            names.retain(|name| name != LOST_FOUND);
        }
        names.sort_unstable();
        Ok(Some(Self { path, dir, names: names.into_iter() }))
    }

    /// None if it is no file, or gone.
    fn length_of(&self, name: &str) -> Result<Option<u64>> {
        match fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(Some(u64::try_from(stat.st_size).unwrap_or(0)))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(fault("list", format!("{}{name}", self.path).as_str(), errno)),
        }
    }
}

/// The files and folders in a folder whose names can be of keys.
fn names(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if Key::new(name).is_err() {
            continue;
        }
        match kind_of(dir, name, entry.file_type())? {
            FileType::RegularFile => names.push(name.to_owned()),
            FileType::Directory => names.push(format!("{name}/")),
            _ => {}
        }
    }
    Ok(names)
}

/// The kind of an entry, asked for where the file system does not tell it with the name.
pub(super) fn kind_of(dir: &OwnedFd, name: &str, told: FileType) -> Result<FileType, Errno> {
    if told != FileType::Unknown {
        return Ok(told);
    }
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT) => Ok(FileType::Unknown),
        Err(errno) => Err(errno),
    }
}
