//! The intervals of a job.

use jiff::civil::Date;

use super::every::{DAY_SECS, Every, Period, TimeOfDay, Unit};
use crate::Timestamp;
use crate::retention::Zone;

/// The day from which days are counted. It is a Monday, so that an interval of 7 days starts on Mondays.
const FIRST_DAY: Date = Date::constant(1969, 12, 29);
/// The number of intervals that the clock may have advanced since the last run.
const AHEAD_INTERVALS_MAX: i64 = 10;
/// The bound for a job without intervals. It is more than a quarter of a year, so a run by hand in each quarter is enough.
const AHEAD_MAX_SECS: i64 = 100 * DAY_SECS as i64;

/// When a job copies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// As soon as a new restore point appears.
    Immediate,
    /// Once in each interval.
    Interval(Interval),
}

impl Schedule {
    /// The schedule that copies `every` so often.
    ///
    /// Intervals are counted from `start` in `zone`. For [`Every::Immediate`], `start` and `zone` have no effect.
    #[must_use]
    pub fn new(every: Every, start: TimeOfDay, zone: Zone) -> Self {
        match every {
            Every::Immediate => Self::Immediate,
            Every::Period(period) => Self::Interval(Interval::new(period, start, zone)),
        }
    }

    /// The interval of the schedule.
    ///
    /// `None` if it is immediate.
    #[must_use]
    pub const fn interval(&self) -> Option<&Interval> {
        match self {
            Self::Immediate => None,
            Self::Interval(interval) => Some(interval),
        }
    }

    /// How far the clock may be ahead of the latest known time, in seconds.
    ///
    /// Beyond this bound the job doubts the clock ([`ClockReading::Ahead`](super::ClockReading::Ahead)). It is ten intervals, and
    /// at least a day. Without intervals it is a hundred days.
    #[must_use]
    pub fn ahead_max_secs(&self) -> i64 {
        let of_interval = |secs: i64| secs.saturating_mul(AHEAD_INTERVALS_MAX).max(DAY_SECS.into());
        self.interval().map_or(AHEAD_MAX_SECS, |interval| of_interval(interval.period().nominal_secs()))
    }

    /// The span that contains `now`.
    ///
    /// Without intervals, the span starts and ends at `now`.
    #[must_use]
    pub fn span_at(&self, now: Timestamp) -> Span {
        match self {
            Self::Immediate => Span::new(now, now),
            Self::Interval(interval) => interval.at(now),
        }
    }
}

/// Divides time into spans.
///
/// A job copies at most one restore point per machine in each span. The spans follow each other without gap or overlap, and none
/// is empty, whatever the clocks do.
///
/// - *Days* are days of the calendar. A span starts when the wall clock shows the start time. It has 23 or 25 hours if the clocks
///   change in it. If the clocks skip the start time, the start moves later by as much as they skip. If they show it twice, the
///   first counts. A day that a zone skips has no span. Longer intervals count from a Monday, so 7 days start on Mondays.
/// - *Minutes and hours* are elapsed time. If they divide 24 hours, they begin anew at the start of each day. For example, every
///   6 hours from 22:00 means 22:00, 04:00, 10:00 and 16:00 all the year. On a day when the clocks change, the rest of the day is
///   the last span. A rest of less than half a period joins the span before it.
/// - *Other* minutes and hours (5 hours, say) count on from the start time on Monday, 1969-12-29, and never begin anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Interval {
    period: Period,
    start: TimeOfDay,
    zone: Zone,
}

/// One interval of a job, or several that were joined.
///
/// A job joins intervals in which it could not copy anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Span {
    /// The time at which the span starts. It belongs to the span.
    pub start: Timestamp,
    /// The time at which the next span starts. It does not belong to this span.
    pub end: Timestamp,
    /// The number of intervals that the span stands for. It is more than 1 if intervals were joined.
    pub intervals: u32,
}

impl Span {
    /// The span of one interval.
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end, intervals: 1 }
    }

    /// Sets the number of intervals that the span stands for.
    #[must_use]
    pub const fn with_intervals(self, intervals: u32) -> Self {
        Self { intervals, ..self }
    }

    /// Returns `true` if `time` is in the span.
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

    /// The length of an interval.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// The time zone of the interval's days.
    #[must_use]
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The span that contains `now`.
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

    /// Joins `span` and the spans after it, up to the one that contains `now`.
    ///
    /// If `now` is before the end of `span`, the result is `span`.
    #[must_use]
    pub fn joined(&self, span: Span, now: Timestamp) -> Span {
        if now < span.end {
            return span;
        }
        let last = self.at(now);
        let intervals = span.intervals.saturating_add(self.count(span.end, last.end));
        Span { start: span.start, end: last.end, intervals }
    }

    /// The time one interval before `time`.
    ///
    /// For days, it is the same time of day.
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

    /// The number of spans between two edges of spans.
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

    /// The span of `days` days that contains `now`.
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

    /// The start time on day number `number`, counted from [`FIRST_DAY`].
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
