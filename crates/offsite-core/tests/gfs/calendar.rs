//! Anchors where calendars are difficult: clocks that are set, leap years, week 53, short months, quarter ends.

use offsite_core::Timestamp;
use offsite_core::retention::{AnchorError, Anchors, MonthDay, QuarterMonth, Tier, Weekday, Zone};

use crate::{time, zone};

/// The next anchors of `tier` after `from`.
fn next(anchors: Anchors, tier: Tier, zone_name: &str, from: &str, count: usize) -> Vec<String> {
    let zone = zone(zone_name);
    let mut found = Vec::new();
    let mut at = time(from);
    for _ in 0..count {
        at = anchors.next_after(tier, at, &zone).expect("an anchor");
        assert_eq!(anchors.last_until(tier, at, &zone), Some(at));
        let second_before = at.saturating_add_secs(-1);
        assert_eq!(anchors.next_after(tier, second_before, &zone), Some(at));
        found.push(at.to_string());
    }
    found
}

fn at_hour(hour: u32) -> Anchors {
    Anchors::default().at_hour(hour).expect("it is valid")
}

fn day(day: u32) -> MonthDay {
    MonthDay::day(day).expect("it is valid")
}

#[test]
fn clocks_set_forward_and_back() {
    // Berlin skips 02:00 to 03:00 on 2026-03-29, and shows it twice on 2026-10-25.
    let spring = next(at_hour(2), Tier::Weekly, "Europe/Berlin", "2026-03-22T12:00:00Z", 2);
    assert_eq!(spring, ["2026-03-29T01:00:00Z", "2026-04-05T00:00:00Z"]);
    let autumn = next(at_hour(2), Tier::Weekly, "Europe/Berlin", "2026-10-18T12:00:00Z", 2);
    assert_eq!(autumn, ["2026-10-25T00:00:00Z", "2026-11-01T01:00:00Z"]);
    // New York: 2026-03-08 and 2026-11-01.
    let spring = next(at_hour(2), Tier::Weekly, "America/New_York", "2026-03-05T00:00:00Z", 1);
    assert_eq!(spring, ["2026-03-08T07:00:00Z"]);
    let autumn = next(at_hour(1), Tier::Weekly, "America/New_York", "2026-10-28T00:00:00Z", 1);
    assert_eq!(autumn, ["2026-11-01T05:00:00Z"]);
    // Lord Howe sets its clocks by half an hour: on 2026-10-04 from 02:00 to 02:30.
    let half = next(at_hour(2), Tier::Weekly, "Australia/Lord_Howe", "2026-10-01T00:00:00Z", 1);
    assert_eq!(half, ["2026-10-03T15:30:00Z"]);
}

#[test]
fn a_day_that_never_was() {
    // Samoa went from 2011-12-29 to 2011-12-31.
    let fridays = at_hour(12).on_weekday(Weekday::Friday);
    let found = next(fridays, Tier::Weekly, "Pacific/Apia", "2011-12-24T00:00:00Z", 2);
    assert_eq!(found, ["2011-12-30T22:00:00Z", "2012-01-05T22:00:00Z"]);
}

#[test]
fn weeks_run_through_week_53_and_the_new_year() {
    let found = next(Anchors::default(), Tier::Weekly, "UTC", "2020-12-21T00:00:00Z", 3);
    assert_eq!(found, ["2020-12-27T22:00:00Z", "2021-01-03T22:00:00Z", "2021-01-10T22:00:00Z"]);
    let mondays = Anchors::default().on_weekday(Weekday::Monday);
    let found = next(mondays, Tier::Weekly, "UTC", "2020-12-22T00:00:00Z", 2);
    assert_eq!(found, ["2020-12-28T22:00:00Z", "2021-01-04T22:00:00Z"]);
    // Before the epoch too.
    let found = next(Anchors::default(), Tier::Weekly, "UTC", "1969-12-20T00:00:00Z", 3);
    assert_eq!(found, ["1969-12-21T22:00:00Z", "1969-12-28T22:00:00Z", "1970-01-04T22:00:00Z"]);
}

