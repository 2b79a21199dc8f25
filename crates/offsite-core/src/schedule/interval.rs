//! The intervals of a job.

use jiff::civil::Date;

use super::clock;
use super::every::{DAY_SECS, Every, Period, TimeOfDay, Unit};
use crate::Timestamp;
use crate::retention::Zone;

/// A Monday, from which days are counted; so an interval of 7 days starts on Mondays.
const FIRST_DAY: Date = Date::constant(1969, 12, 29);

/// When a job copies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// Whenever a new restore point appears.
    Immediate,
    /// Once in an interval.
    Interval(Interval),
}

impl Schedule {
    /// `every`, counted from `start` in `zone`.
    #[must_use]
    pub fn new(every: Every, start: TimeOfDay, zone: Zone) -> Self {
        match every {
            Every::Immediate => Self::Immediate,
            Every::Period(period) => Self::Interval(Interval::new(period, start, zone)),
        }
    }

    /// Its interval. `None` if it is immediate.
    #[must_use]
    pub const fn interval(&self) -> Option<&Interval> {
        match self {
            Self::Immediate => None,
            Self::Interval(interval) => Some(interval),
        }
    }

    /// How far ahead of the latest known time the clock may be before the job doubts it, in seconds: ten intervals, and at least
    /// a day. Without intervals it is a hundred days.
    #[must_use]
    pub fn ahead_max_secs(&self) -> i64 {
        clock::ahead_max_secs(self)
    }

    /// The span that `now` is in. Without intervals it is that moment.
    #[must_use]
    pub fn span_at(&self, now: Timestamp) -> Span {
        match self {
            Self::Immediate => Span::new(now, now),
            Self::Interval(interval) => interval.at(now),
        }
    }
}

/// Divides all of time into spans. A job copies at most one restore point per machine in each.
///
/// The spans follow each other without gap or overlap, and none is empty, whatever the clocks do.
///
/// - *Days* are days of the calendar. A span starts when the wall clock shows the start, and has 23 or 25 hours if the clocks
///   change meanwhile. A start that the clocks skip is as much later as they skip. Of one that they show twice, the first counts.
///   A day that a zone skips has no span. Several days count from a Monday, so 7 days start on Mondays.
/// - *Minutes and hours* are elapsed time. If they divide 24 hours, they begin anew at the start of each day. So every 6 hours from
///   22:00 is 22:00, 04:00, 10:00 and 16:00 all the year. On a day when the clocks change, the rest of the day is the last span. A
///   rest of less than half a period joins the span before.
/// - *Other* minutes and hours (5 hours, say) go on for ever from the start on Monday, 1969-12-29.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Interval {
    period: Period,
    start: TimeOfDay,
    zone: Zone,
}

/// One interval of a job, or several that became one because the job could copy nothing in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Span {
    /// When it starts.
    pub start: Timestamp,
    /// When the next one starts.
    pub end: Timestamp,
    /// How many intervals it stands for. More than 1 if the job could not work.
    pub intervals: u32,
}

impl Span {
    /// The span of one interval.
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end, intervals: 1 }
    }

    /// The same, standing for so many intervals.
    #[must_use]
    pub const fn with_intervals(self, intervals: u32) -> Self {
        Self { intervals, ..self }
    }

    /// Whether `time` is in it.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

impl Interval {
    /// Intervals of `period`, counted from `start` in `zone`.
    #[must_use]
    pub const fn new(period: Period, start: TimeOfDay, zone: Zone) -> Self {
        Self { period, start, zone }
    }

    /// Its length.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// The zone of its days.
    #[must_use]
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The span that `now` is in.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Span {
        let (start, end) = match self.period.unit() {
            Unit::Days(days) => self.days_at(days, now),
            Unit::Secs(secs) if DAY_SECS.is_multiple_of(secs) => Pieces::of(self.days_at(1, now), secs).at(now),
            Unit::Secs(secs) => {
                let (anchor, secs) = (self.day_start(0), i64::from(secs));
                let number = (now.unix_secs() - anchor.unix_secs()).div_euclid(secs);
                let start = anchor.saturating_add_secs(number * secs);
                (start, start.saturating_add_secs(secs))
            }
        };
        Span::new(start, end)
    }

    /// The span after `span`.
    #[must_use]
    pub fn next(&self, span: &Span) -> Span {
        self.at(span.end)
    }

