//! A job that somebody starts by hand.

use super::Job;
use crate::Timestamp;
use crate::phase::event::{Action, Event};
use crate::phase::settings::Settings;
use crate::schedule::Window;

impl Job {
    /// One interval's work, done at `now` and not waited with, and what is to be done first: what the sources have is copied, the
    /// restore point is closed, transforms and post-job activities follow, also where something failed. Then the job
    /// [is done](Job::is_done).
    ///
    /// The interval is that of `now`. Neither the window nor the end of the interval holds it up, nothing is tried twice, and any
    /// restore point up to `now` counts. A machine whose newest point was copied before is unchanged.
    #[must_use]
    pub fn single(settings: Settings, now: Timestamp) -> (Self, Vec<Action>) {
        let settings = Settings { window: Window::always(), retries_max: 0, ..settings };
        let span = settings.schedule.span_at(now);
        let mut job = Self::new(settings, None, now);
        job.is_single = true;
        job.open(span, now);
        let actions = job.step(Event::Tick, now);
        (job, actions)
    }

    /// Whether a [single](Job::single) interval's work is done, post-job activities included.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_single && self.phase == super::Phase::Idle
    }
}
