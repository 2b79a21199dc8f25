//! Anchors: the moments at which a tier wants a restore point.

use jiff::civil::Date;

use super::Tier;
use super::calendar::Zone;
use crate::Timestamp;

/// A day of the week.
// Exhaustive: a week has seven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All days, Monday first, as in ISO 8601.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];

    const fn civil(self) -> jiff::civil::Weekday {
        match self {
            Self::Monday => jiff::civil::Weekday::Monday,
            Self::Tuesday => jiff::civil::Weekday::Tuesday,
            Self::Wednesday => jiff::civil::Weekday::Wednesday,
            Self::Thursday => jiff::civil::Weekday::Thursday,
            Self::Friday => jiff::civil::Weekday::Friday,
            Self::Saturday => jiff::civil::Weekday::Saturday,
            Self::Sunday => jiff::civil::Weekday::Sunday,
        }
    }
}

/// A day of a month, such as the first Sunday or the 15th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MonthDay(Rule);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rule {
    Nth(i8, Weekday),
    LastWeekday(Weekday),
    Day(i8),
    LastDay,
}

/// The error for a day, hour or month that no calendar has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// The hour is not 0 to 23.
    #[error("hour {0}: a day has the hours 0 to 23")]
    Hour(u32),
    /// The day is not 1 to 31.
    #[error("day {0} of the month: use 1 to 31 (a shorter month takes its last day), or the last day")]
    Day(u32),
    /// The number of the weekday is not 1 to 4. For the last weekday use [`MonthDay::last`].
    #[error("weekday number {0} of the month: use the first to the fourth, or the last")]
    Nth(u32),
    /// The month is not 1 to 12.
    #[error("month {0}: a year has the months 1 to 12")]
    Month(u32),
}

impl MonthDay {
    /// The first, second, third or fourth `weekday` of the month.
    ///
    /// # Errors
    /// [`AnchorError::Nth`] if `nth` is not 1 to 4.
    pub fn nth(nth: u32, weekday: Weekday) -> Result<Self, AnchorError> {
        match i8::try_from(nth) {
            Ok(small @ 1..=4) => Ok(Self(Rule::Nth(small, weekday))),
            _ => Err(AnchorError::Nth(nth)),
        }
    }

    /// The last `weekday` of the month.
    #[must_use]
    pub const fn last(weekday: Weekday) -> Self {
        Self(Rule::LastWeekday(weekday))
    }

    /// Day number `day` of the month.
    ///
    /// A shorter month takes its last day.
    ///
    /// # Errors
    /// [`AnchorError::Day`] if `day` is not 1 to 31.
    pub fn day(day: u32) -> Result<Self, AnchorError> {
        match i8::try_from(day) {
            Ok(small @ 1..=31) => Ok(Self(Rule::Day(small))),
            _ => Err(AnchorError::Day(day)),
        }
    }

    /// The last day of the month.
    #[must_use]
    pub const fn last_day() -> Self {
        Self(Rule::LastDay)
    }

    /// That day of the month that begins on `first`.
    fn of(self, first: Date) -> Option<Date> {
        match self.0 {
            Rule::Nth(nth, weekday) => first.nth_weekday_of_month(nth, weekday.civil()).ok(),
            Rule::LastWeekday(weekday) => first.nth_weekday_of_month(-1, weekday.civil()).ok(),
            Rule::Day(day) => Date::new(first.year(), first.month(), day.min(first.days_in_month())).ok(),
            Rule::LastDay => Some(first.last_of_month()),
        }
    }
}

/// The first Sunday of the month.
impl Default for MonthDay {
    fn default() -> Self {
        Self(Rule::Nth(1, Weekday::Sunday))
    }
}

/// The month of a quarter in which the quarterly tier has its anchor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QuarterMonth {
    /// January, April, July, October.
    #[default]
    First,
    /// March, June, September, December.
    Last,
}

/// The anchors of all tiers.
///
/// All tiers share one hour of the day. The default is 22:00 on Sundays, on the first Sunday of a month, of a quarter's first
/// month, and of January.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchors {
    hour: i8,
    weekday: Weekday,
    month_day: MonthDay,
    quarter: (QuarterMonth, MonthDay),
    year: (i8, MonthDay),
}

/// 22:00 on Sundays, and on the first Sunday of the month, of the quarter's first month, and of January.
impl Default for Anchors {
    fn default() -> Self {
        Self {
            hour: 22,
            weekday: Weekday::Sunday,
            month_day: MonthDay::default(),
            quarter: (QuarterMonth::First, MonthDay::default()),
            year: (1, MonthDay::default()),
        }
    }
}

