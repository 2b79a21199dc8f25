//! How much the suite tries.

use super::linker::Linker;
use super::racers::RacerProcess;

/// How much the suite tries, and what it may use.
///
/// [`Options::default`] is for places that answer within milliseconds, [`Options::quick`] for slow ones.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The number of writers that race for one name.
    pub writers: usize,
    /// The number of races.
    pub races: usize,
    /// The length of the largest object that the suite writes, in bytes. Cases about parts and about the largest object write
    /// longer ones.
    pub large_object_bytes: usize,
    /// The length that no object of the suite exceeds, in bytes. Cases that need a longer object are left out: those of more than
    /// two parts ([`Limits::part_bytes`](crate::Limits::part_bytes)), and those of the largest object.
    pub tried_bytes_max: u64,
    /// The number of objects that the cases of listings use.
    pub listed_objects: usize,
    /// The number of objects that the case of the longest listing writes. It should be more than the place lists at a time, which
    /// is mostly 1,000. With fewer than two, the case is left out.
    pub long_listing_objects: usize,
    /// The number of seconds for which the suite may make an object undeletable. Zero leaves the cases of
    /// [`Retain`](crate::Retain) out, as the suite cannot delete what it has locked.
    pub retain_secs: u32,
    /// How to start other processes that open the same place. `None` leaves out the cases with several processes.
    pub processes: Option<RacerProcess>,
    /// How to give an object another name outside of the place. `None` leaves out the case of linked objects.
    pub linker: Option<Linker>,
}

impl Default for Options {
    /// Enough to find failures that occur now and then, on a place that answers within milliseconds.
    fn default() -> Self {
        Self {
            writers: 8,
            races: 12,
            large_object_bytes: (5 << 20) + 321,
            tried_bytes_max: 64 << 20,
            listed_objects: 23,
            long_listing_objects: 1_003,
            retain_secs: 0,
            processes: None,
            linker: None,
        }
    }
}

impl Options {
    /// A short check with small objects and few races, for a place behind a slow link.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            writers: 4,
            races: 3,
            large_object_bytes: 70_001,
            tried_bytes_max: 1 << 20,
            listed_objects: 7,
            long_listing_objects: 0,
            ..Self::default()
        }
    }

    /// Sets [`Options::writers`].
    #[must_use]
    pub fn with_writers(mut self, writers: usize) -> Self {
        self.writers = writers;
        self
    }

    /// Sets [`Options::races`].
    #[must_use]
    pub fn with_races(mut self, races: usize) -> Self {
        self.races = races;
        self
    }

    /// Sets [`Options::large_object_bytes`].
    #[must_use]
    pub fn with_large_object_bytes(mut self, large_object_bytes: usize) -> Self {
        self.large_object_bytes = large_object_bytes;
        self
    }

    /// Sets [`Options::tried_bytes_max`].
    #[must_use]
    pub fn with_tried_bytes_max(mut self, tried_bytes_max: u64) -> Self {
        self.tried_bytes_max = tried_bytes_max;
        self
    }

    /// Sets [`Options::listed_objects`].
    #[must_use]
    pub fn with_listed_objects(mut self, listed_objects: usize) -> Self {
        self.listed_objects = listed_objects;
        self
    }

    /// Sets [`Options::long_listing_objects`].
    #[must_use]
    pub fn with_long_listing_objects(mut self, long_listing_objects: usize) -> Self {
        self.long_listing_objects = long_listing_objects;
        self
    }

    /// Sets [`Options::retain_secs`].
    #[must_use]
    pub fn with_retain_secs(mut self, retain_secs: u32) -> Self {
        self.retain_secs = retain_secs;
        self
    }

    /// Sets [`Options::linker`].
    #[must_use]
    pub fn with_linker(mut self, linker: Linker) -> Self {
        self.linker = Some(linker);
        self
    }

    /// Sets [`Options::processes`].
    #[must_use]
    pub fn with_processes(mut self, racers: RacerProcess) -> Self {
        self.processes = Some(racers);
        self
    }
}
