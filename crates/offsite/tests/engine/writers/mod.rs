//! Several writers and readers of one job folder, runs that are cut off, and hosts that fall silent.

mod commits;
mod leases;
mod readers;

use offsite::{CopyJob, Error, OpenRepository, Verify};
use offsite_repository::testing::{Memory, MemoryOptions};

use crate::support::drive::poll_times;
use crate::support::objects::{fork, newest_head, put_successor, space, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository_with, open_memory};

const COPY: &str = "Offsite Copy";

/// A source with some days in its chain, a copy one day behind with a merge due, and today's machine.
struct Scene {
    source: Memory,
    target: Memory,
    machines: Machines,
    truth: Truth,
}

/// Every call returns to the scheduler, so that there is an await point at each.
fn yields() -> MemoryOptions {
    MemoryOptions::default().with_yields(true)
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository_with(yields()).await;
        let (target, second) = memory_repository_with(yields()).await;
        let (mut machines, mut truth) = (Machines::new(41), Truth::default());
        machines.add("web01", &[3 * BLOCK + 777]);
        for number in 0..4 {
            machines.change("web01", 2);
            truth.record(&machines, &["web01"], day(number));
            machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
            if number < 3 {
                copy_job(&primary, &second).transforms(keep(3)).run(day(number)).await.unwrap();
            }
        }
        machines.change("web01", 2);
        truth.record(&machines, &["web01"], day(4));
        truth.record(&machines, &["web01"], day(5));
        Self { source: (*source).clone(), target: (*target).clone(), machines, truth }
    }

    /// The same state in repositories of their own.
    async fn fork(&self) -> (Memory, OpenRepository, Memory, OpenRepository) {
        let (source, target) = (fork(&self.source).await, fork(&self.target).await);
        let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
        (source, primary, target, second)
    }

    fn copy(primary: &OpenRepository, second: &OpenRepository) -> CopyJob {
        copy_job(primary, second).transforms(keep(3))
    }

    /// The next runs succeed without repair, everything restores, and nothing is left lying about.
    async fn recovers(&self, source: &Memory, target: &Memory) {
        let (primary, second) = (open_memory(source).await, open_memory(target).await);
        self.truth.check(&primary, "nightly").await;
        self.truth.check(&second, COPY).await;
        self.machines.backup(&primary, &["web01"]).run(day(5)).await.unwrap();
        Self::copy(&primary, &second).run(day(5)).await.unwrap();
        assert_eq!(self.truth.check(&second, COPY).await.len(), 3);
        self.truth.check(&primary, "nightly").await;
        assert_eq!(stray(source, "nightly"), [""; 0]);
        assert_eq!(stray(target, COPY), [""; 0]);
        for (memory, job) in [(source, "nightly"), (target, COPY)] {
            let (taken, needed) = space(memory, job).await;
            assert_eq!(taken, needed, "{job}");
        }
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Busy { .. } | Error::Fenced { .. })
}

/// Two runs of one job at once, the second starting at each moment of the first: one works, the other is told so.
#[tokio::test]
async fn of_two_runs_at_once_one_works() {
    let scene = Scene::new().await;
    let mut overlaps = 0;
    for polls in 0.. {
        let (source, primary, target, second) = scene.fork().await;
        let (again, _) = (open_memory(&source).await, ());
        let first = scene.machines.backup(&primary, &["web01"]);
        let other = scene.machines.backup(&again, &["web01"]);
        let mut first = Box::pin(first.run(day(4)));
        let Some(early) = poll_times(&mut first, polls).await else {
            let (first, other) = tokio::join!(first, other.run(day(5)));
            let lost = match (&first, &other) {
                (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
                // The first had given its lease back when the other looked.
                (Ok(_), Ok(_)) => continue,
                (Err(first), Err(other)) => panic!("{polls}: {}, {}", causes(first), causes(other)),
            };
            assert!(matches!(lost, Error::Busy { .. }), "{polls}: {}", causes(lost));
            overlaps += 1;
            if polls % 4 == 0 {
                scene.recovers(&source, &target).await;
            }
            drop(second);
            continue;
        };
        early.unwrap();
        break;
    }
    // How many polls blocking threads take is not for this test to say.
    assert!(overlaps > 3, "{overlaps}");
}

/// A backup that is dropped at each of its await points.
#[tokio::test]
async fn a_backup_cut_off_anywhere_needs_no_repair() {
    let scene = Scene::new().await;
    for polls in 0.. {
        let (source, primary, target, _second) = scene.fork().await;
        let backup = scene.machines.backup(&primary, &["web01"]).keep(keep(3));
        let mut run = Box::pin(backup.run(day(4)));
        let done = poll_times(&mut run, polls).await;
        drop(run);
        scene.recovers(&source, &target).await;
        if let Some(result) = done {
            result.unwrap();
            assert!(polls > 15, "{polls}");
            break;
        }
    }
}

/// A copy with a merge and a release that is dropped at each of its await points.
#[tokio::test]
async fn a_copy_cut_off_anywhere_needs_no_repair() {
    let scene = Scene::new().await;
    for polls in 0.. {
        let (source, primary, target, second) = scene.fork().await;
        let copy = Scene::copy(&primary, &second);
        let mut run = Box::pin(copy.run(day(4)));
        let done = poll_times(&mut run, polls).await;
        drop(run);
        scene.recovers(&source, &target).await;
        if let Some(result) = done {
            let report = result.unwrap();
            assert!(!report.transform.operations.is_empty() && report.transform.released.bytes > 0);
            assert!(polls > 25, "{polls}");
            break;
        }
    }
}

/// A writer that is taken over at each moment of its run commits nothing from then on, and destroys nothing.
#[tokio::test]
async fn a_writer_that_was_taken_over_destroys_nothing() {
    let scene = Scene::new().await;
    let mut fenced = 0;
    for polls in 0.. {
        let (source, primary, target, second) = scene.fork().await;
        let copy = Scene::copy(&primary, &second);
        let mut run = Box::pin(copy.run(day(4)));
        if let Some(result) = poll_times(&mut run, polls).await {
            result.unwrap();
            break;
        }
        let ended = newest_head(&target, COPY).lease.is_none();
        // Somebody who holds the first for dead takes the next epoch, and does the whole day's work.
        put_successor(&target, COPY, |head| {
            head.epoch += 1;
            head.lease = None;
        })
        .await;
        let usurper = open_memory(&target).await;
        if polls % 2 == 0 {
            Scene::copy(&open_memory(&source).await, &usurper).run(day(4)).await.unwrap();
        }
        let before = newest_head(&target, COPY);
        match run.await {
            Err(error) => {
                assert!(is_refused(&error), "{polls}: {}", causes(&error));
                fenced += usize::from(matches!(error, Error::Fenced { .. }));
                assert_eq!(newest_head(&target, COPY), before, "{polls}: a fenced writer commits nothing");
            }
            // It had not taken its lease yet, and comes after the usurper; or it had committed its last.
            Ok(_) => assert!(ended, "{polls}"),
        }
        let report = Verify::new(&usurper, job(COPY)).read_data(true).run().await.unwrap();
        assert_eq!(report.damage, [], "{polls}");
        scene.recovers(&source, &target).await;
    }
    assert!(fenced > 5, "{fenced}");
}
