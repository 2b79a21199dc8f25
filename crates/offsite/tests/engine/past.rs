//! The past that a new copy job brings: as if it had run at every restore point of its source.

use offsite::model::{PointKind, Sequence, Status};
use offsite::report::MachineOutcome;
use offsite::retention::{ArchiveMethod, Flags, Gfs, Policy, Simulation};
use offsite::{
    CopyJob, Error, History, JobFolder, OpenRepository, RunPlan, Source, SyncRequest, Timestamp, Transforms,
};
use offsite_repository::testing::{Fault, Faulty};
use offsite_repository::{ErrorKind, Verb};

use crate::support::gates::StopAfter;
use crate::support::objects::{fork, newest_head, space, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, open_memory, restored};

const COPY: &str = "Offsite Copy";
const DAYS: i64 = 24;

/// A source with daily points of two machines, one of which ends in the middle.
struct Scene {
    primary: OpenRepository,
    machines: Machines,
    truth: Truth,
}

impl Scene {
    async fn new() -> Self {
        let (_, primary) = memory_repository().await;
        let (mut machines, truth) = (Machines::new(161), Truth::default());
        machines.add("db01", &[5 * BLOCK]);
        machines.add("old", &[2 * BLOCK]);
        let mut scene = Self { primary, machines, truth };
        for number in 0..DAYS {
            scene.next_day(number).await;
        }
        scene
    }

    async fn next_day(&mut self, number: i64) {
        let names: &[&str] = if number < 10 { &["db01", "old"] } else { &["db01"] };
        for name in names {
            self.machines.change(name, 1);
        }
        self.truth.record(&self.machines, names, day(number));
        self.machines.backup(&self.primary, names).run(day(number)).await.unwrap();
    }

    fn job(&self, second: &OpenRepository, policy: &Policy, history: History) -> CopyJob {
        copy_job(&self.primary, second).transforms(Transforms::keeping(policy.clone())).history(history)
    }
}

fn policy(method: ArchiveMethod) -> Policy {
    Policy::new(keep(4)).with_gfs(Gfs::new(2, 1, 0, 0).unwrap().with_method(method))
}

/// What a chain has, with the archives first.
async fn kept(repository: &OpenRepository) -> Vec<(Timestamp, bool, PointKind, Flags)> {
    let folder = JobFolder::open(repository, &job(COPY)).await.unwrap();
    let chain = folder.chain();
    let archives = chain.archives().iter().map(|point| (point.time, true, point.kind, point.flags));
    let points = chain.points().iter().map(|point| (point.time, false, point.kind, point.flags));
    archives.chain(points).collect()
}

fn simulated(policy: &Policy, days: i64) -> Vec<(Timestamp, bool, PointKind, Flags)> {
    let mut simulation = Simulation::new(policy.clone()).unwrap();
    (0..days).for_each(|number| simulation.add(day(number)).unwrap());
    let archives = simulation.archives().map(|archive| (archive.time, true, PointKind::Full, archive.flags));
    let points = simulation.points().map(|point| (point.time, false, point.kind, point.flags));
    archives.chain(points).collect()
}

