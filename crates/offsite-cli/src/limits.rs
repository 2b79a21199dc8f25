//! What the operating system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many open files are enough; scripts inherit the limit, and some programs walk through all that it allows.
const OPEN_FILES_MAX: u64 = 65_536;

/// Raises the limit of open files as far as it may be raised. The usual one is meant for programs that wait on files in an
/// outdated way.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    if limit.current.is_some_and(|current| current < wanted) {
        // Where it stays as it is, an error will name it if it is met.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}
