//! The worked examples of the rules, date by date.

use offsite_core::retention::{
    ArchiveMethod, Conditions, Days, Expiry, Flags, Gfs, Marking, Subject, Tier, mark, verdicts,
};
use offsite_core::{PointKind, Sequence, Timestamp};

use crate::{daily, policy, states, time, zone};

/// N = 3, one point a day: on Wednesday Monday's increment goes into the full.
#[test]
fn simple_three_points() {
    let states = states(&policy(3, None), &daily("2026-11-01T22:00:00Z", 4));
    assert_eq!(states, [" | F11-01", " | F11-01 11-02", " | F11-01 11-02 11-03", " | F11-02 11-03 11-04"]);
}

/// N = 3: Sun F, Mon-Wed I, Thu F, Fri I, Sat I: on Sat the Sun-Wed chain goes.
#[test]
fn a_second_full() {
    let days = daily("2026-11-01T22:00:00Z", 7);
    let subjects: Vec<Subject> = (1..).zip(&days).map(|(sequence, time)| subject(sequence, *time)).collect();
    let kept = |count: usize| -> Vec<bool> {
        let points = &subjects[..count];
        let verdicts = verdicts(points, &policy(3, None), days[count - 1], &Conditions::default());
        verdicts.iter().map(|verdict| verdict.keeps()).collect()
    };
    assert_eq!(kept(5), [true; 5]);
    assert_eq!(kept(6), [true; 6]);
    assert_eq!(kept(7), [false, false, false, false, true, true, true]);
}

fn subject(sequence: u64, time: Timestamp) -> Subject {
    let kind = if sequence == 1 || sequence == 5 { PointKind::Full } else { PointKind::Increment };
    Subject::new(Sequence(sequence), time, kind)
}

/// The same in a simulation: with `active` the flagged Thursday is a full; Sunday's chain goes on Saturday.
#[test]
fn a_second_full_by_an_active_archive() {
    let anchors = offsite_core::retention::Anchors::default().on_weekday(offsite_core::retention::Weekday::Thursday);
    let gfs = Gfs::new(1, 0, 0, 0).unwrap().with_anchors(anchors).with_method(ArchiveMethod::Active);
    let states = states(&policy(3, Some(gfs)), &daily("2026-11-01T22:00:00Z", 15));
    assert_eq!(states[3], " | F11-02 11-03 11-04");
    assert_eq!(states[4], " | F11-02 11-03 11-04 F11-05*w");
    assert_eq!(states[5], " | F11-02 11-03 11-04 F11-05*w 11-06");
    assert_eq!(states[6], " | F11-05*w 11-06 11-07");
    // Nothing is merged into it, and it does not leave the chain alone.
    assert_eq!(states[7], " | F11-05*w 11-06 11-07 11-08");
    assert_eq!(states[11], " | F11-05*w 11-06 11-07 11-08 11-09 11-10 11-11 F11-12*w");
    // The new flagged full has the one slot, although it is in the chain.
    assert_eq!(states[13], " | F11-12*w 11-13 11-14");
    assert_eq!(states[14], " | F11-12*w 11-13 11-14 11-15");
}

/// N = 4, weekly 4 on Thursday, active, daily at 22:00 from Sunday 2015-02-01.
#[test]
fn active_fulls_leave_with_their_chains() {
    let anchors = offsite_core::retention::Anchors::default().on_weekday(offsite_core::retention::Weekday::Thursday);
    let gfs = Gfs::new(4, 0, 0, 0).unwrap().with_anchors(anchors).with_method(ArchiveMethod::Active);
    let states = states(&policy(4, Some(gfs)), &daily("2015-02-01T22:00:00Z", 22));
    let on = |day: usize| &states[day - 1];
    assert_eq!(on(8), " | F02-05*w 02-06 02-07 02-08");
    assert_eq!(on(9), " | F02-05*w 02-06 02-07 02-08 02-09");
    assert_eq!(on(12), " | F02-05*w 02-06 02-07 02-08 02-09 02-10 02-11 F02-12*w");
    assert_eq!(on(15), "02-05*w | F02-12*w 02-13 02-14 02-15");
    assert_eq!(on(22), "02-05*w 02-12*w | F02-19*w 02-20 02-21 02-22");
}

#[test]
fn daily_at_nine_the_anchor_is_nearer_to_monday() {
    let gfs = Gfs::new(1, 0, 0, 0).unwrap();
    let utc = zone("UTC");
    // 2026-11-01 is a Sunday.
    let marks = mark(&gfs, &utc, time("2026-11-01T09:00:00Z"), time("2026-11-02T09:00:00Z"));
    assert!(marks.predecessor.is_empty() && marks.point.contains(Tier::Weekly));
    let marks = mark(&gfs, &utc, time("2026-11-01T12:00:00Z"), time("2026-11-02T09:00:00Z"));
    assert!(marks.predecessor.contains(Tier::Weekly) && marks.point.is_empty());
    // A tie goes to the later one.
    let marks = mark(&gfs, &utc, time("2026-11-01T21:00:00Z"), time("2026-11-01T23:00:00Z"));
    assert!(marks.predecessor.is_empty() && marks.point.contains(Tier::Weekly));
    let in_interval = gfs.with_marking(Marking::InInterval);
    let marks = mark(&in_interval, &utc, time("2026-11-01T21:59:59Z"), time("2026-11-02T09:00:00Z"));
    assert!(marks.predecessor.is_empty() && marks.point.contains(Tier::Weekly));
}

