//! A token bucket.

use tokio::time::{Duration, Instant};

/// Parts of a token: with nanoseconds as the unit of time, what comes in is a product of integers, and nothing is rounded.
const PARTS: i128 = 1_000_000_000;

/// A token bucket. Its level can be negative. The caller hands the time in.
///
/// ```
/// use std::time::Duration;
///
/// use offsite_repository::TokenBucket;
/// use tokio::time::Instant;
///
/// let start = Instant::now();
/// let mut bucket = TokenBucket::new(Some(1_000), 500, start);
/// bucket.take(700, start);
/// assert_eq!(bucket.wait(300, start), Some(Duration::from_millis(500)));
/// ```
#[derive(Debug)]
pub struct TokenBucket {
    /// Tokens per second. `None` means no limit.
    rate: Option<u64>,
    capacity: u64,
    level_parts: i128,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket of `capacity` tokens, into which `rate` tokens per second come. `None` means no limit.
    #[must_use]
    pub fn new(rate: Option<u64>, capacity: u64, now: Instant) -> Self {
        Self { rate, capacity, level_parts: parts(capacity), filled_at: now }
    }

    /// Changes the rate to `rate` tokens per second, and the capacity. A negative level stays as it is.
    pub fn set_rate(&mut self, rate: Option<u64>, capacity: u64, now: Instant) {
        self.fill(now);
        self.level_parts = match self.rate {
            Some(_) => self.level_parts.min(parts(capacity)),
            None => parts(capacity),
        };
        (self.rate, self.capacity) = (rate, capacity);
    }

    /// How long until there are `tokens` tokens, or as many as the bucket holds. `None` means never, at this rate.
    pub fn wait(&mut self, tokens: u64, now: Instant) -> Option<Duration> {
        self.fill(now);
        let Some(rate) = self.rate else { return Some(Duration::ZERO) };
        if tokens == 0 {
            return Some(Duration::ZERO);
        }
        // A rate of zero has room for no token, and lets none through.
        let missing = if rate == 0 { return None } else { parts(tokens.min(self.capacity)) - self.level_parts };
        let nanos = missing.max(0).unsigned_abs().div_ceil(u128::from(rate));
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The number of tokens in the bucket, rounded down. It is negative if more were taken than had come.
    pub fn level(&mut self, now: Instant) -> i64 {
        self.fill(now);
        let tokens = self.level_parts.div_euclid(PARTS);
        i64::try_from(tokens).unwrap_or(if tokens < 0 { i64::MIN } else { i64::MAX })
    }

    /// Takes tokens, even if they are not there yet.
    pub fn take(&mut self, tokens: u64, now: Instant) {
        self.fill(now);
        if self.rate.is_some() {
            self.level_parts = self.level_parts.saturating_sub(parts(tokens));
        }
    }

    /// Returns tokens that were taken and not used.
    pub fn give_back(&mut self, tokens: u64) {
        self.level_parts = (self.level_parts + parts(tokens)).min(parts(self.capacity));
    }

    fn fill(&mut self, now: Instant) {
        let nanos = now.saturating_duration_since(self.filled_at).as_nanos();
        self.filled_at = now;
        if let Some(rate) = self.rate {
            let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
            let came = nanos.saturating_mul(i128::from(rate));
            self.level_parts = self.level_parts.saturating_add(came).min(parts(self.capacity));
        }
    }
}

fn parts(tokens: u64) -> i128 {
    i128::from(tokens) * PARTS
}
