//! The queue in which calls wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::bucket::Bucket;
use super::rates::ThrottleRates;

/// Lets calls through one after the other, in the order in which they came.
#[derive(Debug)]
pub(super) struct Valve {
    /// The next to be let through holds it while it waits; tokio's lock is fair.
    turn: tokio::sync::Mutex<()>,
    levels: Mutex<Levels>,
    changed: Notify,
}

#[derive(Debug)]
struct Levels {
    rates: ThrottleRates,
    bytes: Bucket,
    requests: Bucket,
}

impl Valve {
    pub(super) fn new(rates: ThrottleRates) -> Self {
        let now = Instant::now();
        let bytes = Bucket::new(rates.bytes_per_sec, now);
        let requests = Bucket::new(rates.requests_per_sec, now);
        let levels = Mutex::new(Levels { rates, bytes, requests });
        Self { turn: tokio::sync::Mutex::default(), levels, changed: Notify::new() }
    }

    pub(super) fn rates(&self) -> ThrottleRates {
        self.lock().rates
    }

    pub(super) fn set_rates(&self, rates: ThrottleRates) {
        let now = Instant::now();
        let mut levels = self.lock();
        levels.bytes.set_rate(rates.bytes_per_sec, now);
        levels.requests.set_rate(rates.requests_per_sec, now);
        levels.rates = rates;
        drop(levels);
        // Only the one whose turn it is waits for this, and if it looks first, the notice is kept for it.
        self.changed.notify_one();
    }

    /// Returns when a request with this many bytes may be made. If the future is dropped before, it has taken nothing.
    pub(super) async fn pass(&self, bytes: u64) {
        let _turn = self.turn.lock().await;
        loop {
            match self.take_or_wait(bytes) {
                Turn::Taken => return,
                Turn::At(moment) => {
                    // Either outcome is a reason to look again.
                    let _ = timeout_at(moment, self.changed.notified()).await;
                }
                Turn::Never => self.changed.notified().await,
            }
        }
    }

    /// Takes what a call has cost afterwards. Later calls wait for it.
    pub(super) fn owe(&self, bytes: u64) {
        self.lock().bytes.take(bytes, Instant::now());
    }

    /// Gives back what was taken for bytes that did not pass.
    pub(super) fn give_back(&self, bytes: u64) {
        self.lock().bytes.give_back(bytes);
        self.changed.notify_one();
    }

    fn take_or_wait(&self, bytes: u64) -> Turn {
        let now = Instant::now();
        let mut levels = self.lock();
        let waits = (levels.bytes.wait(bytes, now), levels.requests.wait(1, now));
        let (Some(bytes_wait), Some(requests_wait)) = waits else { return Turn::Never };
        let wait = bytes_wait.max(requests_wait);
        if wait.is_zero() {
            levels.bytes.take(bytes, now);
            levels.requests.take(1, now);
            return Turn::Taken;
        }
        now.checked_add(wait).map_or(Turn::Never, Turn::At)
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        // Numbers that are changed one by one: none is left half done by a panic.
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Turn {
    Taken,
    At(Instant),
    Never,
}