/// What a job has that ran on every day is what a job has that brings the past.
#[tokio::test]
async fn a_past_that_is_brought_is_the_past_that_was_lived() {
    for method in [ArchiveMethod::Shared, ArchiveMethod::Independent, ArchiveMethod::Active] {
        let mut scene = Scene::new().await;
        let policy = policy(method);
        for history in [History::Wanted, History::All] {
            let (target, second) = memory_repository().await;
            let copy = scene.job(&second, &policy, history);
            let plan = copy.plan(day(DAYS - 1)).await.unwrap();
            let report = copy.run(day(DAYS - 1)).await.unwrap();
            let brought = report.history.unwrap();
            assert_eq!(kept(&second).await, simulated(&policy, DAYS), "{method:?} {history:?}");
            let expected = if history == History::All { DAYS as usize } else { kept(&second).await.len() };
            assert_eq!((brought.points.len(), brought.left), (expected, 0), "{method:?} {history:?}");
            for (past, point) in plan.history.iter().zip(&brought.points) {
                assert_eq!((past.time, past.sync.cost), (point.time, point.tally.planned));
                assert!(point.tally.kept_to_plan(), "{:?}", point.tally);
            }
            assert_eq!(plan.history.len(), brought.points.len());
            assert_eq!(plan.sync, None);
            assert!(brought.operations.iter().all(|operation| operation.tally.kept_to_plan()));
            assert!(report.machines.iter().any(|report| {
                report.name == machine("db01") && report.outcome == MachineOutcome::Complete { captured: day(DAYS - 1) }
            }));
            // A machine that ended long ago is carried along, as it would have been.
            assert_eq!(restored(&second, COPY, "old", None).await, scene.machines.content("old"));
            scene.truth.check(&second, COPY).await;
            assert!(!newest_head(&target, COPY).brings_history);
            assert_eq!(stray(&target, COPY), [""; 0]);
            let (taken, needed) = space(&target, COPY).await;
            assert_eq!(taken, needed);
            // Once it is there, nothing of it is carried again.
            let again = copy.run(day(DAYS - 1)).await.unwrap();
            assert_eq!((again.sync, again.history), (None, None));
        }
        // And then the job goes on as any other.
        let (_, second) = memory_repository().await;
        let copy = scene.job(&second, &policy, History::Wanted);
        copy.run(day(DAYS - 1)).await.unwrap();
        for number in DAYS..DAYS + 9 {
            scene.next_day(number).await;
            let report = copy.run(day(number)).await.unwrap();
            assert_eq!((report.history, report.sync.unwrap().time), (None, day(number)));
            assert_eq!(kept(&second).await, simulated(&policy, number + 1), "{method:?}");
        }
        scene.truth.check(&second, COPY).await;
    }
}

/// Stopped after each number of requests, the next run carries what is missing and nothing else.
#[tokio::test]
async fn a_past_that_is_cut_off_anywhere_goes_on() {
    let scene = Scene::new().await;
    let policy = policy(ArchiveMethod::Shared);
    let blocks = |report: &offsite::report::HistoryReport| -> u64 {
        report.points.iter().map(|point| point.tally.planned.blocks).sum()
    };
    let (_, whole) = memory_repository().await;
    let all = scene.job(&whole, &policy, History::Wanted).run(day(DAYS - 1)).await.unwrap().history.unwrap();
    let expected = kept(&whole).await;
    let requests: u64 = all.points.iter().map(|point| point.tally.planned.read_requests).sum();
    assert!(requests > 10, "{requests}");
    for stop in (0..requests as usize + 1).step_by(2) {
        let (_, second) = memory_repository().await;
        let copy = scene.job(&second, &policy, History::Wanted);
        let request = SyncRequest::at(day(DAYS - 1)).gate(StopAfter::new(stop));
        let first = copy.sync(&request).await.unwrap();
        let history = first.history.unwrap();
        assert_eq!(history.left == 0, stop as u64 >= requests, "after {stop} requests");
        let second_try = copy.run(day(DAYS - 1)).await.unwrap();
        let rest = second_try.history.as_ref().map_or(0, blocks);
        assert_eq!(blocks(&history) + rest, blocks(&all), "after {stop} requests");
        assert_eq!(kept(&second).await, expected, "after {stop} requests");
        scene.truth.check(&second, COPY).await;
    }
}

