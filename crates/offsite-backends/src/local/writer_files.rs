//! What the hidden files of writers have in common.

use rustix::fs::Mode;
use rustix::io::Errno;

pub(super) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);

/// Whether there are no locks here, rather than that one could not be taken.
pub(super) fn cannot_lock(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK | Errno::INVAL)
}
