//! Windows: texts, clocks that are set, and the laws at random moments.

use jiff::tz::TimeZoneDatabase;
use offsite_core::Timestamp;
use offsite_core::retention::Zone;
use offsite_core::schedule::Window;
use proptest::prelude::*;

use crate::{ZONES, time, zone};

fn window(texts: &[&str], zone_name: &str) -> Window {
    Window::parse(texts, zone(zone_name)).unwrap_or_else(|error| panic!("{error}"))
}

/// When it changes from `from` on.
fn changes(window: &Window, from: &str, count: usize) -> Vec<String> {
    let mut at = time(from);
    let change = |_| {
        at = window.next_change(at).expect("it changes");
        at.to_string()
    };
    (0..count).map(change).collect()
}

#[test]
fn nights_and_weekends() {
    let window = window(&["mon-fri 20:00-06:00", "sat-sun"], "Europe/Berlin");
    // 23 November 2026 is a Monday.
    assert!(window.is_open(time("2026-11-22T23:59:59+01:00")));
    assert!(!window.is_open(time("2026-11-23T00:00:00+01:00")), "Sunday's hours end with it");
    let week = [
        "2026-11-23T19:00:00Z", // Monday 20:00, open
        "2026-11-24T05:00:00Z", // Tuesday 06:00, closed
        "2026-11-24T19:00:00Z",
        "2026-11-25T05:00:00Z",
        "2026-11-25T19:00:00Z",
        "2026-11-26T05:00:00Z",
        "2026-11-26T19:00:00Z",
        "2026-11-27T05:00:00Z",
        "2026-11-27T19:00:00Z", // Friday 20:00, open over the weekend
        "2026-11-29T23:00:00Z", // Monday 00:00, closed
        "2026-11-30T19:00:00Z",
    ];
    assert_eq!(changes(&window, "2026-11-23T12:00:00Z", 11), week);
}

#[test]
fn hours_that_are_skipped_or_shown_twice() {
    // New York, 1 November 2026: 01:00 to 02:00 is shown twice.
    let night = window(&["01:00-02:00"], "America/New_York");
    let twice = ["2026-11-01T05:00:00Z", "2026-11-01T07:00:00Z", "2026-11-02T06:00:00Z"];
    assert_eq!(changes(&night, "2026-11-01T00:00:00Z", 3), twice);
    let half = window(&["01:00-01:30"], "America/New_York");
    let again = ["2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z", "2026-11-01T06:30:00Z"];
    assert_eq!(changes(&half, "2026-11-01T00:00:00Z", 4), again);
    // 8 March 2026: 02:00 to 03:00 is skipped, and so is the window.
    let skipped = window(&["02:00-03:00"], "America/New_York");
    assert_eq!(changes(&skipped, "2026-03-08T00:00:00Z", 2), ["2026-03-09T06:00:00Z", "2026-03-09T07:00:00Z"]);
    let longer = window(&["01:30-02:30"], "America/New_York");
    assert_eq!(changes(&longer, "2026-03-08T00:00:00Z", 2), ["2026-03-08T06:30:00Z", "2026-03-08T07:00:00Z"]);
    // Apia had no Friday, 30 December 2011.
    let fridays = window(&["fri"], "Pacific/Apia");
    assert_eq!(changes(&fridays, "2011-12-28T00:00:00Z", 1), ["2012-01-05T10:00:00Z"]);
}

#[test]
fn texts() {
    for texts in [&["mon-sun"][..], &["00:00-24:00"], &["sat-mon", "tue-fri"], &["12:00-24:00", "0:00-12:00"]] {
        assert!(window(texts, "UTC").is_always_open(), "{texts:?}");
        assert_eq!(window(texts, "UTC").next_change(time("2026-11-23T12:00:00Z")), None);
    }
    assert_eq!(window(&["Monday,fri 8:00-09:30"], "UTC"), window(&["fri 08:00-09:30", "mon 08:00-09:30"], "UTC"));
    assert_eq!(window(&["fri-mon 22:00-00:00"], "UTC"), window(&["mon,fri,sat,sun 22:00-24:00"], "UTC"));
    assert_eq!(window(&["sun 22:00-02:00"], "UTC"), window(&["mon 00:00-02:00", "sun 22:00-24:00"], "UTC"));
    for (text, fault) in [
        ("", "empty"),
        ("moon 20:00-06:00", "\"moon\" is no day"),
        ("mon-fri-sun", "\"fri-sun\" is no day"),
        ("mon-fri 20:00", "has no end"),
        ("mon 20-06", "\"20\" is no time"),
        ("mon 20:00-25:00", "\"25:00\""),
        ("mon 24:00-06:00", "24:00"),
        ("mon 06:00-06:00", "ends when it begins"),
        ("mon 06:00 - 07:00", "more than"),
        ("mon,", "\"\" is no day"),
    ] {
        let error = Window::parse(&[text], Zone::utc()).expect_err(text).to_string();
        let whole =
            error.contains(fault) && error.contains(&format!("{text:?}")) && error.contains("mon-fri 20:00-06:00");
        assert!(whole, "{error}");
    }
    let error = Window::parse::<&str>(&[], Zone::utc()).unwrap_err().to_string();
    assert!(error.contains("never open"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Open is what the wall clock of jiff shows in the hours; a change is where that changes first.
    #[test]
    fn a_window_is_what_the_wall_clock_shows(
        hours in prop::collection::vec((0..7_u32, 0..96_u32, 1..96_u32), 1..4),
        name in prop::sample::select(&ZONES[..]),
        near in prop::sample::select(&[
            "2011-12-30T10:00:00Z", "2026-03-08T07:00:00Z", "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z",
            "2026-11-01T06:00:00Z", "2026-04-04T15:00:00Z", "2026-07-04T15:00:00Z",
        ]),
        minutes in -3000..1000_i64,
    ) {
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let quarter = |number: u32| format!("{}:{:02}", number / 4, number % 4 * 15);
        let text = |(day, from, length): &(u32, u32, u32)| {
            format!("{} {}-{}", days[*day as usize], quarter(*from), quarter((from + length) % 96))
        };
        let window = Window::parse(&hours.iter().map(text).collect::<Vec<_>>(), zone(name)).unwrap();
        let clock = TimeZoneDatabase::bundled().get(name).unwrap();
        let is_open = |at: Timestamp| {
            let civil = clock.to_datetime(jiff::Timestamp::from_second(at.unix_secs()).unwrap());
            let quarter = u32::from(civil.weekday().to_monday_zero_offset().unsigned_abs()) * 96
                + u32::from(civil.hour().unsigned_abs()) * 4 + u32::from(civil.minute().unsigned_abs()) / 15;
            hours.iter().any(|(day, from, length)| (quarter + 672 - (day * 96 + from)) % 672 < *length)
        };
        let start = time(near).saturating_add_secs(minutes * 60);
        prop_assert_eq!(window.is_open(start), is_open(start));
        let change = window.next_change(start).expect("it closes");
        prop_assert!(change > start);
        prop_assert_eq!(is_open(change), !is_open(start));
        let mut at = start;
        while at < change {
            prop_assert_eq!(is_open(at), is_open(start), "at {}", at);
            at = at.saturating_add_secs(300);
        }
        prop_assert_eq!(is_open(change.saturating_add_secs(-1)), is_open(start));
        prop_assert_eq!(window.is_closed_throughout(start, change), !is_open(start));
        prop_assert!(!window.is_closed_throughout(start, change.saturating_add_secs(1)));
    }
}
