//! Times at the ends of what a text can name.

use offsite_core::Timestamp;

#[test]
fn adding_stops_at_the_last_time_there_is() {
    let now = Timestamp::parse("2026-11-22T22:00:00Z").unwrap();
    let last = now.saturating_add_secs(i64::MAX);
    assert!(last > now, "{last}");
    assert_eq!(last.to_string(), "9999-12-30T22:00:00Z");
    assert!(Timestamp::from_unix_secs(last.unix_secs() + 1).is_err());
    let first = now.saturating_add_secs(i64::MIN);
    assert!(first < now, "{first}");
    assert!(Timestamp::from_unix_secs(first.unix_secs() - 1).is_err());
    assert_eq!(now.saturating_add_secs(60).to_string(), "2026-11-22T22:01:00Z");
}

#[test]
fn a_time_prints_and_parses() {
    for text in ["2026-11-22T22:00:00Z", "1969-12-31T23:59:59Z"] {
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Timestamp::parse("2026-11-22T22:00:00.9+01:00").unwrap().to_string(), "2026-11-22T21:00:00Z");
    assert!(Timestamp::parse("2026-11-22").is_err());
}
