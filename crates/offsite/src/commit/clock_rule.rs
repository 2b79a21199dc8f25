//! How a run judges the present.

use offsite_core::Timestamp;
use offsite_core::schedule::{ClockReading, Schedule};

/// What the clock is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockRule {
    /// How far ahead of what is known it may be.
    pub(crate) ahead_max_secs: i64,
    /// A time that is known from elsewhere.
    pub(crate) known: Option<Timestamp>,
    /// Whether somebody has looked at the clock, and says that it is right.
    pub(crate) is_trusted: bool,
}

impl Default for ClockRule {
    fn default() -> Self {
        Self { ahead_max_secs: Schedule::Immediate.ahead_max_secs(), known: None, is_trusted: false }
    }
}

impl ClockRule {
    /// What to make of `now`, where `committed` is the latest time that a commit knows.
    pub(crate) fn judge(&self, committed: Timestamp, now: Timestamp) -> ClockReading {
        if self.is_trusted {
            return ClockReading::Steady { now };
        }
        ClockReading::judge(Some(self.known(committed, now)), now, self.ahead_max_secs)
    }

    /// The latest time that is known at `now`.
    pub(crate) fn known(&self, committed: Timestamp, now: Timestamp) -> Timestamp {
        // What claims to be of the future proves nothing.
        self.known.filter(|known| *known <= now).map_or(committed, |known| known.max(committed))
    }
}
