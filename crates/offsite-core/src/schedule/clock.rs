//! Whether to believe the clock.

use std::fmt;

use super::interval::Schedule;
use crate::Timestamp;

/// How many intervals a clock may have gone on since the last run.
const INTERVALS_MAX: i64 = 10;
const DAY_SECS: i64 = 86_400;
/// How far it may have gone on where nobody has said how often the job runs: more than a quarter, so that a run by hand in each is enough.
const AHEAD_MAX_SECS: i64 = 100 * DAY_SECS;

/// What to make of the present.
///
/// A job remembers the latest time that it has known: its mark. What a clock does then decides what the job may *delete*. It copies
/// in any case, as a copy too many harms nobody.
///
/// - The clock goes *back* behind the mark. Points look newer or older than they are, so the job prunes nothing. The mark stays.
/// - It goes *too far* ahead: more than ten intervals, and at least a day, or more than a hundred days without intervals. A job at
///   work runs in each interval. An outage of ten is one that somebody has noticed, and more is as likely a wrong clock. The job
///   prunes nothing, and the mark follows by no more than that bound. So after a month's outage, a daily job prunes again in its
///   fourth run. A clock that is a year ahead must be wrong in forty runs, each of which says so, before it deletes anything.
/// - Otherwise the mark is the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ClockReading {
    /// It follows the mark.
    Steady {
        /// The present, and the new mark.
        now: Timestamp,
    },
    /// It is earlier than the mark.
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
        /// The mark before.
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
    /// Judges the present by the latest known time. Without one, it believes the clock.
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

    /// The mark from now on. It never goes back.
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

/// The reading in words, with the reason if the job prunes nothing.
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
