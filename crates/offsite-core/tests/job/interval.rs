//! Intervals and look-ups: real zones, and the laws at random moments.

use offsite_core::Timestamp;
use offsite_core::schedule::{Every, Interval, Lookup, Span, TimeOfDay};
use proptest::prelude::*;

use crate::{ZONES, interval, schedule, time};

const PERIODS: [&str; 12] = [
    "1 minute",
    "15 minutes",
    "90 minutes",
    "1 hour",
    "5 hours",
    "6 hours",
    "7 hours",
    "24 hours",
    "36 hours",
    "1 day",
    "3 days",
    "7 days",
];

/// The starts of `count` spans from the one that `from` is in.
fn starts(interval: &Interval, from: &str, count: usize) -> Vec<String> {
    let mut span = interval.at(time(from));
    let start = |_| {
        let start = span.start.to_string();
        span = interval.next(&span);
        start
    };
    (0..count).map(start).collect()
}

#[test]
fn days_are_of_the_calendar() {
    // 25 October 2026: Berlin's clocks go back; the day has 25 hours.
    let berlin = interval("1 day", "22:00", "Europe/Berlin");
    let autumn = ["2026-10-23T20:00:00Z", "2026-10-24T20:00:00Z", "2026-10-25T21:00:00Z", "2026-10-26T21:00:00Z"];
    assert_eq!(starts(&berlin, "2026-10-24T12:00:00Z", 4), autumn);
    // 8 March 2026: New York's clocks skip 02:00 to 03:00; 02:30 is as much later.
    let new_york = interval("1 day", "02:30", "America/New_York");
    let spring = ["2026-03-07T07:30:00Z", "2026-03-08T07:30:00Z", "2026-03-09T06:30:00Z"];
    assert_eq!(starts(&new_york, "2026-03-07T12:00:00Z", 3), spring);
    // 1 November 2026: they show 01:30 twice; the first counts.
    let new_york = interval("1 day", "01:30", "America/New_York");
    let autumn = ["2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"];
    assert_eq!(starts(&new_york, "2026-10-31T12:00:00Z", 3), autumn);
    // Apia had no 30 December 2011.
    let apia = interval("1 day", "00:00", "Pacific/Apia");
    let skipped = ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"];
    assert_eq!(starts(&apia, "2011-12-29T12:00:00Z", 3), skipped);
    let kathmandu = interval("1 day", "00:00", "Asia/Kathmandu");
    assert_eq!(starts(&kathmandu, "2028-02-29T00:00:00Z", 2), ["2028-02-28T18:15:00Z", "2028-02-29T18:15:00Z"]);
    // Weeks begin on Mondays, also around the 53rd of 2026.
    let weekly = interval("7 days", "06:00", "UTC");
    let weeks = ["2026-12-21T06:00:00Z", "2026-12-28T06:00:00Z", "2027-01-04T06:00:00Z"];
    assert_eq!(starts(&weekly, "2026-12-28T05:59:59Z", 3), weeks);
}

#[test]
fn hours_that_divide_a_day_begin_anew_each_day() {
    let berlin = interval("6 hours", "22:00", "Europe/Berlin");
    let autumn = [
        "2026-10-24T20:00:00Z", // 22:00
        "2026-10-25T02:00:00Z", // 03:00, after the hour that was shown twice
        "2026-10-25T08:00:00Z",
        "2026-10-25T14:00:00Z", // until 22:00: what is left of 25 hours is no interval of its own
        "2026-10-25T21:00:00Z",
        "2026-10-26T03:00:00Z", // 04:00
    ];
    assert_eq!(starts(&berlin, "2026-10-24T20:00:00Z", 6), autumn);
    let spring = [
        "2026-03-28T21:00:00Z", // 22:00
        "2026-03-29T03:00:00Z", // 05:00, after the hour that was skipped
        "2026-03-29T09:00:00Z",
        "2026-03-29T15:00:00Z", // until 22:00: five hours
        "2026-03-29T20:00:00Z",
    ];
    assert_eq!(starts(&berlin, "2026-03-28T21:00:00Z", 5), spring);
    // Lord Howe's clocks go back by half an hour: two quarters more.
    let lord_howe = interval("15 minutes", "00:00", "Australia/Lord_Howe");
    let day = Span::new(time("2026-04-04T13:00:00Z"), time("2026-04-04T13:15:00Z"));
    assert_eq!(lord_howe.at(day.start), day);
    assert_eq!(lord_howe.joined(day, time("2026-04-05T13:29:59Z")).intervals, 98);
    // What divides no day goes on for ever.
    let five = interval("5 hours", "22:00", "Europe/Berlin");
    let on = ["2026-10-24T19:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T05:00:00Z"];
    assert_eq!(starts(&five, "2026-10-24T20:00:00Z", 3), on);
}

/// A backup at 22:20, a copy at 22:00, every day.
#[test]
fn looking_back_and_forward() {
    let daily = schedule("1 day", "22:00", "Europe/Berlin");
    let now = time("2026-11-22T22:00:00+01:00");
    let span = daily.interval().unwrap().at(now);
    let (yesterdays, todays) = (time("2026-11-21T22:20:00+01:00"), time("2026-11-22T22:20:00+01:00"));
    let later = time("2026-11-22T22:40:00+01:00");
    let back = Lookup::Back.range(&daily, &span, false, now);
    assert!(back.contains(yesterdays) && !back.contains(todays));
    assert!(!back.contains(time("2026-11-20T22:20:00+01:00")));
    assert!(!Lookup::Forward.range(&daily, &span, false, now).contains(yesterdays));
    assert!(Lookup::Forward.range(&daily, &span, false, later).contains(todays));
    // The first run starts at once with what is younger than one interval.
    let now = time("2026-11-22T15:00:00+01:00");
    let span = daily.interval().unwrap().at(now);
    for lookup in [Lookup::Back, Lookup::Forward] {
        let first = lookup.range(&daily, &span, true, now);
        assert!(first.contains(yesterdays) && !first.contains(time("2026-11-21T14:59:59+01:00")), "{lookup}");
    }
    let immediate = schedule("immediate", "00:00", "UTC");
    assert!(Lookup::Back.range(&immediate, &span, false, now).contains(time("1999-01-01T00:00:00Z")));
}

