//! What a transform phase does, and what it would do.

use std::time::Duration;

use offsite_core::plan::Cost;
use offsite_core::retention::{Ageing, DeletedMachines, Policy, Simple};
use offsite_core::schedule::Schedule;
use offsite_core::{RestorePoint, Timestamp};

use crate::commit::clock_rule::ClockRule;
use crate::report::{MergeMethod, Operation};

/// What a job's transform phase does. By default it keeps everything, and merges as the repository can; each method sets one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transforms {
    /// What is kept. `None` keeps everything, for ever.
    pub retention: Option<Policy>,
    /// How increments are merged.
    pub merge: MergeMethod,
    /// Whether a changed policy may delete all at once that it no longer keeps.
    pub apply_changes_at_once: bool,
    /// How the oldest points go.
    pub ageing: Ageing,
    /// When machines go that the job no longer selects. `None` keeps them.
    pub deleted_machines: Option<DeletedMachines>,
    /// When files that are mostly superseded are emptied. `None` disables compaction.
    pub compact: Option<Compact>,
    /// How many bytes of blocks are read and compared with their digests after everything else, going on where the run before
    /// ended. `None` disables verification.
    pub verify_bytes: Option<u64>,
    /// How far ahead of all that the job has known the clock may be before nothing is pruned by it, in seconds. `None` stands for a hundred days. See
    /// [`Schedule::ahead_max_secs`] for a job with a schedule.
    pub clock_ahead_max_secs: Option<i64>,
    /// Whether the clock is right, whatever the job has known before: somebody has looked at it. The job's latest known time goes back with
    /// it, if need be.
    pub trusts_clock: bool,
    /// The job's restore points in other repositories, where it writes to several in turn (removable drives): they are counted
    /// by retention, and not touched.
    pub elsewhere: Vec<RestorePoint>,
}

impl Transforms {
    /// Keeps what `policy` says: a [`Policy`], or a [`Simple`] that counts the newest restore points.
    #[must_use]
    pub fn keeping(policy: impl Into<Policy>) -> Self {
        Self { retention: Some(policy.into()), ..Self::default() }
    }

    /// What is kept. `None` keeps everything, for ever.
    #[must_use]
    pub fn retention(mut self, policy: impl Into<Option<Policy>>) -> Self {
        self.retention = policy.into();
        self
    }

    /// How increments are merged.
    #[must_use]
    pub fn merge(mut self, method: MergeMethod) -> Self {
        self.merge = method;
        self
    }

    /// Whether a changed policy may delete all at once that it no longer keeps.
    #[must_use]
    pub fn apply_changes_at_once(mut self, applies: bool) -> Self {
        self.apply_changes_at_once = applies;
        self
    }

    /// How the oldest points go.
    #[must_use]
    pub fn ageing(mut self, ageing: Ageing) -> Self {
        self.ageing = ageing;
        self
    }

    /// When machines go that the job no longer selects. `None` keeps them.
    #[must_use]
    pub fn deleted_machines(mut self, deleted: impl Into<Option<DeletedMachines>>) -> Self {
        self.deleted_machines = deleted.into();
        self
    }

    /// When files that are mostly superseded are emptied. `None` disables compaction.
    #[must_use]
    pub fn compact(mut self, compact: impl Into<Option<Compact>>) -> Self {
        self.compact = compact.into();
        self
    }

    /// How many bytes of blocks are verified after everything else. `None` disables verification.
    #[must_use]
    pub fn verify_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.verify_bytes = bytes.into();
        self
    }

    /// How far ahead the clock may be before nothing is pruned by it, in seconds. `None` stands for a hundred days.
    #[must_use]
    pub fn clock_ahead_max_secs(mut self, secs: impl Into<Option<i64>>) -> Self {
        self.clock_ahead_max_secs = secs.into();
        self
    }

    /// Whether the clock is right, whatever the job has known before.
    #[must_use]
    pub fn trusts_clock(mut self, trusts: bool) -> Self {
        self.trusts_clock = trusts;
        self
    }

    /// The job's restore points in other repositories, where it writes to several in turn.
    #[must_use]
    pub fn elsewhere(mut self, points: Vec<RestorePoint>) -> Self {
        self.elsewhere = points;
        self
    }

    /// What the clock is judged by. Of a drive that comes back after months, the points elsewhere tell that these have passed.
    pub(crate) fn clock(&self) -> ClockRule {
        let ahead_max_secs = self.clock_ahead_max_secs.unwrap_or_else(|| Schedule::Immediate.ahead_max_secs());
        let known = self.elsewhere.iter().map(|point| point.time).max();
        ClockRule { ahead_max_secs, known, is_trusted: self.trusts_clock }
    }
}

