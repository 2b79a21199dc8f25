//! When a copy job works: its interval, the points that count in it, its window, and what it makes of the clock.
//!
//! All of it is reckoned by the wall clock of a named time zone, and is pure: the present is an argument.
//!
//! - [`Interval`]: "copy every ...". It divides all of time into [`Span`]s; at most one restore point per machine is copied in each.
//! - [`Lookup`]: which restore points count in a span.
//! - [`Window`]: the hours in which data may be transferred.
//! - [`ClockReading`]: whether the present can be believed.

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
