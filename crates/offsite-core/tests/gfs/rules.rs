//! The rules for all policies: what keeps a point whatever the tiers say, and what is never counted.

use std::collections::BTreeMap;

use offsite_core::retention::{
    Anchors, Conditions, DeletedMachines, Expiry, Flags, Gfs, Marking, PolicyChange, Reason, Simulation,
    SimulationError, Subject, Tier, Until, Verdict, Zone, mark_again, mark_full, stand_in, verdicts,
};
use offsite_core::schedule::ClockReading;
use offsite_core::{MachineName, MachineState, PointKind, Sequence, Status, Timestamp};

use crate::{daily, policy, time, zone};

fn machine(name: &str) -> MachineName {
    MachineName::new(name).expect("it is valid")
}

/// Ten daily points of a chain, each with web01 complete.
fn points() -> Vec<Subject> {
    let days = daily("2026-11-01T22:00:00Z", 10);
    (1..)
        .zip(days)
        .map(|(sequence, time)| {
            let kind = if sequence == 1 { PointKind::Full } else { PointKind::Increment };
            let machines = vec![MachineState::new(machine("web01"), Status::Complete, time)];
            Subject::new(Sequence(sequence), time, kind).with_machines(machines)
        })
        .collect()
}

fn judge(points: &[Subject], keep: u32, now: &str) -> Vec<Verdict> {
    verdicts(points, &policy(keep, None), time(now), &Conditions::default())
}

fn kept(verdicts: &[Verdict]) -> Vec<u64> {
    verdicts.iter().filter(|verdict| verdict.keeps()).map(|verdict| verdict.sequence.0).collect()
}

const NOW: &str = "2026-11-10T22:00:00Z";

/// What would go, or leave the chain, stays where it is while the clock is in doubt, and says so.
#[test]
fn by_a_clock_in_doubt_nothing_goes() {
    let mut points = points();
    points[0].is_archived = true;
    let now = time(NOW);
    for (known, words) in [
        (now.saturating_add_secs(3600), "the clock is behind, until it has passed 2026-11-10T23:00:00Z again"),
        (
            now.saturating_add_secs(-30 * 86_400),
            "the clock is far ahead of the last run, until later runs have caught up with it",
        ),
    ] {
        let clock = ClockReading::judge(Some(known), now, 10 * 86_400);
        let conditions = Conditions::default().with_clock(clock);
        let verdicts = verdicts(&points, &policy(3, None), now, &conditions);
        assert!(verdicts.iter().all(Verdict::keeps));
        assert_eq!(verdicts[0].reasons, [Reason::ClockInDoubt { clock }]);
        assert_eq!(verdicts[6].reasons[0].to_string(), words);
        assert_eq!(verdicts[6].reasons[0].until(), Until::ClockSettled);
        assert!(verdicts[7..].iter().all(|verdict| !verdict.reasons.contains(&Reason::ClockInDoubt { clock })));
    }
    let steady = Conditions::default().with_clock(ClockReading::Steady { now });
    assert_eq!(kept(&verdicts(&points, &policy(3, None), now, &steady)), [8, 9, 10]);
}

#[test]
fn locks_keep_with_their_reason() {
    let mut points = points();
    points[0].is_held = true;
    points[1].is_pinned = true;
    points[2].immutable_until = Some(time("2026-12-01T00:00:00Z"));
    points[3].immutable_until = Some(time(NOW));
    let verdicts = judge(&points, 3, NOW);
    assert_eq!(kept(&verdicts), [1, 2, 3, 8, 9, 10]);
    assert_eq!(verdicts[0].reasons, [Reason::OnHold]);
    assert_eq!(verdicts[1].reasons, [Reason::Pinned]);
    assert_eq!(verdicts[2].reasons[0].until(), Until::Time(time("2026-12-01T00:00:00Z")));
    assert_eq!(verdicts[2].reasons[0].to_string(), "immutable, until 2026-12-01T00:00:00Z");
}

#[test]
fn future_points_are_kept_and_not_counted() {
    let verdicts = judge(&points(), 3, "2026-11-08T23:00:00Z");
    assert_eq!(kept(&verdicts), [6, 7, 8, 9, 10]);
    assert_eq!(verdicts[9].reasons, [Reason::FutureDated { now: time("2026-11-08T23:00:00Z") }]);
}

#[test]
fn an_incomplete_point_never_counts_against_a_complete_one() {
    let mut points = points();
    for index in [5, 8, 9] {
        points[index].machines[0].status = Status::Incomplete;
    }
    let verdicts = judge(&points, 3, NOW);
    // Three complete ones, and of the incomplete ones those among the newest three of all.
    assert_eq!(kept(&verdicts), [5, 7, 8, 9, 10]);
}

