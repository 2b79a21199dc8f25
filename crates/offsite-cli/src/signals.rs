//! What the command does when the system sends it a signal.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::status::Failure;

/// A file that grows past the limit of its size (`ulimit -f`, `LimitFSIZE=`) ends in an error of the write, not in the end of the
/// process: where the signal is caught, the write says `EFBIG`. Scripts that are started get the signal as ever, which they would
/// not if it were ignored.
pub(crate) fn file_size_is_an_error() -> Result<(), Failure> {
    // What has been caught once stays caught, also when nobody listens.
    let caught = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop);
    caught.map_err(|error| Failure::Failed(format!("cannot catch the signal of a file that grows too long: {error}")))
}
