//! What a copy job does when: a state machine without I/O.
//!
//! A runner owns a [`Job`]. It tells the job what happened ([`Event`]) and at what time, and carries out the answers ([`Action`]).
//! The job reads no clock and never waits, so a test lives ten years of it in seconds.
//!
//! # Phases
//!
//! - [`Phase::Idle`]: the job waits for the next interval.
//! - [`Phase::Sync`]: the interval's restore point is open. The job copies machines as they come in, one sync at a time, and
//!   transfers inside the window only. What it copies between [`Action::LookAtSources`] and [`Action::ClosePoint`] belongs to one
//!   restore point.
//! - [`Phase::Closing`]: all machines are in, or the interval has ended. The job stops a running sync, and commits the restore
//!   point with what there is.
//! - [`Phase::Transform`]: the job brings the chain to what the policy asks for, whatever the window says.
//! - [`Phase::PostJob`]: the runner does what the user wants done afterwards, also when there was nothing to copy.
//!
//! # Laws
//!
//! The tests assert these after each step of years of random life:
//!
//! 1. The job copies a machine at most once in an interval.
//! 2. No transform begins during a sync, and no sync begins before post-job activities have ended.
//! 3. No sync begins between [`Action::Pause`] and [`Action::Resume`], or while the window is closed.
//! 4. Every machine that the interval ever saw is in its result: complete, incomplete with the bytes done and left, or absent with
//!    the reason.
//! 5. The spans of the results follow each other without gap or overlap. The intervals that they stand for are as many as have
//!    passed.
//! 6. The last action of every step is [`Action::WakeAt`], unless the job waits for an event alone.
//!
//! # What is decided here
//!
//! - *Retries.* After a failure that may pass, the job tries a sync again after 1, 2, 4, 8 and 16 minutes (five retries), then waits
//!   for the end of the interval. It does so for commits and transforms, too. It gives a transform up when the interval has ended,
//!   so that the next restore point need not wait. A job without intervals rests for an hour instead.
//! - *A closed window.* If the window never opened in an interval, the job joins it with the next one ([`Span::intervals`]). It does
//!   so after an outage of the runner, and after a long transform, too.
//! - *The clock.* If it goes back by no more than one interval, the job waits until it has come to the present again. If it goes
//!   back further, the job goes on by the new clock. A clock that goes ahead is like an outage.

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
