//! What a user can ask a job to keep. A policy that exists makes sense: its constructors refuse the others.

use super::anchor::Anchors;
use super::calendar::Zone;
use super::tier::Tier;

/// Keeps so many of the newest restore points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simple {
    keep: u32,
}

/// A count that no policy may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a retention of {keep} restore points: keep at least 2, so that a damaged newest point leaves one to go back to"
)]
#[non_exhaustive]
pub struct SimpleError {
    /// The count.
    pub keep: u32,
}

impl Simple {
    /// The smallest count.
    pub const KEEP_MIN: u32 = 2;

    /// Keeps the newest `keep` restore points.
    ///
    /// # Errors
    /// [`SimpleError`] below 2.
    pub fn new(keep: u32) -> Result<Self, SimpleError> {
        if keep < Self::KEEP_MIN { Err(SimpleError { keep }) } else { Ok(Self { keep }) }
    }

    /// How many.
    #[must_use]
    pub const fn keep(self) -> u32 {
        self.keep
    }
}

/// The newest 7.
impl Default for Simple {
    fn default() -> Self {
        Self { keep: 7 }
    }
}

/// Keeps the points of the last so many days, and never fewer than the newest [`Days::KEEP_MIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    days: u32,
}

/// A number of days that no policy may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a retention of {days} days: use 1 to {max}", max = Days::DAYS_MAX)]
#[non_exhaustive]
pub struct DaysError {
    /// The number.
    pub days: u32,
}

impl Days {
    /// A policy by days keeps so many of the newest points, however old they are.
    pub const KEEP_MIN: u32 = 3;
    /// A thousand years: more is a typing error.
    pub const DAYS_MAX: u32 = 365_250;

    /// Keeps the points of the last `days` days.
    ///
    /// # Errors
    /// [`DaysError`] for 0 and above [`Days::DAYS_MAX`].
    pub fn new(days: u32) -> Result<Self, DaysError> {
        if (1..=Self::DAYS_MAX).contains(&days) { Ok(Self { days }) } else { Err(DaysError { days }) }
    }

    /// How many.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.days
    }
}

/// What the regular tier keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Regular {
    /// The newest points, by count.
    Simple(Simple),
    /// The newest points, by age.
    Days(Days),
}

/// The newest 7.
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

/// How an archive full comes into being.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveMethod {
    /// It shares blocks with the chain, and no data moves.
    #[default]
    Shared,
    /// It gets a copy of every block, and shares no stored byte with the chain.
    Independent,
    /// The job reads the flagged point whole from the source, as a full.
    Active,
}

/// Which point an anchor flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Marking {
    /// The nearer of the points before and after it; the later one if both are as near.
    #[default]
    Nearest,
    /// The point of the interval that contains it: the first at or after the anchor.
    InInterval,
}

/// What ends the time of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// A count: the tier keeps so many archives (a forever-forward chain).
    #[default]
    Count,
    /// A date: so many weeks, months, quarters or years after its point (a chain with periodic fulls).
    Date,
}

/// Long-term retention: a count for each tier, and when each wants its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gfs {
    counts: [u32; 4],
    anchors: Anchors,
    method: ArchiveMethod,
    marking: Marking,
    expiry: Expiry,
}

/// Long-term retention that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GfsError {
    /// All counts are 0.
    #[error("long-term retention without a tier: give weekly, monthly, quarterly or yearly a count, or leave it out")]
    NoTier,
    /// A count that is a typing error.
    #[error("{tier} = {count}: use at most {max}", max = Gfs::COUNT_MAX)]
    Count {
        /// The tier.
        tier: Tier,
        /// Its count.
        count: u32,
    },
}

impl Gfs {
    /// The greatest count: more than any archive lives to see.
    pub const COUNT_MAX: u32 = 9999;

    /// Keeps so many weekly, monthly, quarterly and yearly points. 0 turns a tier off. All else is the default.
    ///
    /// # Errors
    /// [`GfsError`] if no tier is on, or a count is above [`Gfs::COUNT_MAX`].
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

    /// The same with these anchors.
    #[must_use]
    pub const fn with_anchors(self, anchors: Anchors) -> Self {
        Self { anchors, ..self }
    }

    /// The same with archives by this method.
    #[must_use]
    pub const fn with_method(self, method: ArchiveMethod) -> Self {
        Self { method, ..self }
    }

    /// The same with this marking.
    #[must_use]
    pub const fn with_marking(self, marking: Marking) -> Self {
        Self { marking, ..self }
    }

    /// The same with this end of archives.
    #[must_use]
    pub const fn with_expiry(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// How many points of `tier` it keeps. 0 if the tier is off.
    #[must_use]
    pub const fn count(&self, tier: Tier) -> u32 {
        self.counts[tier.index()]
    }

    /// The tiers that are on.
    pub fn tiers(&self) -> impl Iterator<Item = Tier> {
        let counts = self.counts;
        Tier::ALL.into_iter().filter(move |tier| counts[tier.index()] > 0)
    }

    /// When the tiers want their points.
    #[must_use]
    pub const fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// How archives come into being.
    #[must_use]
    pub const fn method(&self) -> ArchiveMethod {
        self.method
    }

    /// Which point an anchor flags.
    #[must_use]
    pub const fn marking(&self) -> Marking {
        self.marking
    }

    /// What ends the time of an archive.
    #[must_use]
    pub const fn expiry(&self) -> Expiry {
        self.expiry
    }
}

/// All that a job keeps, and the time zone of its calendar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The regular tier.
    pub regular: Regular,
    /// Long-term retention. `None` turns it off.
    pub gfs: Option<Gfs>,
    /// The zone of its days, weeks, months, quarters and years.
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
    /// The policy that keeps what `regular` says ([`Simple`] or [`Days`]), without long-term retention, in UTC.
    #[must_use]
    pub fn new(regular: impl Into<Regular>) -> Self {
        Self { regular: regular.into(), ..Self::default() }
    }

    /// The same with another regular tier.
    #[must_use]
    pub fn with_regular(self, regular: impl Into<Regular>) -> Self {
        Self { regular: regular.into(), ..self }
    }

    /// The same with this long-term retention. `None` turns it off.
    #[must_use]
    pub fn with_gfs(self, gfs: impl Into<Option<Gfs>>) -> Self {
        Self { gfs: gfs.into(), ..self }
    }

    /// The same with the calendar of this zone.
    #[must_use]
    pub fn with_zone(self, zone: Zone) -> Self {
        Self { zone, ..self }
    }

    /// A number that in all likelihood tells policies apart that keep different points. A head stores it, so that a run notices a
    /// change. A false alarm only makes a run delete less.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        crate::format::checksum(format!("{self:?}").as_bytes())
    }
}
