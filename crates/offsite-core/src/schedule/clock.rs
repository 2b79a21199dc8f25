//! Whether the present can be believed.
//!
//! A job remembers the latest time that it has known (the head's high-water mark). What a clock does then decides what may be
//! *deleted*; copying goes on in any case, as a copy too many harms nobody.
//!
//! - The clock runs *back* behind the mark: nothing is pruned, since points look newer or older than they are. The mark stays.
//! - It jumps *too far* ahead: further than ten intervals, and at least a day, since the last run; further than a hundred days where
//!   there are no intervals. A job at work is seen within
//!   one interval; ten are an outage that somebody has noticed, and more is as likely a clock that is wrong as a host that was
//!   off. Nothing is pruned, and the mark follows by no more than that bound in each run. So a host that was off for a month goes
//!   back to pruning after three daily runs, while a clock that is a year ahead has to be wrong in forty runs, each of which
//!   says so, before it deletes anything.
//! - Otherwise the mark is the present.

use std::fmt;

use super::interval::Schedule;
use crate::Timestamp;

/// How many intervals a clock may have gone on since the last run.
const INTERVALS_MAX: i64 = 10;
const DAY_SECS: i64 = 86_400;
/// How far it may have gone on where nobody has said how often the job runs: more than a quarter, so that a run by hand in each is enough.
const AHEAD_MAX_SECS: i64 = 100 * DAY_SECS;

/// What to make of the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ClockReading {
    /// It follows what was known.
    Steady {
        /// The present, and the new mark.
        now: Timestamp,
    },
    /// It is earlier than a time that was known.
    Behind {
        /// The present.
        now: Timestamp,
        /// The mark, which stays.
        known: Timestamp,
    },
    /// It is further ahead than an outage explains.
    Ahead {
        /// The present.
        now: Timestamp,
        /// The mark that was.
        known: Timestamp,
        /// The new mark.
        mark: Timestamp,
    },
}

/// How far ahead of the mark the clock of a job may be, in seconds.
pub(super) fn ahead_max_secs(schedule: &Schedule) -> i64 {
    let of_interval = |secs: i64| secs.saturating_mul(INTERVALS_MAX).max(DAY_SECS);
    schedule.interval().map_or(AHEAD_MAX_SECS, |interval| of_interval(interval.period().nominal_secs()))
}

impl ClockReading {
    /// Judges the present by the latest time that was known, if any was.
    #[must_use]
    pub fn judge(known: Option<Timestamp>, now: Timestamp, ahead_max_secs: i64) -> Self {
        let Some(known) = known else { return Self::Steady { now } };
        let bound = known.saturating_add_secs(ahead_max_secs.max(0));
        if now < known {
            Self::Behind { now, known }
        } else if now > bound {
            Self::Ahead { now, known, mark: bound }
        } else {
            Self::Steady { now }
        }
    }

    /// The latest time that is believed from now on. Never earlier than the one that was known.
    #[must_use]
    pub const fn mark(&self) -> Timestamp {
        match *self {
            Self::Steady { now } => now,
            Self::Behind { known, .. } => known,
            Self::Ahead { mark, .. } => mark,
        }
    }

    /// Whether the job may delete by this clock.
    #[must_use]
    pub const fn may_prune(&self) -> bool {
        matches!(self, Self::Steady { .. })
    }
}

/// Why nothing is pruned, where that is so.
impl fmt::Display for ClockReading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady { now } => write!(formatter, "the clock says {now}"),
            Self::Behind { now, known } => {
                write!(
                    formatter,
                    "the clock says {now} and has said {known} before: nothing was removed; if the clock is right now, run once \
                     with `--trust-clock`"
                )
            }
            Self::Ahead { now, known, mark } => write!(
                formatter,
                "the clock says {now}, long after {known}, the latest time that the job knew: nothing was removed; \
                 if the clock is right, later runs catch up with it (this one has come to {mark})"
            ),
        }
    }
}