    /// The span before `span`.
    #[must_use]
    pub fn previous(&self, span: &Span) -> Span {
        self.at(span.start.saturating_add_secs(-1))
    }

    /// `span` and all that follow, up to the one that `now` is in, as one.
    #[must_use]
    pub fn joined(&self, span: Span, now: Timestamp) -> Span {
        if now < span.end {
            return span;
        }
        let last = self.at(now);
        let intervals = span.intervals.saturating_add(self.count(span.end, last.end));
        Span { start: span.start, end: last.end, intervals }
    }

    /// The same moment one interval earlier.
    #[must_use]
    pub fn before(&self, time: Timestamp) -> Timestamp {
        match self.period.unit() {
            Unit::Secs(secs) => time.saturating_add_secs(-i64::from(secs)),
            Unit::Days(days) => {
                let civil = self.zone.civil(time);
                let earlier = |days: u32| {
                    let earlier = jiff::Span::new().try_days(days).ok().and_then(|span| civil.checked_sub(span).ok());
                    earlier.and_then(|earlier| self.zone.at(earlier)).unwrap_or(Timestamp::MIN)
                };
                // A day that a zone has skipped is the day after it; then it is the day before that.
                (days..days.saturating_add(3)).map(earlier).find(|earlier| *earlier < time).unwrap_or(Timestamp::MIN)
            }
        }
    }

    /// How many spans lie between two of their edges.
    fn count(&self, from: Timestamp, until: Timestamp) -> u32 {
        let unit = self.period.unit();
        let mut count = 0_u64;
        if let Unit::Secs(secs) = unit
            && !DAY_SECS.is_multiple_of(secs)
        {
            count = until.unix_secs().abs_diff(from.unix_secs()).div_ceil(secs.into());
        } else {
            // Day by day: the calendar has no more than some millions.
            let mut edge = from;
            while edge < until {
                let (start, end) = self.days_at(if let Unit::Days(days) = unit { days } else { 1 }, edge);
                count += match unit {
                    Unit::Days(_) => 1,
                    Unit::Secs(secs) => Pieces::of((start, end), secs).between(edge, until),
                };
                if end <= edge {
                    break;
                }
                edge = end;
            }
        }
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The span of so many days that `now` is in.
    fn days_at(&self, days: u32, now: Timestamp) -> (Timestamp, Timestamp) {
        let days = i64::from(days);
        let today = (self.zone.date(now).duration_since(FIRST_DAY).as_hours() / 24).div_euclid(days);
        let start_of = |number: i64| self.day_start(number * days);
        // Clocks that were set across a whole day can carry a start out of its day, hence the neighbours.
        let number = (today - 2..=today + 1).rev().find(|number| start_of(*number) <= now).unwrap_or(today);
        let start = start_of(number);
        let end = (number + 1..=number + 3).map(start_of).find(|end| *end > start).unwrap_or(Timestamp::MAX);
        (start, end)
    }

    /// The start on the day of that number.
    fn day_start(&self, number: i64) -> Timestamp {
        let date = jiff::Span::new().try_days(number).ok().and_then(|span| FIRST_DAY.checked_add(span).ok());
        let start = date.and_then(|date| self.zone.at(date.to_datetime(self.start.civil())));
        start.unwrap_or(if number < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }
}

/// A day, cut into spans of equal length but for the last.
struct Pieces {
    start: Timestamp,
    end: Timestamp,
    secs: i64,
    count: i64,
}

impl Pieces {
    fn of((start, end): (Timestamp, Timestamp), secs: u32) -> Self {
        let (all, secs) = (end.unix_secs() - start.unix_secs(), i64::from(secs));
        let rest = i64::from(all % secs * 2 >= secs);
        Self { start, end, secs, count: (all / secs + rest).max(1) }
    }

    fn at(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let number = self.number(now);
        let start = self.start.saturating_add_secs(number * self.secs);
        (start, if number + 1 == self.count { self.end } else { start.saturating_add_secs(self.secs) })
    }

    fn number(&self, time: Timestamp) -> i64 {
        ((time.unix_secs() - self.start.unix_secs()) / self.secs).clamp(0, self.count - 1)
    }

    /// How many lie between two edges of them, or of the days around.
    fn between(&self, from: Timestamp, until: Timestamp) -> u64 {
        let before = if until >= self.end { self.count } else { self.number(until) };
        u64::try_from(before - self.number(from)).unwrap_or_default()
    }
}
