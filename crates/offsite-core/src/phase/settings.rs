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
    /// When the job may transfer data.
    pub window: Window,
    /// How many seconds pass between two looks at the sources while the job waits. [`Event::SourceChanged`] asks for a look at once.
    ///
    /// [`Event::SourceChanged`]: super::Event::SourceChanged
    pub look_every_secs: u32,
    /// How often the job tries again in an interval.
    pub retries_max: u32,
    /// How many seconds after the first failure it tries again. Each further pause is twice as long.
    pub retry_after_secs: u32,
}

impl Settings {
    /// The usual settings: look back, transfer at all times, look every five minutes, retry five times from one minute on.
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
