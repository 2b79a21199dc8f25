//! Which restore points are a chain.

use offsite_core::{
    BlockSize, Chain, ChainError, IndexReference, MachineName, MachineState, ObjectId, PointKind, RestorePoint,
    Sequence, Status, Timestamp,
};
use proptest::prelude::*;

fn point(sequence: u64, kind: PointKind, machines: &[u8]) -> RestorePoint {
    let time = Timestamp::from_unix_secs(0).expect("a time in range");
    let machine = |letter: &u8| MachineState {
        name: MachineName::new(&char::from(b'a' + letter).to_string()).expect("a plain name"),
        status: Status::Complete,
        captured: time,
    };
    RestorePoint {
        sequence: Sequence(sequence),
        time,
        kind,
        machines: machines.iter().map(machine).collect(),
        index: IndexReference { id: ObjectId::new(1, 1), length: 0, directory_checksum: 0 },
        stored_blocks: 0,
        stored_bytes: 0,
        origin: None,
    }
}

fn any_point() -> impl Strategy<Value = RestorePoint> {
    let kind = prop_oneof![1 => Just(PointKind::Full), 2 => Just(PointKind::Increment)];
    let machines = prop_oneof![5 => Just(vec![0, 1]), 1 => prop::collection::vec(0..3u8, 0..3)];
    (0..12u64, kind, machines).prop_map(|(sequence, kind, machines)| point(sequence, kind, &machines))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_is_a_full_and_increments_in_order(mut points in prop::collection::vec(any_point(), 0..5), tidy: bool) {
        if tidy {
            points.sort_by_key(|point| point.sequence);
            points.iter_mut().for_each(|point| point.kind = PointKind::Increment);
            points.iter_mut().take(1).for_each(|point| point.kind = PointKind::Full);
        }
        let valid = points.iter().enumerate().all(|(position, point)| {
            let full = point.kind == PointKind::Full;
            let names: Vec<_> = point.machines.iter().map(|machine| machine.name.as_str()).collect();
            full == (position == 0)
                && !names.is_empty()
                && names.windows(2).all(|pair| pair[0] < pair[1])
                && points[..position].iter().all(|earlier| earlier.sequence < point.sequence)
        });
        let chain = Chain::new(BlockSize::MiB1, points.clone());
        prop_assert_eq!(chain.is_ok(), valid, "{:?}", chain);
        if let Ok(chain) = chain {
            prop_assert_eq!(chain.points(), &points[..]);
            prop_assert_eq!(chain.latest(), points.last());
            for (position, point) in points.iter().enumerate() {
                prop_assert_eq!(chain.get(point.sequence), Some(point));
                prop_assert_eq!(chain.steps_to(point.sequence), Some(&points[..=position]));
            }
            prop_assert_eq!(chain.steps_to(Sequence(99)), None);
        }
    }
}

#[test]
fn the_error_names_the_point() {
    let full = |sequence| point(sequence, PointKind::Full, &[0]);
    let increment = |sequence| point(sequence, PointKind::Increment, &[0]);
    let refused = |points: &[RestorePoint]| Chain::new(BlockSize::MiB1, points.to_vec()).unwrap_err();
    assert_eq!(refused(&[increment(4)]), ChainError::NoFull(Sequence(4)));
    assert_eq!(refused(&[full(1), increment(2), full(3)]), ChainError::SecondFull(Sequence(3)));
    let order = |earlier, later| ChainError::Order { earlier: Sequence(earlier), later: Sequence(later) };
    assert_eq!(refused(&[full(2), increment(1)]), order(2, 1));
    assert_eq!(refused(&[full(2), increment(2)]), order(2, 2));
    assert_eq!(refused(&[point(1, PointKind::Full, &[])]), ChainError::Machines(Sequence(1)));
    assert_eq!(refused(&[point(1, PointKind::Full, &[1, 0])]), ChainError::Machines(Sequence(1)));
    assert_eq!(refused(&[point(1, PointKind::Full, &[1, 1])]), ChainError::Machines(Sequence(1)));
}

#[test]
fn points_are_appended_and_merged() {
    let full = point(1, PointKind::Full, &[0]);
    let rest = [2, 3, 4].map(|sequence| point(sequence, PointKind::Increment, &[0]));
    let mut chain = Chain::new(BlockSize::MiB1, vec![full]).unwrap();
    for increment in &rest {
        chain = chain.appended(increment.clone()).unwrap();
    }
    assert_eq!(chain.points().len(), 4);
    assert!(chain.appended(rest[2].clone()).is_err());
    let merged = chain.merged(2, point(3, PointKind::Full, &[0])).unwrap();
    assert_eq!(merged.points().iter().map(|point| point.sequence.0).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(
        chain.merged(1, point(3, PointKind::Full, &[0])).unwrap_err(),
        ChainError::Order { earlier: Sequence(3), later: Sequence(3) }
    );
}
