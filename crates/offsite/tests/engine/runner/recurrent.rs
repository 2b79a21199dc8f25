//! Backups and verifications on their schedules.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::BoxFuture;
use offsite::retention::Zone;
use offsite::runner::{
    Activity, BackupRun, Clock, Incident, JobRunner, MemoryStore, OpenFailure, RunEnd, RunReport, RunStatus,
    RunnerEvent, RunnerEvents, ScheduledJob, Store, Subject, Timing, Wait,
};
use offsite::schedule::{Every, Interval, TimeOfDay};
use offsite::{BackupJob, ImageSource, OpenRepository, Verify};
use offsite_repository::testing::Fault;
use offsite_repository::{ErrorKind, Prefix, Verb};

use super::BOTH;
use super::world::{World, time, window};
use crate::support::{job, machine};

fn timing(every: &str, at: &str) -> Timing {
    let Every::Period(period) = Every::parse(every).unwrap() else { panic!("{every}") };
    Timing::new(Interval::new(period, TimeOfDay::parse(at).unwrap(), Zone::utc()))
}

/// What was told, in words.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl RunnerEvents for Told {
    fn tell(&self, subject: &Subject, event: RunnerEvent<'_>) {
        assert_eq!((subject.repository.as_str(), subject.job.as_str()), ("primary", "evening"));
        let text = match event {
            RunnerEvent::BackedUp(report) => format!("backed up #{}", report.sequence),
            RunnerEvent::Verified(report) => format!("verified {} points", report.points),
            RunnerEvent::Failed { is_retryable, .. } => format!("failed, retried: {is_retryable}"),
            RunnerEvent::Ended(report) => format!("ended {}", report.status().word()),
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

/// A backup of both machines, each night's disks changed before.
fn backup(world: &World, timing: Timing) -> ScheduledJob {
    let images = BOTH.iter().map(|name| (machine(name), ImageSource::new(world.machines.image(name, 0))));
    let (source, images) = (world.source.clone(), images.collect::<Vec<_>>());
    let open = move || {
        let (source, images) = (source.clone(), images.clone());
        async move {
            let repository = OpenRepository::open(Arc::new(source)).await?;
            let backup = BackupJob::new(&repository, job("nightly"));
            Ok::<_, OpenFailure>(
                images.into_iter().fold(backup, |backup, (name, image)| backup.machine(name, vec![image])),
            )
        }
    };
    ScheduledJob::backup("primary", job("evening"), timing, Arc::new(open))
}

fn runner(world: &World, job: ScheduledJob, store: &MemoryStore, told: &Arc<Told>) -> JobRunner {
    JobRunner::new(job).clock(world.clock.clone()).store(Arc::new(store.clone())).events(told.clone())
}

/// Notes each report that comes after an interval.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<RunReport>>>);

#[async_trait]
impl Activity for Reports {
    async fn after(&self, report: &RunReport) -> Vec<String> {
        self.0.lock().unwrap().push(report.clone());
        Vec::new()
    }
}

/// Comes to no end.
fn never(_report: &RunReport) -> BoxFuture<'_, Vec<String>> {
    Box::pin(std::future::pending())
}

fn backups(Reports(reports): &Reports) -> Vec<BackupRun> {
    let run = |report: &RunReport| if let RunReport::Backup(run) = report { run.clone() } else { panic!("{report:?}") };
    reports.lock().unwrap().iter().map(run).collect()
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_made_once_each_evening_inside_its_window() {
    let world = World::new(time("2026-11-01T12:00:00Z")).await;
    let mut timing = timing("1 day", "20:00");
    timing.window = window(&["22:00-02:00"]);
    let (store, told, reports) = (MemoryStore::new(), Arc::new(Told::default()), Reports::default());
    // Two runners after each other, as a program that is started again.
    for until in ["2026-11-03T12:00:00Z", "2026-11-05T12:00:00Z"] {
        let job = backup(&world, timing.clone()).after(Arc::new(reports.clone()));
        assert_eq!(runner(&world, job, &store, &told).run(world.reached(time(until))).await, None);
    }
    let runs = backups(&reports);
    let times: Vec<_> = runs.iter().map(|run| run.done.as_ref().unwrap().time).collect();
    assert_eq!(times, ["01", "02", "03", "04"].map(|day| time(&format!("2026-11-{day}T22:00:00Z"))));
    assert_eq!(runs.iter().map(|run| run.span.intervals).collect::<Vec<_>>(), [1, 1, 1, 1]);
    for pair in runs.windows(2) {
        assert_eq!(pair[0].span.end, pair[1].span.start);
    }
    assert!(runs.iter().all(|run| run.status() == RunStatus::Success), "{runs:#?}");
    assert_eq!(told.0.lock().unwrap()[..2], ["backed up #1", "ended success"]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_given_up_with_the_interval() {
    let world = World::new(time("2026-11-01T20:00:00Z")).await;
    let (store, told, reports) = (MemoryStore::new(), Arc::new(Told::default()), Reports::default());
    let heads = Prefix::new("nightly").unwrap();
    world.source.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::List).below(heads).for_ever());
    let job = backup(&world, timing("1 day", "20:00")).after(Arc::new(reports.clone()));
    let (handle, life) = runner(&world, job, &store, &told).start(world.reached(time("2026-11-03T12:00:00Z")));
    let (soon, next) = (world.reached(time("2026-11-01T20:02:00Z")), world.reached(time("2026-11-02T12:00:00Z")));
    let source = world.source.clone();
    let mend = async {
        soon.await;
        assert_eq!(handle.status().waits_for, Some(Wait::Retry));
        next.await;
        assert_eq!(handle.status().waits_for, Some(Wait::Interval));
        source.heal();
    };
    tokio::join!(life, mend);
    let runs = backups(&reports);
    assert_eq!(runs.len(), 2, "{runs:#?}");
    let at = runs[0].incidents.iter().filter_map(|incident| match incident {
        Incident::Failed { at, .. } => Some((at.unix_secs() - time("2026-11-01T20:00:00Z").unix_secs()) / 60),
        _ => None,
    });
    let at: Vec<i64> = at.collect();
    assert_eq!(at, [0, 1, 3, 7, 15, 31]);
    assert_eq!((runs[0].status(), runs[0].done.is_none()), (RunStatus::Failed, true));
    assert!(matches!(runs[0].incidents.last(), Some(Incident::GaveUp { .. })), "{runs:#?}");
    assert_eq!(runs[1].status(), RunStatus::Success);
}

/// It asks for it at noon, outside the window: it is made at once, and the evening's is made as ever.
#[tokio::test(start_paused = true)]
async fn a_backup_that_is_asked_for_is_made_at_once() {
    let world = World::new(time("2026-11-01T22:00:00Z")).await;
    let mut timing = timing("1 day", "22:00");
    timing.window = window(&["22:00-23:00"]);
    let (store, told, reports) = (MemoryStore::new(), Arc::new(Told::default()), Reports::default());
    let job = backup(&world, timing.clone()).after(Arc::new(reports.clone()));
    let (handle, life) = runner(&world, job, &store, &told).start(world.reached(time("2026-11-03T12:00:00Z")));
    let noon = world.reached(time("2026-11-02T12:00:00Z"));
    let asked = async {
        noon.await;
        handle.run_now().await
    };
    let (_, asked) = tokio::join!(life, asked);
    let Some(RunEnd::Done(report)) = asked else { panic!("{asked:?}") };
    assert_eq!((report.status(), report.ended()), (RunStatus::Success, time("2026-11-02T12:00:00Z")));
    let times: Vec<_> = backups(&reports).iter().map(|run| run.done.as_ref().unwrap().time).collect();
    assert_eq!(times, ["01T22", "02T12", "02T22"].map(|at| time(&format!("2026-11-{at}:00:00Z"))));
    assert_eq!(handle.status().newest.len(), 2);
}

/// The runner ends between a backup and what comes after it: the next does that, and makes no second one.
#[tokio::test(start_paused = true)]
async fn what_comes_after_is_done_by_the_next_runner() {
    let world = World::new(time("2026-11-01T22:00:00Z")).await;
    let (store, told, reports) = (MemoryStore::new(), Arc::new(Told::default()), Reports::default());
    let never: Arc<dyn Activity> = Arc::new(never);
    let job = backup(&world, timing("1 day", "22:00")).after(never);
    let open = runner(&world, job, &store, &told).run(world.reached(time("2026-11-01T23:00:00Z"))).await;
    assert!(matches!(&open, Some(RunReport::Backup(run)) if run.done.is_some()), "{open:?}");
    assert!(!store.load(&self::job("evening")).await.unwrap().last.unwrap().is_finished);
    let job = backup(&world, timing("1 day", "22:00")).after(Arc::new(reports.clone()));
    runner(&world, job, &store, &told).run(world.reached(time("2026-11-02T12:00:00Z"))).await;
    let runs = backups(&reports);
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!((runs[0].status(), runs[0].done.is_none()), (RunStatus::Warning, true));
    assert!(store.load(&self::job("evening")).await.unwrap().last.unwrap().is_finished);
}

#[tokio::test(start_paused = true)]
async fn a_verification_that_finds_damage_has_failed() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    world.back_up(time("2026-11-01T21:00:00Z"), BOTH).await;
    let source = world.source.clone();
    let open = move || {
        let source = source.clone();
        async move {
            let repository = OpenRepository::open(Arc::new(source)).await?;
            Ok::<_, OpenFailure>(Verify::new(&repository, job("nightly")).read_data(true))
        }
    };
    let scheduled =
        || ScheduledJob::verify("primary", job("evening"), timing("1 day", "22:00"), Arc::new(open.clone()));
    let (store, told) = (MemoryStore::new(), Arc::new(Told::default()));
    runner(&world, scheduled(), &store, &told).run(world.reached(time("2026-11-01T23:00:00Z"))).await;
    assert_eq!(*told.0.lock().unwrap(), ["verified 1 points", "ended success"]);
    let blocks = Prefix::new("nightly/blocks").unwrap();
    world.source.inject(Fault::after_calls(0, ErrorKind::NotFound).below(blocks).for_ever());
    let end = JobRunner::new(scheduled()).clock(world.clock.clone()).run_once(std::future::pending()).await;
    assert!(matches!(end.report(), RunReport::Verify(run) if run.status() == RunStatus::Failed), "{end:?}");
    assert!(world.clock.now() < time("2026-11-02T00:00:00Z"));
}
