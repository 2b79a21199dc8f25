//! Counts that a head carries only propose: wrong ones lose nothing and stop nothing.

use offsite::retention::Policy;
use offsite::{Compact, MergeMethod, Transforms, Verify};
use offsite_repository::testing::MemoryOptions;

use crate::support::objects::{newest_head, put_successor, stray};
use crate::support::truth::Truth;
use crate::support::{
    BLOCK, Machines, copy_job, day, job, keep, memory_repository, memory_repository_with, open_memory,
};

const COPY: &str = "Offsite Copy";

/// What a file is said to have live, given what it has and how long it is.
type Lie = fn(u64, u64) -> u64;

#[tokio::test]
async fn a_wrong_count_of_live_bytes_loses_nothing_and_stops_nothing() {
    let lies: [(&str, Lie); 4] = [
        ("nothing", |_, _| 0),
        ("a block", |_, _| 64),
        ("less", |live, _| live / 2),
        ("all of it", |_, length| length),
    ];
    for (what, lie) in lies {
        for (merge, reclaim) in [(MergeMethod::Adopt, true), (MergeMethod::Adopt, false), (MergeMethod::Fold, false)] {
            let (_, primary) = memory_repository().await;
            let (target, second) = memory_repository_with(MemoryOptions::default().with_reclaim(reclaim)).await;
            let (mut machines, mut truth) = (Machines::new(5), Truth::default());
            machines.add("web01", &[6 * BLOCK]);
            machines.add("db01", &[2 * BLOCK]);
            let policy = Policy::new(keep(2));
            let compact = (!reclaim).then(Compact::all);
            let transforms = Transforms::keeping(policy).merge(merge).compact(compact);
            for number in 0..8 {
                for name in ["web01", "db01"] {
                    machines.change(name, 1);
                }
                truth.record(&machines, &["web01", "db01"], day(number));
                machines.backup(&primary, &["web01", "db01"]).run(day(number)).await.unwrap();
                let copy = copy_job(&primary, &second).transforms(transforms.clone());
                copy.run(day(number)).await.unwrap_or_else(|error| panic!("{what}, {merge:?}, day {number}: {error}"));
                truth.check(&open_memory(&target).await, COPY).await;
                if number == 3 {
                    put_successor(&target, COPY, |head| {
                        for file in head.files.values_mut() {
                            file.live_bytes = lie(file.live_bytes, file.length).min(file.length);
                        }
                    })
                    .await;
                }
            }
            assert_eq!(Verify::new(&second, job(COPY)).read_data(true).run().await.unwrap().damage, [], "{what}");
            assert_eq!(stray(&target, COPY), [""; 0]);
            assert_eq!(newest_head(&target, COPY).chain.points().len(), 2);
        }
    }
}
