//! Moments of a run at which the power could be cut.

use super::disk::Disk;
use super::options::CrashOptions;
use crate::Key;

/// A moment in the middle of a call that changes something.
///
/// It knows what is on the disk, and what is in doubt. One run of an operation gives all its moments, so a test need not repeat
/// the run for each. [`CrashImage::record_moments`](super::CrashImage::record_moments) records them.
#[derive(Debug, Clone)]
pub struct CrashMoment {
    pub(super) options: CrashOptions,
    pub(super) seed: u64,
    pub(super) call: u64,
    action: &'static str,
    key: Key,
    pub(super) disk: Disk,
    before: Vec<String>,
}

impl CrashMoment {
    pub(super) fn new(
        options: CrashOptions,
        seed: u64,
        call: u64,
        action: &'static str,
        key: &Key,
        disk: &Disk,
        before: Vec<String>,
    ) -> Self {
        Self { options, seed, call, action, key: key.clone(), disk: disk.clone(), before }
    }

    /// The number of the call among those that change something, from 1.
    #[must_use]
    pub fn call(&self) -> u64 {
        self.call
    }

    /// What the call does, as a verb such as `finish`, `delete` or `punch`.
    #[must_use]
    pub fn action(&self) -> &'static str {
        self.action
    }

    /// The object that the call changes.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The names of the objects that existed before the call, in ascending order.
    #[must_use]
    pub fn names_before(&self) -> &[String] {
        &self.before
    }
}
