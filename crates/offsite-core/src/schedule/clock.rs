//! Whether a job believes the clock.

use std::fmt;

use crate::Timestamp;

/// How a job reads the clock.
///
/// A job remembers its *mark*: the latest time that it has known. The clock's reading decides what the job may delete. The job
/// copies in any case, as one copy too many harms nobody.
///
/// - [`Behind`](Self::Behind): the clock is behind the mark. Points then look newer or older than they are, so the job deletes
///   nothing. The mark stays.
/// - [`Ahead`](Self::Ahead): the clock is too far ahead of the mark. The bound is ten intervals, and at least a day. Without
///   intervals it is a hundred days. A job that works runs in each interval, so a wrong clock is as likely as such an outage. The
///   job deletes nothing, and the mark advances by no more than the bound. For example, after an outage of a month a daily job
///   deletes again in its fourth run. A clock that is a year ahead must be wrong in forty runs before anything is deleted, and
///   each run reports it.
/// - [`Steady`](Self::Steady): anything else. The mark becomes the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ClockReading {
    /// The clock follows the mark.
    Steady {
        /// The present. It is the new mark.
        now: Timestamp,
    },
    /// The clock is earlier than the mark.
    Behind {
        /// The present.
        now: Timestamp,
        /// The mark. It stays.
        known: Timestamp,
    },
    /// The clock is further ahead of the mark than an outage explains.
    Ahead {
        /// The present.
        now: Timestamp,
        /// The mark before this reading.
        known: Timestamp,
        /// The mark after this reading.
        mark: Timestamp,
    },
}

impl ClockReading {
    /// Reads the clock `now` against the latest `known` time.
    ///
    /// `ahead_max_secs` is how many seconds the clock may be ahead. Without a known time, the clock is believed.
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

    /// The mark after this reading.
    ///
    /// It never goes back.
    #[must_use]
    pub const fn mark(&self) -> Timestamp {
        match *self {
            Self::Steady { now } => now,
            Self::Behind { known, .. } => known,
            Self::Ahead { mark, .. } => mark,
        }
    }

    /// Returns `true` if the job may delete by this clock.
    #[must_use]
    pub const fn may_prune(&self) -> bool {
        matches!(self, Self::Steady { .. })
    }
}

/// Prints the reading in words, with the reason if the job deletes nothing.
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
