//! What a job's schedule is.

use crate::schedule::{Lookup, Schedule, Window};

/// When a job works.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}
