//! Whether the present is believed.

use offsite_core::Timestamp;
use offsite_core::schedule::ClockReading;

use crate::{schedule, time};

const DAY_SECS: i64 = 86_400;

/// How many daily runs, each `step_secs` after the other, prune nothing.
fn runs_without_pruning(known: Timestamp, first: Timestamp, step_secs: i64, ahead_max_secs: i64) -> u32 {
    let (mut known, mut now, mut runs) = (known, first, 0);
    loop {
        let clock = ClockReading::judge(Some(known), now, ahead_max_secs);
        assert!(clock.mark() >= known, "the mark never goes back");
        assert!(clock.mark() <= now.max(known));
        if clock.may_prune() {
            return runs;
        }
        (known, now, runs) = (clock.mark(), now.saturating_add_secs(step_secs), runs + 1);
    }
}

#[test]
fn too_far_is_ten_intervals_and_at_least_a_day() {
    let bound = |every| schedule(every, "00:00", "UTC").ahead_max_secs();
    assert_eq!(bound("1 day"), 10 * DAY_SECS);
    assert_eq!(bound("15 minutes"), DAY_SECS);
    assert_eq!(bound("immediate"), 100 * DAY_SECS);
    let known = time("2026-11-22T22:00:00Z");
    let judge = |secs| ClockReading::judge(Some(known), known.saturating_add_secs(secs), bound("1 day"));
    assert!(judge(0).may_prune() && judge(10 * DAY_SECS).may_prune());
    assert!(!judge(10 * DAY_SECS + 1).may_prune());
    assert!(!judge(-1).may_prune());
    assert_eq!(judge(-1).mark(), known);
    assert!(ClockReading::judge(None, known, 0).may_prune(), "nothing was known");
    assert_eq!(
        judge(-3600).to_string(),
        "the clock says 2026-11-22T21:00:00Z and has said 2026-11-22T22:00:00Z before: nothing was removed; \
         if the clock is right now, run once with `--trust-clock`"
    );
    assert!(judge(400 * DAY_SECS).to_string().contains("2027-12-27T22:00:00Z, long after 2026-11-22T22:00:00Z"));
}

#[test]
fn an_outage_is_caught_up_with() {
    let (known, bound) = (time("2026-01-01T00:00:00Z"), 10 * DAY_SECS);
    let after = |days: i64| known.saturating_add_secs(days * DAY_SECS);
    assert_eq!(runs_without_pruning(known, after(1), DAY_SECS, bound), 0);
    assert_eq!(runs_without_pruning(known, after(31), DAY_SECS, bound), 3);
    assert_eq!(runs_without_pruning(known, after(365), DAY_SECS, bound), 40);
    // Back by a week: a week of runs.
    assert_eq!(runs_without_pruning(known, after(-7), DAY_SECS, bound), 7);
}
