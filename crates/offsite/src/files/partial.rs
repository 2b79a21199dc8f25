//! Files that get their names only when they are complete.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Gid, OFlags, Uid, fchown};
use rustix::io::Errno;

use crate::files::in_use::refuse_file as refuse_file_in_use;
use crate::job_name::MARKER;
use crate::{Error, ErrorPlace, Result};

const NO_FOLDER: &str = "its folder does not exist";

/// The content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The image of a restored disk.
    Image,
    /// An export.
    Export,
}

impl Content {
    fn error(self, path: &Path, detail: &str, source: Option<std::io::Error>) -> Error {
        match self {
            Self::Image => Error::image(path, detail, source),
            Self::Export => Error::export_file(path, detail, source),
        }
    }

    /// Returns the error for a name that is taken.
    fn taken(self, path: &Path) -> Error {
        match self {
            Self::Image => Error::path_taken(path, false),
            Self::Export => Error::export_file(path, "it exists already; name a file that does not exist yet", None),
        }
    }

    /// Says what is wrong with a file that another process is writing.
    const fn busy(self) -> &'static str {
        match self {
            Self::Image => "another restore is writing it",
            Self::Export => "another export is writing it",
        }
    }
}

/// What becomes of an existing file of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// It stays, and no new file is made.
    Never,
    /// It stays until the new file is complete. The new file takes its name, owner and permissions.
    WhenWhole,
}

/// A file that gets its final name only when it is complete.
#[derive(Debug)]
pub(crate) struct Partial {
    content: Content,
    path: PathBuf,
    partial: PathBuf,
    /// Whether an existing file of that name is to be replaced.
    replaces: bool,
    /// Where the file is.
    place: Mutex<Place>,
    // The file is locked while it is open, so that no other process takes it for one that was left behind.
    _lock: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Partial,
    Kept,
    Gone,
}

impl Partial {
    /// Makes `PATH.partial`. It replaces one that an earlier run has left.
    ///
    /// It fails if `PATH` exists and is not to be replaced, if it is to be replaced but is no file or is in use, and if it lies in
    /// a job folder of a repository.
    pub(crate) fn create(path: &Path, content: Content, replace: Replace) -> Result<(Self, File)> {
        let old = Self::look(path, content, replace)?;
        // If the path is a link, the file behind it is replaced, and the link stays.
        let path = old.as_ref().map_or(path, |old| &old.path);
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = Self::open_locked(path, &partial, content)?;
        let lock = file.set_len(0).and_then(|()| file.try_clone()).map_err(|error| {
            // Nobody else knows of the file yet.
            let _ = std::fs::remove_file(&partial);
            content.error(path, "it cannot be created", Some(error))
        })?;
        let place = Mutex::new(Place::Partial);
        let new = Self { content, path: path.to_owned(), partial, replaces: old.is_some(), place, _lock: lock };
        if let Some(old) = &old {
            old.pass_on_to(&file)?;
        }
        Ok((new, file))
    }

    /// Checks the path as [`Partial::create`] does, and makes nothing. The caller checks the folder, as it may be going to make it.
    pub(crate) fn examine(path: &Path, content: Content, replace: Replace) -> Result<()> {
        Self::look(path, content, replace).map(drop)
    }

    /// The same as [`Partial::examine`]. It also refuses a path in a folder that does not exist.
    pub(crate) fn examine_in_folder(path: &Path, content: Content, replace: Replace) -> Result<()> {
        Self::examine(path, content, replace)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match folder.metadata() {
            Ok(folder) if folder.is_dir() => Ok(()),
            Ok(_) => Err(content.error(path, "it cannot be created", Some(ErrorKind::NotADirectory.into()))),
            Err(error) => Err(content.error(path, NO_FOLDER, Some(error))),
        }
    }

    /// Returns the file that is to be replaced. `None` if there is none.
    fn look(path: &Path, content: Content, replace: Replace) -> Result<Option<Old>> {
        refuse_repository(path)?;
        match (path.symlink_metadata(), replace) {
            (Err(_), _) => Ok(None),
            (Ok(_), Replace::Never) => Err(content.taken(path)),
            (Ok(_), Replace::WhenWhole) => Old::look(path).map(Some),
        }
    }

