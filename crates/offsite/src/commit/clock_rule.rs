//! How a run reads the clock.

use offsite_core::Timestamp;
use offsite_core::schedule::{ClockReading, Schedule};

/// The rule by which a run judges the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockRule {
    /// How many seconds the clock may be ahead of the known time.
    pub(crate) ahead_max_secs: i64,
    /// A time that is known from elsewhere. `None` if there is none.
    pub(crate) known: Option<Timestamp>,
    /// Whether somebody has checked that the clock is right.
    pub(crate) is_trusted: bool,
}

impl Default for ClockRule {
    fn default() -> Self {
        Self { ahead_max_secs: Schedule::Immediate.ahead_max_secs(), known: None, is_trusted: false }
    }
}

impl ClockRule {
    /// Judges `now`. `committed` is the latest time that a commit knows.
    pub(crate) fn judge(&self, committed: Timestamp, now: Timestamp) -> ClockReading {
        if self.is_trusted {
            return ClockReading::Steady { now };
        }
        ClockReading::judge(Some(self.known(committed, now)), now, self.ahead_max_secs)
    }

    /// Returns the latest time that is known at `now`.
    pub(crate) fn known(&self, committed: Timestamp, now: Timestamp) -> Timestamp {
        // A time in the future proves nothing.
        self.known.filter(|known| *known <= now).map_or(committed, |known| known.max(committed))
    }
}
