//! How far a copy reads ahead, and when it has brought enough for a checkpoint.
//!
//! If a copy is killed, it sends again what no checkpoint has committed, and what was on its way. A [`Pace`] bounds both in bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::ahead::AHEAD_BYTES_MAX;

/// A copy reads ahead what its link carries in this time: more than a round trip, so that a link with a long delay is kept busy.
const AHEAD: Duration = Duration::from_millis(300);

/// What a copy may lose if it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The number of bytes after which what has arrived is committed.
    pub(crate) leg_bytes: u64,
    /// The number of bytes that may be on their way. On a link that carries more than that within [`AHEAD`], it is what the link
    /// carries in that time.
    pub(crate) ahead_bytes: u64,
    /// The shortest time between two checkpoints.
    pub(crate) pause: Duration,
}

/// Tells when a leg of a copy, which is what comes between two checkpoints, has brought enough.
pub(super) struct Pacer {
    pace: Pace,
    began: Instant,
    bytes: u64,
    /// The bytes that the leg had brought when the checkpoint before it was committed.
    beside_bytes: u64,
    /// When the first leg began, and what the legs before this one have brought.
    copy_began: Instant,
    before_bytes: u64,
}

impl Pacer {
    pub(super) fn new(pace: Pace) -> Self {
        let now = Instant::now();
        Self { pace, began: now, bytes: 0, beside_bytes: 0, copy_began: now, before_bytes: 0 }
    }

    /// Notes that a block has arrived. `is_committing` says whether the checkpoint before is still being committed.
    ///
    /// Returns whether the leg is to end with a checkpoint. What the link carries while a checkpoint is committed counts against the
    /// next leg, down to the half of it.
    pub(super) fn carry(&mut self, bytes: u64, left_bytes: u64, is_committing: bool) -> bool {
        self.bytes += bytes;
        if is_committing {
            self.beside_bytes = self.bytes;
            return false;
        }
        let Pace { leg_bytes, pause, .. } = self.pace;
        let enough = leg_bytes.saturating_sub(self.beside_bytes).max(leg_bytes / 2);
        // The end of the copy commits the rest.
        self.bytes >= enough && left_bytes >= leg_bytes / 2 && self.began.elapsed() >= pause
    }

    /// Returns whether the leg is to wait for the commit of the checkpoint before. `commit` is the least time that a commit takes.
    ///
    /// Half a leg goes beside a commit, and what the link carries in that time. So a link with a long delay is kept busy, and where
    /// commits are quick, two legs that are not committed have no more bytes than one and a half.
    pub(super) fn is_far_ahead(&self, commit: Duration) -> bool {
        let carried = carried_in(commit, self.before_bytes, self.copy_began.elapsed()).unwrap_or_default();
        self.bytes >= (self.pace.leg_bytes / 2).saturating_add(carried)
    }

    /// The leg has ended with a checkpoint, and the next one begins.
    pub(super) fn end(&mut self) {
        let (copy_began, before_bytes) = (self.copy_began, self.before_bytes.saturating_add(self.bytes));
        *self = Self { copy_began, before_bytes, ..Self::new(self.pace) };
    }

    /// The number of bytes that the link carries while a copy reads ahead. `None` if the copy has just begun.
    fn bytes_ahead(&self) -> Option<u64> {
        let passed = self.copy_began.elapsed();
        carried_in(AHEAD, self.before_bytes.saturating_add(self.bytes), passed).filter(|_| passed >= AHEAD)
    }
}

