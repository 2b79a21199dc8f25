//! The newest N restore points, against counting by hand.

use offsite_core::retention::{Reason, Simple, simple};
use offsite_core::{Digest, IndexReference, ObjectId, PointKind, RestorePoint, Sequence, Timestamp};
use proptest::prelude::*;

fn time(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs).expect("a time in range")
}

fn point(sequence: u64, secs: i64) -> RestorePoint {
    RestorePoint::new(
        Sequence(sequence),
        time(secs),
        PointKind::Increment,
        Vec::new(),
        IndexReference::new(ObjectId::new(1, 1), 0, Digest([0; 32])),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_are_kept_and_the_future_is_not_counted(
        times in prop::collection::vec(0..20i64, 0..12),
        keep in prop_oneof![2..10u32, Just(u32::MAX)],
        now in 0..20i64,
    ) {
        let points: Vec<_> = times.iter().zip(1..).map(|(secs, sequence)| point(sequence, *secs)).collect();
        let verdicts = simple(&points, Simple::new(keep).unwrap(), time(now));
        prop_assert_eq!(verdicts.len(), points.len());
        for (position, verdict) in verdicts.iter().enumerate() {
            prop_assert_eq!(verdict.sequence, points[position].sequence);
            let newer = times[position + 1..].iter().filter(|secs| **secs <= now).count();
            if times[position] > now {
                prop_assert_eq!(&verdict.reasons, &vec![Reason::FutureDated { now: time(now) }]);
            } else if newer < keep as usize {
                let newer = u32::try_from(newer).unwrap();
                let reason = Reason::Newest { position: newer + 1, keep, goes_after: keep - newer };
                prop_assert_eq!(&verdict.reasons, &vec![reason]);
            } else {
                prop_assert!(!verdict.keeps());
            }
        }
        let past = times.iter().filter(|secs| **secs <= now).count();
        let kept = verdicts.iter().filter(|verdict| verdict.keeps()).count();
        prop_assert_eq!(kept, past.min(keep as usize) + times.len() - past);
    }

    /// The promise in a verdict: after so many more points, and not before, the point goes.
    #[test]
    fn goes_after_tells_the_day(count in 1..8u32, keep in 2..6u32) {
        let policy = Simple::new(keep).unwrap();
        let points: Vec<_> = (1..=u64::from(count)).map(|sequence| point(sequence, 0)).collect();
        for verdict in simple(&points, policy, time(0)) {
            let Some(Reason::Newest { goes_after, .. }) = verdict.reasons.first() else { continue };
            for more in 0..=*goes_after {
                let later: Vec<_> = (1..=u64::from(count + more)).map(|sequence| point(sequence, 0)).collect();
                let again = simple(&later, policy, time(0));
                let same = again.iter().find(|later| later.sequence == verdict.sequence).expect("it is there");
                prop_assert_eq!(same.keeps(), more < *goes_after);
            }
        }
    }
}

/// Sunday full, one point a day, the newest three: on Wednesday Sunday's goes.
#[test]
fn three_points_a_day_each() {
    let points: Vec<_> = (1..=4).map(|day| point(day, i64::try_from(day).unwrap() * 86_400)).collect();
    let verdicts = simple(&points, Simple::new(3).unwrap(), time(5 * 86_400));
    assert_eq!(verdicts.iter().map(|verdict| verdict.keeps()).collect::<Vec<_>>(), [false, true, true, true]);
    assert_eq!(verdicts[3].reasons[0].to_string(), "newest 1 of 3, until 3 newer");
    assert_eq!(Simple::default().keep(), 7);
    assert_eq!(Simple::new(1).unwrap_err().keep, 1);
}
