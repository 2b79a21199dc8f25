//! A job that somebody starts by hand.

use super::{Job, Phase};
use crate::Timestamp;
use crate::phase::event::{Action, Event};
use crate::phase::settings::Settings;
use crate::schedule::{Schedule, Span, Window};

impl Job {
    /// One interval's work, done at `now` and not waited with, and what is to be done first: what the sources have is copied, the
    /// restore point is closed, transforms and post-job activities follow, also where something failed. Then the job
    /// [is done](Job::is_done).
    ///
    /// The interval is that of `now`. Neither the window nor the end of the interval holds it up, nothing is tried twice, and any
    /// restore point up to `now` counts. A machine whose newest point was copied before is unchanged.
    #[must_use]
    pub fn single(settings: Settings, now: Timestamp) -> (Self, Vec<Action>) {
        let span = match &settings.schedule {
            Schedule::Interval(interval) => interval.at(now),
            Schedule::Immediate => Span { start: now, end: now, intervals: 1 },
        };
        Self::single_of(settings, span, now)
    }

    /// The work of the interval that is open, done at `now` as by [`Job::single`]; that of the interval of `now`, if none is.
    #[must_use]
    pub fn at_once(&self, now: Timestamp) -> (Self, Vec<Action>) {
        match &self.settings.schedule {
            Schedule::Interval(interval) if self.phase == Phase::Sync => {
                Self::single_of(self.settings.clone(), interval.joined(self.span, now), now)
            }
            _ => Self::single(self.settings.clone(), now),
        }
    }

    fn single_of(settings: Settings, span: Span, now: Timestamp) -> (Self, Vec<Action>) {
        let settings = Settings { window: Window::always(), retries_max: 0, ..settings };
        let mut job = Self::new(settings, None, now);
        job.is_single = true;
        job.open(span, now);
        let actions = job.step(Event::Tick, now);
        (job, actions)
    }

    /// Whether a [single](Job::single) interval's work is done, post-job activities included.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_single && self.phase == Phase::Idle
    }
}
