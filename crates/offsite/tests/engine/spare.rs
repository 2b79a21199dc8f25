//! What has arrived of machines that a copy was cut off at, where the newest point, which has it, is transformed.

use std::sync::Arc;

use offsite::model::{PointKind, Sequence, Status};
use offsite::report::Operation;
use offsite::retention::{Anchors, ArchiveMethod, Gfs, Policy};
use offsite::{CopyJob, JobFolder, MergeMethod, OpenRepository, SyncRequest, Transforms};
use offsite_repository::testing::Memory;

use crate::support::gates::StopAfter;
use crate::support::objects::{newest_head, space, spare, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, copy_job, day, job, keep, machine, memory_repository, seed};

const COPY: &str = "Offsite Copy";

/// Long-term retention whose weekly points are those of Sunday's evening, as that of day 7 is.
fn weekly(method: ArchiveMethod) -> Transforms {
    let gfs = Gfs::new(3, 0, 0, 0).unwrap().with_method(method).with_anchors(Anchors::default().at_hour(22).unwrap());
    let policy = Policy::new(keep(9)).with_gfs(gfs);
    Transforms::keeping(policy).apply_changes_at_once(true)
}

/// A copy of two points, the second of which was cut off: `web01` is whole in the first, `app01` was never copied before, and a part of
/// both has arrived.
struct Scene {
    primary: OpenRepository,
    target: Arc<Memory>,
    second: OpenRepository,
    machines: Machines,
    truth: Truth,
    /// Blocks of `app01` that have arrived.
    arrived: u64,
}

impl Scene {
    async fn new() -> Self {
        let (_, primary) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(seed(94)), Truth::default());
        for name in ["db01", "web01"] {
            machines.add(name, &[6 * BLOCK]);
            machines.fill_with_noise(name);
        }
        truth.record(&machines, &["db01", "web01"], day(6));
        machines.backup(&primary, &["db01", "web01"]).run(day(6)).await.unwrap();
        machines.add("app01", &[6 * BLOCK]);
        let mut random = Random::new(seed(95));
        // Blocks that lie in turn in two files are requests of their own.
        for (at, step) in [(day(7).saturating_add_secs(-3_600), 1), (day(7), 2)] {
            for name in ["app01", "web01"] {
                machines.overwrite(name, |disk| {
                    let written = disk.chunks_mut(BLOCK).step_by(step);
                    written.for_each(|block| block.iter_mut().for_each(|byte| *byte = random.next() as u8));
                });
            }
            truth.record(&machines, &["app01", "web01"], at);
            machines.backup(&primary, &["app01", "web01"]).run(at).await.unwrap();
        }
        let (target, second) = memory_repository().await;
        let copy = copy_job(&primary, &second).transforms(weekly(ArchiveMethod::Shared));
        copy.sync(&SyncRequest::at(day(6))).await.unwrap();
        for (name, joins) in [("app01", None), ("web01", Some(Sequence(2)))] {
            let machines = Some([machine(name)].into());
            let request = SyncRequest::at(day(7)).machines(machines).joins(joins).gate(StopAfter::new(3));
            copy.sync(&request).await.unwrap();
        }
        let head = newest_head(&target, COPY);
        let newest = head.chain.latest().unwrap();
        assert!(newest.machines.iter().all(|machine| machine.status == Status::Incomplete), "{newest:?}");
        let spare = spare(&target, COPY, &head);
        let arrived = |name: &str| spare.stored().filter(|(machine, ..)| machine.as_str() == name).count() as u64;
        assert!(arrived("app01") > 0 && arrived("web01") > 0, "{newest:?}");
        let arrived = arrived("app01");
        Self { primary, target, second, machines, truth, arrived }
    }

    fn copy(&self) -> CopyJob {
        copy_job(&self.primary, &self.second)
    }

    /// Nothing is stored that nobody refers to, and nobody refers to what is not stored.
    async fn is_tidy(&self) {
        assert_eq!(stray(&self.target, COPY), [""; 0]);
        let (taken, needed) = space(&self.target, COPY).await;
        assert_eq!(taken, needed);
        self.truth.check(&self.second, COPY).await;
    }

    /// The newest point has become a full in which the earlier state of `web01` is carried. What has arrived of `web01` is let go by that,
    /// and what has arrived of `app01` stays for the next copy.
    async fn goes_on(&self) {
        self.is_tidy().await;
        let newest = newest_head(&self.target, COPY).chain.latest().unwrap().clone();
        let status = |name: &str| newest.machine(&machine(name)).unwrap().status;
        assert_eq!((newest.sequence, newest.kind), (Sequence(2), PointKind::Full));
        assert_eq!(["app01", "db01", "web01"].map(status), [Status::Incomplete, Status::Carried, Status::Carried]);
        let sync = self.copy().sync(&SyncRequest::at(day(7))).await.unwrap().sync.unwrap();
        assert_eq!(sync.tally.planned.blocks, 6 - self.arrived + 6);
        self.is_tidy().await;
    }
}

/// Points elsewhere, as on other drives, are newer than all that is here: so even the newest point is merged.
#[tokio::test]
async fn a_merge_of_the_newest_point_keeps_what_the_next_copy_takes() {
    let mut scene = Scene::new().await;
    for number in [8, 9] {
        scene.machines.change("db01", 1);
        scene.truth.record(&scene.machines, &["db01"], day(number));
        scene.machines.backup(&scene.primary, &["db01"]).run(day(number)).await.unwrap();
    }
    let folder = JobFolder::open(&scene.primary, &job("nightly")).await.unwrap();
    let elsewhere = folder.chain().all().filter(|point| point.time >= day(8)).cloned().collect();
    let policy = Policy::new(keep(2));
    let merging =
        Transforms::keeping(policy).merge(MergeMethod::Adopt).apply_changes_at_once(true).elsewhere(elsewhere);
    let report = scene.copy().transforms(merging).transform(day(9), 0).await.unwrap();
    let done: Vec<&Operation> = report.operations.iter().map(|done| &done.operation).collect();
    let [Operation::Merge { absorbed, full: Sequence(2), .. }] = &done[..] else { panic!("{report:?}") };
    assert_eq!(absorbed[..], [Sequence(1)]);
    scene.goes_on().await;
}

/// The point was flagged as one that may share its blocks with the chain, and now flagged ones are to be read whole.
#[tokio::test]
async fn a_newest_point_that_becomes_a_full_keeps_what_the_next_copy_takes() {
    let scene = Scene::new().await;
    let report = scene.copy().transforms(weekly(ArchiveMethod::Active)).transform(day(7), 1).await.unwrap();
    let done: Vec<&Operation> = report.operations.iter().map(|done| &done.operation).collect();
    let [Operation::MakeFull { sequence: Sequence(2), .. }] = &done[..] else { panic!("{report:?}") };
    scene.goes_on().await;
}
