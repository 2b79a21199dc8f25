//! What a user can ask a job to keep.
//!
//! The constructors refuse settings that make no sense. So each policy that exists is valid.

use super::anchor::Anchors;
use super::calendar::Zone;
use super::tier::Tier;

/// A policy that keeps the newest restore points, by count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simple {
    keep: u32,
}

/// The error for a count that no [`Simple`] policy may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a retention of {keep} restore points: keep at least 2, so that a damaged newest point leaves one to go back to"
)]
#[non_exhaustive]
pub struct SimpleError {
    /// The rejected count.
    pub keep: u32,
}

impl Simple {
    /// The smallest count that is allowed.
    pub const KEEP_MIN: u32 = 2;

    /// Keeps the newest `keep` restore points.
    ///
    /// # Errors
    /// [`SimpleError`] if `keep` is less than [`Simple::KEEP_MIN`].
    pub fn new(keep: u32) -> Result<Self, SimpleError> {
        if keep < Self::KEEP_MIN { Err(SimpleError { keep }) } else { Ok(Self { keep }) }
    }

    /// The number of points that the policy keeps.
    #[must_use]
    pub const fn keep(self) -> u32 {
        self.keep
    }
}

/// Keeps the newest 7 points.
impl Default for Simple {
    fn default() -> Self {
        Self { keep: 7 }
    }
}

/// A policy that keeps the points of the last days.
///
/// It always keeps the newest [`Days::KEEP_MIN`] points, however old they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    days: u32,
}

/// The error for a number of days that no [`Days`] policy may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a retention of {days} days: use 1 to {max}", max = Days::DAYS_MAX)]
#[non_exhaustive]
pub struct DaysError {
    /// The rejected number of days.
    pub days: u32,
}

impl Days {
    /// The number of newest points that the policy keeps, however old they are.
    pub const KEEP_MIN: u32 = 3;
    /// The largest number of days that is allowed: a thousand years.
    ///
    /// A larger one is a typing error.
    pub const DAYS_MAX: u32 = 365_250;

    /// Keeps the points of the last `days` days.
    ///
    /// # Errors
    /// [`DaysError`] for 0, and for more than [`Days::DAYS_MAX`].
    pub fn new(days: u32) -> Result<Self, DaysError> {
        if (1..=Self::DAYS_MAX).contains(&days) { Ok(Self { days }) } else { Err(DaysError { days }) }
    }

    /// The number of days.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.days
    }
}

/// The regular tier of a policy: which of the newest points it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Regular {
    /// Keep the newest points, by count.
    Simple(Simple),
    /// Keep the newest points, by age.
    Days(Days),
}

/// Keeps the newest 7 points.
impl Default for Regular {
    fn default() -> Self {
        Self::Simple(Simple::default())
    }
}

impl From<Simple> for Regular {
    fn from(simple: Simple) -> Self {
        Self::Simple(simple)
    }
}

impl From<Days> for Regular {
    fn from(days: Days) -> Self {
        Self::Days(days)
    }
}

/// How a job makes an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveMethod {
    /// The archive shares blocks with the chain. No data moves.
    #[default]
    Shared,
    /// The archive gets its own copy of every block. It shares no stored byte with the chain.
    Independent,
    /// The job reads the flagged point whole from the source, and stores it as a full.
    Active,
}

/// The point that an anchor flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Marking {
    /// The nearer of the points before and after the anchor. If both are as near, the later one.
    #[default]
    Nearest,
    /// The point whose interval contains the anchor: the first point at or after it.
    InInterval,
}

/// When archives expire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// By count: a tier keeps as many archives as its count (for a forever-forward chain).
    #[default]
    Count,
    /// By date: as many weeks, months, quarters or years after the archive's point as the tier's count (for a chain with periodic
    /// fulls).
    Date,
}

/// Long-term retention, also known as grandfather-father-son (GFS).
///
/// It has a count for each tier, and anchors that say when each tier wants its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gfs {
    counts: [u32; 4],
    anchors: Anchors,
    method: ArchiveMethod,
    marking: Marking,
    expiry: Expiry,
}

/// The error for long-term retention that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GfsError {
    /// All counts are 0.
    #[error("long-term retention without a tier: give weekly, monthly, quarterly or yearly a count, or leave it out")]
    NoTier,
    /// A count is above [`Gfs::COUNT_MAX`], which is a typing error.
    #[error("{tier} = {count}: use at most {max}", max = Gfs::COUNT_MAX)]
    Count {
        /// The tier with that count.
        tier: Tier,
        /// The rejected count.
        count: u32,
    },
}

