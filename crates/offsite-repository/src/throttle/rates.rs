//! The rates of a throttle.

/// The rates at which a [`Throttle`](super::Throttle) lets calls through.
///
/// A rate of zero stops calls until somebody changes it. The default sets no limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThrottleRates {
    /// Bytes of content per second, read and written together. `None` sets no limit.
    pub bytes_per_sec: Option<u64>,
    /// Calls per second. `None` sets no limit.
    pub requests_per_sec: Option<u64>,
}

impl ThrottleRates {
    /// Sets [`ThrottleRates::bytes_per_sec`].
    #[must_use]
    pub fn with_bytes_per_sec(mut self, bytes_per_sec: u64) -> Self {
        self.bytes_per_sec = Some(bytes_per_sec);
        self
    }

    /// Sets [`ThrottleRates::requests_per_sec`].
    #[must_use]
    pub fn with_requests_per_sec(mut self, requests_per_sec: u64) -> Self {
        self.requests_per_sec = Some(requests_per_sec);
        self
    }
}