/// Whatever call fails, the next run goes on.
#[tokio::test]
async fn a_past_whose_run_fails_anywhere_goes_on() {
    let scene = Scene::new().await;
    let policy = policy(ArchiveMethod::Shared);
    let (_, whole) = memory_repository().await;
    scene.job(&whole, &policy, History::Wanted).run(day(DAYS - 1)).await.unwrap();
    let expected = kept(&whole).await;
    for calls in (3..400).step_by(37) {
        let (target, _) = memory_repository().await;
        let faulty = Faulty::new((*target).clone());
        let second = OpenRepository::open(std::sync::Arc::new(faulty.clone())).await.unwrap();
        faulty.inject(Fault::after_calls(calls, ErrorKind::Unavailable).on(Verb::Create));
        let copy = scene.job(&second, &policy, History::Wanted);
        let failed = copy.run(day(DAYS - 1)).await;
        if let Err(error) = &failed {
            assert!(!matches!(error, Error::Defect { .. }), "{error}");
        }
        let second = open_memory(&fork(&target).await).await;
        scene.job(&second, &policy, History::Wanted).run(day(DAYS - 1)).await.unwrap();
        assert_eq!(kept(&second).await, expected, "after {calls} calls");
        scene.truth.check(&second, COPY).await;
    }
}

/// A job that has copied already brings no past, and one that no longer wants to ends it.
#[tokio::test]
async fn only_a_new_job_brings_the_past() {
    let scene = Scene::new().await;
    let policy = policy(ArchiveMethod::Shared);
    let (_, second) = memory_repository().await;
    scene.job(&second, &policy, History::Newest).run(day(DAYS - 1)).await.unwrap();
    let copy = scene.job(&second, &policy, History::All);
    let RunPlan { history, .. } = copy.plan(day(DAYS - 1)).await.unwrap();
    assert_eq!((history, copy.run(day(DAYS - 1)).await.unwrap().history), (Vec::new(), None));

    let (target, second) = memory_repository().await;
    let copy = scene.job(&second, &policy, History::All);
    copy.sync(&SyncRequest::at(day(DAYS - 1)).gate(StopAfter::new(20))).await.unwrap();
    assert!(newest_head(&target, COPY).brings_history);
    let report = scene.job(&second, &policy, History::Newest).run(day(DAYS - 1)).await.unwrap();
    assert_eq!((report.history, report.sync.unwrap().time), (None, day(DAYS - 1)));
    assert!(!newest_head(&target, COPY).brings_history);
}

/// Of several jobs, each restore point is a moment. The machines of the other jobs are as they were by then.
#[tokio::test]
async fn each_restore_point_of_each_job_is_a_moment() {
    let (_, primary) = memory_repository().await;
    let mut machines = Machines::new(162);
    let mut truth = Truth::default();
    machines.add("a", &[2 * BLOCK]);
    machines.add("b", &[2 * BLOCK]);
    let later = |number| day(number).saturating_add_secs(3600);
    for number in 0..4 {
        for (name, time) in [("a", day(number)), ("b", later(number))] {
            machines.change(name, 1);
            truth.record(&machines, &[name], time);
            let disks = vec![offsite::ImageSource::new(machines.image(name, 0))];
            let backup = offsite::BackupJob::new(&primary, job(name)).block_size(offsite::model::BlockSize::KiB256);
            backup.machine(machine(name), disks).run(time).await.unwrap();
        }
    }
    let (_, second) = memory_repository().await;
    let copy = CopyJob::of(job(COPY), vec![Source::infrastructure(&primary)], &second).unwrap();
    let copy = copy.transforms(Policy::new(keep(20))).history(History::All);
    let report = copy.run(later(3)).await.unwrap();
    assert_eq!(report.history.unwrap().points.len(), 8);
    let folder = JobFolder::open(&second, &job(COPY)).await.unwrap();
    let found: Vec<_> = folder
        .chain()
        .points()
        .iter()
        .map(|point| {
            let machines = point.machines.iter().filter(|machine| machine.status == Status::Complete);
            (point.time, machines.map(|machine| machine.name.to_string()).collect::<Vec<_>>())
        })
        .collect();
    let expected: Vec<_> = (0..4)
        .flat_map(|number| [(day(number), vec!["a".to_owned()]), (later(number), vec!["b".to_owned()])])
        .collect();
    assert_eq!(found, expected);
    truth.check(&second, COPY).await;
    assert_eq!(folder.chain().get(Sequence(1)).unwrap().time, day(0));
}
