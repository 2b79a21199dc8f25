//! Which restore points are a chain.

use offsite_core::retention::{Flags, Tier};
use offsite_core::{
    BlockSize, Chain, ChainError, Digest, IndexReference, MachineName, MachineState, ObjectId, PointKind, RestorePoint,
    Sequence, Status, Timestamp,
};
use proptest::prelude::*;

fn point(sequence: u64, kind: PointKind, machines: &[u8]) -> RestorePoint {
    let time = Timestamp::from_unix_secs(0).expect("a time in range");
    let machine = |letter: &u8| {
        let name = MachineName::new(&char::from(b'a' + letter).to_string()).expect("a plain name");
        MachineState::new(name, Status::Complete, time)
    };
    RestorePoint::new(
        Sequence(sequence),
        time,
        kind,
        machines.iter().map(machine).collect(),
        IndexReference::new(ObjectId::new(1, 1), 0, Digest([0; 32])),
    )
}

fn any_point() -> impl Strategy<Value = RestorePoint> {
    let kind = prop_oneof![1 => Just(PointKind::Full), 2 => Just(PointKind::Increment), 1 => Just(PointKind::Rollback)];
    let machines = prop_oneof![5 => Just(vec![0, 1]), 1 => prop::collection::vec(0..3u8, 0..3)];
    (0..12u64, kind, machines).prop_map(|(sequence, kind, machines)| point(sequence, kind, &machines))
}

/// Whether the kinds are a word of `(rollback* full increment*)*`, by the automaton of that language.
fn is_word(kinds: impl Iterator<Item = PointKind>) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Start,
        Back,
        Forward,
        Dead,
    }
    let end = kinds.fold(State::Start, |state, kind| match (state, kind) {
        (State::Dead, _) | (State::Start | State::Back, PointKind::Increment) => State::Dead,
        (_, PointKind::Full) | (State::Forward, PointKind::Increment) => State::Forward,
        (_, PointKind::Rollback) => State::Back,
    });
    matches!(end, State::Start | State::Forward)
}

/// What a restore of the point at `position` overlays, told by walking from it to a full.
fn naive_steps(points: &[RestorePoint], position: usize) -> Vec<Sequence> {
    let back = points[position].kind != PointKind::Rollback;
    let mut steps = vec![points[position].sequence];
    let mut at = position;
    while points[at].kind != PointKind::Full {
        at = if back { at - 1 } else { at + 1 };
        steps.insert(0, points[at].sequence);
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_is_fulls_with_what_leads_from_them(
        mut points in prop::collection::vec(any_point(), 0..7),
        archives in 0..3usize,
        tidy in prop::bool::weighted(0.8),
    ) {
        if tidy {
            points.iter_mut().zip(0..).for_each(|(point, number)| *point = self::point(number, point.kind, &[0, 1]));
        }
        let (archives, points) = points.split_at(archives.min(points.len()));
        let all = [archives, points].concat();
        let ordered = all.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
        let named = all.iter().all(|point| {
            let names: Vec<_> = point.machines.iter().map(|machine| machine.name.as_str()).collect();
            !names.is_empty() && names.windows(2).all(|pair| pair[0] < pair[1])
        });
        let valid = ordered
            && named
            && archives.iter().all(|archive| archive.kind == PointKind::Full)
            && is_word(points.iter().map(|point| point.kind));
        let chain = Chain::with_archives(BlockSize::MiB1, archives.to_vec(), points.to_vec());
        prop_assert_eq!(chain.is_ok(), valid, "{:?}", chain);
        if let Ok(chain) = chain {
            prop_assert_eq!((chain.archives(), chain.points()), (archives, points));
            prop_assert_eq!(chain.latest(), points.last());
            prop_assert!(chain.all().eq(&all));
            let steps = |sequence| {
                chain.steps_to(sequence).map(|steps| steps.iter().map(|step| step.sequence).collect::<Vec<_>>())
            };
            for archive in archives {
                prop_assert_eq!(steps(archive.sequence), Some(vec![archive.sequence]));
            }
            for (position, point) in points.iter().enumerate() {
                prop_assert_eq!(chain.get(point.sequence), Some(point));
                let naive = naive_steps(points, position);
                // A step changes the state that the one before it on the way leads to.
                let base = naive.iter().rev().nth(1).copied();
                prop_assert_eq!(chain.base_of(point.sequence, point.kind), base);
                prop_assert_eq!(steps(point.sequence), Some(naive));
            }
            prop_assert_eq!(chain.steps_to(Sequence(99)), None);
            let newest = points.last().map(|point| point.sequence);
            prop_assert_eq!(chain.base_of(Sequence(99), PointKind::Increment), newest);
            prop_assert_eq!(chain.base_of(Sequence(99), PointKind::Rollback), None);
        }
    }
}

#[test]
fn the_error_names_the_point() {
    let full = |sequence| point(sequence, PointKind::Full, &[0]);
    let increment = |sequence| point(sequence, PointKind::Increment, &[0]);
    let rollback = |sequence| point(sequence, PointKind::Rollback, &[0]);
    let refused = |points: &[RestorePoint]| Chain::new(BlockSize::MiB1, points.to_vec()).unwrap_err();
    assert_eq!(refused(&[increment(4)]), ChainError::NoFullBefore(Sequence(4)));
    assert_eq!(refused(&[full(1), rollback(2)]), ChainError::NoFullAfter(Sequence(2)));
    assert!(matches!(refused(&[full(1), rollback(2), increment(3)]), ChainError::NoFullAfter(Sequence(2))));
    let order = |earlier, later| ChainError::Order { earlier: Sequence(earlier), later: Sequence(later) };
    assert_eq!(refused(&[full(2), increment(1)]), order(2, 1));
    assert_eq!(refused(&[full(2), increment(2)]), order(2, 2));
    assert_eq!(refused(&[point(1, PointKind::Full, &[])]), ChainError::Machines(Sequence(1)));
    assert_eq!(refused(&[point(1, PointKind::Full, &[1, 0])]), ChainError::Machines(Sequence(1)));
    assert_eq!(refused(&[point(1, PointKind::Full, &[1, 1])]), ChainError::Machines(Sequence(1)));
    let archived = |archive, points| Chain::with_archives(BlockSize::MiB1, vec![archive], points).unwrap_err();
    assert_eq!(archived(increment(1), vec![full(2)]), ChainError::ArchiveNotFull(Sequence(1)));
    assert_eq!(archived(full(2), vec![full(2)]), order(2, 2));
}

#[test]
fn points_are_appended_and_flagged() {
    let full = point(1, PointKind::Full, &[0]);
    let rest = [2, 3, 4].map(|sequence| point(sequence, PointKind::Increment, &[0]));
    let mut chain = Chain::with_archives(BlockSize::MiB1, vec![point(0, PointKind::Full, &[0])], vec![full]).unwrap();
    for increment in &rest {
        chain = chain.appended(increment.clone()).unwrap();
    }
    assert_eq!((chain.archives().len(), chain.points().len()), (1, 4));
    assert!(chain.appended(rest[2].clone()).is_err());
    let weekly = Flags::NONE.with(Tier::Weekly);
    let flagged = chain.flagged_latest(weekly).unwrap().flagged_latest(Flags::NONE.with(Tier::Yearly)).unwrap();
    assert_eq!(flagged.latest().unwrap().flags, weekly.with(Tier::Yearly));
    assert!(flagged.points()[..3].iter().all(|point| point.flags.is_empty()));
    // All of them name the same index here.
    assert_eq!(chain.indexes().count(), 1);
}