impl Gfs {
    /// The largest count of a tier.
    pub const COUNT_MAX: u32 = 9999;

    /// Keeps this many weekly, monthly, quarterly and yearly points. 0 turns a tier off.
    ///
    /// Anchors, method, marking and expiry have their defaults.
    ///
    /// # Errors
    /// [`GfsError`] if all counts are 0, or if a count is above [`Gfs::COUNT_MAX`].
    pub fn new(weekly: u32, monthly: u32, quarterly: u32, yearly: u32) -> Result<Self, GfsError> {
        let counts = [weekly, monthly, quarterly, yearly];
        if let Some(tier) = Tier::ALL.into_iter().find(|tier| counts[tier.index()] > Self::COUNT_MAX) {
            return Err(GfsError::Count { tier, count: counts[tier.index()] });
        }
        if counts == [0; 4] {
            return Err(GfsError::NoTier);
        }
        Ok(Self {
            counts,
            anchors: Anchors::default(),
            method: ArchiveMethod::default(),
            marking: Marking::default(),
            expiry: Expiry::default(),
        })
    }

    /// Sets the anchors.
    #[must_use]
    pub const fn with_anchors(self, anchors: Anchors) -> Self {
        Self { anchors, ..self }
    }

    /// Sets how the job makes archives.
    #[must_use]
    pub const fn with_method(self, method: ArchiveMethod) -> Self {
        Self { method, ..self }
    }

    /// Sets which point an anchor flags.
    #[must_use]
    pub const fn with_marking(self, marking: Marking) -> Self {
        Self { marking, ..self }
    }

    /// Sets when archives expire.
    #[must_use]
    pub const fn with_expiry(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// The number of points that `tier` keeps. 0 if the tier is off.
    #[must_use]
    pub const fn count(&self, tier: Tier) -> u32 {
        self.counts[tier.index()]
    }

    /// The tiers whose count is not 0, shortest period first.
    pub fn tiers(&self) -> impl Iterator<Item = Tier> {
        let counts = self.counts;
        Tier::ALL.into_iter().filter(move |tier| counts[tier.index()] > 0)
    }

    /// The anchors of the tiers.
    #[must_use]
    pub const fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// How the job makes archives.
    #[must_use]
    pub const fn method(&self) -> ArchiveMethod {
        self.method
    }

    /// The point that an anchor flags.
    #[must_use]
    pub const fn marking(&self) -> Marking {
        self.marking
    }

    /// When archives expire.
    #[must_use]
    pub const fn expiry(&self) -> Expiry {
        self.expiry
    }
}

/// A retention policy: all that a job keeps, and the time zone of its calendar.
///
/// ```
/// use offsite_core::retention::{Days, Gfs, Policy, Zone};
///
/// // The points of the last 14 days, and archives for 4 weeks and 12 months.
/// let policy = Policy::new(Days::new(14)?)
///     .with_gfs(Gfs::new(4, 12, 0, 0)?)
///     .with_zone(Zone::named("Europe/Berlin")?);
/// assert_eq!(policy.zone.name(), "Europe/Berlin");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The regular tier.
    pub regular: Regular,
    /// Long-term retention. `None` turns it off.
    pub gfs: Option<Gfs>,
    /// The time zone of its days, weeks, months, quarters and years.
    pub zone: Zone,
}

impl From<Simple> for Policy {
    fn from(simple: Simple) -> Self {
        Self::new(simple)
    }
}

impl From<Days> for Policy {
    fn from(days: Days) -> Self {
        Self::new(days)
    }
}

impl Policy {
    /// A policy that keeps what `regular` says ([`Simple`] or [`Days`]), without long-term retention, in UTC.
    #[must_use]
    pub fn new(regular: impl Into<Regular>) -> Self {
        Self { regular: regular.into(), ..Self::default() }
    }

    /// Sets the regular tier.
    #[must_use]
    pub fn with_regular(self, regular: impl Into<Regular>) -> Self {
        Self { regular: regular.into(), ..self }
    }

    /// Sets the long-term retention.
    ///
    /// `None` turns it off.
    #[must_use]
    pub fn with_gfs(self, gfs: impl Into<Option<Gfs>>) -> Self {
        Self { gfs: gfs.into(), ..self }
    }

    /// Sets the time zone of the calendar.
    #[must_use]
    pub fn with_zone(self, zone: Zone) -> Self {
        Self { zone, ..self }
    }
}
