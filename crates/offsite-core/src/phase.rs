//! What a copy job does when: a state machine without I/O.
//!
//! A runner owns a [`Job`], tells it what happened ([`Event`]) and at what time, and carries out what it answers
//! ([`Action`]). The job looks at no clock and waits for nothing; so ten years of it run in a test in seconds.
//!
//! # Phases
//!
//! - [`Phase::Idle`]: the interval is done; the next is waited for.
//! - [`Phase::Sync`]: the interval's restore point is open. Machines are waited for and copied; data is transferred inside the
//!   window only. Copies are started as machines come in, one sync at a time; whatever was copied between [`Action::LookAtSources`] and
//!   [`Action::ClosePoint`] belongs to one restore point.
//! - [`Phase::Closing`]: all machines are in, or the interval has ended: a running sync is stopped, and the restore point is
//!   committed with what there is.
//! - [`Phase::Transform`]: the chain is brought to what the policy asks for. The window does not hold this up.
//! - [`Phase::PostJob`]: what the user wants done afterwards, also when there was nothing to do.
//!
//! # Laws
//!
//! The tests assert these after each step of years of random life:
//!
//! 1. A machine is copied at most once in an interval.
//! 2. No transform begins while a sync runs, and no sync begins before post-job activities have ended.
//! 3. Between [`Action::Pause`] and [`Action::Resume`], and while the window is closed, no sync begins.
//! 4. Every machine that was ever seen in the interval is in its result: complete, incomplete with the bytes done and left, or
//!    absent with the reason.
//! 5. The spans of the results follow each other without gap or overlap, and the number of intervals that they stand for is the
//!    number that have passed.
//! 6. The last action of every step tells when the job wants to be asked next ([`Action::WakeAt`]), unless it waits for nothing but
//!    an event.
//!
//! # What is decided here
//!
//! - *Retries.* A sync that fails for a reason that may pass is tried again after 1, 2, 4, 8 and 16 minutes (five retries), then the job waits for the
//!   end of the interval. Commits and transforms likewise; a transform is also given up when the interval has ended, so that the
//!   next restore point does not wait for it. A job without intervals rests for an hour instead.
//! - *A closed window.* An interval in which the window was never open is not closed but joined with the next
//!   ([`Span::intervals`]); so are intervals in which the runner was down, or in which a transform was still at work.
//! - *The clock.* If it is set back by no more than one interval, the job waits until it has come to the present again; if by
//!   more, the job goes on by the new clock. A clock that is set forward is as an outage.

mod attempts;
mod event;
mod job;
mod machines;
mod outcome;
mod settings;

pub use event::{Action, Event, Seen, Sighting};
pub use job::{Job, Phase};
pub use machines::{LastRun, Past};
pub use outcome::{Absence, Note, Outcome, RunResult, TransformResult};
pub use settings::Settings;

#[cfg(doc)]
use crate::schedule::Span;
