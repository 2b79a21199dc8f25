//! What is foretold, against what then happens.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::retention::{BlockLife, BlockLives, Departure, Flags, Outlook, Policy, Simulation, forecast};
use offsite_core::{BlockMap, BlockSize, Chain, PointKind, RestorePoint, Sequence, Timestamp};
use proptest::prelude::*;

use crate::due::point;
use crate::properties::{config, histories, models, policy};
use crate::{daily, policy as simple_policy, time};

const DAY_SECS: i64 = 86_400;

fn next_day(time: Timestamp) -> Option<Timestamp> {
    Some(time.saturating_add_secs(DAY_SECS))
}

/// The chain that a simulation has come to, its points numbered by `numbers`.
fn chain(simulation: &Simulation, numbers: &BTreeMap<Timestamp, u64>) -> Chain {
    let point = |time: Timestamp, kind, flags: Flags| point(numbers[&time], time, kind, flags);
    let archives: Vec<RestorePoint> =
        simulation.archives().map(|archived| point(archived.time, PointKind::Full, archived.flags)).collect();
    let points = simulation.points().map(|member| point(member.time, member.kind, member.flags)).collect();
    Chain::with_archives(BlockSize::MiB1, archives, points).expect("a chain")
}

fn present(simulation: &Simulation) -> (BTreeSet<Timestamp>, BTreeSet<Timestamp>) {
    (simulation.archives().map(|one| one.time).collect(), simulation.points().map(|one| one.time).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases.min(20_000) / 10, ..config() })]

    #[test]
    fn what_is_foretold_happens(model in models(), history in histories()) {
        let policy: Policy = policy(&model);
        let mut simulation = Simulation::new(policy.clone()).unwrap();
        let mut numbers = BTreeMap::new();
        for (secs, number) in history.into_iter().zip(1..) {
            let now = Timestamp::from_unix_secs(secs).unwrap();
            numbers.insert(now, number);
            simulation.add(now).unwrap();
        }
        let Some((&last, _)) = numbers.last_key_value() else { return Ok(()) };
        let chain = chain(&simulation, &numbers);
        let foretold = forecast(&chain, &Outlook::new(&policy, last), &[], next_day);
        prop_assert_eq!(foretold.len(), chain.all().count());
        let mut expected: BTreeMap<Timestamp, Departure> = chain.all().map(|point| {
            (point.time, Departure::never(point.sequence))
        }).collect();
        let mut now = last;
        for _ in 0..200 {
            let (archives, _) = present(&simulation);
            now = now.saturating_add_secs(DAY_SECS);
            simulation.add(now).unwrap();
            let (later_archives, points) = present(&simulation);
            for (time, departure) in expected.iter_mut().filter(|(_, departure)| departure.goes.is_none()) {
                if later_archives.contains(time) && !archives.contains(time) {
                    departure.archived = Some(now);
                }
                if !later_archives.contains(time) && !points.contains(time) {
                    departure.goes = Some(now);
                }
            }
        }
        for departure in foretold {
            let time = chain.get(departure.sequence).expect("it is there").time;
            let soon = |at: Option<Timestamp>| at.filter(|at| *at <= now);
            prop_assert_eq!(soon(departure.goes), expected[&time].goes);
            prop_assert_eq!(soon(departure.archived), expected[&time].archived);
        }
    }
}

/// Three points of the newest two: the first goes tomorrow with what only it has, and what two shared with the second.
#[test]
fn bytes_go_with_the_last_point_that_needs_them() {
    let days = daily("2026-11-01T22:00:00Z", 3);
    let kinds = [PointKind::Full, PointKind::Increment, PointKind::Increment];
    let points = (1..).zip(&days).zip(kinds).map(|((number, time), kind)| point(number, *time, kind, Flags::NONE));
    let chain = Chain::new(BlockSize::MiB1, points.collect()).unwrap();
    let life = |first, last, bytes| BlockLife::new(Sequence(first), Sequence(last), bytes);
    let lives = [life(1, 1, 10), life(1, 2, 20), life(2, 2, 3), life(1, 3, 500), life(3, 3, 70)];
    let policy = simple_policy(3, None);
    let foretold = forecast(&chain, &Outlook::new(&policy, days[2]), &lives, next_day);
    let told: Vec<_> = foretold.iter().map(|one| (one.goes.unwrap().to_string(), one.freed_bytes)).collect();
    let expected = [("2026-11-04T22:00:00Z", 10), ("2026-11-05T22:00:00Z", 23), ("2026-11-06T22:00:00Z", 0)];
    assert_eq!(told, expected.map(|(time, bytes)| (time.to_owned(), bytes)));
    // Nothing goes where nothing comes.
    let never = forecast(&chain, &Outlook::new(&policy, time("2026-12-01T00:00:00Z")), &lives, |_| None);
    assert!(never.iter().all(|one| one.goes.is_none() && one.freed_bytes == 0));
    let mut none = BlockLives::default();
    none.add(Sequence(1), &BlockMap::empty());
    assert_eq!(none.finish(), []);
}

