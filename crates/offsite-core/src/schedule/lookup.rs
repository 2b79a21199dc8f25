//! Which restore points count in an interval.

use std::fmt;

use super::interval::{Schedule, Span};
use crate::Timestamp;

/// Where a job looks for restore points when an interval starts.
///
/// With a backup at 22:20 and a copy at 22:00 every day, `Back` copies yesterday's point at 22:00, and `Forward` waits for
/// the new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// One interval back: points of the interval before count, and so do those of this one.
    #[default]
    Back,
    /// Only points of this interval count.
    Forward,
}

/// A text that names no lookup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no restore point lookup: write \"back\" or \"forward\"")]
#[non_exhaustive]
pub struct LookupError {
    /// The text.
    pub text: String,
}

/// The times of the restore points that count. Both ends belong to it.
// Exhaustive: a range has two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointRange {
    /// Older points do not count.
    pub not_before: Timestamp,
    /// Newer points do not count: their date is after the present.
    pub not_after: Timestamp,
}

impl PointRange {
    /// Whether a point of that time counts.
    #[must_use]
    pub fn contains(&self, captured: Timestamp) -> bool {
        self.not_before <= captured && captured <= self.not_after
    }
}

impl Lookup {
    /// Parses "back" and "forward".
    ///
    /// # Errors
    /// [`LookupError`] with the text.
    pub fn parse(text: &str) -> Result<Self, LookupError> {
        match text.trim().to_lowercase().as_str() {
            "back" => Ok(Self::Back),
            "forward" => Ok(Self::Forward),
            _ => Err(LookupError { text: text.to_owned() }),
        }
    }

    /// Which points count at `now` in `span`.
    ///
    /// - In the first run, points count that are no older than one interval, whatever the lookup. So the job starts at once with the
    ///   latest point.
    /// - If a span stands for several intervals, points of all of them count.
    /// - A job without intervals takes points of any age. It knows what it has copied.
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