/// The number of bytes that are carried in `time` if so many were carried in `passed`. `None` if no time has passed.
fn carried_in(time: Duration, bytes: u64, passed: Duration) -> Option<u64> {
    let bytes = u128::from(bytes).saturating_mul(time.as_nanos()).checked_div(passed.as_nanos())?;
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// The bytes that are on their way from the sources.
pub(super) struct UnderWay {
    /// The bound of the pace.
    least: u64,
    max: AtomicU64,
    bytes: AtomicU64,
    fewer: Notify,
}

impl UnderWay {
    pub(super) fn new(pace: Pace) -> Self {
        let least = pace.ahead_bytes.min(AHEAD_BYTES_MAX);
        Self { least, max: AtomicU64::new(least), bytes: AtomicU64::new(0), fewer: Notify::new() }
    }

    /// Waits until so many more bytes may be asked for. A request that is larger than the bound waits until it is alone.
    ///
    /// One caller at a time waits here.
    pub(super) async fn enter(&self, bytes: u64) {
        loop {
            let before = self.bytes.load(Ordering::Relaxed);
            if before == 0 || before.saturating_add(bytes) <= self.max.load(Ordering::Relaxed) {
                self.bytes.store(before.saturating_add(bytes), Ordering::Relaxed);
                return;
            }
            self.fewer.notified().await;
        }
    }

    /// So many bytes have arrived.
    pub(super) fn leave(&self, bytes: u64, pacer: &Pacer) {
        let before = self.bytes.load(Ordering::Relaxed);
        self.bytes.store(before.saturating_sub(bytes), Ordering::Relaxed);
        if let Some(bytes) = pacer.bytes_ahead() {
            self.max.store(bytes.clamp(self.least, AHEAD_BYTES_MAX), Ordering::Relaxed);
        }
        self.fewer.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { leg_bytes: 100, ahead_bytes: 20, pause: Duration::from_secs(1) };

    #[tokio::test(start_paused = true)]
    async fn a_leg_ends_after_enough_bytes_and_time() {
        let mut leg = Pacer::new(PACE);
        assert!(!leg.carry(120, 1_000, false), "it has just begun");
        tokio::time::advance(PACE.pause).await;
        assert!(!leg.carry(1, 49, false), "little is left");
        assert!(leg.carry(1, 50, false));
        leg.end();
        tokio::time::advance(PACE.pause).await;
        assert!(!leg.carry(99, 1_000, false));
        assert!(leg.carry(1, 1_000, false));
    }

    /// Whatever a kill finds uncommitted stays below the bytes of a leg, unless a commit takes longer than the half of one.
    #[tokio::test(start_paused = true)]
    async fn what_goes_beside_a_commit_counts_against_the_leg() {
        for (beside, then) in [(30, 70), (50, 50), (80, 80), (300, 300)] {
            let mut leg = Pacer::new(PACE);
            tokio::time::advance(PACE.pause).await;
            assert!(!leg.carry(beside, 1_000, true));
            assert_eq!(leg.is_far_ahead(Duration::ZERO), beside >= 50);
            let more = (then - beside.min(then)).max(1);
            assert_eq!(leg.carry(more - 1, 1_000, false), beside >= 50, "{beside}");
            assert!(leg.carry(1, 1_000, false), "{beside}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_link_carries_in_a_commit_goes_beside_it() {
        let mut leg = Pacer::new(PACE);
        tokio::time::advance(PACE.pause).await;
        leg.carry(100, 1_000, false);
        leg.end();
        // The link carries 100 in a second.
        let commit = Duration::from_secs(3);
        leg.carry(349, 1_000, true);
        assert!(leg.is_far_ahead(Duration::from_secs(2)) && !leg.is_far_ahead(commit));
        leg.carry(1, 1_000, true);
        assert!(leg.is_far_ahead(commit));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_ahead_than_the_link_carries_in_a_while() {
        let mut leg = Pacer::new(PACE);
        let ahead = UnderWay::new(PACE);
        ahead.enter(50).await;
        let is_full = |bytes| futures::future::FutureExt::now_or_never(ahead.enter(bytes)).is_none();
        assert!(is_full(1), "one that is larger than the bound goes alone");
        leg.carry(50, 1_000, false);
        tokio::time::advance(AHEAD * 10).await;
        ahead.leave(50, &leg);
        ahead.enter(20).await;
        assert!(is_full(1));
        // Now the link carries 300 in that time.
        leg.carry(2_950, 1_000, false);
        ahead.leave(20, &leg);
        ahead.enter(290).await;
        assert!(!is_full(10) && is_full(1));
    }
}
