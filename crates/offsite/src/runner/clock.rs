//! The clock of a runner.

use std::time::Duration;

use async_trait::async_trait;
use offsite_core::Timestamp;

use crate::now::Now;

/// The longest wait in one go, in seconds. After it, a runner notices that the clock was set or that the host slept.
const WAIT_MAX_SECS: i64 = 60;

/// A wall clock that can be waited for.
///
/// A test can bring its own.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;

    /// Returns when it is `time`, or earlier.
    ///
    /// The caller looks at the clock again.
    async fn wait_until(&self, time: Timestamp);
}

/// The clock of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn wait_until(&self, time: Timestamp) {
        let left_secs = time.unix_secs().saturating_sub(self.now().unix_secs()).clamp(0, WAIT_MAX_SECS);
        tokio::time::sleep(Duration::from_secs(left_secs.unsigned_abs())).await;
    }
}
