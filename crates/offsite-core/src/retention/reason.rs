//! Why a restore point is kept, and until when.

use std::fmt;

use super::tier::Tier;
use crate::schedule::ClockReading;
use crate::{MachineName, Sequence, Timestamp};

/// Why a restore point is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// It is the `position`-th newest (from 1) of the `keep` newest, and goes when `goes_after` newer ones exist.
    Newest {
        /// 1 for the newest.
        position: u32,
        /// The policy's count.
        keep: u32,
        /// So many points must be added before this one goes.
        goes_after: u32,
    },
    /// Its date is after the present, so the policy neither counts nor touches it.
    FutureDated {
        /// The present, as the job knows it.
        now: Timestamp,
    },
    /// It is of the last `days` days.
    Recent {
        /// The policy's days.
        days: u32,
        /// When it is so old that it goes.
        until: Timestamp,
    },
    /// It has a slot of a tier.
    Slot {
        /// The tier.
        tier: Tier,
        /// 1 for the tier's newest.
        slot: u32,
        /// The tier's count.
        count: u32,
        /// So many points of the tier must take a slot before this one goes.
        goes_after: u32,
    },
    /// A tier has flagged it. It takes its slot when the regular tier lets go of it.
    Flagged {
        /// The tier.
        tier: Tier,
    },
    /// A tier keeps it until a date.
    Dated {
        /// The tier.
        tier: Tier,
        /// The start of the day on which it goes.
        until: Timestamp,
    },
    /// Its chain goes as a whole, and another point of that chain stays.
    ChainOf {
        /// The newest such point.
        kept: Sequence,
        /// Until when that stays.
        until: Until,
    },
    /// No newer point has this machine whole.
    LastOfMachine {
        /// The machine.
        machine: MachineName,
    },
    /// Its storage keeps it until a date.
    Immutable {
        /// The date.
        until: Timestamp,
    },
    /// Somebody holds it.
    OnHold,
    /// A reader is reading it.
    Pinned,
    /// It would go by the changed policy, and this run has deleted its share.
    PolicyChanged,
    /// It would go, and the clock is in doubt. Nothing goes until that is settled.
    ClockInDoubt {
        /// What the clock says, and what the job knew.
        clock: ClockReading,
    },
}

/// Until when a reason holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Until {
    /// Until that time.
    Time(Timestamp),
    /// Until so many newer points exist.
    Newer(u32),
    /// Until so many newer points of the tier have a slot.
    NewerOf(Tier, u32),
    /// Until the point leaves the chain.
    LeavesChain,
    /// Until a newer point has the machine whole.
    MachineElsewhere,
    /// Until somebody lets go of it.
    Release,
    /// Until the next run.
    NextRun,
    /// Until the clock is no longer in doubt.
    ClockSettled,
}

impl Reason {
    /// Until when this reason keeps the point.
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

    /// Whether the point is kept for it as an archive, which stands alone, so that its chain may go.
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
            Self::MachineElsewhere => write!(formatter, "until a newer point has it whole"),
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

/// What becomes of a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Verdict {
    /// Which point.
    pub sequence: Sequence,
    /// Every reason to keep it. Without one, the point goes.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// The verdict that keeps a point for these reasons. Without one, the point goes.
    #[must_use]
    pub const fn new(sequence: Sequence, reasons: Vec<Reason>) -> Self {
        Self { sequence, reasons }
    }

    /// Whether the point stays.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Whether only the change of the policy keeps the point in this run.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.reasons.contains(&Reason::PolicyChanged)
    }

    /// Whether the point stays in the chain, and not only as an archive.
    #[must_use]
    pub fn stays_in_chain(&self) -> bool {
        self.reasons.iter().any(|reason| !reason.is_of_archive())
    }
}
