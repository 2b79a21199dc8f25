//! The reasons to keep a restore point, and how long they hold.

use std::fmt;

use super::tier::Tier;
use crate::schedule::ClockReading;
use crate::{MachineName, Sequence, Timestamp};

/// A reason to keep a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// The point is among the newest that the policy keeps by count.
    Newest {
        /// The rank of the point by age. 1 is the newest.
        position: u32,
        /// The count of the policy.
        keep: u32,
        /// The number of points that must be added before this one goes.
        goes_after: u32,
    },
    /// The date of the point is after the present. The policy neither counts nor deletes it.
    FutureDated {
        /// The present, as the job knows it.
        now: Timestamp,
    },
    /// The point is from the last `days` days.
    Recent {
        /// The days of the policy.
        days: u32,
        /// The time at which the point is old enough to go.
        until: Timestamp,
    },
    /// The point has a slot of a tier.
    Slot {
        /// The tier.
        tier: Tier,
        /// The rank of the point among the tier's slots. 1 is the newest.
        slot: u32,
        /// The count of the tier.
        count: u32,
        /// The number of points that must take a slot of the tier before this one goes.
        goes_after: u32,
    },
    /// A tier has flagged the point. It takes its slot when the regular tier no longer keeps it.
    Flagged {
        /// The tier.
        tier: Tier,
    },
    /// A tier keeps the point until a date.
    Dated {
        /// The tier.
        tier: Tier,
        /// The start of the day on which it goes.
        until: Timestamp,
    },
    /// The chain of the point goes only as a whole, and another point of it stays.
    ChainOf {
        /// The newest of the points that stay.
        kept: Sequence,
        /// How long that point stays.
        until: Until,
    },
    /// No newer point has this machine complete.
    LastOfMachine {
        /// The machine.
        machine: MachineName,
    },
    /// The storage protects the point from deletion until a date.
    Immutable {
        /// The date.
        until: Timestamp,
    },
    /// Somebody has put the point on hold.
    OnHold,
    /// A reader is reading it.
    Pinned,
    /// The changed policy would delete the point. This run has already deleted the generation that it may delete.
    PolicyChanged,
    /// The point would go, but the clock is in doubt. Nothing goes until the clock is trusted again.
    ClockInDoubt {
        /// What the clock says, and what the job knew.
        clock: ClockReading,
    },
}

/// How long a reason holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Until {
    /// Until this time.
    Time(Timestamp),
    /// Until this many newer points exist.
    Newer(u32),
    /// Until this many newer points of the tier have a slot.
    NewerOf(Tier, u32),
    /// Until the point leaves the chain.
    LeavesChain,
    /// Until a newer point has the machine complete.
    MachineElsewhere,
    /// Until somebody releases it.
    Release,
    /// Until the next run.
    NextRun,
    /// Until the clock is no longer in doubt.
    ClockSettled,
}

impl Reason {
    /// How long this reason keeps the point.
    #[must_use]
    pub const fn until(&self) -> Until {
        match self {
            Self::Newest { goes_after, .. } => Until::Newer(*goes_after),
            Self::FutureDated { .. } => Until::Release,
            Self::Recent { until, .. } | Self::Dated { until, .. } | Self::Immutable { until } => Until::Time(*until),
            Self::Slot { tier, goes_after, .. } => Until::NewerOf(*tier, *goes_after),
            Self::Flagged { .. } => Until::LeavesChain,
            Self::ChainOf { until, .. } => *until,
            Self::LastOfMachine { .. } => Until::MachineElsewhere,
            Self::OnHold | Self::Pinned => Until::Release,
            Self::PolicyChanged => Until::NextRun,
            Self::ClockInDoubt { .. } => Until::ClockSettled,
        }
    }

    /// Returns `true` if the reason keeps the point only as an archive. An archive stands alone, so its chain may go.
    pub(super) const fn is_of_archive(&self) -> bool {
        matches!(self, Self::Slot { .. } | Self::Flagged { .. } | Self::Dated { .. })
    }
}

impl fmt::Display for Until {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(formatter, "until {time}"),
            Self::Newer(count) => write!(formatter, "until {count} newer"),
            Self::NewerOf(tier, count) => write!(formatter, "until {count} newer {tier}"),
            Self::LeavesChain => write!(formatter, "once it is an archive"),
            Self::MachineElsewhere => write!(formatter, "until a newer point has it complete"),
            Self::Release => write!(formatter, "until released"),
            Self::NextRun => write!(formatter, "until the next run"),
            Self::ClockSettled => write!(formatter, "until the clock is no longer in doubt"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest { position, keep, .. } => write!(formatter, "newest {position} of {keep}, ")?,
            Self::FutureDated { now } => return write!(formatter, "dated after {now}"),
            Self::Recent { days, .. } => write!(formatter, "of the last {days} days, ")?,
            Self::Slot { tier, slot, count, .. } => write!(formatter, "{tier} {slot} of {count}, ")?,
            Self::Flagged { tier } => write!(formatter, "{tier}, counted ")?,
            Self::Dated { tier, .. } => write!(formatter, "{tier}, ")?,
            Self::ChainOf { kept, .. } => write!(formatter, "its chain has #{kept}, ")?,
            Self::LastOfMachine { machine } => write!(formatter, "the last of {machine}, ")?,
            Self::Immutable { .. } => write!(formatter, "immutable, ")?,
            Self::OnHold => write!(formatter, "held, ")?,
            Self::Pinned => write!(formatter, "being read, ")?,
            Self::PolicyChanged => write!(formatter, "the policy changed, ")?,
            Self::ClockInDoubt { clock: ClockReading::Behind { known, .. } } => {
                return write!(formatter, "the clock is behind, until it has passed {known} again");
            }
            Self::ClockInDoubt { .. } => {
                return write!(
                    formatter,
                    "the clock is far ahead of the last run, until later runs have caught up with it"
                );
            }
        }
        self.until().fmt(formatter)
    }
}

/// The decision about a restore point: the reasons to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Verdict {
    /// The number of the point.
    pub sequence: Sequence,
    /// All reasons to keep the point. If there is none, the point goes.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// A verdict with these reasons to keep the point.
    ///
    /// Without a reason, the point goes.
    #[must_use]
    pub const fn new(sequence: Sequence, reasons: Vec<Reason>) -> Self {
        Self { sequence, reasons }
    }

    /// Returns `true` if the point stays.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Returns `true` if the point stays in this run only because the policy has changed ([`Reason::PolicyChanged`]).
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.reasons.contains(&Reason::PolicyChanged)
    }

    /// Returns `true` if the point stays in the chain, not only as an archive.
    #[must_use]
    pub fn stays_in_chain(&self) -> bool {
        self.reasons.iter().any(|reason| !reason.is_of_archive())
    }
}
