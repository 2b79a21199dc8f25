//! Moments of a run at which the power could have been cut.

use super::disk::Disk;
use super::{CrashImage, CrashOptions};
use crate::Key;
use crate::numbers::Numbers;
use crate::testing::{Memory, MemoryOptions};

/// The middle of a call that changes something: what is on the disk, and what is in doubt. One run gives all its moments, so
/// a test need not run anew for each.
#[derive(Debug, Clone)]
pub struct CrashMoment {
    options: CrashOptions,
    seed: u64,
    call: u64,
    action: &'static str,
    key: Key,
    disk: Disk,
    before: Vec<String>,
}

impl CrashMoment {
    pub(super) fn new(
        image: &CrashImage,
        call: u64,
        action: &'static str,
        key: &Key,
        disk: &Disk,
        before: Vec<String>,
    ) -> Self {
        let options = image.shared.options.clone();
        Self { options, seed: image.shared.seed, call, action, key: key.clone(), disk: disk.clone(), before }
    }

    /// The number of the call among those that change something.
    #[must_use]
    pub fn call(&self) -> u64 {
        self.call
    }

    /// What the call does: "finish", "delete", "punch" and so on.
    #[must_use]
    pub fn action(&self) -> &'static str {
        self.action
    }

    /// The object that it changes.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The names of the objects that there were before the call, ascending.
    #[must_use]
    pub fn names_before(&self) -> &[String] {
        &self.before
    }

    /// One of the images that a cut at this moment may leave, told by `seed`; its power is on.
    #[must_use]
    pub fn image(&self, seed: u64) -> CrashImage {
        let mut numbers = Numbers::new(Numbers::new(self.seed ^ self.call.rotate_left(32)).next() ^ seed);
        let disk = self.disk.after_cut(&mut numbers);
        let memory = Memory::with_options(MemoryOptions {
            reclaim: self.options.reclaim,
            clone_range: self.options.clone_range,
            patch: self.options.patch,
            retain: self.options.retain,
            granularity_bytes: self.options.granularity_bytes,
            ..MemoryOptions::default()
        });
        let memory = memory.with_objects(disk.objects());
        CrashImage::on(self.seed, memory, disk, self.options.clone())
    }
}
