//! How often a job copies, as people write it.

use std::fmt;

use jiff::civil::Time;

const MINUTE_SECS: u32 = 60;
const HOUR_SECS: u32 = 60 * MINUTE_SECS;
pub(super) const DAY_SECS: u32 = 24 * HOUR_SECS;

/// The longest period, in days.
const DAYS_MAX: u32 = 366;

/// How often a job copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Every {
    /// As soon as a new restore point appears.
    Immediate,
    /// Once in each period.
    Period(Period),
}

/// The length of an interval.
///
/// It counts minutes or hours of elapsed time, or days of the calendar. The longest is 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(Unit);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Elapsed time.
    Secs(u32),
    /// Days of the calendar. Some of them do not have 24 hours.
    Days(u32),
}

/// The error for a text or number that is no [`Period`] and no [`Every`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no interval: {fault}; write \"1 day\", \"6 hours\", \"15 minutes\" or \"immediate\"")]
pub struct EveryError {
    text: String,
    fault: &'static str,
}

impl Period {
    /// A period of `count` minutes.
    ///
    /// # Errors
    /// [`EveryError`] for 0, and for more than 366 days.
    pub fn minutes(count: u32) -> Result<Self, EveryError> {
        Self::elapsed(count, MINUTE_SECS, "minutes")
    }

    /// A period of `count` hours.
    ///
    /// # Errors
    /// [`EveryError`] for 0, and for more than 366 days.
    pub fn hours(count: u32) -> Result<Self, EveryError> {
        Self::elapsed(count, HOUR_SECS, "hours")
    }

    /// A period of `count` days of the calendar.
    ///
    /// # Errors
    /// [`EveryError`] for 0, and for more than 366 days.
    pub fn days(count: u32) -> Result<Self, EveryError> {
        let text = || format!("{count} days");
        match count {
            0 => Err(EveryError { text: text(), fault: "it has no length" }),
            1..=DAYS_MAX => Ok(Self(Unit::Days(count))),
            _ => Err(EveryError { text: text(), fault: "it is longer than 366 days" }),
        }
    }

    /// Parses a period, such as `1 day`, `6 hours` or `15 minutes`.
    ///
    /// # Errors
    /// [`EveryError`] with the text, what is wrong with it, and a valid example.
    pub fn parse(text: &str) -> Result<Self, EveryError> {
        match Every::parse(text)? {
            Every::Period(period) => Ok(period),
            Every::Immediate => Err(EveryError { text: text.to_owned(), fault: "it has no length" }),
        }
    }

    fn elapsed(count: u32, unit_secs: u32, unit: &str) -> Result<Self, EveryError> {
        let refuse = |fault| Err(EveryError { text: format!("{count} {unit}"), fault });
        match count.checked_mul(unit_secs) {
            Some(0) => refuse("it has no length"),
            Some(secs) if secs <= DAYS_MAX * DAY_SECS => Ok(Self(Unit::Secs(secs))),
            _ => refuse("it is longer than 366 days"),
        }
    }

    pub(super) const fn unit(self) -> Unit {
        self.0
    }

    /// The length in seconds, as if each day had 24 hours.
    #[must_use]
    pub const fn nominal_secs(self) -> i64 {
        match self.0 {
            Unit::Secs(secs) => secs as i64,
            Unit::Days(days) => days as i64 * DAY_SECS as i64,
        }
    }
}

impl Every {
    /// Parses a period, such as `1 day` or `6 hours`, or the word `immediate`.
    ///
    /// # Errors
    /// [`EveryError`] with the text, what is wrong with it, and a valid example.
    pub fn parse(text: &str) -> Result<Self, EveryError> {
        let refuse = |fault| EveryError { text: text.to_owned(), fault };
        let lower = text.trim().to_lowercase();
        if lower == "immediate" {
            return Ok(Self::Immediate);
        }
        let digits = lower.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(lower.len());
        let (count, unit) = lower.split_at(digits);
        if count.is_empty() {
            return Err(refuse("it does not begin with a number"));
        }
        let count: u32 = count.parse().map_err(|_| refuse("it is longer than 366 days"))?;
        let period = match unit.trim() {
            "minute" | "minutes" => Period::minutes(count),
            "hour" | "hours" => Period::hours(count),
            "day" | "days" => Period::days(count),
            "" => return Err(refuse("it has no unit")),
            _ => return Err(refuse("its unit is none of minutes, hours and days")),
        };
        period.map(Self::Period).map_err(|error| refuse(error.fault))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.0 {
            Unit::Days(days) => (days, "day"),
            Unit::Secs(secs) if secs.is_multiple_of(HOUR_SECS) => (secs / HOUR_SECS, "hour"),
            Unit::Secs(secs) => (secs / MINUTE_SECS, "minute"),
        };
        write!(formatter, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Every {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immediate => formatter.write_str("immediate"),
            Self::Period(period) => period.fmt(formatter),
        }
    }
}

/// The time of day at which an interval starts, by the wall clock.
///
/// The default is midnight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    minutes: u16,
}

/// The error for a text that is no [`TimeOfDay`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time of day, which is written HH:MM, such as \"22:00\", from 00:00 to 23:59")]
#[non_exhaustive]
pub struct TimeOfDayError {
    /// The rejected text.
    pub text: String,
}

impl TimeOfDay {
    /// Parses a time of day, such as `22:00`.
    ///
    /// # Errors
    /// [`TimeOfDayError`] with the text and a valid example.
    pub fn parse(text: &str) -> Result<Self, TimeOfDayError> {
        let minutes = parse_minutes(text.trim()).filter(|minutes| *minutes < 24 * 60);
        minutes.map(|minutes| Self { minutes }).ok_or_else(|| TimeOfDayError { text: text.to_owned() })
    }

    pub(super) fn civil(self) -> Time {
        let part = |number: u16| i8::try_from(number).unwrap_or_default();
        Time::constant(part(self.minutes / 60), part(self.minutes % 60), 0, 0)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// "22:00" as minutes of a day, up to "24:00".
pub(super) fn parse_minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=2).contains(&hours.len()) || minutes.len() != 2 || !is_number(hours) || !is_number(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= 24 * 60).then_some(all)
}
