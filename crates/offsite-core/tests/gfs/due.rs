//! What is due after each run, carried out on a chain of points without data: against the simulation, and by hand.

use offsite_core::retention::{
    Ageing, Conditions, Due, Flags, Policy, Reason, Simple, Simulation, Subject, Tier, Verdict, due, mark, simple,
    verdicts,
};
use offsite_core::{
    BlockSize, Chain, Digest, IndexReference, MachineName, MachineState, ObjectId, PointKind, RestorePoint, Sequence,
    Status, Timestamp,
};
use proptest::prelude::*;

use crate::policy as simple_policy;
use crate::properties::{config, histories, models, policy};

pub(crate) fn point(sequence: u64, time: Timestamp, kind: PointKind, flags: Flags) -> RestorePoint {
    let name = MachineName::new("machine").expect("it is valid");
    RestorePoint::new(
        Sequence(sequence),
        time,
        kind,
        vec![MachineState::new(name, Status::Complete, time)],
        IndexReference::new(ObjectId::new(1, 1), 0, Digest([0; 32])),
    )
    .with_flags(flags)
}

fn sequences(points: &[RestorePoint]) -> Vec<Sequence> {
    points.iter().map(|point| point.sequence).collect()
}

/// The chain after a transform, which must fit it.
fn carried_out(chain: &Chain, due: &Due) -> Chain {
    let (mut archives, mut points) = (chain.archives().to_vec(), chain.points().to_vec());
    match due {
        Due::RemoveArchive(sequence) => {
            let position = archives.iter().position(|archive| archive.sequence == *sequence).expect("an archive");
            archives.remove(position);
        }
        Due::RemoveRollbacks(gone) => {
            assert_eq!(&sequences(&points[..gone.len()]), gone);
            assert!(points.drain(..gone.len()).all(|point| point.kind == PointKind::Rollback));
        }
        Due::RemoveChain { points: gone, archived } => {
            assert_eq!(&sequences(&points[..gone.len()]), gone);
            archives.extend(points.drain(..gone.len()).filter(|point| archived.contains(&point.sequence)));
            assert!(archived.iter().all(|sequence| archives.iter().any(|archive| archive.sequence == *sequence)));
        }
        Due::Merge { increments, archived } => {
            let full = points.remove(0);
            assert_eq!(full.kind, PointKind::Full);
            assert_eq!(&sequences(&points[..increments.len()]), increments);
            assert!(archived.is_none_or(|archived| archived == full.sequence));
            archives.extend(archived.map(|_| full));
            assert!(points[..increments.len()].iter().all(|point| point.kind == PointKind::Increment));
            points.drain(..increments.len() - 1);
            points[0].kind = PointKind::Full;
        }
    }
    Chain::with_archives(BlockSize::MiB1, archives, points).expect("a chain")
}

