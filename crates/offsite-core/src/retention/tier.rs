//! Tiers of long-term retention, and the flags that assign restore points to them.

use std::fmt;

/// One tier of grandfather-father-son retention.
// Exhaustive: there are these four, and `Flags` stores a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Tier {
    /// One point a week.
    Weekly,
    /// One point a month.
    Monthly,
    /// One point a quarter.
    Quarterly,
    /// One point a year.
    Yearly,
}

impl Tier {
    /// All tiers, shortest period first.
    pub const ALL: [Self; 4] = [Self::Weekly, Self::Monthly, Self::Quarterly, Self::Yearly];

    /// The name in lower case: `weekly`, `monthly`, `quarterly` or `yearly`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
            Self::Yearly => "yearly",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The set of tiers that have flagged a restore point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Returns `true` if no tier has flagged the point.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns `true` if `tier` has flagged the point.
    #[must_use]
    pub const fn contains(self, tier: Tier) -> bool {
        self.0 & (1 << tier.index()) != 0
    }

    /// These flags and that of `tier`.
    #[must_use]
    pub const fn with(self, tier: Tier) -> Self {
        Self(self.0 | (1 << tier.index()))
    }

    /// These flags without that of `tier`.
    #[must_use]
    pub const fn without(self, tier: Tier) -> Self {
        Self(self.0 & !(1 << tier.index()))
    }

    /// The flags that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Converts the stored value to flags.
    ///
    /// `None` if it has unknown bits.
    #[must_use]
    pub const fn from_stored(value: u8) -> Option<Self> {
        if value < 1 << Tier::ALL.len() { Some(Self(value)) } else { None }
    }

    /// The stored value: the sum of weekly 1, monthly 2, quarterly 4 and yearly 8.
    #[must_use]
    pub const fn stored(self) -> u8 {
        self.0
    }

    /// The tiers in the set, shortest period first.
    pub fn tiers(self) -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().filter(move |tier| self.contains(*tier))
    }

    /// The names of the tiers in the set, shortest period first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.tiers().map(Tier::name)
    }
}

impl FromIterator<Tier> for Flags {
    fn from_iter<I: IntoIterator<Item = Tier>>(tiers: I) -> Self {
        tiers.into_iter().fold(Self::NONE, Self::with)
    }
}
