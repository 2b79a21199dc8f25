//! Times as people type them.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, ToSpan};
use offsite::model::Timestamp;
use offsite::retention::Zone;

/// A time. A part of it may have to be taken from a clock and a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A time in RFC 3339.
    Instant(Timestamp),
    /// What a clock shows, or the end of a day.
    Local(Day, Option<Time>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    Today,
    Yesterday,
    Date(Date),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(instant) = Timestamp::parse(text) {
            return Ok(Self::Instant(instant));
        }
        let local = || match text.split_once([' ', 'T']) {
            Some((date, time)) => Some(Self::Local(day(date)?, Some(clock(time)?))),
            None => match day(text) {
                Some(date) => Some(Self::Local(date, None)),
                None => Some(Self::Local(Day::Today, Some(clock(text)?))),
            },
        };
        local().ok_or_else(|| {
            format!(
                "{text:?} is no time: write 2026-11-22T22:00:00Z or 2026-11-22T22:00:00+01:00, or, as a clock shows it there, \
                 \"2026-11-22 22:00\", 2026-11-22, \"yesterday 22:00\", yesterday or 22:00"
            )
        })
    }
}

impl When {
    /// Returns the time in `zone` at `now`. A day stands for its last second. If clocks show a time twice, it stands for the second
    /// one.
    pub(crate) fn in_zone(self, zone: &Zone, now: Timestamp) -> Result<Timestamp, String> {
        let (day, time) = match self {
            Self::Instant(instant) => return Ok(instant),
            Self::Local(day, time) => (day, time),
        };
        let out_of_range = || "that time is out of range".to_owned();
        let zone = TimeZoneDatabase::bundled().get(zone.name()).map_err(|error| error.to_string())?;
        let today = || {
            let now = jiff::Timestamp::from_second(now.unix_secs()).map_err(|_| out_of_range())?;
            Ok::<Date, String>(zone.to_datetime(now).date())
        };
        let later = |date: Date, days: i64| date.checked_add(Span::new().days(days)).map_err(|_| out_of_range());
        let date = match day {
            Day::Date(date) => date,
            Day::Today => today()?,
            Day::Yesterday => later(today()?, -1)?,
        };
        let found = match time {
            Some(time) => instant(&zone, date.to_datetime(time)),
            None => instant(&zone, later(date, 1)?.to_datetime(Time::midnight()))
                .and_then(|next| next.checked_sub(1.second()).ok()),
        };
        let found = found.ok_or_else(out_of_range)?;
        Timestamp::from_unix_secs(found.as_second()).map_err(|error| error.to_string())
    }
}

fn instant(zone: &TimeZone, civil: DateTime) -> Option<jiff::Timestamp> {
    zone.to_ambiguous_timestamp(civil).later().ok()
}

fn day(text: &str) -> Option<Day> {
    match text {
        "today" => Some(Day::Today),
        "yesterday" => Some(Day::Yesterday),
        // The parser also accepts years of six digits and dates with a time, which nobody means as a date.
        _ if text.len() == 10 => text.parse().ok().map(Day::Date),
        _ => None,
    }
}

fn clock(text: &str) -> Option<Time> {
    let is_plain = text.len() >= 5 && text.chars().all(|letter| letter.is_ascii_digit() || letter == ':');
    if is_plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str, zone: &str, now: &str) -> String {
        let when: When = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let zone = Zone::named(zone).unwrap_or_else(|error| panic!("{error}"));
        let now = Timestamp::parse(now).unwrap_or_else(|error| panic!("{error}"));
        when.in_zone(&zone, now).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    #[test]
    fn times_are_meant_as_the_clocks_of_the_zone_show_them() {
        // In Berlin, it is the 23rd already.
        let now = "2026-11-22T23:30:00Z";
        for (text, zone, expected) in [
            ("2026-11-22T22:00:00Z", "Europe/Berlin", "2026-11-22T22:00:00Z"),
            ("2026-11-22T22:00:00+01:00", "UTC", "2026-11-22T21:00:00Z"),
            ("2026-11-22 22:00+01:00", "UTC", "2026-11-22T21:00:00Z"),
            ("2026-11-22", "UTC", "2026-11-22T23:59:59Z"),
            ("2026-11-22", "Europe/Berlin", "2026-11-22T22:59:59Z"),
            ("2026-11-22 22:00", "Europe/Berlin", "2026-11-22T21:00:00Z"),
            ("2026-11-22T22:00:05", "Europe/Berlin", "2026-11-22T21:00:05Z"),
            ("2026-07-22 22:00", "Europe/Berlin", "2026-07-22T20:00:00Z"),
            ("yesterday", "UTC", "2026-11-21T23:59:59Z"),
            ("yesterday", "Europe/Berlin", "2026-11-22T22:59:59Z"),
            ("yesterday 06:30", "Europe/Berlin", "2026-11-22T05:30:00Z"),
            ("today", "UTC", "2026-11-22T23:59:59Z"),
            ("22:00", "UTC", "2026-11-22T22:00:00Z"),
            // The clocks show the first twice, and the second never.
            ("2026-10-25 02:30", "Europe/Berlin", "2026-10-25T01:30:00Z"),
            ("2026-03-29 02:30", "Europe/Berlin", "2026-03-29T01:30:00Z"),
            // The first day has 23 hours. The second does not begin at midnight.
            ("2026-03-29", "Europe/Berlin", "2026-03-29T21:59:59Z"),
            ("2018-11-03", "America/Sao_Paulo", "2018-11-04T02:59:59Z"),
        ] {
            assert_eq!(meant(text, zone, now), expected, "{text} in {zone}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            " ",
            "T",
            "tomorrow",
            "Yesterday",
            "2026-11",
            "2026-11-31",
            "22",
            "2026-11-22 25:00",
            "2026-11-22 ",
            "-1",
            "22:00Z",
            "+002026-11-22",
        ] {
            assert!(text.parse::<When>().is_err(), "{text:?}");
        }
        let last: When = "9999-12-31".parse().unwrap_or_else(|error| panic!("{error}"));
        assert!(last.in_zone(&Zone::utc(), Timestamp::MIN).is_err());
    }
}
