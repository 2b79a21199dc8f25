//! The limits that the operating system sets for this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of open files that is enough. Scripts inherit the limit, and some programs walk through all that it allows.
const OPEN_FILES_MAX: u64 = 65_536;

/// Raises the limit of open files as far as possible. The usual limit is meant for programs that wait for files in an outdated way.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    if limit.current.is_some_and(|current| current < wanted) {
        // If this fails, an error names the limit when it is met.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}