/// The chain after all that is due at `now`, after which nothing is.
pub(crate) fn settled(mut chain: Chain, policy: &Policy, now: Timestamp, ageing: Ageing) -> Chain {
    let asked = |chain: &Chain| {
        let archived = |point: &RestorePoint| Subject::from(point).with_archived(chain.is_archive(point.sequence));
        let subjects: Vec<Subject> = chain.all().map(archived).collect();
        due(chain, &verdicts(&subjects, policy, now, &Conditions::default()), ageing)
    };
    for due in asked(&chain) {
        chain = carried_out(&chain, &due);
    }
    assert_eq!(asked(&chain), vec![]);
    chain
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_due_makes_the_simulated_life(model in models(), history in histories()) {
        let policy = policy(&model);
        let mut simulation = Simulation::new(policy.clone()).unwrap();
        let (mut archives, mut points): (Vec<RestorePoint>, Vec<RestorePoint>) = Default::default();
        for (secs, sequence) in history.into_iter().zip(1..) {
            let now = Timestamp::from_unix_secs(secs).unwrap();
            simulation.add(now).unwrap();
            let (mut kind, mut flags) = (PointKind::Full, Flags::NONE);
            if let (Some(last), Some(gfs)) = (points.last_mut(), &policy.gfs) {
                let marks = mark(gfs, &policy.zone, last.time, now);
                last.flags = last.flags.union(marks.predecessor);
                if model.is_active && !marks.predecessor.is_empty() {
                    last.kind = PointKind::Full;
                }
                (kind, flags) = (PointKind::Increment, marks.point);
                if model.is_active && !flags.is_empty() {
                    kind = PointKind::Full;
                }
            }
            points.push(point(sequence, now, kind, flags));
            let chain = Chain::with_archives(BlockSize::MiB1, archives, points).unwrap();
            let chain = settled(chain, &policy, now, Ageing::Merge);
            let left: Vec<_> = chain.points().iter().map(|point| (point.time, point.kind, point.flags)).collect();
            let expected: Vec<_> = simulation.points().map(|member| (member.time, member.kind, member.flags)).collect();
            prop_assert_eq!(left, expected);
            let left: Vec<_> = chain.archives().iter().map(|point| (point.time, point.flags)).collect();
            let expected: Vec<_> = simulation.archives().map(|archived| (archived.time, archived.flags)).collect();
            prop_assert_eq!(left, expected);
            (archives, points) = (chain.archives().to_vec(), chain.points().to_vec());
        }
    }

    /// Whatever the chain is made of: a policy may have changed, or the way in which fulls are made.
    #[test]
    fn what_is_kept_is_there_afterwards(
        model in models(),
        made in prop::collection::vec((prop::bool::weighted(0.3), 0..16u32, 1..20i64), 1..16),
        merges in prop::bool::ANY,
    ) {
        let policy = policy(&model);
        let (mut points, mut days): (Vec<RestorePoint>, _) = (Vec::new(), 0);
        for ((is_full, tiers, more_days), sequence) in made.into_iter().zip(1..) {
            days += more_days;
            let kind = if is_full || points.is_empty() { PointKind::Full } else { PointKind::Increment };
            let flags = (0..).zip(Tier::ALL).filter(|(bit, _)| tiers >> bit & 1 == 1).map(|(_, tier)| tier).collect();
            points.push(point(sequence, Timestamp::from_unix_secs(days * 86_400).unwrap(), kind, flags));
        }
        let now = points.last().unwrap().time;
        let subjects: Vec<Subject> = points.iter().map(Subject::from).collect();
        let verdicts = verdicts(&subjects, &policy, now, &Conditions::default());
        let ageing = if merges { Ageing::Merge } else { Ageing::WholeChains };
        let mut chain = Chain::new(BlockSize::MiB1, points).unwrap();
        for due in due(&chain, &verdicts, ageing) {
            chain = carried_out(&chain, &due);
        }
        let is_own = |reason: &Reason| !matches!(reason, Reason::ChainOf { .. });
        for verdict in verdicts.iter().filter(|verdict| verdict.reasons.iter().any(is_own)) {
            prop_assert!(chain.get(verdict.sequence).is_some(), "{verdict:?} of {:?}", chain);
        }
    }

    /// A chain goes as a whole, as soon as the points after it are as many as are kept, and nothing is merged.
    #[test]
    fn whole_chains_go_with_the_second_full(fulls in prop::collection::vec(prop::bool::weighted(0.3), 1..40), keep in 2..9u32) {
        let policy = simple_policy(keep, None);
        let (mut points, mut expected): (Vec<RestorePoint>, Vec<RestorePoint>) = Default::default();
        for (is_full, sequence) in fulls.into_iter().zip(1u64..) {
            let now = Timestamp::from_unix_secs(i64::try_from(sequence).unwrap() * 86_400).unwrap();
            let kind = if is_full || sequence == 1 { PointKind::Full } else { PointKind::Increment };
            points.push(point(sequence, now, kind, Flags::NONE));
            expected.push(points.last().unwrap().clone());
            points = settled(Chain::new(BlockSize::MiB1, points).unwrap(), &policy, now, Ageing::WholeChains).points().to_vec();
            while let Some(second) = expected.iter().skip(1).position(|point| point.kind == PointKind::Full)
                && expected.len() - second > keep as usize
            {
                expected.drain(..=second);
            }
            prop_assert_eq!(&points, &expected);
        }
    }

    /// Rollbacks go from the old end, one by one, and the full stays.
    #[test]
    fn the_oldest_rollbacks_go(count in 1..12u64, keep in 2..9u32) {
        let time = Timestamp::from_unix_secs(0).unwrap();
        let kind = |sequence| if sequence == count { PointKind::Full } else { PointKind::Rollback };
        let points: Vec<_> = (1..=count).map(|sequence| point(sequence, time, kind(sequence), Flags::NONE)).collect();
        let chain = Chain::new(BlockSize::MiB1, points.clone()).unwrap();
        let due = due(&chain, &simple(&points, Simple::new(keep).unwrap(), time), Ageing::Merge);
        let gone: Vec<_> = (1..=count.saturating_sub(keep.into())).map(Sequence).collect();
        prop_assert_eq!(&due, &if gone.is_empty() { vec![] } else { vec![Due::RemoveRollbacks(gone.clone())] });
        let left = due.iter().fold(chain, |chain, due| carried_out(&chain, due));
        prop_assert_eq!(left.points(), &points[gone.len()..]);
    }
}

/// Where nothing is merged, an increment that is to be an archive holds its chain; where increments are merged, it becomes one.
#[test]
fn an_increment_that_is_to_be_an_archive_keeps_its_whole_chain() {
    use PointKind::{Full, Increment};
    let time = Timestamp::from_unix_secs(0).unwrap();
    let points: Vec<_> = (1..)
        .zip([Full, Increment, Increment, Full])
        .map(|(number, kind)| point(number, time, kind, Flags::NONE))
        .collect();
    let chain = Chain::new(BlockSize::MiB1, points).unwrap();
    let verdict = |sequence| {
        Verdict::new(
            Sequence(sequence),
            if sequence == 2 { vec![Reason::Flagged { tier: Tier::Weekly }] } else { Vec::new() },
        )
    };
    let verdicts: Vec<Verdict> = (1..=4).map(verdict).collect();
    assert_eq!(due(&chain, &verdicts, Ageing::WholeChains), []);
    let merge = Due::Merge { increments: vec![Sequence(2)], archived: None };
    let remove = Due::RemoveChain { points: vec![Sequence(2), Sequence(3)], archived: vec![Sequence(2)] };
    assert_eq!(due(&chain, &verdicts, Ageing::Merge), [merge, remove]);
}

/// Whatever the verdicts say, a chain keeps its newest point.
#[test]
fn the_newest_point_stays() {
    let time = Timestamp::from_unix_secs(0).unwrap();
    for count in 1..5 {
        let kind = |number| if number == 1 { PointKind::Full } else { PointKind::Increment };
        let points: Vec<_> = (1..=count).map(|number| point(number, time, kind(number), Flags::NONE)).collect();
        let chain = Chain::new(BlockSize::MiB1, points).unwrap();
        let gone = |sequence| Verdict::new(Sequence(sequence), Vec::new());
        let verdicts: Vec<Verdict> = (1..=count).map(gone).collect();
        let left = due(&chain, &verdicts, Ageing::Merge).iter().fold(chain, |chain, due| carried_out(&chain, due));
        assert_eq!(sequences(left.points()), [Sequence(count)]);
    }
}
