//! The free space of file systems.

use std::path::Path;

use rustix::fs::statvfs;

/// Returns how many bytes a user can still store in the file system of an existing path. `None` if it does not tell.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    statvfs(path).ok().map(|free| free.f_bavail.saturating_mul(free.f_frsize))
}
