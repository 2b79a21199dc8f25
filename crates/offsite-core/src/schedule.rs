//! When a copy job works.
//!
//! All times follow the wall clock of a named time zone. All functions are pure: the present is an argument.
//!
//! - [`Interval`]: "copy every ...". It divides time into [`Span`]s. A job copies at most one restore point per machine in each.
//! - [`Lookup`]: which restore points count in a span.
//! - [`Window`]: the hours in which a job may transfer data.
//! - [`ClockReading`]: whether a job believes the clock.
//!
//! ```
//! use offsite_core::Timestamp;
//! use offsite_core::retention::Zone;
//! use offsite_core::schedule::{Interval, Period, TimeOfDay, Window};
//!
//! let berlin = Zone::named("Europe/Berlin")?;
//! let now = Timestamp::parse("2026-11-22T12:00:00Z")?;
//!
//! // One copy a day, from 22:00.
//! let interval = Interval::new(Period::parse("1 day")?, TimeOfDay::parse("22:00")?, berlin.clone());
//! assert_eq!(interval.at(now).end, Timestamp::parse("2026-11-22T21:00:00Z")?);
//!
//! // Transfers at night only.
//! let window = Window::parse(&["20:00-06:00"], berlin)?;
//! assert!(!window.is_open(now));
//! assert_eq!(window.next_change(now), Some(Timestamp::parse("2026-11-22T19:00:00Z")?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod every;
mod interval;
mod lookup;
mod window;

pub use clock::ClockReading;
pub use every::{Every, EveryError, Period, TimeOfDay, TimeOfDayError};
pub use interval::{Interval, Schedule, Span};
pub use lookup::{Lookup, LookupError, PointRange};
pub use window::{Window, WindowError};