/// N = 7, weekly 4, daily 22:00 from Sunday 2015-02-01.
#[test]
fn ageing_of_weekly_archives() {
    for method in [ArchiveMethod::Shared, ArchiveMethod::Independent] {
        let gfs = Gfs::new(4, 0, 0, 0).unwrap().with_method(method);
        let states = states(&policy(7, Some(gfs)), &daily("2015-02-01T22:00:00Z", 50));
        let on = |month: usize, day: usize| states[(month - 2) * 28 + day - 1].as_str();
        let archive = |month, day| on(month, day).split(" |").next().unwrap_or_default();
        assert_eq!(on(2, 8), " | F02-02 02-03 02-04 02-05 02-06 02-07 02-08*w");
        assert_eq!(on(2, 14), " | F02-08*w 02-09 02-10 02-11 02-12 02-13 02-14");
        assert_eq!(on(2, 15), "02-08*w | F02-09 02-10 02-11 02-12 02-13 02-14 02-15*w");
        assert_eq!(archive(2, 21), "02-08*w");
        assert_eq!(archive(2, 22), "02-08*w 02-15*w");
        assert_eq!(archive(3, 8), "02-08*w 02-15*w 02-22*w 03-01*w");
        assert_eq!(archive(3, 14), "02-08*w 02-15*w 02-22*w 03-01*w");
        assert_eq!(archive(3, 15), "02-15*w 02-22*w 03-01*w 03-08*w");
    }
}

/// One archive may carry several tiers; it goes when none counts it any more.
#[test]
fn shared_flags() {
    let gfs = Gfs::new(1, 2, 0, 0).unwrap();
    let states = states(&policy(2, Some(gfs)), &daily("2026-01-01T22:00:00Z", 70));
    // 01-04 is the first Sunday of January, 02-01 of February, 03-01 of March.
    assert!(states[12].starts_with("01-04*wm 01-11*w |"), "{}", states[12]);
    assert!(states[33].starts_with("01-04*wm 02-01*wm |"), "{}", states[33]);
    assert!(states[40].starts_with("01-04*wm 02-01*wm 02-08*w |"), "{}", states[40]);
    assert!(states[62].starts_with("02-01*wm 03-01*wm |"), "{}", states[62]);
}

/// Monthly, N = 1, assigned 2019-01-31: clamped to 02-28, removed on 03-01. Weekly and yearly by their rules.
#[test]
fn archives_by_date() {
    let is_kept = |gfs: Gfs, tier: Tier, assigned: &str, now: &str| {
        let policy = policy(2, Some(gfs.with_expiry(Expiry::Date)));
        let flagged = subject(1, time(assigned)).with_flags(Flags::NONE.with(tier));
        // Enough newer points that the regular tier lets go.
        let newer = (5..8).map(|sequence| subject(sequence, time(assigned)));
        let points: Vec<Subject> = std::iter::once(flagged).chain(newer).collect();
        verdicts(&points, &policy, time(now), &Conditions::default())[0].keeps()
    };
    let monthly = Gfs::new(0, 1, 0, 0).unwrap();
    assert!(is_kept(monthly, Tier::Monthly, "2019-01-31T22:00:00Z", "2019-02-28T23:59:59Z"));
    assert!(!is_kept(monthly, Tier::Monthly, "2019-01-31T22:00:00Z", "2019-03-01T00:00:00Z"));
    let weekly = Gfs::new(2, 0, 0, 0).unwrap();
    assert!(is_kept(weekly, Tier::Weekly, "2019-01-06T22:00:00Z", "2019-01-19T23:59:59Z"));
    assert!(!is_kept(weekly, Tier::Weekly, "2019-01-06T22:00:00Z", "2019-01-20T00:00:00Z"));
    let yearly = Gfs::new(0, 0, 0, 1).unwrap();
    assert!(is_kept(yearly, Tier::Yearly, "2020-02-29T22:00:00Z", "2021-02-28T23:59:59Z"));
    assert!(!is_kept(yearly, Tier::Yearly, "2020-02-29T22:00:00Z", "2021-03-01T00:00:00Z"));
    // Two of each: 14 days, 2 months, 6 months, 2 years, and the day itself.
    let two = [
        (Gfs::new(0, 2, 0, 0).unwrap(), Tier::Monthly, "2019-03-10T23:59:59Z", "2019-03-11T00:00:00Z"),
        (Gfs::new(0, 0, 2, 0).unwrap(), Tier::Quarterly, "2019-07-10T23:59:59Z", "2019-07-11T00:00:00Z"),
        (Gfs::new(0, 0, 0, 2).unwrap(), Tier::Yearly, "2021-01-10T23:59:59Z", "2021-01-11T00:00:00Z"),
    ];
    for (gfs, tier, last, gone) in two {
        assert!(is_kept(gfs, tier, "2019-01-10T22:00:00Z", last), "{tier}");
        assert!(!is_kept(gfs, tier, "2019-01-10T22:00:00Z", gone), "{tier}");
    }
}

/// The points of the last D days, never fewer than three.
#[test]
fn by_days() {
    let by_days = policy(2, None).with_regular(Days::new(5).unwrap());
    let mut points = daily("2026-11-01T22:00:00Z", 6);
    points.push(time("2026-12-24T22:00:00Z"));
    let states = states(&by_days, &points);
    assert_eq!(states[4], " | F11-01 11-02 11-03 11-04 11-05");
    assert_eq!(states[5], " | F11-02 11-03 11-04 11-05 11-06");
    assert_eq!(states[6], " | F11-05 11-06 12-24");
}
