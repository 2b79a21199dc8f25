//! Points of a past that are carried late: against the model, and carried one after the other, interrupted anywhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use offsite_core::retention::{Ageing, Flags, Policy, Simulation, Tier, Wanted, wanted};
use offsite_core::{BlockSize, Chain, PointKind, RestorePoint, Timestamp};
use proptest::prelude::*;

use crate::due::{point, settled};
use crate::model::State;
use crate::properties::{config, histories, models, policy};

fn times(history: &[i64]) -> Vec<Timestamp> {
    history.iter().map(|secs| Timestamp::from_unix_secs(*secs).unwrap()).collect()
}

fn empty() -> Chain {
    Chain::new(BlockSize::MiB1, Vec::new()).unwrap()
}

/// The chain with the next point of the past, before any transform.
fn carried(chain: &Chain, wanted: &Wanted, at: usize, time: Timestamp, is_active: bool) -> Chain {
    let mut points = chain.points().to_vec();
    if at == 0
        && let Some(last) = points.last_mut()
    {
        last.flags = last.flags.union(wanted.newest);
        if is_active && !last.flags.is_empty() {
            last.kind = PointKind::Full;
        }
    }
    let sequence = chain.all().map(|point| point.sequence.0).max().unwrap_or(0) + 1;
    let flags = wanted.points[at].flags;
    let is_full = points.is_empty() || (is_active && !flags.is_empty());
    points.push(point(sequence, time, if is_full { PointKind::Full } else { PointKind::Increment }, flags));
    Chain::with_archives(BlockSize::MiB1, chain.archives().to_vec(), points).unwrap()
}

/// The chain after `steps` of what is wanted of `times`, or after all of it. Retention takes none of the carried points.
fn brought(mut chain: Chain, times: &[Timestamp], policy: &Policy, now: Timestamp, steps: usize) -> Chain {
    let is_active = policy.gfs.is_some_and(|gfs| gfs.method() == offsite_core::retention::ArchiveMethod::Active);
    let wanted = wanted(&chain, times, policy, now).unwrap();
    for (at, point) in wanted.points.iter().enumerate().take(steps) {
        chain = carried(&chain, &wanted, at, times[point.position], is_active);
        let newest = chain.latest().unwrap().sequence;
        let before: Vec<Timestamp> = times_of(&chain);
        // Retention judges each point at its own time, as it would have been judged then.
        chain = settled(chain, policy, times[point.position], Ageing::Merge);
        assert_eq!(chain.latest().unwrap().sequence, newest);
        let wants = |time: &Timestamp| wanted.points[..=at].iter().any(|point| times[point.position] == *time);
        let lost = before.iter().find(|time| wants(time) && !times_of(&chain).contains(time));
        assert_eq!(lost, None, "carried, and let go of");
    }
    chain
}

fn times_of(chain: &Chain) -> Vec<Timestamp> {
    chain.all().map(|point| point.time).collect()
}

fn seen(points: &[RestorePoint]) -> Vec<(Timestamp, PointKind, Flags)> {
    points.iter().map(|point| (point.time, point.kind, point.flags)).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_wanted_is_what_the_model_keeps(model in models(), history in histories()) {
        let (times, policy) = (times(&history), policy(&model));
        let anchors = model.anchors(history[0], *history.last().unwrap());
        let state = history.iter().fold(State::default(), |state, time| model.step(&state, &anchors, *time));
        let tiers = |flags: Flags| Tier::ALL.map(|tier| flags.contains(tier));
        let archives = state.archive.iter().copied();
        let expected: Vec<(i64, [bool; 4])> = archives.chain(state.chain.iter().map(|point| (point.0, point.2))).collect();
        let wanted = wanted(&empty(), &times, &policy, *times.last().unwrap()).unwrap();
        let found: Vec<_> =
            wanted.points.iter().map(|point| (history[point.position], tiers(point.flags))).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(wanted.newest, Flags::NONE);
    }

    #[test]
    fn a_past_that_is_carried_late_is_the_past_that_was_lived(
        model in models(),
        history in histories(),
        late_secs in prop_oneof![Just(0_i64), 0..4_000_000_i64],
    ) {
        let (times, policy) = (times(&history), policy(&model));
        let last = *times.last().unwrap();
        let now = last.saturating_add_secs(late_secs);
        let mut lived = empty();
        let mut simulation = Simulation::new(policy.clone()).unwrap();
        for time in &times {
            simulation.add(*time).unwrap();
            lived = brought(lived, &[*time], &policy, *time, usize::MAX);
        }
        prop_assert_eq!(simulation.points().len(), lived.points().len());
        lived = settled(lived, &policy, now, Ageing::Merge);
        let late = settled(brought(empty(), &times, &policy, now, usize::MAX), &policy, now, Ageing::Merge);
        prop_assert_eq!(seen(late.points()), seen(lived.points()));
        prop_assert_eq!(seen(late.archives()), seen(lived.archives()));
        // What the next run would let go of was not carried.
        let wanted = wanted(&empty(), &times, &policy, now).unwrap();
        prop_assert_eq!(wanted.points.len(), late.all().count());
    }

    #[test]
    fn a_past_goes_on_where_it_was_cut_off(
        model in models(),
        history in histories(),
        late_secs in prop_oneof![Just(0_i64), 0..4_000_000_i64],
        cut in 0..50_usize,
    ) {
        let (times, policy) = (times(&history), policy(&model));
        let now = times.last().unwrap().saturating_add_secs(late_secs);
        let whole = brought(empty(), &times, &policy, now, usize::MAX);
        let cut_off = brought(empty(), &times, &policy, now, cut);
        let newest = cut_off.latest().map(|point| point.time);
        let left: Vec<Timestamp> = times.iter().copied().filter(|time| newest.is_none_or(|newest| *time > newest)).collect();
        let late = brought(cut_off, &left, &policy, now, usize::MAX);
        prop_assert_eq!(seen(late.points()), seen(whole.points()));
        prop_assert_eq!(seen(late.archives()), seen(whole.archives()));
        // Once all of it is there, nothing more is wanted.
        prop_assert_eq!(wanted(&late, &[], &policy, now).unwrap().points, vec![]);
    }
}

/// Two sources, or a source whose clock stood still: each point counts.
#[test]
fn points_of_one_time_count_one_by_one() {
    let policy = crate::policy(2, None);
    let time = |text| crate::time(text);
    let times = [time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"), time("2026-01-02T00:00:00Z")];
    let wanted = wanted(&empty(), &times, &policy, times[2]).unwrap();
    assert_eq!(wanted.points.iter().map(|point| point.position).collect::<Vec<_>>(), [1, 2]);
}