    fn open_locked(path: &Path, partial: &Path, content: Content) -> Result<File> {
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            // A link in its place would lead the writes elsewhere.
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let file = options.open(partial).map_err(|error| {
                let detail = match error.kind() {
                    ErrorKind::NotFound => NO_FOLDER,
                    ErrorKind::PermissionDenied => "no permission to write in its folder",
                    _ => "it cannot be created",
                };
                content.error(path, detail, Some(error))
            })?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(content.error(path, content.busy(), None)),
                // If files cannot be locked here, the user must not write to one path twice at once.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // The previous holder of the lock may have renamed or removed the file between its opening and its locking.
            let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
            match (file.metadata().map(identity), partial.symlink_metadata().map(identity)) {
                // An earlier run left it, and a copy by hard links shares it.
                (Ok(locked), Ok(named)) if locked == named && file.metadata().is_ok_and(|left| left.nlink() > 1) => {
                    std::fs::remove_file(partial)
                        .map_err(|error| content.error(path, "it cannot be created", Some(error)))?;
                }
                (Ok(locked), Ok(named)) if locked == named => return Ok(file),
                (Err(error), _) => return Err(content.error(path, "it cannot be created", Some(error))),
                _ => {}
            }
        }
    }

    /// Returns the name that the file gets.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn partial_path(&self) -> &Path {
        &self.partial
    }

    pub(crate) fn failed(&self, error: std::io::Error) -> Error {
        let detail = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded if self.replaces => {
                "no space left for the new image beside the old one, which is as it was"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded if self.content == Content::Image => {
                "no space left to restore to"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "no space left for it",
            _ => "it cannot be written",
        };
        self.content.error(&self.path, detail, Some(error))
    }

    /// Gives the file its name, durably. If another file has taken the name meanwhile, it is replaced only if that was asked for.
    pub(crate) fn keep(&self) -> Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = if self.replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.partial, CWD, &self.path, flags) {
            Err(Errno::INVAL | Errno::NOSYS) if self.path.symlink_metadata().is_err() => {
                std::fs::rename(&self.partial, &self.path).map_err(|error| self.failed(error))?;
            }
            answer => answer.map_err(|error| self.failed(error.into()))?,
        }
        *place = Place::Kept;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| self.failed(error))
    }

    pub(crate) fn discard(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = match *place {
            Place::Partial => std::fs::remove_file(&self.partial),
            // The earlier file is gone, and this one is complete.
            Place::Kept if self.replaces => return,
            Place::Kept => std::fs::remove_file(&self.path),
            Place::Gone => Ok(()),
        };
        *place = Place::Gone;
    }
}

/// A file that is cut off leaves nothing behind. If its process dies, the next one writes over it.
impl Drop for Partial {
    fn drop(&mut self) {
        if *self.place.get_mut().unwrap_or_else(PoisonError::into_inner) == Place::Partial {
            self.discard();
        }
    }
}

/// Refuses a path in a job folder of a repository, or of one of the repository's own files, also through a link. Beside them,
/// others may keep their files, as on a drive that is one repository.
fn refuse_repository(path: &Path) -> Result<()> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // If nothing exists there yet, the folder decides.
    let known = absolute.ancestors().find_map(|known| Some((known.canonicalize().ok()?, known)));
    let Some((real, known)) = known else { return Ok(()) };
    let place = real.join(absolute.strip_prefix(known).unwrap_or(Path::new("")));
    for folder in real.ancestors().filter(|folder| folder.join(MARKER).is_file()) {
        let below = place.strip_prefix(folder).unwrap_or(Path::new(""));
        let is_own = below.to_str().is_some_and(|name| name.starts_with(MARKER) || name.starts_with('.'));
        let job = below.components().next().map(|job| folder.join(job)).filter(|job| *job != place);
        if is_own || job.is_some_and(|job| ["head", "blocks"].iter().any(|part| job.join(part).is_dir())) {
            let (path, repository) = (path.to_owned(), folder.to_owned());
            return Err(Error::InRepository { path, repository, at: ErrorPlace::default() });
        }
    }
    Ok(())
}

/// A file that is to be replaced.
struct Old {
    path: PathBuf,
    metadata: Metadata,
}

impl Old {
    /// Checks that it is a file that nothing uses.
    fn look(path: &Path) -> Result<Self> {
        let failed = |error| Error::image(path, "it cannot be examined", Some(error));
        let path = path.canonicalize().map_err(failed)?;
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::image(&path, "it is no file, so it is not written over; restore to another path", None));
        }
        refuse_file_in_use(&path, &metadata)?;
        Ok(Self { path, metadata })
    }

    /// Gives owner and permissions to the file that replaces it.
    fn pass_on_to(&self, new: &File) -> Result<()> {
        let (owner, group) = (self.metadata.uid(), self.metadata.gid());
        let own = new.metadata().map(|own| (own.uid(), own.gid()));
        let mut done = Ok(());
        if own.is_ok_and(|own| own != (owner, group)) {
            done = fchown(new, Some(Uid::from_raw(owner)), Some(Gid::from_raw(group))).map_err(std::io::Error::from);
        }
        // This comes after the change of owner, which takes permission bits away.
        let done = done.and_then(|()| new.set_permissions(self.metadata.permissions()));
        done.map_err(|error| Error::image(&self.path, "a new file cannot have its owner and permissions", Some(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_is_named_as_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("export");
        let error = Partial::create(&path, Content::Export, Replace::Never).unwrap_err();
        assert!(error.to_string().contains("its folder does not exist"), "{error}");
    }

    #[test]
    fn a_place_without_room_is_told_by_what_was_to_be_made_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let says = |content: Content, replace: Replace, text: &str| {
            let (partial, _file) = Partial::create(&path, content, replace).unwrap();
            for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
                let told = partial.failed(kind.into()).to_string();
                assert!(told.contains(text), "{content:?}: {told}");
            }
        };
        says(Content::Image, Replace::Never, "no space left to restore to");
        says(Content::Export, Replace::Never, "no space left for it");
        std::fs::write(&path, "old").unwrap();
        says(Content::Image, Replace::WhenWhole, "no space left for the new image beside the old one");
    }
}