#[test]
fn months_are_clamped_to_their_end() {
    let monthly = |month_day, from: &str, count| {
        next(Anchors::default().on_month_day(month_day), Tier::Monthly, "UTC", from, count)
    };
    let found = monthly(day(31), "2024-01-01T00:00:00Z", 4);
    assert_eq!(found, ["2024-01-31T22:00:00Z", "2024-02-29T22:00:00Z", "2024-03-31T22:00:00Z", "2024-04-30T22:00:00Z"]);
    assert_eq!(monthly(day(30), "2023-02-01T00:00:00Z", 1), ["2023-02-28T22:00:00Z"]);
    assert_eq!(monthly(day(29), "2100-02-01T00:00:00Z", 1), ["2100-02-28T22:00:00Z"]);
    assert_eq!(monthly(day(29), "2000-02-01T00:00:00Z", 1), ["2000-02-29T22:00:00Z"]);
    assert_eq!(monthly(MonthDay::last_day(), "2026-09-01T00:00:00Z", 1), ["2026-09-30T22:00:00Z"]);
    assert_eq!(monthly(MonthDay::last(Weekday::Sunday), "2026-05-01T00:00:00Z", 1), ["2026-05-31T22:00:00Z"]);
    let third = MonthDay::nth(3, Weekday::Friday).unwrap();
    assert_eq!(monthly(third, "2026-05-01T00:00:00Z", 2), ["2026-05-15T22:00:00Z", "2026-06-19T22:00:00Z"]);
}

#[test]
fn quarters_and_years() {
    let last = Anchors::default().in_quarter(QuarterMonth::Last, MonthDay::last_day());
    let found = next(last, Tier::Quarterly, "UTC", "2026-01-01T00:00:00Z", 4);
    assert_eq!(found, ["2026-03-31T22:00:00Z", "2026-06-30T22:00:00Z", "2026-09-30T22:00:00Z", "2026-12-31T22:00:00Z"]);
    let found = next(Anchors::default(), Tier::Quarterly, "UTC", "2026-01-05T00:00:00Z", 2);
    assert_eq!(found, ["2026-04-05T22:00:00Z", "2026-07-05T22:00:00Z"]);
    let leap_day = Anchors::default().in_year(2, day(29)).unwrap();
    let found = next(leap_day, Tier::Yearly, "UTC", "2023-01-01T00:00:00Z", 2);
    assert_eq!(found, ["2023-02-28T22:00:00Z", "2024-02-29T22:00:00Z"]);
    // New Year's Eve in Auckland is another day in UTC.
    let eve = Anchors::default().in_year(12, day(31)).unwrap();
    assert_eq!(next(eve, Tier::Yearly, "Pacific/Auckland", "2026-01-01T00:00:00Z", 1), ["2026-12-31T09:00:00Z"]);
}

#[test]
fn settings_that_no_calendar_has_are_refused() {
    assert_eq!(Anchors::default().at_hour(24), Err(AnchorError::Hour(24)));
    assert_eq!(Anchors::default().in_year(0, day(1)), Err(AnchorError::Month(0)));
    assert_eq!(MonthDay::day(0), Err(AnchorError::Day(0)));
    assert_eq!(MonthDay::day(u32::MAX), Err(AnchorError::Day(u32::MAX)));
    assert_eq!(MonthDay::nth(5, Weekday::Monday), Err(AnchorError::Nth(5)));
    assert!(Zone::named("Europe/Atlantis").is_err());
    assert_eq!(zone("europe/berlin").name(), "Europe/Berlin");
}

#[test]
fn the_ends_of_the_calendar_have_no_anchors_and_no_panics() {
    for (zone_name, secs) in [("Pacific/Kiritimati", 253_402_207_200), ("America/Adak", -377_705_023_201)] {
        let zone = zone(zone_name);
        let end = Timestamp::from_unix_secs(secs).unwrap();
        for tier in Tier::ALL {
            let _ = Anchors::default().next_after(tier, end, &zone);
            let _ = Anchors::default().last_until(tier, end, &zone);
        }
    }
    assert_eq!(Anchors::default().next_after(Tier::Yearly, Timestamp::MAX, &Zone::utc()), None);
}
