//! A copy job as a state machine without I/O.
//!
//! A runner owns a [`Job`]. It tells the job what happened ([`Event`]) and at what time, and carries out the answers
//! ([`Action`]). The job reads no clock and never waits. So a test can run ten years of it in seconds.
//!
//! ```
//! use offsite_core::phase::{Action, Job, Past, Phase, Settings};
//! use offsite_core::schedule::{Every, Schedule, TimeOfDay};
//! use offsite_core::{Timestamp, retention::Zone};
//!
//! let schedule = Schedule::new(Every::parse("1 day")?, TimeOfDay::parse("22:00")?, Zone::utc());
//! let now = Timestamp::parse("2026-11-22T22:00:00Z")?;
//! let (job, actions) = Job::resume(Settings::new(schedule), Past::default(), now);
//!
//! // The job has never run, so it begins at once: it asks the runner to look at the sources.
//! assert_eq!(job.phase(), Phase::Sync);
//! assert!(matches!(actions[0], Action::LookAtSources { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Phases
//!
//! - [`Phase::Idle`]: the job waits for the next interval.
//! - [`Phase::Sync`]: the interval's restore point is open. The job copies machines as their points appear, one sync at a time.
//!   It transfers inside the window only. All that it copies between [`Action::LookAtSources`] and [`Action::ClosePoint`] belongs
//!   to one restore point.
//! - [`Phase::Closing`]: all machines are copied, or the interval has ended. The job stops a running sync, and commits the
//!   restore point with what there is.
//! - [`Phase::Transform`]: the job brings the chain to what the policy asks for, whether the window is open or not.
//! - [`Phase::PostJob`]: the runner does what the user wants done after a run, also if there was nothing to copy.
//!
//! # Laws
//!
//! The tests check these laws after each step of years of random life:
//!
//! 1. The job copies a machine at most once in an interval.
//! 2. No transform begins during a sync, and no sync begins before post-job activities have ended.
//! 3. No sync begins between [`Action::Pause`] and [`Action::Resume`], or while the window is closed.
//! 4. The result of an interval has every machine that the job saw in it: complete, incomplete with the bytes done and left, or
//!    absent with the reason.
//! 5. The spans of the results follow each other without gap or overlap. They stand for as many intervals as have passed.
//! 6. The last action of every step is [`Action::WakeAt`], unless the job waits for nothing but an event.
//!
//! # Details of the rules
//!
//! - *Retries.* After a failure that may pass, the job tries the sync again after 1, 2, 4, 8 and 16 minutes (five retries). Then
//!   it waits for the end of the interval. The same holds for commits and transforms. The job gives a transform up when the
//!   interval ends, so that the next restore point need not wait. A job without intervals rests for an hour instead.
//! - *A closed window.* If the window did not open in an interval, the job joins the interval with the next one
//!   ([`Span::intervals`]). It does the same after an outage of the runner, and after a long transform.
//! - *The clock.* If the clock goes back by at most one interval, the job waits until the clock has caught up. If it goes back
//!   further, the job goes on by the new clock. A clock that jumps ahead has the same effect as an outage.

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
