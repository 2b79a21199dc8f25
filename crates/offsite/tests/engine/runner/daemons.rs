//! Several jobs in one daemon: reloads, the status of all, and the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use offsite::runner::{
    Daemon, MemoryStore, NameTaken, OpenFailure, Phase, RunStatus, RunnerEvent, RunnerEvents, ScheduledJob, Slots,
    Store, Subject,
};
use offsite::{CopyJob, JobName};

use super::BOTH;
use super::world::{COPY, World, settings, time};
use crate::support::{job, machine};

/// Notes which runners begin and end.
#[derive(Default)]
struct Lives(Mutex<Vec<(String, &'static str)>>);

impl Lives {
    fn all(&self) -> Vec<(String, &'static str)> {
        self.0.lock().unwrap().clone()
    }
}

impl RunnerEvents for Lives {
    fn tell(&self, subject: &Subject, event: RunnerEvent<'_>) {
        let what = match event {
            RunnerEvent::Started => "started",
            RunnerEvent::Stopped { .. } => "stopped",
            RunnerEvent::Defect { .. } => "defect",
            _ => return,
        };
        self.0.lock().unwrap().push((subject.job.to_string(), what));
    }
}

/// A job whose places are always away.
fn away(name: &str, revision: &str) -> ScheduledJob {
    let open = || async { Err::<CopyJob, _>(OpenFailure::new("it is away", true)) };
    ScheduledJob::copy("dr", job(name), settings("1 day", "22:00", "UTC"), Arc::new(open)).revision(revision)
}

fn names(names: &[&str]) -> BTreeSet<JobName> {
    names.iter().map(|name| job(name)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_reload_lets_go_on_what_is_the_same_and_starts_anew_what_has_changed() {
    let world = World::new(time("2026-11-01T22:00:00Z")).await;
    let (lives, store) = (Arc::new(Lives::default()), MemoryStore::new());
    let daemon = Daemon::new(Arc::new(store.clone())).clock(world.clock.clone()).events(lives.clone());
    daemon.replace(vec![away("same", "1"), away("changed", "1"), away("gone", "1")]).await.unwrap();
    world.reached(time("2026-11-01T23:00:00Z")).await;
    assert_eq!(daemon.status().into_keys().collect::<BTreeSet<_>>(), names(&["same", "changed", "gone"]));
    assert!(daemon.status()[&job("same")].failure.as_ref().unwrap().why.contains("away"));
    assert_eq!(daemon.add(away("same", "2")).await.map(drop), Err(NameTaken(job("same"))));
    let gone = daemon.job(&job("gone")).unwrap();
    let twice = daemon.replace(vec![away("twice", "1"), away("twice", "2")]).await;
    assert_eq!(twice, Err(NameTaken(job("twice"))));
    let replaced = daemon.replace(vec![away("same", "1"), away("changed", "2"), away("new", "1")]).await.unwrap();
    assert_eq!(replaced.kept, names(&["same"]));
    assert_eq!(replaced.started, names(&["changed", "new"]));
    assert_eq!(replaced.removed, names(&["gone"]));
    assert!(gone.is_over());
    world.reached(time("2026-11-01T23:30:00Z")).await;
    daemon.stop().await;
    assert_eq!(daemon.status().len(), 0);
    let count =
        |name: &str, what: &str| lives.all().iter().filter(|life| (life.0.as_str(), life.1) == (name, what)).count();
    for (name, lived) in [("same", 1), ("changed", 2), ("gone", 1), ("new", 1)] {
        assert_eq!((count(name, "started"), count(name, "stopped")), (lived, lived), "{name}: {:?}", lives.all());
    }
}

/// A copy that goes on under another name and over a reload; the status has what a user asks for.
#[tokio::test(start_paused = true)]
async fn the_status_tells_how_it_is_with_each_job() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let store = world.heard.clone();
    let daemon = Daemon::new(store).clock(world.clock.clone()).events(world.heard.clone()).slots(Slots::new(2));
    let settings = settings("1 day", "22:00", "UTC");
    world.max_age = Some(std::time::Duration::from_secs(3600));
    let handle = daemon.add(world.scheduled(&settings)).await.unwrap();
    world.back_up_all(&[(time("2026-11-01T22:20:00Z"), BOTH)]).await;
    world.reached(time("2026-11-02T12:00:00Z")).await;
    let status = daemon.status().remove(&job(COPY)).unwrap();
    assert_eq!(status, handle.status());
    assert_eq!((status.phase, status.next), (Phase::Idle, Some(time("2026-11-02T22:00:00Z"))));
    assert_eq!(status.subject, Subject { repository: "dr".to_owned(), job: job(COPY) });
    let last = status.last.clone().unwrap();
    assert_eq!((last.status, last.point.map(|point| point.0), last.failure), (RunStatus::Success, Some(1), None));
    assert_eq!(status.newest[&machine("db01")], Some(time("2026-11-01T22:20:00Z")));
    let now = time("2026-11-02T12:20:00Z");
    assert_eq!(status.age_secs(&machine("db01"), now), Some(14 * 3600));
    assert_eq!(status.overdue(now).len(), 2);
    assert!(status.transferred_bytes > 0);
    assert_eq!(daemon.stop().await.len(), 0);
    assert_eq!(world.check().await, [1]);
}

/// As by a power cut: it just ends, and the next goes on.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_dropped_ends_its_jobs() {
    let world = World::new(time("2026-11-01T22:00:00Z")).await;
    let daemon = Daemon::new(Arc::new(MemoryStore::new())).clock(world.clock.clone());
    let handle = daemon.add(away("job", "1")).await.unwrap();
    world.reached(time("2026-11-01T22:30:00Z")).await;
    drop(daemon);
    assert_eq!(handle.end().await, None);
    assert!(handle.is_over());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_job_follows_its_new_name() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let store = MemoryStore::new();
    let settings = settings("1 day", "22:00", "UTC");
    let runner = world.runner(&settings).store(Arc::new(store.clone()));
    let until = world.reached(time("2026-11-02T12:00:00Z"));
    let backups = [(time("2026-11-01T22:20:00Z"), BOTH)];
    tokio::join!(runner.run(until), world.back_up_all(&backups));
    let known = store.load(&job(COPY)).await.unwrap();
    assert!(known.last.is_some());
    let daemon = Daemon::new(Arc::new(store.clone())).clock(world.clock.clone());
    daemon.add(away("renamed", "1").renamed_from(Some(job(COPY)))).await.unwrap();
    assert_eq!(store.load(&job("renamed")).await.unwrap(), known);
    daemon.remove(&job("renamed")).await.unwrap();
    assert_eq!(store.load(&job("renamed")).await.unwrap(), Default::default());
    assert!(daemon.remove(&job("renamed")).await.is_err());
}

/// A job that panics is told of, and the others go on.
#[tokio::test(start_paused = true)]
async fn a_defect_is_told() {
    let world = World::new(time("2026-11-01T22:00:00Z")).await;
    let lives = Arc::new(Lives::default());
    let daemon = Daemon::new(Arc::new(MemoryStore::new())).clock(world.clock.clone()).events(lives.clone());
    let open = || async { panic!("a defect") };
    let settings = settings("1 day", "22:00", "UTC");
    let handle = daemon.add(ScheduledJob::copy("dr", job("bad"), settings, Arc::new(open))).await.unwrap();
    assert_eq!(handle.end().await, None);
    assert_eq!(lives.all(), [("bad".to_owned(), "started"), ("bad".to_owned(), "defect")]);
}
