//! A token bucket.

use tokio::time::{Duration, Instant};

/// Parts of a token: with nanoseconds as the unit of time, what comes in is a product of integers, and nothing is rounded.
const PARTS: i128 = 1_000_000_000;

/// A token bucket that holds the tokens of one second. Its level can be negative.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Tokens per second. `None` means no limit.
    rate: Option<u64>,
    level_parts: i128,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: Option<u64>, now: Instant) -> Self {
        Self { rate, level_parts: capacity_parts(rate), filled_at: now }
    }

    /// From now on there are `rate` tokens a second. What is owed stays owed.
    pub(super) fn set_rate(&mut self, rate: Option<u64>, now: Instant) {
        self.fill(now);
        self.level_parts = match self.rate {
            Some(_) => self.level_parts.min(capacity_parts(rate)),
            None => capacity_parts(rate),
        };
        self.rate = rate;
    }

    /// How long until there are `tokens` tokens, or as many as the bucket holds. `None` means never, at this rate.
    pub(super) fn wait(&mut self, tokens: u64, now: Instant) -> Option<Duration> {
        self.fill(now);
        let Some(rate) = self.rate else { return Some(Duration::ZERO) };
        if tokens == 0 {
            return Some(Duration::ZERO);
        }
        let wanted = (i128::from(tokens) * PARTS).min(capacity_parts(self.rate));
        // A rate of zero has room for no token, and lets none through.
        let missing = if rate == 0 { return None } else { wanted - self.level_parts };
        let nanos = missing.max(0).unsigned_abs().div_ceil(u128::from(rate));
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Takes tokens, even if they are not there yet.
    pub(super) fn take(&mut self, tokens: u64, now: Instant) {
        self.fill(now);
        if self.rate.is_some() {
            self.level_parts -= i128::from(tokens) * PARTS;
        }
    }

    /// Puts tokens back that were taken and not used.
    pub(super) fn give_back(&mut self, tokens: u64) {
        self.level_parts = (self.level_parts + i128::from(tokens) * PARTS).min(capacity_parts(self.rate));
    }

    fn fill(&mut self, now: Instant) {
        let nanos = now.saturating_duration_since(self.filled_at).as_nanos();
        self.filled_at = now;
        if let Some(rate) = self.rate {
            let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
            let came = nanos.saturating_mul(i128::from(rate));
            self.level_parts = self.level_parts.saturating_add(came).min(capacity_parts(self.rate));
        }
    }
}

fn capacity_parts(rate: Option<u64>) -> i128 {
    i128::from(rate.unwrap_or(0)) * PARTS
}
