//! Slots of long-term retention that were missed, and filled later from the source.

use std::sync::Arc;

use offsite::model::{MachineName, Sequence};
use offsite::report::Operation;
use offsite::retention::{ArchiveMethod, Flags, Gfs, Policy, Simulation, Zone};
use offsite::schedule::{Every, Schedule, TimeOfDay};
use offsite::{
    Compact, CopyJob, History, JobFolder, MergeMethod, OpenRepository, PointSelector, Repair, SyncRequest, Timestamp,
    Transforms, Verify,
};
use offsite_repository::Repository;
use offsite_repository::testing::Memory;

use crate::support::gates::StopAfter;
use crate::support::objects::{keys, newest_head, space, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, open_memory};

const COPY: &str = "Offsite Copy";
/// The job is paused after this day, and comes back on that one.
const PAUSED: i64 = 9;
const BACK: i64 = 44;

struct Scene {
    primary: OpenRepository,
    machines: Machines,
    truth: Truth,
    target: Memory,
    second: OpenRepository,
    policy: Policy,
    merge: MergeMethod,
}

impl Scene {
    /// A daily job that ran until it was paused, and a source with all days until it comes back.
    async fn new(method: ArchiveMethod, merge: MergeMethod) -> Self {
        let (_, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let mut machines = Machines::new(163);
        machines.add("db01", &[6 * BLOCK]);
        machines.add("web01", &[3 * BLOCK]);
        let policy = Policy::new(keep(3)).with_gfs(Gfs::new(4, 2, 0, 0).unwrap().with_method(method));
        let (truth, target) = (Truth::default(), (*target).clone());
        let mut scene = Self { primary, machines, truth, target, second, policy, merge };
        for number in 0..=BACK {
            scene.back_up(number).await;
            if number <= PAUSED {
                scene.job().run(day(number)).await.unwrap();
            }
        }
        scene
    }

    async fn back_up(&mut self, number: i64) {
        for name in ["db01", "web01"] {
            self.machines.change(name, 1);
        }
        self.truth.record(&self.machines, &["db01", "web01"], day(number));
        self.machines.backup(&self.primary, &["db01", "web01"]).run(day(number)).await.unwrap();
    }

    fn job_to(&self, second: &OpenRepository) -> CopyJob {
        let every = Every::parse("1 day").unwrap();
        let schedule = Schedule::new(every, TimeOfDay::parse("12:00").unwrap(), Zone::utc());
        let transforms = Transforms::keeping(self.policy.clone()).merge(self.merge).clock_ahead_max_secs(400 * 86_400);
        copy_job(&self.primary, second).transforms(transforms).back_fill(schedule)
    }

    fn job(&self) -> CopyJob {
        self.job_to(&self.second)
    }

    async fn is_sound(&self, second: &OpenRepository, target: &Memory) {
        self.truth.check(second, COPY).await;
        assert_eq!(Verify::new(second, job(COPY)).read_data(true).run().await.unwrap().damage, []);
        assert_eq!(stray(target, COPY), [""; 0]);
        let (taken, needed) = space(target, COPY).await;
        assert_eq!(taken, needed);
    }
}

async fn archives(repository: &OpenRepository) -> Vec<(Timestamp, Flags)> {
    let folder = JobFolder::open(repository, &job(COPY)).await.unwrap();
    folder.chain().archives().iter().map(|point| (point.time, point.flags)).collect()
}

fn lived(policy: &Policy, until: i64) -> Vec<(Timestamp, Flags)> {
    let mut simulation = Simulation::new(policy.clone()).unwrap();
    (0..=until).for_each(|number| simulation.add(day(number)).unwrap());
    simulation.archives().map(|archive| (archive.time, archive.flags)).collect()
}

/// Once the chain has turned over, the archives are those of a job that never paused; and whatever transforms do to shared blocks, every
/// point restores.
#[tokio::test]
async fn slots_that_were_missed_are_filled() {
    for (method, merge) in [
        (ArchiveMethod::Shared, MergeMethod::Adopt),
        (ArchiveMethod::Shared, MergeMethod::Fold),
        (ArchiveMethod::Independent, MergeMethod::Auto),
    ] {
        let mut scene = Scene::new(method, merge).await;
        let plan = scene.job().plan(day(BACK)).await.unwrap();
        let report = scene.job().run(day(BACK)).await.unwrap();
        let is_filling = |operation: &&Operation| matches!(operation, Operation::BackFill { .. });
        let planned: Vec<&Operation> = plan.operations.iter().map(|it| &it.operation).filter(is_filling).collect();
        let done: Vec<_> = report
            .transform
            .operations
            .iter()
            .filter(|it| matches!(it.operation, Operation::BackFill { .. }))
            .collect();
        assert_eq!(planned, done.iter().map(|it| &it.operation).collect::<Vec<_>>());
        assert!(done.len() >= 3, "{done:?}");
        for (planned, done) in plan.operations.iter().zip(&report.transform.operations) {
            assert_eq!(planned.cost, done.tally.planned, "{:?}", done.operation);
            assert!(done.tally.kept_to_plan(), "{:?}: {:?}", done.operation, done.tally);
        }
        let wholes = done.iter().filter(|it| it.tally.planned.blocks >= 9).count();
        assert!(method == ArchiveMethod::Independent || wholes < done.len(), "blocks that are there do not cross");
        scene.is_sound(&scene.second, &scene.target).await;
        // The newest is still the newest, and what is looked up by time is what is nearest.
        let folder = JobFolder::open(&scene.second, &job(COPY)).await.unwrap();
        assert_eq!(folder.point(PointSelector::Latest).unwrap().time, day(BACK));
        let filled: Vec<Timestamp> =
            folder.chain().archives().iter().filter(|point| point.is_back_filled).map(|point| point.time).collect();
        assert!(!filled.is_empty());
        for time in filled {
            assert_eq!(folder.point(PointSelector::At(time.saturating_add_secs(60))).unwrap().time, time);
        }
        assert!(folder.chain().all().map(|point| point.time).is_sorted());
        // A second run fills nothing.
        let again = scene.job().run(day(BACK)).await.unwrap();
        assert_eq!(again.transform.operations, []);
        for number in BACK + 1..BACK + 12 {
            scene.back_up(number).await;
            let report = scene.job().run(day(number)).await.unwrap();
            assert!(!report.transform.operations.iter().any(|it| is_filling(&&it.operation)), "day {number}");
            if number >= BACK + 3 {
                assert_eq!(
                    archives(&scene.second).await,
                    lived(&scene.policy, number),
                    "day {number}, {method:?} {merge:?}"
                );
            }
            scene.is_sound(&scene.second, &scene.target).await;
        }
        // Compaction and the end of archives leave what others share.
        let transforms = Transforms::keeping(Policy::new(keep(2))).apply_changes_at_once(true).compact(Compact::all());
        copy_job(&scene.primary, &scene.second).transforms(transforms).run(day(BACK + 12)).await.unwrap();
        assert_eq!(archives(&scene.second).await, []);
        scene.is_sound(&scene.second, &scene.target).await;
    }
}

/// Stopped after each number of requests: the next run fills what is left.
#[tokio::test]
async fn filling_that_is_cut_off_goes_on() {
    let scene = Scene::new(ArchiveMethod::Shared, MergeMethod::Auto).await;
    let whole = scene.target.fork();
    scene.job_to(&open_memory(&whole).await).run(day(BACK)).await.unwrap();
    let expected = archives(&open_memory(&whole).await).await;
    for requests in (0..16).step_by(3) {
        let target = scene.target.fork();
        let second = open_memory(&target).await;
        let request = SyncRequest::at(day(BACK)).gate(StopAfter::new(requests));
        scene.job_to(&second).sync(&request).await.unwrap();
        scene.job_to(&second).run(day(BACK)).await.unwrap();
        assert_eq!(archives(&second).await, expected, "after {requests} requests");
        scene.is_sound(&second, &target).await;
    }
}

/// The next hop takes the newest for the newest, and a new one may bring what was filled with the rest of the past.
#[tokio::test]
async fn a_copy_of_the_copy_takes_no_filled_archive_for_the_newest() {
    let mut scene = Scene::new(ArchiveMethod::Shared, MergeMethod::Auto).await;
    let (_, third) = memory_repository().await;
    let hop = |history| {
        let hop = CopyJob::new(job("third"), &scene.second, job(COPY), &third).unwrap();
        hop.transforms(Transforms::keeping(scene.policy.clone()).clock_ahead_max_secs(400 * 86_400)).history(history)
    };
    hop(History::Newest).run(day(PAUSED)).await.unwrap();
    scene.job().run(day(BACK)).await.unwrap();
    let report = hop(History::Newest).run(day(BACK)).await.unwrap();
    assert_eq!(report.sync.unwrap().time, day(BACK));
    assert_eq!(hop(History::Newest).run(day(BACK)).await.unwrap().sync, None);
    scene.truth.check(&third, "third").await;
    let (_, fourth) = memory_repository().await;
    let new = CopyJob::new(job("third"), &scene.second, job(COPY), &fourth).unwrap();
    let new = new.transforms(Policy::new(keep(50))).history(History::All);
    let brought = new.run(day(BACK)).await.unwrap().history.unwrap();
    let folder = JobFolder::open(&scene.second, &job(COPY)).await.unwrap();
    let times: Vec<Timestamp> = folder.chain().all().map(|point| point.time).collect();
    assert_eq!(brought.points.iter().map(|point| point.time).collect::<Vec<_>>(), times);
    scene.truth.check(&fourth, "third").await;
    // And goes on with the newest.
    scene.back_up(BACK + 1).await;
    scene.job().run(day(BACK + 1)).await.unwrap();
    assert_eq!(new.run(day(BACK + 1)).await.unwrap().sync.unwrap().time, day(BACK + 1));
}

/// Without heads, the indexes tell which archive was filled: a repair does not take it for the newest point.
#[tokio::test]
async fn a_repair_knows_a_filled_archive_by_its_index() {
    let scene = Scene::new(ArchiveMethod::Shared, MergeMethod::Auto).await;
    scene.job().run(day(BACK)).await.unwrap();
    let before = newest_head(&scene.target, COPY).chain;
    for key in keys(&scene.target, COPY) {
        if key.as_str().contains("/head/") || key.as_str().ends_with(".head") {
            scene.target.delete(&key).await.unwrap();
        }
    }
    let repaired = OpenRepository::open(Arc::new(scene.target.clone())).await.unwrap();
    Repair::new(&repaired, job(COPY)).run().await.unwrap();
    let after = newest_head(&scene.target, COPY).chain;
    assert_eq!(after.latest().unwrap().time, before.latest().unwrap().time);
    let filled = |chain: &offsite::model::Chain| -> Vec<Sequence> {
        chain.archives().iter().filter(|point| point.is_back_filled).map(|point| point.sequence).collect()
    };
    assert!(!filled(&before).is_empty());
    assert!(filled(&before).iter().all(|sequence| filled(&after).contains(sequence)));
    scene.truth.check(&repaired, COPY).await;
    let name: MachineName = machine("db01");
    let folder = JobFolder::open(&repaired, &job(COPY)).await.unwrap();
    assert!(folder.chain().latest().unwrap().machine(&name).is_some());
    scene.job_to(&repaired).run(day(BACK)).await.unwrap();
}
