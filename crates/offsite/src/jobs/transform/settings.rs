//! The settings and the plan of a transform phase.

use std::time::Duration;

use offsite_core::plan::Cost;
use offsite_core::retention::{Ageing, DeletedMachines, Policy, Simple};
use offsite_core::schedule::Schedule;
use offsite_core::{RestorePoint, Timestamp};

use crate::commit::clock_rule::ClockRule;
use crate::report::{MergeMethod, Operation};

/// What the transform phase of a job does.
///
/// By default it keeps everything, and merges as the repository can. Each method sets one field.
///
/// ```
/// use offsite::retention::{Gfs, Policy, Simple};
/// use offsite::{Compact, LiveShare, Transforms};
///
/// let policy = Policy::new(Simple::new(7)?).with_gfs(Gfs::new(4, 12, 0, 0)?);
/// let transforms = Transforms::keeping(policy)
///     // Empties files of which less than half is still needed.
///     .compact(Compact::below(LiveShare::new(0.5)?))
///     // Reads and compares 10 GB of blocks in each run.
///     .verify_bytes(10_000_000_000);
/// # let _ = transforms;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transforms {
    /// The retention policy. `None` keeps everything for ever.
    pub retention: Option<Policy>,
    /// The method that merges increments into the full.
    pub merge: MergeMethod,
    /// `true` lets a changed policy delete everything at once that it no longer keeps. Otherwise it deletes one generation a run.
    pub apply_changes_at_once: bool,
    /// How the chain loses its oldest points.
    pub ageing: Ageing,
    /// When machines are removed that the job no longer selects. `None` keeps them.
    pub deleted_machines: Option<DeletedMachines>,
    /// When files are emptied that are mostly superseded. `None` disables compaction.
    pub compact: Option<Compact>,
    /// The bytes of blocks to read and compare with their digests at the end of a run. Each run continues where the one before
    /// ended. `None` disables verification.
    pub verify_bytes: Option<u64>,
    /// The number of seconds that the clock may be ahead of all that the job has known. Beyond it, nothing is deleted by the
    /// clock. `None` means a hundred days. For a job with a schedule, use [`Schedule::ahead_max_secs`].
    pub clock_ahead_max_secs: Option<i64>,
    /// `true` if somebody has checked that the clock is right, whatever the job has known before. If need be, the job's latest
    /// known time goes back to it.
    pub trusts_clock: bool,
    /// The job's restore points in other repositories, if it writes to several in turn (removable drives). Retention counts them,
    /// and does not touch them.
    pub elsewhere: Vec<RestorePoint>,
}

impl Transforms {
    /// Keeps what `policy` says: a [`Policy`], or a [`Simple`] that counts the newest restore points.
    #[must_use]
    pub fn keeping(policy: impl Into<Policy>) -> Self {
        Self { retention: Some(policy.into()), ..Self::default() }
    }

    /// Sets the retention policy.
    ///
    /// `None` keeps everything for ever.
    #[must_use]
    pub fn retention(mut self, policy: impl Into<Option<Policy>>) -> Self {
        self.retention = policy.into();
        self
    }

    /// Sets the method that merges increments into the full.
    #[must_use]
    pub fn merge(mut self, method: MergeMethod) -> Self {
        self.merge = method;
        self
    }

    /// Sets whether a changed policy may delete everything at once that it no longer keeps.
    #[must_use]
    pub fn apply_changes_at_once(mut self, applies: bool) -> Self {
        self.apply_changes_at_once = applies;
        self
    }

    /// Sets how the chain loses its oldest points.
    #[must_use]
    pub fn ageing(mut self, ageing: Ageing) -> Self {
        self.ageing = ageing;
        self
    }

    /// Sets when machines are removed that the job no longer selects.
    ///
    /// `None` keeps them.
    #[must_use]
    pub fn deleted_machines(mut self, deleted: impl Into<Option<DeletedMachines>>) -> Self {
        self.deleted_machines = deleted.into();
        self
    }

    /// Sets when files are emptied that are mostly superseded.
    ///
    /// `None` disables compaction.
    #[must_use]
    pub fn compact(mut self, compact: impl Into<Option<Compact>>) -> Self {
        self.compact = compact.into();
        self
    }

    /// Sets how many bytes of blocks are verified at the end of a run.
    ///
    /// `None` disables verification.
    #[must_use]
    pub fn verify_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.verify_bytes = bytes.into();
        self
    }

    /// Sets the number of seconds that the clock may be ahead before nothing is deleted by it.
    ///
    /// `None` means a hundred days.
    #[must_use]
    pub fn clock_ahead_max_secs(mut self, secs: impl Into<Option<i64>>) -> Self {
        self.clock_ahead_max_secs = secs.into();
        self
    }

    /// Sets whether the clock is right, whatever the job has known before.
    #[must_use]
    pub fn trusts_clock(mut self, trusts: bool) -> Self {
        self.trusts_clock = trusts;
        self
    }

    /// Sets the job's restore points in other repositories, if it writes to several in turn.
    #[must_use]
    pub fn elsewhere(mut self, points: Vec<RestorePoint>) -> Self {
        self.elsewhere = points;
        self
    }

    /// The rule that judges the clock. For a drive that comes back after months, the points elsewhere show that these have
    /// passed.
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
    /// What the operation does.
    pub operation: Operation,
    /// What the operation costs.
    pub cost: Cost,
}

