//! Failures and retries in a phase.

use super::settings::Settings;
use crate::Timestamp;

/// The failures in a phase so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    failures: u32,
    retry_at: Option<Timestamp>,
    gave_up: bool,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    TryAgain,
    GiveUp,
}

impl Attempts {
    pub(super) fn fail(&mut self, is_retryable: bool, now: Timestamp, settings: &Settings) -> Verdict {
        self.failures += 1;
        if !is_retryable || self.failures > settings.retries_max {
            self.gave_up = true;
            self.retry_at = None;
            return Verdict::GiveUp;
        }
        self.retry_at = Some(now.saturating_add_secs(self.pause_secs(settings)));
        Verdict::TryAgain
    }

    fn pause_secs(&self, settings: &Settings) -> i64 {
        let doublings = self.failures.saturating_sub(1).min(20);
        i64::from(settings.retry_after_secs) << doublings
    }

    pub(super) const fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Returns `true` if no retry has to be waited for, and the phase has not given up.
    pub(super) fn may_try(&self, now: Timestamp) -> bool {
        !self.gave_up && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Returns `true` if a retry was waited for, and forgets it.
    pub(super) const fn take_retry(&mut self) -> bool {
        self.retry_at.take().is_some()
    }

    pub(super) const fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// The time of the next attempt, which would be `at` without a failure. `None` after giving up.
    pub(super) fn next_try(&self, at: Timestamp) -> Option<Timestamp> {
        (!self.gave_up).then(|| self.retry_at.unwrap_or(at))
    }

    /// Adapts the retry after the clock was set back to `now`.
    pub(super) fn move_back(&mut self, now: Timestamp, settings: &Settings) {
        let latest = now.saturating_add_secs(self.pause_secs(settings));
        self.retry_at = self.retry_at.map(|at| at.min(latest));
    }
}
