//! The lock that tells which daemon of this host has a state folder.
//!
//! The kernel releases it when its holder ends, however it ends.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;

const NAME: &str = "status.json.lock";

/// A daemon that has a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The number of its process.
    pub pid: u32,
    /// The name of its host.
    pub host: String,
    /// What it says of itself, for example the path of its config.
    pub about: String,
}

impl Holder {
    /// This process.
    ///
    /// `about` is what it says of itself.
    #[must_use]
    pub fn this(about: impl Into<String>) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname");
        let host = host.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned());
        Self { pid: std::process::id(), host, about: about.into() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} on {}", self.pid, self.host)
    }
}

/// The lock. It is held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `folder` for this holder.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another holder has it.
    pub(super) fn take(folder: &Path, holder: &Holder) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let wrong =
            |source| StoreError::Unusable { folder: folder.to_owned(), what: "its lock cannot be taken", source };
        let mut file = File::options().create(true).truncate(false).write(true).open(&path).map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => {
                // What it says is for people; the lock itself is the kernel's.
                let text = serde_json::to_string(holder).unwrap_or_default();
                let _ = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                Err(StoreError::InUse { folder: folder.to_owned(), holder: serde_json::from_str(&text).ok() })
            }
            Err(TryLockError::Error(error)) => Err(wrong(error)),
        }
    }
}

/// Returns `true` if a daemon is running: it holds the lock. If this user may not look at the lock, the answer is `false`.
pub(super) fn is_held(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(NAME)) else { return false };
    // Shared, so that those who look do not see each other.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}