/// The share of a file that is live, from 0 to 1.
///
/// The header of the file does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveShare {
    millionths: u32,
}

/// The error for a number that is no [`LiveShare`].
///
/// The value is the number.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a live share of {0}: use a number from 0 to 1; 0.5 compacts files of which less than half is live")]
pub struct LiveShareError(pub f64);

impl LiveShare {
    const ONE: u32 = 1_000_000;
    /// The whole file.
    ///
    /// Every file with a superseded block is below it.
    pub const ALL: Self = Self { millionths: Self::ONE };

    /// Makes a share, rounded to a millionth.
    ///
    /// # Errors
    /// [`LiveShareError`] below 0, above 1, and for what is not a number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and a million")]
    pub fn new(share: f64) -> Result<Self, LiveShareError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(LiveShareError(share));
        }
        Ok(Self { millionths: (share * f64::from(Self::ONE)).round() as u32 })
    }

    /// Returns `true` if `live_bytes` of `length` are a smaller share.
    pub(super) fn is_above(self, live_bytes: u64, length: u64) -> bool {
        u128::from(live_bytes) * u128::from(Self::ONE) < u128::from(self.millionths) * u128::from(length)
    }
}

/// The most that one run compacts.
///
/// The next run continues with the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// This many bytes written to backup files.
    Bytes(u64),
    /// Begin no further piece after this time. A plan takes no time, so it shows all that there is to do; a run may do less of
    /// it.
    Duration(Duration),
}

/// When and how files are emptied that are mostly superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compact {
    /// Files with a smaller live share than this are emptied.
    pub below_live: LiveShare,
    /// The number of days between two runs that empty every file with a superseded block. `None` disables the schedule.
    pub every_days: Option<u32>,
    /// The largest number of files that a full may be spread over, if the repository cannot punch holes. A full in more files
    /// gets fewer. `None` sets no bound.
    pub files_max: Option<u32>,
    /// The largest number of bytes that one piece moves. A piece moves at least one block.
    pub piece_bytes: u64,
    /// The bound of a run. `None` lets a run continue until nothing is left to do.
    pub budget: Option<Budget>,
}

impl Compact {
    /// The default of `piece_bytes`, in bytes.
    pub const PIECE_BYTES: u64 = 1 << 30;

    /// Empties files with a smaller live share than this, in each run, without a bound.
    #[must_use]
    pub const fn below(below_live: LiveShare) -> Self {
        Self { below_live, every_days: None, files_max: None, piece_bytes: Self::PIECE_BYTES, budget: None }
    }

    /// Sets the number of days between two runs that empty every file with a superseded block.
    ///
    /// `None` disables the schedule.
    #[must_use]
    pub fn every_days(mut self, days: impl Into<Option<u32>>) -> Self {
        self.every_days = days.into();
        self
    }

    /// Sets the largest number of files that a full may be spread over, if the repository cannot punch holes.
    ///
    /// `None` sets no bound.
    #[must_use]
    pub fn files_max(mut self, files: impl Into<Option<u32>>) -> Self {
        self.files_max = files.into();
        self
    }

    /// Sets the largest number of bytes that one piece moves.
    #[must_use]
    pub const fn piece_bytes(mut self, bytes: u64) -> Self {
        self.piece_bytes = bytes;
        self
    }

    /// Sets the bound of a run.
    ///
    /// `None` lets a run continue until nothing is left to do.
    #[must_use]
    pub fn budget(mut self, budget: impl Into<Option<Budget>>) -> Self {
        self.budget = budget.into();
        self
    }

    /// These settings at the time `now`, and whether scheduled compaction is due then.
    pub(super) fn at(self, now: Timestamp, last: Option<Timestamp>) -> (Self, bool) {
        let period_secs = self.every_days.map(|days| i64::from(days) * 86_400);
        // The schedule begins with the first run that has it.
        let is_due = period_secs.zip(last).is_some_and(|(period, last)| now.unix_secs() - last.unix_secs() >= period);
        (if is_due { Self { below_live: LiveShare::ALL, ..self } } else { self }, is_due)
    }

    /// Empties every file with a superseded block now: compaction on demand.
    #[must_use]
    pub const fn all() -> Self {
        Self::below(LiveShare::ALL)
    }
}
