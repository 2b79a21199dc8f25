//! When a copy job works: its interval, the points that count in it, its window, and what it makes of the clock.
//!
//! All of it goes by the wall clock of a named time zone. It is pure: the present is an argument.
//!
//! - [`Interval`]: "copy every ...". It divides all of time into [`Span`]s. A job copies at most one restore point per machine in each.
//! - [`Lookup`]: which restore points count in a span.
//! - [`Window`]: the hours in which a job may transfer data.
//! - [`ClockReading`]: whether to believe the clock.

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