#[test]
fn the_last_complete_point_of_a_machine_stays() {
    let mut points = points();
    for (index, status) in [(2, Status::Complete), (4, Status::Incomplete)] {
        let captured = points[index].time;
        points[index].machines.push(MachineState::new(machine("db01"), status, captured));
    }
    let now = time(NOW);
    let policy = policy(3, None);
    let judge = |conditions: &Conditions| verdicts(&points, &policy, now, conditions);
    let kept_by = judge(&Conditions::default());
    assert_eq!(kept(&kept_by), [3, 8, 9, 10]);
    assert_eq!(kept_by[2].reasons, [Reason::LastOfMachine { machine: machine("db01") }]);
    let deleted = Conditions::default().with_deleted([machine("db01")].into());
    assert_eq!(kept(&judge(&deleted)), [8, 9, 10]);
    // A merge carries it along in the full.
    assert_eq!(kept(&judge(&Conditions::default().with_merges_carry(true))), [8, 9, 10]);
}

#[test]
fn an_older_chain_goes_as_a_whole() {
    let mut points = points();
    points[5].kind = PointKind::Full;
    assert_eq!(kept(&judge(&points, 5, NOW)), [6, 7, 8, 9, 10]);
    let all = judge(&points, 6, NOW);
    assert_eq!(kept(&all).len(), 10);
    assert_eq!(all[0].reasons, [Reason::ChainOf { kept: Sequence(5), until: Until::Newer(1) }]);
    // A hold on one point of it holds all that it may need.
    points[2].is_held = true;
    assert_eq!(kept(&judge(&points, 5, NOW)).len(), 10);
    // Merging would carry machines along, dropping a chain does not.
    points[2].is_held = false;
    points[1].machines[0].name = machine("old01");
    let conditions = Conditions::default().with_merges_carry(true);
    assert_eq!(kept(&verdicts(&points, &policy(5, None), time(NOW), &conditions)).len(), 10);
}

#[test]
fn a_changed_policy_deletes_one_generation_a_run() {
    let mut points = points();
    let new_policy = policy(3, None);
    let now = time(NOW);
    let careful = |added| Conditions::default().with_change(PolicyChange::Careful { added });
    let first = verdicts(&points, &new_policy, now, &careful(0));
    assert_eq!(kept(&first), (2..=10).collect::<Vec<_>>());
    assert_eq!(first[1].reasons, [Reason::PolicyChanged]);
    assert_eq!(kept(&verdicts(&points, &new_policy, now, &careful(1))), (3..=10).collect::<Vec<_>>());
    assert_eq!(kept(&verdicts(&points, &new_policy, now, &Conditions::default())), [8, 9, 10]);
    // Runs go on until nothing is held back; then the policy is settled.
    let mut runs = 0;
    loop {
        let verdicts = verdicts(&points, &new_policy, now, &careful(0));
        let kept = kept(&verdicts);
        if kept.len() == points.len() {
            break;
        }
        assert_eq!(kept.len() + 1, points.len());
        points.retain(|point| kept.contains(&point.sequence.0));
        runs += 1;
    }
    assert_eq!((runs, points.len()), (7, 3));
    // Archives too.
    let mut archives = self::points();
    for archive in &mut archives {
        (archive.is_archived, archive.kind, archive.flags) = (true, PointKind::Full, Flags::NONE.with(Tier::Weekly));
    }
    let weekly = policy(3, Some(Gfs::new(2, 0, 0, 0).unwrap()));
    assert_eq!(kept(&verdicts(&archives, &weekly, now, &careful(0))).len(), 9);
    assert_eq!(kept(&verdicts(&archives, &weekly, now, &Conditions::default())), [9, 10]);
    // A point that becomes an archive pays for one more that goes.
    for (joins, left) in [(false, vec![2, 3, 4, 5, 6, 8, 9, 10]), (true, (3..=10).collect())] {
        let mut points = self::points();
        for (index, point) in points.iter_mut().enumerate().take(7) {
            (point.is_archived, point.kind) = (index < 6, PointKind::Full);
            point.flags = if index < 6 || joins { Flags::NONE.with(Tier::Weekly) } else { Flags::NONE };
        }
        assert_eq!(kept(&verdicts(&points, &weekly, now, &careful(0))), left);
    }
    // An older chain is one generation.
    let mut two = self::points();
    two[5].kind = PointKind::Full;
    assert_eq!(kept(&verdicts(&two, &new_policy, now, &careful(0))), [6, 7, 8, 9, 10]);
}

