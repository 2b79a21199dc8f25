//! What a job's schedule is.

use crate::schedule::{Lookup, Schedule, Window};

/// When a job works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Its intervals, or none.
    pub schedule: Schedule,
    /// Which restore points count in an interval.
    pub lookup: Lookup,
    /// When data may be transferred.
    pub window: Window,
    /// How often the sources are looked at while something is waited for, in seconds. [`Event::SourceChanged`] asks for a look at once.
    ///
    /// [`Event::SourceChanged`]: super::Event::SourceChanged
    pub look_every_secs: u32,
    /// How often what failed is tried again in an interval.
    pub retries_max: u32,
    /// How long after the first failure it is tried again, in seconds; each time it is twice as long.
    pub retry_after_secs: u32,
}

impl Settings {
    /// The usual: look back, transfer at all times, look every five minutes, five retries from one minute on.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            lookup: Lookup::default(),
            window: Window::always(),
            look_every_secs: 300,
            retries_max: 5,
            retry_after_secs: 60,
        }
    }
    /// The same where these restore points count.
    #[must_use]
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// The same with transfers in this window only.
    #[must_use]
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// The same with a look at the sources after so many seconds.
    #[must_use]
    pub fn with_look_every(self, secs: u32) -> Self {
        Self { look_every_secs: secs, ..self }
    }

    /// The same with at most `retries_max` retries in an interval, the first `retry_after_secs` seconds after the failure.
    #[must_use]
    pub fn with_retries(self, retries_max: u32, retry_after_secs: u32) -> Self {
        Self { retries_max, retry_after_secs, ..self }
    }
}
