//! Several repositories in turn, as with removable drives: each has a chain of its own.

use offsite::model::Sequence;
use offsite::retention::Policy;
use offsite::{JobFolder, Transforms};

use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository};

const COPY: &str = "Offsite Copy";

/// Two drives in turn: a copy goes on with an increment on each, retention counts what is on both, and a drive that comes
/// back after long keeps its newest point.
#[tokio::test]
async fn each_drive_carries_its_own_chain() {
    let (_, primary) = memory_repository().await;
    let drives = [memory_repository().await, memory_repository().await];
    let mut machines = Machines::new(5);
    machines.add("web01", &[12 * BLOCK]);
    let mut truth = Truth::default();
    let mut counts = Vec::new();
    // A week on each, and then the second stays away for long.
    let order = [0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    for (number, at) in (0..).zip(order) {
        machines.change("web01", 2);
        let now = day(number);
        truth.record(&machines, &["web01"], now);
        machines.backup(&primary, &["web01"]).run(now).await.unwrap();
        let elsewhere = match JobFolder::open(&drives[1 - at].1, &job(COPY)).await {
            Ok(folder) => folder.chain().all().cloned().collect(),
            Err(_) => Vec::new(),
        };
        let policy = Policy::new(keep(4));
        let transforms = Transforms::keeping(policy).elsewhere(elsewhere);
        let report = copy_job(&primary, &drives[at].1).transforms(transforms).run(now).await.unwrap();
        let sync = report.sync.unwrap();
        assert_eq!(sync.full, matches!(number, 0 | 3), "a full only on a drive without a chain: day {number}");
        let blocks = if sync.full { 12 } else { 2 * u64::from(gap(&order, number)) };
        assert!(sync.tally.planned.blocks <= blocks, "{} blocks on day {number}", sync.tally.planned.blocks);
        let mut kept = [0, 0];
        for (drive, kept) in drives.iter().zip(&mut kept) {
            if let Ok(folder) = JobFolder::open(&drive.1, &job(COPY)).await {
                *kept = folder.chain().points().len();
                truth.check(&drive.1, COPY).await;
            }
        }
        counts.push(kept);
    }
    // Four in all while both are in use; the drive that is away is not touched, and the returning one keeps its newest.
    assert_eq!(counts[..6], [[1, 0], [2, 0], [3, 0], [3, 1], [3, 2], [3, 3]]);
    assert!(counts.iter().all(|kept| kept[0] >= 1), "{counts:?}");
    assert_eq!(counts[15], [4, 2], "the drive that is away is not touched, and its old points count no more");
    assert!(counts[16..].iter().all(|kept| (1..=4).contains(&kept[1])), "{counts:?}");
    let first = JobFolder::open(&drives[0].1, &job(COPY)).await.unwrap();
    assert_eq!(first.chain().latest().unwrap().sequence, Sequence(12));
}

/// Days since the drive was last written to.
fn gap(order: &[usize], number: i64) -> u32 {
    let number = usize::try_from(number).unwrap();
    let before = order[..number].iter().rposition(|at| *at == order[number]).unwrap_or(0);
    u32::try_from(number - before).unwrap()
}