#[test]
fn every_reason_is_told() {
    let mut points = points();
    points[0].is_archived = true;
    points[0].flags = [Tier::Weekly, Tier::Monthly].into_iter().collect();
    points[8].flags = Flags::NONE.with(Tier::Weekly);
    points[1].kind = PointKind::Full;
    points[0].is_held = true;
    let gfs = Gfs::new(4, 12, 0, 0).unwrap();
    let verdicts = verdicts(&points, &policy(9, Some(gfs)), time(NOW), &Conditions::default());
    let texts: Vec<String> = verdicts[0].reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["weekly 1 of 4, until 4 newer weekly", "monthly 1 of 12, until 12 newer monthly", "held, until released"]
    );
    assert_eq!(verdicts[8].reasons[1], Reason::Flagged { tier: Tier::Weekly });
    assert_eq!(verdicts[8].reasons[0].to_string(), "newest 2 of 9, until 8 newer");
}

#[test]
fn flagged_fulls_by_date_are_not_counted_by_the_regular_tier() {
    let mut points = points();
    // Fulls on 1, 4 and 7; those of 4 and 7 are flagged.
    for index in [3, 6] {
        points[index].kind = PointKind::Full;
        points[index].flags = Flags::NONE.with(Tier::Weekly);
    }
    let gfs = Gfs::new(4, 0, 0, 0).unwrap().with_expiry(Expiry::Date);
    let verdicts = verdicts(&points, &policy(3, Some(gfs)), time(NOW), &Conditions::default());
    // 8, 9, 10 are the newest three; the fulls stay by date; 5, 6 go as the rest of their chain.
    assert_eq!(kept(&verdicts), [4, 7, 8, 9, 10]);
    assert_eq!(verdicts[3].reasons, [Reason::Dated { tier: Tier::Weekly, until: time("2026-12-02T00:00:00Z") }]);
    // A full that a date keeps is none of the newest, even if it is.
    points[8].kind = PointKind::Full;
    points[8].flags = Flags::NONE.with(Tier::Weekly);
    let verdicts = verdicts_of(&points, &policy(3, Some(gfs)));
    assert!(matches!(verdicts[8].reasons[0], Reason::Dated { .. }), "{:?}", verdicts[8]);
    assert!(!verdicts[8].reasons.iter().any(|reason| matches!(reason, Reason::Newest { .. })), "{:?}", verdicts[8]);
    assert!(matches!(verdicts[7].reasons[0], Reason::Newest { position: 2, .. }), "{:?}", verdicts[7]);
}

fn verdicts_of(points: &[Subject], policy: &offsite_core::retention::Policy) -> Vec<Verdict> {
    verdicts(points, policy, time(NOW), &Conditions::default())
}

#[test]
fn a_late_full_inherits_its_period() {
    let gfs = Gfs::new(4, 12, 0, 0).unwrap();
    let utc = zone("UTC");
    let weekly = Flags::NONE.with(Tier::Weekly);
    // The full of Sunday 2026-11-08 is missing; Tuesday's takes its place, Thursday's finds it taken.
    let mut flagged = vec![(time("2026-11-01T22:00:00Z"), weekly.with(Tier::Monthly))];
    let tuesday = time("2026-11-10T22:00:00Z");
    assert_eq!(mark_full(&gfs, &utc, &flagged, tuesday), weekly);
    flagged.push((tuesday, weekly));
    assert_eq!(mark_full(&gfs, &utc, &flagged, time("2026-11-12T22:00:00Z")), Flags::NONE);
    assert_eq!(mark_full(&gfs, &utc, &flagged, time("2026-11-15T22:00:00Z")), weekly);
}

#[test]
fn deleted_machines_go_by_the_calendar() {
    let last_selected = BTreeMap::from([(machine("web01"), time("2026-03-28T11:00:00Z"))]);
    let after = DeletedMachines::after_days(14).unwrap();
    // Berlin sets its clocks forward in between: noon stays noon.
    let due = after.due(&last_selected, &zone("Europe/Berlin"));
    assert_eq!(due[&machine("web01")], time("2026-04-11T10:00:00Z"));
    assert!(DeletedMachines::after_days(0).is_err());
}

#[test]
fn a_simulation_takes_points_in_order_only() {
    let mut simulation = Simulation::new(policy(3, None)).unwrap();
    let (first, second) = (time("2026-11-01T22:00:00Z"), time("2026-11-02T22:00:00Z"));
    simulation.add(second).unwrap();
    assert_eq!(simulation.add(first), Err(SimulationError::NotAscending { predecessor: second, point: first }));
    assert!(simulation.add(second).is_err());
    assert_eq!(simulation.points().len(), 1);
    let by_date = Gfs::new(1, 0, 0, 0).unwrap().with_expiry(Expiry::Date);
    assert!(Simulation::new(policy(3, Some(by_date))).is_err());
}

