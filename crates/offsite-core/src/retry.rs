//! How long to wait before something that failed is tried again, and when to give up.

use std::time::Duration;

/// How a run waits for a place that cannot be reached.
///
/// ```
/// use std::time::Duration;
///
/// use offsite_core::retry::RetryPolicy;
///
/// let policy = RetryPolicy::default();
/// // The longest pauses after the first failures; chance makes them shorter.
/// let longest: Vec<u64> = (1..=7).map(|failures| policy.pause(failures, u64::MAX).as_secs()).collect();
/// assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The longest pause after the first failure. After each further failure it is twice as long.
    pub first_pause: Duration,
    /// The longest of all pauses.
    pub pause_max: Duration,
    /// How long a run waits in all, from each failure to the next success.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    /// Pauses of a second to half a minute, and ten minutes in all.
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(30),
            deadline: Duration::from_secs(600),
        }
    }
}

impl RetryPolicy {
    /// A policy that tries nothing again.
    #[must_use]
    pub fn never() -> Self {
        Self { deadline: Duration::ZERO, ..Self::default() }
    }

    /// Sets [`RetryPolicy::first_pause`].
    #[must_use]
    pub fn with_first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// Sets [`RetryPolicy::pause_max`].
    #[must_use]
    pub fn with_pause_max(mut self, pause: Duration) -> Self {
        self.pause_max = pause;
        self
    }

    /// Sets [`RetryPolicy::deadline`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The pause after so many failures in a row.
    ///
    /// `chance` is a number drawn from all that there are. It spreads the pauses from nothing to the longest, so that jobs that failed
    /// together are not tried again together.
    #[must_use]
    pub fn pause(&self, failures: u32, chance: u64) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let longest = doubled.min(self.pause_max).as_nanos();
        let nanos = longest.saturating_mul(u128::from(chance)) / u128::from(u64::MAX);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The outages of a run. Times are counted from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    policy: RetryPolicy,
    /// The failures in a row.
    failures: u32,
    /// When the outage began that lasts.
    began: Option<Duration>,
    /// How long the outages before lasted.
    past: Duration,
    outages: u32,
}

impl Retries {
    /// A run without outages so far.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0, began: None, past: Duration::ZERO, outages: 0 }
    }

    /// Notes a failure, and returns the pause before the next try. `None` if the deadline is over. [`RetryPolicy::pause`] takes
    /// `chance`.
    pub fn fail(&mut self, now: Duration, chance: u64) -> Option<Duration> {
        let left = self.policy.deadline.checked_sub(self.waited(now)).filter(|left| !left.is_zero())?;
        if self.began.is_none() {
            self.began = Some(now);
            self.outages = self.outages.saturating_add(1);
        }
        self.failures = self.failures.saturating_add(1);
        Some(self.policy.pause(self.failures, chance).min(left))
    }

    /// Notes that something has succeeded. This ends an outage.
    pub fn succeed(&mut self, now: Duration) {
        self.past = self.waited(now);
        (self.began, self.failures) = (None, 0);
    }

    /// How long the outages have lasted.
    #[must_use]
    pub fn waited(&self, now: Duration) -> Duration {
        self.past.saturating_add(self.began.map_or(Duration::ZERO, |began| now.saturating_sub(began)))
    }

    /// The number of outages.
    #[must_use]
    pub const fn outages(&self) -> u32 {
        self.outages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn chance_spreads_a_pause_from_nothing_to_the_longest() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(3, 0), Duration::ZERO);
        let half = policy.pause(3, u64::MAX / 2);
        assert!(half > SECOND && half < 3 * SECOND, "{half:?}");
        assert_eq!(policy.pause(0, u64::MAX), SECOND);
        assert_eq!(policy.pause(u32::MAX, u64::MAX), 30 * SECOND);
        let endless = policy.with_pause_max(Duration::MAX).with_first_pause(Duration::MAX);
        assert!(endless.pause(9, u64::MAX) > 1_000_000_000 * SECOND);
    }

    #[test]
    fn a_run_waits_no_longer_than_the_deadline_in_all() {
        for chance in [u64::MAX, u64::MAX / 3] {
            let mut retries = Retries::new(RetryPolicy::default());
            let mut now = 100 * SECOND;
            let mut tries = 0;
            while let Some(pause) = retries.fail(now, chance) {
                now += pause;
                tries += 1;
                // An outage that ends, and another one.
                if tries == 10 {
                    retries.succeed(now);
                    now += 5_000 * SECOND;
                }
            }
            let waited = retries.waited(now);
            assert!(waited >= 599 * SECOND && waited <= 600 * SECOND, "{waited:?}");
            assert_eq!(retries.outages(), 2);
            assert!(tries > 20);
        }
        assert_eq!(Retries::new(RetryPolicy::never()).fail(SECOND, 1), None);
    }

    #[test]
    fn pauses_are_short_again_after_a_success() {
        let mut retries = Retries::new(RetryPolicy::default());
        let pauses =
            |retries: &mut Retries| [1, 2, 3].map(|_| retries.fail(SECOND, u64::MAX).map(|pause| pause.as_secs()));
        assert_eq!(pauses(&mut retries), [Some(1), Some(2), Some(4)]);
        retries.succeed(9 * SECOND);
        assert_eq!(pauses(&mut retries), [Some(1), Some(2), Some(4)]);
        assert_eq!(retries.outages(), 2);
    }
}
