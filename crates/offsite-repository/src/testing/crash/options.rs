//! The behaviour of a disk whose power is cut.

/// How the disk of a [`CrashImage`](super::CrashImage) behaves, and what its repository offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashOptions {
    /// `true` if the repository flushes the data of an object before a call returns. If it does not, a power cut at any later
    /// time may lose or tear what was finished, written or punched.
    pub flushes_data: bool,
    /// `true` if the repository flushes the entries of folders and the dates of retention before a call returns. If it does not,
    /// a cut may lose a finished object, or bring a deleted one back.
    pub flushes_entries: bool,
    /// `true` if data reaches the disk before its entry can. If it does not, a cut during `finish` may leave a torn object under
    /// its name, even though what a returned `finish` stored is durable. The contract forbids that, so such a repository is
    /// broken.
    pub data_before_entry: bool,
    /// The interval of failing flushes: with `n`, every n-th flush of a new object's data fails. Zero lets none fail. The data is
    /// lost then, and another flush does not bring it back, as with real kernels. An honest repository fails the call.
    pub failing_flush_every: u64,
    /// `true` if the repository flushes again after such a failure, and believes the second answer. The contract forbids that.
    pub retries_failed_flush: bool,
    /// `true` if the repository has [`Reclaim`](crate::Reclaim).
    pub reclaim: bool,
    /// `true` if the repository has [`CloneRange`](crate::CloneRange).
    pub clone_range: bool,
    /// `true` if the repository has [`Patch`](crate::Patch).
    pub patch: bool,
    /// `true` if the repository has [`Retain`](crate::Retain).
    pub retain: bool,
    /// The granularity of punching and cloning, in bytes.
    pub granularity_bytes: u64,
    /// `true` if each call first yields to the scheduler once, so that other tasks and cancellation can come in between.
    pub yields: bool,
}

impl Default for CrashOptions {
    /// An honest disk with every capability, in granules of 4 KiB.
    fn default() -> Self {
        Self {
            flushes_data: true,
            flushes_entries: true,
            data_before_entry: true,
            failing_flush_every: 0,
            retries_failed_flush: false,
            reclaim: true,
            clone_range: true,
            patch: true,
            retain: true,
            granularity_bytes: 4_096,
            yields: false,
        }
    }
}

impl CrashOptions {
    /// Sets [`CrashOptions::flushes_data`].
    #[must_use]
    pub fn with_flushes_data(mut self, flushes_data: bool) -> Self {
        self.flushes_data = flushes_data;
        self
    }

    /// Sets [`CrashOptions::flushes_entries`].
    #[must_use]
    pub fn with_flushes_entries(mut self, flushes_entries: bool) -> Self {
        self.flushes_entries = flushes_entries;
        self
    }

    /// Sets [`CrashOptions::data_before_entry`].
    #[must_use]
    pub fn with_data_before_entry(mut self, data_before_entry: bool) -> Self {
        self.data_before_entry = data_before_entry;
        self
    }

    /// Sets [`CrashOptions::failing_flush_every`].
    #[must_use]
    pub fn with_failing_flush_every(mut self, failing_flush_every: u64) -> Self {
        self.failing_flush_every = failing_flush_every;
        self
    }

    /// Sets [`CrashOptions::retries_failed_flush`].
    #[must_use]
    pub fn with_retries_failed_flush(mut self, retries_failed_flush: bool) -> Self {
        self.retries_failed_flush = retries_failed_flush;
        self
    }

    /// Sets [`CrashOptions::reclaim`].
    #[must_use]
    pub fn with_reclaim(mut self, reclaim: bool) -> Self {
        self.reclaim = reclaim;
        self
    }

    /// Sets [`CrashOptions::clone_range`].
    #[must_use]
    pub fn with_clone_range(mut self, clone_range: bool) -> Self {
        self.clone_range = clone_range;
        self
    }

    /// Sets [`CrashOptions::patch`].
    #[must_use]
    pub fn with_patch(mut self, patch: bool) -> Self {
        self.patch = patch;
        self
    }

    /// Sets [`CrashOptions::retain`].
    #[must_use]
    pub fn with_retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets [`CrashOptions::granularity_bytes`].
    #[must_use]
    pub fn with_granularity_bytes(mut self, granularity_bytes: u64) -> Self {
        self.granularity_bytes = granularity_bytes;
        self
    }

    /// Sets [`CrashOptions::yields`].
    #[must_use]
    pub fn with_yields(mut self, yields: bool) -> Self {
        self.yields = yields;
        self
    }
}
