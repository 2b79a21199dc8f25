//! Which restore points count in an interval.

use std::fmt;

use super::interval::{Schedule, Span};
use crate::Timestamp;

/// Where a job looks for restore points when an interval starts.
///
/// For example, a backup runs at 22:20 and a copy at 22:00 every day. `Back` copies yesterday's point at 22:00. `Forward` waits
/// for the new point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// Points of this interval and of the one before it count.
    #[default]
    Back,
    /// Only points of this interval count.
    Forward,
}

/// The error for a text that is no [`Lookup`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no restore point lookup: write \"back\" or \"forward\"")]
#[non_exhaustive]
pub struct LookupError {
    /// The rejected text.
    pub text: String,
}

/// The range of times in which restore points count.
///
/// Both ends belong to the range.
// Exhaustive: a range has two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointRange {
    /// Points older than this do not count.
    pub not_before: Timestamp,
    /// Points newer than this do not count. It is the present, so they have a date in the future.
    pub not_after: Timestamp,
}

impl PointRange {
    /// Returns `true` if a point with this time counts.
    #[must_use]
    pub fn contains(&self, captured: Timestamp) -> bool {
        self.not_before <= captured && captured <= self.not_after
    }
}

impl Lookup {
    /// Parses `back` or `forward`, in any case.
    ///
    /// # Errors
    /// [`LookupError`] with the text, if it is neither.
    pub fn parse(text: &str) -> Result<Self, LookupError> {
        match text.trim().to_lowercase().as_str() {
            "back" => Ok(Self::Back),
            "forward" => Ok(Self::Forward),
            _ => Err(LookupError { text: text.to_owned() }),
        }
    }

    /// The times of the points that count at `now` in `span`.
    ///
    /// - In the first run of a job, points that are at most one interval old count, whatever the lookup. So the job starts at
    ///   once with the latest point.
    /// - If a span stands for several intervals, points of all of them count.
    /// - Without intervals, points of any age count, as the job knows what it has copied.
    #[must_use]
    pub fn range(self, schedule: &Schedule, span: &Span, is_first_run: bool, now: Timestamp) -> PointRange {
        let not_before = match schedule {
            Schedule::Immediate => Timestamp::MIN,
            Schedule::Interval(interval) if is_first_run => interval.before(now),
            Schedule::Interval(interval) => match self {
                Self::Back => interval.previous(span).start,
                Self::Forward => span.start,
            },
        };
        PointRange { not_before, not_after: now }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Back => "back",
            Self::Forward => "forward",
        })
    }
}