#[test]
fn texts() {
    for text in ["1 day", "6 hours", "15 minutes", "immediate", "366 days"] {
        assert_eq!(Every::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Every::parse(" 1  Days "), Every::parse("1 day"));
    assert_eq!(Every::parse("120 minutes").unwrap().to_string(), "2 hours");
    for (text, fault) in [
        ("", "number"),
        ("day", "number"),
        ("-1 day", "number"),
        ("0 hours", "no length"),
        ("3", "no unit"),
        ("1 week", "none of minutes, hours and days"),
        ("367 days", "longer"),
        ("9999999 hours", "longer"),
        ("99999999999 minutes", "longer"),
    ] {
        let error = Every::parse(text).expect_err(text).to_string();
        assert!(error.contains(fault) && error.contains(&format!("{text:?}")) && error.contains("6 hours"), "{error}");
    }
    assert_eq!(TimeOfDay::parse("7:05").unwrap().to_string(), "07:05");
    for text in ["", "22", "24:00", "22:60", "22:0", "-1:00", "1:000", "\u{0662}2:00"] {
        assert!(TimeOfDay::parse(text).expect_err(text).to_string().contains("22:00"));
    }
    assert_eq!(Lookup::parse("Forward"), Ok(Lookup::Forward));
    assert!(Lookup::parse("sideways").unwrap_err().to_string().contains("\"back\""));
}

fn intervals() -> impl Strategy<Value = Interval> {
    let parts = (prop::sample::select(&PERIODS[..]), 0..1440_u32, prop::sample::select(&ZONES[..]));
    parts.prop_map(|(every, at, zone)| interval(every, &format!("{}:{:02}", at / 60, at % 60), zone))
}

/// Moments of the years 1960 to 2060; most of them near a setting of a clock of one of the zones.
fn moments() -> impl Strategy<Value = Timestamp> {
    let near = prop::sample::select(&[
        "2011-12-30T10:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-11-01T06:00:00Z",
        "2026-04-04T15:00:00Z",
        "2026-10-03T15:30:00Z",
    ]);
    prop_oneof![
        (-315_000_000..2_840_000_000_i64).prop_map(|secs| Timestamp::from_unix_secs(secs).unwrap()),
        (near, -200_000..200_000_i64).prop_map(|(text, secs)| time(text).saturating_add_secs(secs)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_are_a_division_of_time(interval in intervals(), now in moments()) {
        let span = interval.at(now);
        prop_assert!(span.contains(now), "{:?}", span);
        prop_assert_eq!(span.intervals, 1);
        for inside in [span.start, span.end.saturating_add_secs(-1)] {
            prop_assert_eq!(interval.at(inside), span);
        }
        prop_assert_eq!(interval.next(&span).start, span.end);
        prop_assert_eq!(interval.previous(&span).end, span.start);
        prop_assert!(interval.before(now) < now);
        let length = span.end.unix_secs() - span.start.unix_secs();
        prop_assert!(length <= interval.period().nominal_secs() + 12 * 3600, "{:?}", span);
    }

    #[test]
    fn joining_counts(interval in intervals(), now in moments(), steps in 0..60_u32) {
        let first = interval.at(now);
        let mut last = first;
        for _ in 0..steps {
            last = interval.next(&last);
        }
        for inside in [last.start, last.end.saturating_add_secs(-1)] {
            let joined = interval.joined(first, inside);
            prop_assert_eq!(joined, Span::new(first.start, last.end).with_intervals(steps + 1));
        }
    }
}

/// The day before the last of 2011 is missing in Samoa: a day earlier than its successor is its predecessor.
#[test]
fn an_interval_tells_its_zone() {
    for zone in ZONES {
        assert_eq!(*interval("1 day", "22:00", zone).zone(), crate::zone(zone));
    }
}

#[test]
fn a_skipped_day_is_no_day_earlier() {
    let interval = interval("1 day", "00:00", "Pacific/Apia");
    assert_eq!(interval.before(time("2011-12-30T10:00:00Z")), time("2011-12-29T10:00:00Z"));
    assert_eq!(interval.before(time("2012-01-01T10:00:00Z")), time("2011-12-31T10:00:00Z"));
}

/// The last moments that there are neither hang nor panic.
#[test]
fn the_ends_of_the_calendar() {
    for every in PERIODS {
        for zone in ZONES {
            let interval = interval(every, "22:00", zone);
            for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::MIN.saturating_add_secs(90_000)] {
                let span = interval.at(now);
                let _ = (interval.next(&span), interval.previous(&span), interval.before(now));
            }
        }
    }
    let minutes = interval("1 minute", "00:00", "Europe/Berlin");
    let centuries = minutes.joined(minutes.at(time("2026-01-01T00:00:00Z")), time("2326-01-01T00:00:00Z"));
    assert_eq!(centuries.intervals, 300 * 525_600 + 72 * 1440 + 1);
}
