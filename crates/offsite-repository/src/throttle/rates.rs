//! How fast is too fast.

/// How fast a [`Throttle`](super::Throttle) lets calls through. A rate of zero stops them until somebody changes it. The default
/// sets no bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThrottleRates {
    /// Bytes of contents a second, read and written together. `None` sets no bound.
    pub bytes_per_sec: Option<u64>,
    /// Calls a second. `None` sets no bound.
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
