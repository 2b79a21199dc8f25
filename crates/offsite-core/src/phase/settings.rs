//! The settings of a job's schedule.

use crate::schedule::{Lookup, Schedule, Window};

/// When a job works, and how it retries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The intervals of the job, or none.
    pub schedule: Schedule,
    /// Which restore points count in an interval.
    pub lookup: Lookup,
    /// The hours in which the job may transfer data.
    pub window: Window,
    /// The number of seconds between two looks at the sources while the job waits. [`Event::SourceChanged`] asks for a look at
    /// once.
    ///
    /// [`Event::SourceChanged`]: super::Event::SourceChanged
    pub look_every_secs: u32,
    /// The number of retries in an interval.
    pub retries_max: u32,
    /// The number of seconds from the first failure to its retry. Each further pause is twice as long.
    pub retry_after_secs: u32,
}

impl Settings {
    /// The usual settings for this schedule.
    ///
    /// The job looks one interval back, transfers at all times, looks at the sources every five minutes, and retries five times,
    /// first after one minute.
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
    /// Sets which restore points count.
    #[must_use]
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// Sets the hours in which the job may transfer data.
    #[must_use]
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Sets the number of seconds between two looks at the sources.
    #[must_use]
    pub fn with_look_every(self, secs: u32) -> Self {
        Self { look_every_secs: secs, ..self }
    }

    /// Sets the number of retries in an interval, and the seconds from the first failure to its retry.
    #[must_use]
    pub fn with_retries(self, retries_max: u32, retry_after_secs: u32) -> Self {
        Self { retries_max, retry_after_secs, ..self }
    }
}
