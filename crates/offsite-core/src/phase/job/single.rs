//! A job that a user starts by hand.

use super::{Job, Phase};
use crate::Timestamp;
use crate::phase::event::{Action, Event};
use crate::phase::settings::Settings;
use crate::schedule::{Span, Window};

impl Job {
    /// Makes a job that does the work of one interval at `now`.
    ///
    /// Returns the job and its first actions.
    ///
    /// The job copies what the sources have, and closes the restore point. Transforms and post-job activities follow, also after
    /// a failure. Then [`is_done`](Job::is_done) returns `true`.
    ///
    /// The interval is the one that contains `now`. The job waits neither for the window nor for the end of the interval, and
    /// retries nothing. Any restore point up to `now` counts. A machine whose newest point is copied already is
    /// [unchanged](crate::phase::Outcome::Unchanged).
    #[must_use]
    pub fn single(settings: Settings, now: Timestamp) -> (Self, Vec<Action>) {
        let span = settings.schedule.span_at(now);
        Self::single_of(settings, span, now)
    }

    /// Makes a job that does the work of the open interval at `now`, like [`Job::single`].
    ///
    /// If no interval is open, it does the work of the interval that contains `now`.
    #[must_use]
    pub fn at_once(&self, now: Timestamp) -> (Self, Vec<Action>) {
        match self.settings.schedule.interval() {
            Some(interval) if self.phase == Phase::Sync => {
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

    /// Returns `true` if the work of a [single](Job::single) interval is done, post-job activities included.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_single && self.phase == Phase::Idle
    }
}
