//! Which daemon of this host is at work: a lock beside the status file, which the kernel lets go when its holder ends, however
//! that comes about.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::status::Failure;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// The lock of the daemon whose status is in `status`; none if another process holds it.
    pub(super) fn take(status: &Path) -> Result<Option<Self>, Failure> {
        let path = path(status);
        let wrong = |error: std::io::Error| {
            Failure::Failed(format!(
                "the lock {} cannot be taken: {error}; choose a folder that this user may write to, with state_dir in the config",
                path.display()
            ))
        };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(wrong(error)),
        }
    }
}

/// Whether a daemon is at work, by the kernel's word. A lock that nobody may look at says nothing: then there is none.
pub(crate) fn is_held(status: &Path) -> bool {
    let Ok(file) = File::open(path(status)) else { return false };
    // Shared, so that those who look do not see each other.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn path(status: &Path) -> PathBuf {
    let mut name = status.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    status.with_file_name(name)
}
