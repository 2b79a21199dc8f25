//! Slots that were missed and are filled later: against a job that ran on every day.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use offsite_core::retention::{Ageing, Flags, Policy, Simulation, mark, missed};
use offsite_core::schedule::{Every, Period, Schedule, TimeOfDay};
use offsite_core::{BlockSize, Chain, PointKind, Sequence, Timestamp};
use proptest::prelude::*;

use crate::due::{point, settled};
use crate::model::Model;
use crate::properties::{config, histories, models, policy};
use crate::{daily, time};

/// A chain as its runs leave it.
struct Life {
    chain: Chain,
    policy: Policy,
    next: u64,
}

impl Life {
    fn new(policy: &Policy) -> Self {
        let chain = Chain::new(BlockSize::MiB1, Vec::new()).unwrap();
        Self { chain, policy: policy.clone(), next: 1 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// A copy of a point at its time.
    fn copy(&mut self, now: Timestamp) {
        let mut points = self.chain.points().to_vec();
        let (mut kind, mut flags) = (PointKind::Full, Flags::NONE);
        if let (Some(last), Some(gfs)) = (points.last_mut(), &self.policy.gfs) {
            let marks = mark(gfs, &self.policy.zone, last.time, now);
            last.flags = last.flags.union(marks.predecessor);
            (kind, flags) = (PointKind::Increment, marks.point);
        }
        points.push(point(self.number(), now, kind, flags));
        self.chain = Chain::with_archives(BlockSize::MiB1, self.chain.archives().to_vec(), points).unwrap();
    }

    /// Fills what was missed. Returns the numbers of the new archives.
    fn back_fill(&mut self, offered: &[Timestamp], schedule: &Schedule, now: Timestamp) -> Vec<Sequence> {
        let mut filled = Vec::new();
        while let Some(fill) = missed(&self.chain, &[], offered, &self.policy, schedule, now).into_iter().next() {
            let number = self.number();
            let archive = point(number, offered[fill.position], PointKind::Full, fill.flags).with_back_filled(true);
            let flagged = |points: &[offsite_core::RestorePoint]| {
                let flags = |point: &offsite_core::RestorePoint| {
                    fill.moved.get(&point.sequence).copied().unwrap_or(point.flags)
                };
                points.iter().map(|point| point.clone().with_flags(flags(point))).collect::<Vec<_>>()
            };
            let mut archives = flagged(self.chain.archives());
            archives.push(archive);
            let points = flagged(self.chain.points());
            self.chain = Chain::with_archives(BlockSize::MiB1, archives, points).unwrap();
            filled.push(Sequence(number));
            assert!(filled.len() < 200, "it comes to an end");
        }
        filled
    }

    fn settle(&mut self, now: Timestamp) {
        self.chain = settled(self.chain.clone(), &self.policy, now, Ageing::Merge);
    }

    fn archived(&self) -> Vec<Timestamp> {
        self.chain.archives().iter().map(|archive| archive.time).collect()
    }
}

proptest! {
    #![proptest_config(config())]

    /// Once the regular tier has turned over, the archives are those of a job that ran at every point.
    #[test]
    fn what_is_filled_is_what_a_job_that_never_paused_has(
        model in models().prop_map(|model| Model { keep: Ok(model.keep.unwrap_or(3)), is_active: false, ..model }),
        history in histories(),
        runs in prop::collection::vec(any::<bool>(), 50),
    ) {
        let policy = policy(&model);
        let mut times: Vec<Timestamp> = history.iter().map(|secs| Timestamp::from_unix_secs(*secs).unwrap()).collect();
        let last = *times.last().unwrap();
        let paused = times.len();
        // Then it runs until nothing of before is in the chain.
        times.extend((1..=9).map(|day| last.saturating_add_secs(day * 86_400)));
        let mut life = Life::new(&policy);
        let mut lived = Simulation::new(policy.clone()).unwrap();
        for (at, now) in times.iter().enumerate() {
            lived.add(*now).unwrap();
            // The oldest point of all keeps its flags, as nobody knows what came before it.
            if at > 1 && at + 1 < paused && !runs[at % runs.len()] {
                continue;
            }
            life.copy(*now);
            let filled = life.back_fill(&times[..=at], &Schedule::Immediate, *now);
            life.settle(*now);
            // None of it is let go of at once, and a second run has nothing to fill.
            prop_assert!(filled.iter().all(|number| life.chain.get(*number).is_some()));
            prop_assert_eq!(missed(&life.chain, &[], &times[..=at], &policy, &Schedule::Immediate, *now), vec![]);
            prop_assert_eq!(life.chain.latest().unwrap().time, *now);
            prop_assert!(life.chain.all().map(|point| point.time).is_sorted());
        }
        prop_assert_eq!(life.archived(), lived.archives().map(|archive| archive.time).collect::<Vec<_>>());
    }
}

fn interval() -> Schedule {
    Schedule::new(Every::Period(Period::days(1).unwrap()), TimeOfDay::default(), crate::zone("UTC"))
}

/// Paused from mid-January to the end of March: the months between come from the source, and the flag that the first point after
/// the pause got for March goes to the point of March.
#[test]
fn months_that_were_missed_are_filled() {
    let policy = crate::policy(3, Some(offsite_core::retention::Gfs::new(0, 12, 0, 0).unwrap()));
    let all = daily("2026-01-01T22:00:00Z", 100);
    let mut life = Life::new(&policy);
    for (at, now) in all.iter().enumerate().filter(|(at, _)| *at < 15 || *at >= 85) {
        life.copy(*now);
        if at == 85 {
            // For 02-01 and 03-01.
            assert!(!life.chain.latest().unwrap().flags.is_empty(), "the first point after the pause stands for March");
        }
        let filled = life.back_fill(&all[..=at], &interval(), *now);
        assert_eq!(filled.len(), if at == 85 { 2 } else { 0 }, "on day {at}");
        life.settle(*now);
    }
    let expected = ["2026-01-04T22:00:00Z", "2026-02-01T22:00:00Z", "2026-03-01T22:00:00Z", "2026-04-05T22:00:00Z"];
    assert_eq!(life.archived(), expected.map(time));
    assert_eq!(
        life.chain.archives().iter().map(|archive| archive.is_back_filled).collect::<Vec<_>>(),
        [false, true, true, false]
    );
}

/// A source with a point every hour has one nearer to the anchor than that of a daily job, whose interval was not missed.
#[test]
fn an_interval_with_a_copy_was_not_missed() {
    let policy = crate::policy(3, Some(offsite_core::retention::Gfs::new(4, 0, 0, 0).unwrap()));
    let first = time("2026-01-01T00:30:00Z");
    let hourly: Vec<Timestamp> = (0..24 * 30).map(|hour| first.saturating_add_secs(hour * 3600)).collect();
    let mut life = Life::new(&policy);
    for (at, now) in hourly.iter().enumerate().skip(23).step_by(24) {
        life.copy(*now);
        assert_eq!(life.back_fill(&hourly[..=at], &interval(), *now), vec![]);
        life.settle(*now);
    }
    // A count that is raised finds what the source still has.
    life.policy = crate::policy(3, Some(offsite_core::retention::Gfs::new(9, 0, 0, 0).unwrap()));
    assert_eq!(life.back_fill(&hourly, &interval(), *hourly.last().unwrap()), vec![]);
}

/// What is nearest of what the source still has fills the slot, and a policy that reads archives whole from the source fills nothing.
#[test]
fn only_what_is_there_is_filled() {
    use offsite_core::retention::{ArchiveMethod, Gfs};
    let all = daily("2026-01-01T22:00:00Z", 100);
    for (method, expected) in [(ArchiveMethod::Shared, 2), (ArchiveMethod::Active, 0)] {
        let policy = crate::policy(3, Some(Gfs::new(0, 12, 0, 0).unwrap().with_method(method)));
        let mut life = Life::new(&policy);
        all[..15].iter().chain(&all[85..86]).for_each(|now| life.copy(*now));
        assert_eq!(life.back_fill(&all[45..86], &interval(), all[85]).len(), expected);
    }
}
