//! A copy of the repository by hard links: what it shares is not written into, and the chain goes on without.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use offsite::report::{MergeReason, Operation};
use offsite::retention::Policy;
use offsite::{Activity, Error, MergeMethod, OpenRepository, Progress, Task, TransformJob, Transforms};
use offsite_repository::testing::{Memory, MemoryOptions};
use offsite_repository::{ErrorKind, Key};

use crate::support::objects::{is_copy, keys, newest_head, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, day, job, keep, memory_repository_with, open_memory};

const JOB: &str = "nightly";

fn transforms(merge: MergeMethod) -> Transforms {
    let policy = Policy::new(keep(2));
    Transforms::keeping(policy).merge(merge).apply_changes_at_once(true)
}

struct Scene {
    memory: Arc<Memory>,
    repository: OpenRepository,
    machines: Machines,
    truth: Truth,
}

impl Scene {
    async fn new(options: MemoryOptions) -> Self {
        let (memory, repository) = memory_repository_with(options).await;
        let mut machines = Machines::new(77);
        machines.add("web01", &[8 * BLOCK + 99]);
        machines.fill_with_noise("web01");
        let mut scene = Self { memory, repository, machines, truth: Truth::default() };
        for number in 0..3 {
            scene.back_up(number).await;
        }
        scene
    }

    async fn back_up(&mut self, number: i64) {
        self.machines
            .overwrite("web01", |disk| disk[..2 * BLOCK].iter_mut().for_each(|byte| *byte ^= number as u8 + 1));
        self.truth.record(&self.machines, &["web01"], day(number));
        self.machines.backup(&self.repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }

    /// As `cp -al` does: every backup file that there is, as it is.
    fn link_all(&self) -> BTreeMap<Key, Bytes> {
        let contents = self.memory.contents().into_iter();
        let files: BTreeMap<Key, Bytes> =
            contents.filter(|(key, _)| key.as_str().contains("/blocks/") && !is_copy(key)).collect();
        assert!(files.keys().all(|key| self.memory.link(key, true)));
        files
    }

    fn transform(&self, merge: MergeMethod) -> TransformJob {
        TransformJob::new(&self.repository, job(JOB)).transforms(transforms(merge))
    }
}

/// What is superseded in shared files is not punched, and is told of, when it is planned and when it is done.
#[tokio::test]
async fn what_others_share_is_not_punched() {
    let mut scene = Scene::new(MemoryOptions::default()).await;
    let shared = scene.link_all();
    let mut linked = 0;
    for number in 3..7 {
        let job = scene.transform(MergeMethod::Auto);
        let planned = job.plan(day(number)).await.unwrap();
        let report = job.run(day(number)).await.unwrap();
        let costs: Vec<_> = planned.operations.iter().map(|planned| planned.cost).collect();
        let done: Vec<_> = report.operations.iter().map(|done| done.tally.planned).collect();
        assert_eq!(costs, done, "the plan is what is done");
        assert!(report.operations.iter().all(|done| done.tally.kept_to_plan()));
        assert_eq!(report.released.bytes, costs.iter().map(|cost| cost.bytes_released).sum::<u64>());
        linked += report.released.linked_bytes;
        let now: BTreeMap<Key, Bytes> = scene.memory.contents().into_iter().collect();
        let is_same = |(key, bytes): (&Key, &Bytes)| now.get(key).is_none_or(|now| now == bytes);
        assert!(shared.iter().all(is_same), "day {number}: a shared file has changed");
        assert_eq!(newest_head(&scene.memory, JOB).retired, []);
        scene.back_up(number).await;
        scene.truth.check(&open_memory(&scene.memory).await, JOB).await;
    }
    assert!(linked >= 2 * BLOCK as u64, "{linked}");
    assert_eq!(stray(&scene.memory, JOB), [""; 0]);
}

/// A file that is linked after the release was planned is not punched either.
#[tokio::test]
async fn a_file_that_is_linked_late_is_not_punched() {
    let scene = Scene::new(MemoryOptions::default().with_links(false)).await;
    // Whoever plans is told nothing; whoever punches looks.
    let shared = scene.link_all();
    let report = scene.transform(MergeMethod::Adopt).run(day(3)).await.unwrap();
    let planned: u64 = report.operations.iter().map(|done| done.tally.planned.bytes_released).sum();
    assert!(planned > 0 && report.released.linked_bytes > 0, "{report:?}");
    assert_eq!(report.released.bytes + report.released.linked_bytes, planned);
    let now: BTreeMap<Key, Bytes> = scene.memory.contents().into_iter().collect();
    assert!(shared.iter().all(|(key, bytes)| now.get(key).is_none_or(|now| now == bytes)));
    scene.truth.check(&open_memory(&scene.memory).await, JOB).await;
}

/// Links the backup files when folding begins, which is after it was planned.
#[derive(Debug)]
struct LinksLate(Arc<Memory>);

impl Progress for LinksLate {
    fn begin(&self, activity: &Activity<'_>) {
        if activity.task == Task::Merge {
            assert!(keys(&self.0, "nightly/blocks").iter().all(|key| self.0.link(key, true)));
        }
    }
}

/// No fold goes into a file that others share; the merge adopts instead, and says why.
#[tokio::test]
async fn a_fold_into_a_shared_file_adopts() {
    let options = MemoryOptions::default().with_reclaim(false).with_clone_range(false);
    for is_late in [false, true] {
        let mut scene = Scene::new(options.clone()).await;
        let before: BTreeMap<Key, Bytes> = scene.memory.contents().into_iter().collect();
        if is_late {
            let progress = Arc::new(LinksLate(Arc::clone(&scene.memory)));
            let error = scene.transform(MergeMethod::Fold).progress(progress).run(day(3)).await.unwrap_err();
            let kind = error.repository_kind();
            assert!(matches!(error, Error::Repository { .. }) && kind == Some(ErrorKind::Linked), "{error}");
            scene.truth.check(&open_memory(&scene.memory).await, JOB).await;
        } else {
            scene.link_all();
        }
        let report = scene.transform(MergeMethod::Fold).run(day(3)).await.unwrap();
        let is_adopted = |operation: &Operation| {
            matches!(operation, Operation::Merge { method: MergeMethod::Adopt, why: MergeReason::Linked, .. })
        };
        assert!(report.operations.iter().any(|done| is_adopted(&done.operation)), "{report:?}");
        let now: BTreeMap<Key, Bytes> = scene.memory.contents().into_iter().collect();
        let files = before.iter().filter(|(key, _)| key.as_str().contains("/blocks/"));
        assert!(files.into_iter().all(|(key, bytes)| now.get(key).is_none_or(|now| now == bytes)));
        scene.back_up(4).await;
        scene.truth.check(&open_memory(&scene.memory).await, JOB).await;
        // When nobody shares them any more, folds go on.
        assert!(keys(&scene.memory, "nightly/blocks").iter().all(|key| scene.memory.link(key, false)));
        let report = scene.transform(MergeMethod::Fold).run(day(5)).await.unwrap();
        let is_folded = |operation: &Operation| matches!(operation, Operation::Merge { method: MergeMethod::Fold, .. });
        assert!(report.operations.iter().any(|done| is_folded(&done.operation)), "{report:?}");
        scene.truth.check(&open_memory(&scene.memory).await, JOB).await;
    }
}