impl From<Policy> for Transforms {
    fn from(policy: Policy) -> Self {
        Self::keeping(policy)
    }
}

impl From<Simple> for Transforms {
    fn from(policy: Simple) -> Self {
        Self::keeping(policy)
    }
}

/// An operation that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PlannedOperation {
    /// What it does.
    pub operation: Operation,
    /// What it costs.
    pub cost: Cost,
}

/// A share of what a file has room for, its header left out, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveShare {
    millionths: u32,
}

/// A share that is none.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a live share of {0}: use a number from 0 to 1; 0.5 compacts files of which less than half is live")]
pub struct LiveShareError(pub f64);

impl LiveShare {
    const ONE: u32 = 1_000_000;
    /// The whole file: whatever has a superseded block is below it.
    pub const ALL: Self = Self { millionths: Self::ONE };

    /// This share, to the millionth.
    ///
    /// # Errors
    /// [`LiveShareError`] below 0, above 1, and for what is no number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and a million")]
    pub fn new(share: f64) -> Result<Self, LiveShareError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(LiveShareError(share));
        }
        Ok(Self { millionths: (share * f64::from(Self::ONE)).round() as u32 })
    }

    /// Whether so many live bytes of `length` are a smaller share.
    pub(super) fn is_above(self, live_bytes: u64, length: u64) -> bool {
        u128::from(live_bytes) * u128::from(Self::ONE) < u128::from(self.millionths) * u128::from(length)
    }
}

/// How much a run compacts at most. What is left, the next one goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// So many bytes written to backup files.
    Bytes(u64),
    /// No piece is begun after so long. A plan takes no time, so it shows all that there is to do; a run may do less of it.
    Duration(Duration),
}

/// When and how files that are mostly superseded are emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compact {
    /// Files whose live share is smaller are emptied.
    pub below_live: LiveShare,
    /// So often, in days, every file that has a superseded block is emptied. `None` disables the schedule.
    pub every_days: Option<u32>,
    /// A full that is spread over more files than this gets fewer, where holes cannot be punched. With `None` it may be spread over
    /// any number.
    pub files_max: Option<u32>,
    /// A piece moves at most so many bytes, or one block.
    pub piece_bytes: u64,
    /// The bound of a run. With `None` it goes on until nothing is left to do.
    pub budget: Option<Budget>,
}

impl Compact {
    /// The default of `piece_bytes`.
    pub const PIECE_BYTES: u64 = 1 << 30;

    /// Files of which less than this share is live are emptied, in each run, without a bound.
    #[must_use]
    pub const fn below(below_live: LiveShare) -> Self {
        Self { below_live, every_days: None, files_max: None, piece_bytes: Self::PIECE_BYTES, budget: None }
    }

    /// So often, in days, every file that has a superseded block is emptied. `None` disables the schedule.
    #[must_use]
    pub fn every_days(mut self, days: impl Into<Option<u32>>) -> Self {
        self.every_days = days.into();
        self
    }

    /// A full that is spread over more files than this gets fewer, where holes cannot be punched. With `None` it may be spread over any
    /// number.
    #[must_use]
    pub fn files_max(mut self, files: impl Into<Option<u32>>) -> Self {
        self.files_max = files.into();
        self
    }

    /// A piece moves at most so many bytes, or one block.
    #[must_use]
    pub const fn piece_bytes(mut self, bytes: u64) -> Self {
        self.piece_bytes = bytes;
        self
    }

    /// The bound of a run. With `None` it goes on until nothing is left to do.
    #[must_use]
    pub fn budget(mut self, budget: impl Into<Option<Budget>>) -> Self {
        self.budget = budget.into();
        self
    }

    /// These settings at a time when compaction on schedule is due, or not; and whether it is.
    pub(super) fn at(self, now: Timestamp, last: Option<Timestamp>) -> (Self, bool) {
        let period_secs = self.every_days.map(|days| i64::from(days) * 86_400);
        // A schedule begins with the first run that knows it.
        let is_due = period_secs.zip(last).is_some_and(|(period, last)| now.unix_secs() - last.unix_secs() >= period);
        (if is_due { Self { below_live: LiveShare::ALL, ..self } } else { self }, is_due)
    }

    /// Every file that has a superseded block is emptied now: compaction on demand.
    #[must_use]
    pub const fn all() -> Self {
        Self::below(LiveShare::ALL)
    }
}