/// By a clock that is far ahead of the last run nothing goes, in as many runs as it takes to catch up; then all goes that was due.
#[test]
fn a_clock_in_doubt_lets_nothing_go_until_the_runs_have_caught_up() {
    let days = daily("2026-11-01T22:00:00Z", 3);
    let kinds = [PointKind::Full, PointKind::Increment, PointKind::Increment];
    let points = (1..).zip(&days).zip(kinds).map(|((number, time), kind)| point(number, *time, kind, Flags::NONE));
    let chain = Chain::new(BlockSize::MiB1, points.collect()).unwrap();
    let policy = simple_policy(3, None);
    let now = days[2].saturating_add_secs(25 * DAY_SECS);
    // Ten days more are known after each run: 10, 20, and in the third the clock is 28 days ahead of the first.
    let outlook = Outlook::new(&policy, now).with_clock(Some(days[2]), 10 * DAY_SECS);
    let foretold = forecast(&chain, &outlook, &[], next_day);
    assert!(foretold.iter().all(|one| one.goes == Some(now.saturating_add_secs(3 * DAY_SECS))), "{foretold:?}");
    // One that was set back lets nothing go before it is where it was.
    let outlook = Outlook::new(&policy, now).with_clock(Some(now.saturating_add_secs(5 * DAY_SECS)), i64::MAX);
    let foretold = forecast(&chain, &outlook, &[], next_day);
    assert!(foretold.iter().all(|one| one.goes == Some(now.saturating_add_secs(5 * DAY_SECS))), "{foretold:?}");
}

/// What a changed policy would delete goes in several runs.
#[test]
fn a_changed_policy_lets_go_of_a_generation_a_run() {
    let days = daily("2026-11-01T22:00:00Z", 10);
    let kind = |number| if number == 1 { PointKind::Full } else { PointKind::Increment };
    let points = (1..).zip(&days).map(|(number, time)| point(number, *time, kind(number), Flags::NONE));
    let chain = Chain::new(BlockSize::MiB1, points.collect()).unwrap();
    let policy = simple_policy(3, None);
    let gone = |is_settled| {
        let outlook = Outlook::new(&policy, days[9]).with_settled(is_settled);
        let foretold = forecast(&chain, &outlook, &[], next_day);
        foretold.iter().map(|one| one.goes.unwrap()).collect::<Vec<_>>()
    };
    let after = |runs| days[9].saturating_add_secs(runs * DAY_SECS);
    assert_eq!(gone(true)[..7], [after(1); 7]);
    let in_turn: Vec<_> = gone(false)[..7].to_vec();
    assert!(in_turn.is_sorted() && in_turn[0] == after(1) && in_turn[6] > after(1), "{in_turn:?}");
}

/// Points on another drive count in what goes here, and are not foretold themselves.
#[test]
fn points_elsewhere_are_counted() {
    let days = daily("2026-11-01T22:00:00Z", 4);
    let own = [point(1, days[0], PointKind::Full, Flags::NONE), point(2, days[2], PointKind::Increment, Flags::NONE)];
    let chain = Chain::new(BlockSize::MiB1, own.to_vec()).unwrap();
    let elsewhere =
        [point(1, days[1], PointKind::Full, Flags::NONE), point(2, days[3], PointKind::Increment, Flags::NONE)];
    let policy = simple_policy(4, None);
    let foretold = forecast(&chain, &Outlook::new(&policy, days[3]).with_elsewhere(&elsewhere), &[], next_day);
    let goes: Vec<_> = foretold.iter().map(|one| (one.sequence.0, one.goes.unwrap())).collect();
    let after = |count| days[3].saturating_add_secs(count * DAY_SECS);
    assert_eq!(goes, [(1, after(1)), (2, after(3))]);
}