/// Memory is what the policy keeps, however long the history.
#[test]
fn a_million_points_leave_what_is_kept() {
    let mut simulation = Simulation::new(policy(7, Some(Gfs::new(4, 12, 4, 3).unwrap()))).unwrap();
    let first = time("1990-01-01T00:30:00Z");
    for hour in 0..1_000_000 {
        simulation.add(first.saturating_add_secs(hour * 3600)).unwrap();
        assert!(simulation.points().len() <= 7 && simulation.archives().len() <= 4 + 12 + 4 + 3);
    }
}

/// Of the points of a damaged one's slot, the one nearest to the anchor stands for it.
#[test]
fn a_point_of_the_same_slot_stands_for_a_damaged_one() {
    // Sundays at 22:00: the 8th, the 15th.
    let nearest = Gfs::new(4, 12, 0, 0).unwrap().with_anchors(Anchors::default().at_hour(22).unwrap());
    let in_interval = nearest.with_marking(Marking::InInterval);
    let point =
        |day: u64, hour: u32, flags| (Sequence(day), time(&format!("2026-11-{day:02}T{hour:02}:00:00Z")), flags);
    let weekly = Flags::NONE.with(Tier::Weekly);
    let monthly = Flags::NONE.with(Tier::Monthly);
    let choose = |gfs: &Gfs, damaged: (Sequence, Timestamp, Flags), intact: &[(Sequence, Timestamp, Flags)]| {
        stand_in(gfs, &Zone::utc(), Tier::Weekly, damaged.1, intact.iter().copied()).map(|sequence| sequence.0)
    };
    let none = Flags::NONE;
    let sunday = point(8, 22, weekly);
    let saturday = point(7, 21, none);
    let monday = point(9, 22, none);
    assert_eq!(choose(&nearest, sunday, &[]), None);
    assert_eq!(choose(&nearest, sunday, &[saturday, monday]), Some(9));
    assert_eq!(choose(&nearest, sunday, &[saturday]), Some(7));
    assert_eq!(choose(&nearest, sunday, &[point(7, 21, monthly)]), Some(7));
    // One that stands for the week itself is no stand-in, nor is one of the next week's slot or of the last one's.
    assert_eq!(choose(&nearest, sunday, &[point(9, 22, weekly)]), None);
    assert_eq!(choose(&nearest, sunday, &[point(11, 22, none), point(12, 22, none), point(4, 22, none)]), Some(11));
    assert_eq!(choose(&nearest, sunday, &[point(12, 22, none), point(4, 22, none)]), None);
    // The damaged one may have come before the anchor itself.
    assert_eq!(choose(&nearest, point(7, 21, weekly), &[point(10, 22, none)]), Some(10));
    // Otherwise a slot goes from one anchor to the next.
    assert_eq!(choose(&in_interval, sunday, &[saturday]), None);
    assert_eq!(choose(&in_interval, sunday, &[point(14, 22, none), point(12, 22, none)]), Some(12));
    assert_eq!(choose(&in_interval, sunday, &[point(15, 22, none)]), None);
}

/// Whose flags are lost, gets those that it had, and no archive is without.
#[test]
fn flags_that_are_lost_are_found_again() {
    for (anchors, marking) in [
        (Anchors::default(), Marking::Nearest),
        (Anchors::default().at_hour(22).unwrap(), Marking::Nearest),
        (Anchors::default().at_hour(22).unwrap(), Marking::InInterval),
    ] {
        let gfs = Gfs::new(6, 12, 4, 3).unwrap().with_anchors(anchors).with_marking(marking);
        let mut simulation = Simulation::new(policy(7, Some(gfs))).unwrap();
        for day in daily("2024-03-05T22:00:00Z", 1_000) {
            simulation.add(day).unwrap();
        }
        let archives: Vec<_> = simulation.archives().map(|archive| (archive.time, archive.flags)).collect();
        let chain: Vec<_> = simulation.points().map(|member| (member.time, member.flags)).collect();
        let all: Vec<_> = (1..).map(Sequence).zip(archives.iter().chain(&chain)).collect();
        let found = mark_again(&gfs, &Zone::utc(), all.iter().map(|(sequence, (time, _))| (*sequence, *time)));
        assert!(archives.len() > 15, "{archives:?}");
        for (sequence, (time, flags)) in &all[..archives.len()] {
            let again = found.get(sequence).copied().unwrap_or_default();
            assert!(flags.tiers().all(|tier| again.contains(tier)), "{time}: {flags:?} {again:?}");
        }
    }
}