impl Anchors {
    /// Sets the hour of all anchors, 0 to 23.
    ///
    /// # Errors
    /// [`AnchorError::Hour`] if `hour` is above 23.
    pub fn at_hour(self, hour: u32) -> Result<Self, AnchorError> {
        match i8::try_from(hour) {
            Ok(hour @ 0..=23) => Ok(Self { hour, ..self }),
            _ => Err(AnchorError::Hour(hour)),
        }
    }

    /// Sets the day of the weekly tier.
    #[must_use]
    pub const fn on_weekday(self, weekday: Weekday) -> Self {
        Self { weekday, ..self }
    }

    /// Sets the day of the monthly tier.
    #[must_use]
    pub const fn on_month_day(self, month_day: MonthDay) -> Self {
        Self { month_day, ..self }
    }

    /// Sets the month and the day of the quarterly tier.
    #[must_use]
    pub const fn in_quarter(self, month: QuarterMonth, day: MonthDay) -> Self {
        Self { quarter: (month, day), ..self }
    }

    /// Sets the month (1 is January) and the day of the yearly tier.
    ///
    /// # Errors
    /// [`AnchorError::Month`] if `month` is not 1 to 12.
    pub fn in_year(self, month: u32, day: MonthDay) -> Result<Self, AnchorError> {
        match i8::try_from(month) {
            Ok(small @ 1..=12) => Ok(Self { year: (small, day), ..self }),
            _ => Err(AnchorError::Month(month)),
        }
    }

    /// The bytes that stand for these anchors in the fingerprint of a policy.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let (quarter_month, quarter_day) = self.quarter;
        let last = u8::from(quarter_month == QuarterMonth::Last);
        let (year_month, year_day) = self.year;
        let mut bytes = vec![number(self.hour), self.weekday as u8, last, number(year_month)];
        for day in [self.month_day, quarter_day, year_day] {
            bytes.extend(match day.0 {
                Rule::Nth(nth, weekday) => [0, number(nth), weekday as u8],
                Rule::LastWeekday(weekday) => [1, 0, weekday as u8],
                Rule::Day(day) => [2, number(day), 0],
                Rule::LastDay => [3, 0, 0],
            });
        }
        bytes
    }

    /// The first anchor of `tier` after `time`.
    ///
    /// `None` if the calendar ends before it.
    #[must_use]
    pub fn next_after(&self, tier: Tier, time: Timestamp, zone: &Zone) -> Option<Timestamp> {
        // Clocks that were set across a whole day can carry an anchor out of its period, hence the neighbours.
        let period = period(tier, zone.date(time));
        (period - 1..=period + 2).filter_map(|period| self.anchor(tier, period, zone)).find(|anchor| *anchor > time)
    }

    /// The last anchor of `tier` at or before `time`.
    ///
    /// `None` if the calendar begins after it.
    #[must_use]
    pub fn last_until(&self, tier: Tier, time: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let period = period(tier, zone.date(time));
        let periods = (period - 2..=period + 1).rev();
        periods.filter_map(|period| self.anchor(tier, period, zone)).find(|anchor| *anchor <= time)
    }

    fn anchor(&self, tier: Tier, period: i64, zone: &Zone) -> Option<Timestamp> {
        let month = |months: i64| {
            let year = i16::try_from(months.div_euclid(12)).ok()?;
            Date::new(year, i8::try_from(months.rem_euclid(12) + 1).ok()?, 1).ok()
        };
        let date = match tier {
            Tier::Weekly => {
                let days = period * 7 - MONDAY_BEFORE_EPOCH + self.weekday as i64;
                let span = jiff::Span::new().try_days(days).ok()?;
                Date::constant(1970, 1, 1).checked_add(span).ok()?
            }
            Tier::Monthly => self.month_day.of(month(period)?)?,
            Tier::Quarterly => {
                let (quarter_month, day) = self.quarter;
                let offset = match quarter_month {
                    QuarterMonth::First => 0,
                    QuarterMonth::Last => 2,
                };
                day.of(month(period * 3 + offset)?)?
            }
            Tier::Yearly => {
                let (year_month, day) = self.year;
                day.of(month(period * 12 + i64::from(year_month) - 1)?)?
            }
        };
        zone.at(date.at(self.hour, 0, 0, 0))
    }
}

/// A number of a calendar, which is not negative.
fn number(small: i8) -> u8 {
    small.unsigned_abs()
}

/// The epoch's day is a Thursday; its ISO week began so many days before.
const MONDAY_BEFORE_EPOCH: i64 = 3;

/// The number of the week, month, quarter or year that `date` lies in.
fn period(tier: Tier, date: Date) -> i64 {
    let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
    match tier {
        Tier::Weekly => {
            let days = date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
            (days + MONDAY_BEFORE_EPOCH).div_euclid(7)
        }
        Tier::Monthly => month,
        Tier::Quarterly => month.div_euclid(3),
        Tier::Yearly => i64::from(date.year()),
    }
}
