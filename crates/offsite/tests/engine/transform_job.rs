//! The transform phase by itself: no new point, the same role, and exactly what its plan says.

use offsite::report::Operation;
use offsite::retention::Policy;
use offsite::{Error, JobFolder, MergeMethod, TransformJob, Transforms};

use crate::support::objects::newest_head;
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository};

const COPY: &str = "Offsite Copy";

fn keeping(points: u32, merge: MergeMethod) -> Transforms {
    let policy = Policy::new(keep(points));
    Transforms::keeping(policy).merge(merge).apply_changes_at_once(true)
}

#[tokio::test]
async fn only_transforms_as_planned() {
    for method in [MergeMethod::Adopt, MergeMethod::Fold] {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(crate::support::seed(71)), Truth::default());
        machines.add("web01", &[8 * BLOCK]);
        for number in 0..5 {
            machines.change("web01", 3);
            truth.record(&machines, &["web01"], day(number));
            machines.backup(&primary, &["web01"]).keep(keep(9)).run(day(number)).await.unwrap();
            copy_job(&primary, &second).transforms(keep(9)).run(day(number)).await.unwrap();
        }
        for (memory, repository, name) in [(&source, &primary, "nightly"), (&target, &second, COPY)] {
            let before = newest_head(memory, name);
            let transforms = TransformJob::new(repository, job(name)).transforms(keeping(3, method));
            let planned = transforms.plan(day(5)).await.unwrap();
            assert_eq!(newest_head(memory, name), before, "a plan writes nothing");
            let report = transforms.run(day(5)).await.unwrap();
            let done: Vec<_> =
                report.operations.iter().map(|done| (done.operation.clone(), done.tally.planned)).collect();
            let planned: Vec<_> =
                planned.operations.into_iter().map(|planned| (planned.operation, planned.cost)).collect();
            assert_eq!(done, planned);
            assert!(matches!(&done[..], [(Operation::Merge { method: used, .. }, _)] if *used == method), "{done:?}");
            assert!(report.operations.iter().all(|done| done.tally.kept_to_plan()));
            let after = newest_head(memory, name);
            assert_eq!((after.role, after.next_sequence), (before.role, before.next_sequence));
            assert_eq!(after.lease, None, "the folder is free again");
            assert_eq!(truth.check(repository, name).await, [3, 4, 5]);
            assert_eq!(transforms.run(day(5)).await.unwrap().operations, [], "nothing is left to be done");
        }
    }
}

#[tokio::test]
async fn a_job_that_is_not_there_is_not_made() {
    let (memory, repository) = memory_repository().await;
    let objects = memory.contents().len();
    let transforms = TransformJob::new(&repository, job("nightly")).transforms(keeping(3, MergeMethod::Auto));
    assert!(matches!(transforms.run(day(0)).await, Err(Error::UnknownJob { .. })));
    assert!(matches!(transforms.plan(day(0)).await, Err(Error::UnknownJob { .. })));
    assert_eq!(memory.contents().len(), objects);
}

#[tokio::test]
async fn without_retention_everything_stays() {
    let (_, repository) = memory_repository().await;
    let mut machines = Machines::new(3);
    machines.add("web01", &[BLOCK]);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let report = TransformJob::new(&repository, job("nightly")).run(day(1000)).await.unwrap();
    assert_eq!(report.operations, []);
    let folder = JobFolder::open(&repository, &job("nightly")).await.unwrap();
    assert_eq!(folder.chain().points().len(), 1);
}
