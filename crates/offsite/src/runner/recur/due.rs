//! When work that is done in one go is due.

use offsite_core::Timestamp;
use offsite_core::schedule::Span;

use crate::runner::job::Timing;
use crate::runner::status::Wait;

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Now, for this interval, or for these joined intervals.
    Now(Span),
    /// Not before this time. The second value says what it waits for.
    At(Timestamp, Wait),
}

/// The interval that is open at `now`, given the one that was done last. `None` if the interval that contains `now` is done.
///
/// Spans follow each other without gap or overlap, so intervals that have passed meanwhile are joined with the current one. If
/// the clock is set back by more than an interval, the current interval is open.
pub(super) fn open(timing: &Timing, last: Option<&Span>, now: Timestamp) -> Option<Span> {
    let interval = &timing.interval;
    let current = interval.at(now);
    let Some(last) = last else { return Some(current) };
    // The schedule may have changed since. If work was done in the interval that contains `now`, that interval is done.
    let settled = if last.contains(now) { last.end.min(current.end) } else { last.end };
    if now >= settled {
        return Some(interval.joined(interval.at(settled), now));
    }
    (now < interval.before(last.start)).then_some(current)
}

/// When the work is due, given the interval that was done last.
pub(super) fn due(timing: &Timing, last: Option<&Span>, now: Timestamp) -> Due {
    match (open(timing, last, now), last) {
        (Some(span), _) if timing.window.is_open(now) => Due::Now(span),
        (Some(span), _) => Due::At(timing.window.next_change(now).unwrap_or(span.end), Wait::Window),
        (None, Some(last)) => {
            let current = timing.interval.at(now);
            let end = if last.contains(now) { last.end.min(current.end) } else { last.end };
            Due::At(end, Wait::Interval)
        }
        (None, None) => Due::At(now, Wait::Interval),
    }
}

#[cfg(test)]
mod tests {
    use offsite_core::retention::Zone;
    use offsite_core::schedule::{Every, Interval, TimeOfDay, Window};

    use super::*;

    fn timing(every: &str, at: &str, zone: &str, window: &[&str]) -> Timing {
        let Every::Period(period) = Every::parse(every).unwrap() else { panic!("{every}") };
        let zone = Zone::named(zone).unwrap();
        let mut timing = Timing::new(Interval::new(period, TimeOfDay::parse(at).unwrap(), zone.clone()));
        if !window.is_empty() {
            timing.window = Window::parse(window, zone).unwrap();
        }
        timing
    }

    /// A minute for a minute through weeks with changes of the clocks and with hours in which nothing runs: the spans follow each
    /// other, each begins inside its window, stands for as many intervals as have passed, and none waits longer than it must.
    #[test]
    fn every_interval_has_its_turn_once_and_inside_the_window() {
        let cases = [
            timing("1 day", "02:30", "Europe/Berlin", &[]),
            timing("1 day", "22:00", "UTC", &["mon-fri 20:00-06:00"]),
            timing("6 hours", "01:00", "Europe/Berlin", &["22:00-02:00"]),
            timing("15 minutes", "00:00", "UTC", &["12:00-12:20"]),
            timing("5 hours", "00:00", "UTC", &[]),
        ];
        for start in ["2026-03-26T12:00:00Z", "2026-10-22T12:00:00Z"] {
            for timing in &cases {
                let mut random = 7_u64;
                let mut last: Option<Span> = None;
                let mut passed = 0;
                let mut down = 0;
                let mut wait: Option<Timestamp> = None;
                let start = Timestamp::parse(start).unwrap();
                let mut counted = None;
                for minute in 0..14 * 24 * 60_i64 {
                    let now = start.saturating_add_secs(minute * 60);
                    // An outage of a while, now and then.
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if random >> 33 & 0x3ff == 0 {
                        down = 600;
                    }
                    if down > 0 {
                        down -= 1;
                        wait = None;
                        continue;
                    }
                    let settled = last.map_or(timing.interval.at(now).start, |span| span.end);
                    let is_due = now >= settled && timing.window.is_open(now);
                    match due(timing, last.as_ref(), now) {
                        Due::Now(span) => {
                            assert!(is_due, "{span:?} at {now}");
                            assert!(wait.is_none_or(|wait| now >= wait), "{now} before {wait:?}");
                            assert_eq!(span.start, settled);
                            assert!(span.contains(now), "{span:?} at {now}");
                            // The naive way: one interval after the other.
                            let (mut until, mut intervals) = (counted.unwrap_or(span.start), 0);
                            while until < span.end {
                                until = timing.interval.at(until).end;
                                intervals += 1;
                            }
                            assert_eq!((until, span.intervals), (span.end, intervals));
                            counted = Some(until);
                            passed += 1;
                            (last, wait) = (Some(span), None);
                        }
                        Due::At(at, _) => {
                            assert!(!is_due && at > now, "{at} at {now}");
                            assert!(wait.is_none_or(|wait| at >= wait));
                            wait = Some(at);
                        }
                    }
                }
                assert!(passed > 5, "{timing:?}");
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_back_is_gone_by_after_an_interval() {
        let timing = timing("1 day", "00:00", "UTC", &[]);
        let now = Timestamp::parse("2026-11-10T12:00:00Z").unwrap();
        let last = timing.interval.at(now);
        let back = |secs: i64| due(&timing, Some(&last), now.saturating_add_secs(-secs));
        assert_eq!(back(86_400), Due::At(last.end, Wait::Interval));
        let before = now.saturating_add_secs(-3 * 86_400);
        assert_eq!(back(3 * 86_400), Due::Now(timing.interval.at(before)));
    }
}
