//! Points in time.

use std::fmt;

/// A point in time, in whole seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_secs: i64,
}

/// The error for a text that is no RFC 3339 time, or for a time that is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time: write it as \"2026-11-22T22:00:00Z\" or \"2026-11-22T22:00:00+01:00\", without the quotes")]
pub struct TimestampError(String);

impl Timestamp {
    /// The earliest time that this type can hold.
    pub const MIN: Self = Self { unix_secs: -377_705_023_201 };
    /// The latest time that this type can hold.
    pub const MAX: Self = Self { unix_secs: 253_402_207_200 };

    /// Converts seconds since 1970-01-01T00:00:00Z to a time.
    ///
    /// Negative seconds are before it.
    ///
    /// # Errors
    /// [`TimestampError`] outside [`MIN`](Self::MIN) to [`MAX`](Self::MAX), the years -9999 to 9999.
    pub fn from_unix_secs(unix_secs: i64) -> Result<Self, TimestampError> {
        match jiff::Timestamp::from_second(unix_secs) {
            Ok(_) => Ok(Self { unix_secs }),
            Err(_) => Err(TimestampError(unix_secs.to_string())),
        }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    ///
    /// Negative for earlier times.
    #[must_use]
    pub const fn unix_secs(self) -> i64 {
        self.unix_secs
    }

    /// Parses an RFC 3339 time.
    ///
    /// The fraction of its second is cut off.
    ///
    /// ```
    /// use offsite_core::Timestamp;
    ///
    /// let time = Timestamp::parse("2026-11-22T23:00:00+01:00")?;
    /// assert_eq!(time.to_string(), "2026-11-22T22:00:00Z");
    /// # Ok::<(), offsite_core::TimestampError>(())
    /// ```
    ///
    /// # Errors
    /// [`TimestampError`] with the text and an example of a valid one.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| TimestampError(text.to_owned()))?;
        Ok(Self { unix_secs: time.as_second() })
    }

    /// Adds `secs` seconds, which may be negative.
    ///
    /// The result is at least [`Timestamp::MIN`] and at most [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add_secs(self, secs: i64) -> Self {
        let (first, last) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
        Self { unix_secs: self.unix_secs.saturating_add(secs).clamp(first, last) }
    }
}

/// Prints RFC 3339 in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.unix_secs) {
            Ok(time) => formatter.pad(&time.to_string()),
            Err(_) => write!(formatter, "{} s after 1970", self.unix_secs),
        }
    }
}
