//! Several writers and readers of one job folder, runs that are cut off, and hosts that fall silent.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offsite::{CopyJob, Error, JobFolder, OpenRepository, TransformJob, Verify};
use offsite_repository::testing::{Fault, Faulty, Memory, MemoryOptions};
use offsite_repository::{ErrorKind, Prefix, Verb};
use support::drive::poll_times;
use support::objects::{
    HEADS_MAX, Living, dead_holder, foreign_lease, fork, key, keys, newest_head, pin, put_successor, renew, space,
    stray,
};
use support::truth::{Truth, causes};
use support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository_with, open_memory};
use tokio::time::Instant;

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
    MemoryOptions { yields: true, ..MemoryOptions::default() }
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
                copy_job(&primary, &second).keep(keep(3)).run(day(number)).await.unwrap();
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
        copy_job(primary, second).keep(keep(3))
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

/// A restore that a merge and its release meet at each of its moments delivers the exact bytes; the space waits for it.
#[tokio::test]
async fn a_reader_holds_what_it_reads() {
    let scene = Scene::new().await;
    let mut held = 0;
    for polls in 0.. {
        let (_source, primary, target, second) = scene.fork().await;
        let reader = open_memory(&target).await;
        let oldest = JobFolder::open(&reader, &job(COPY)).await.unwrap().chain().points()[0].clone();
        let to = support::scratch();
        let mut restore = Box::pin(scene.truth.restore(&reader, COPY, &oldest, "web01", to.path()));
        let early = poll_times(&mut restore, polls).await;
        let report = Scene::copy(&primary, &second).run(day(4)).await.unwrap();
        assert!(!report.transform.operations.is_empty());
        if let Some(result) = early {
            result.unwrap();
            assert!(report.transform.released.bytes > 0);
            break;
        }
        match restore.await {
            Ok(()) => {}
            // It began after the merge, when its point was no more.
            Err(Error::UnknownPoint { .. }) => {}
            Err(error) => panic!("{polls}: {}", causes(&error)),
        }
        if report.transform.released.held_bytes > 0 {
            held += 1;
            let again = Scene::copy(&primary, &second).run(day(4)).await.unwrap();
            assert_eq!(again.transform.released.held_bytes, 0);
            assert!(again.transform.released.bytes > 0);
        }
        let (taken, needed) = space(&target, COPY).await;
        assert_eq!(taken, needed, "{polls}");
        assert_eq!(stray(&target, COPY), [""; 0], "{polls}");
    }
    assert!(held > 1, "{held}");
}

/// A reader that may not write has no pin, and that of one that was taken for dead is gone: what it meets is exact, or it is told that its restore point is no more.
#[tokio::test]
async fn a_reader_without_a_pin_is_told_what_was_let_go() {
    let scene = Scene::new().await;
    let (mut expired, mut polls) = ([[0, 0], [0, 0]], 0);
    loop {
        let mut done = true;
        for (verifies, pins) in [(false, false), (true, false), (false, true), (true, true)] {
            let (_source, primary, target, second) = scene.fork().await;
            let faulty = Faulty::new(target.clone());
            if !pins {
                let pins = Prefix::new(format!("{COPY}/pin")).unwrap();
                let refused = Fault::after_calls(0, ErrorKind::PermissionDenied);
                faulty.inject(refused.below(pins).on(Verb::Create).for_ever());
            }
            let reader = OpenRepository::open(std::sync::Arc::new(faulty)).await.unwrap();
            let oldest = JobFolder::open(&reader, &job(COPY)).await.unwrap().chain().points()[0].clone();
            let to = support::scratch();
            let mut reading: std::pin::Pin<Box<dyn Future<Output = Result<(), Error>>>> = if verifies {
                Box::pin(async {
                    let report = Verify::new(&reader, job(COPY)).read_data(true).run().await?;
                    assert_eq!(report.damage, [], "{polls}: what was let go is not damaged");
                    Ok(())
                })
            } else {
                Box::pin(scene.truth.restore(&reader, COPY, &oldest, "web01", to.path()))
            };
            let early = poll_times(&mut reading, polls).await;
            for pin in keys(&target, &format!("{COPY}/pin")) {
                assert!(target.remove(&pin));
            }
            Scene::copy(&primary, &second).run(day(4)).await.unwrap();
            done &= early.is_some();
            let result = match early {
                Some(result) => result,
                None => reading.await,
            };
            match result {
                Ok(()) | Err(Error::UnknownPoint { .. }) => {}
                Err(Error::SnapshotExpired { .. }) => expired[usize::from(pins)][usize::from(verifies)] += 1,
                Err(error) => panic!("{polls}: {}", causes(&error)),
            }
        }
        if done {
            break;
        }
        polls += 1;
    }
    assert!(expired.iter().flatten().all(|count| *count > 0), "{expired:?}");
}

/// Of a process of this host the kernel knows whether it is dead. Of those of other hosts the tests of pins tell.
#[tokio::test]
async fn pins_of_dead_readers_hold_nothing_and_others_do() {
    let scene = Scene::new().await;
    let (_, primary, target, second) = scene.fork().await;
    let dead = pin(&target, COPY, &dead_holder()).await;
    let report = Scene::copy(&primary, &second).run(day(4)).await.unwrap();
    assert!(report.transform.released.bytes > 0 && report.transform.released.held_bytes == 0);
    assert!(!keys(&target, COPY).contains(&dead));

    let (_, primary, target, second) = scene.fork().await;
    let reader = Living::new();
    let alive = pin(&target, COPY, &reader.holder).await;
    let report = Scene::copy(&primary, &second).run(day(4)).await.unwrap();
    assert!(report.transform.released.bytes == 0 && report.transform.released.held_bytes > 0);
    target.remove(&alive);
    let report = Scene::copy(&primary, &second).run(day(4)).await.unwrap();
    assert!(report.transform.released.bytes > 0 && report.transform.released.held_bytes == 0);
    let (taken, needed) = space(&target, COPY).await;
    assert_eq!(taken, needed);
}

/// Pins that readers left behind go with the next run, whether there is anything to release or not.
#[tokio::test]
async fn pins_of_dead_readers_do_not_pile_up() {
    let scene = Scene::new().await;
    let (source, primary, _, _) = scene.fork().await;
    let dead = pin(&source, "nightly", &dead_holder()).await;
    scene.machines.backup(&primary, &["web01"]).run(day(4)).await.unwrap();
    assert!(!keys(&source, "nightly").contains(&dead));
}

/// What a run says while it waits.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl offsite::Progress for Notes {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// A lease of another host is waited for, and taken over if there is no sign of life for its whole duration.
#[tokio::test(start_paused = true)]
async fn a_silent_host_loses_its_lease() {
    let scene = Scene::new().await;
    let (source, primary, target, _second) = scene.fork().await;
    let head = put_successor(&source, "nightly", |head| {
        head.epoch += 1;
        head.lease = Some(foreign_lease(60));
    })
    .await;
    renew(&source, "nightly", &head, 7).await;
    let start = Instant::now();
    let notes = Arc::new(Notes::default());
    scene.machines.backup(&primary, &["web01"]).progress(notes.clone()).run(day(4)).await.unwrap();
    let waited = start.elapsed();
    assert!((60..66).contains(&waited.as_secs()), "{waited:?}");
    let notes = notes.0.lock().unwrap().join("; ");
    assert!(notes.contains("waiting up to 60 s"), "{notes}");
    scene.recovers(&source, &target).await;
}

/// A holder that gives signs of life, or commits, is respected.
#[tokio::test(start_paused = true)]
async fn a_host_that_gives_signs_of_life_keeps_its_lease() {
    let scene = Scene::new().await;
    for commits in [false, true] {
        let (source, primary, _, _) = scene.fork().await;
        let head = put_successor(&source, "nightly", |head| {
            head.epoch += 1;
            head.lease = Some(foreign_lease(60));
        })
        .await;
        let memory = source.clone();
        let life = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(50)).await;
            if commits {
                put_successor(&memory, "nightly", |_| {}).await;
            } else {
                renew(&memory, "nightly", &head, 1).await;
            }
        });
        let before = source.contents().len();
        let error = scene.machines.backup(&primary, &["web01"]).run(day(4)).await.unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{}", causes(&error));
        life.await.unwrap();
        assert_eq!(source.contents().len(), before + 1, "it wrote nothing");
    }
}

/// A run that takes longer than its lease renews it, so an observer elsewhere sees it alive.
#[tokio::test(start_paused = true)]
async fn a_long_run_gives_signs_of_life() {
    let scene = Scene::new().await;
    let (source, primary, _, _) = scene.fork().await;
    let backup = scene.machines.backup(&primary, &["web01"]).lease_duration(Duration::from_secs(30));
    let mut run = Box::pin(backup.run(day(4)));
    // Far enough to have the lease.
    let mut polls = 0;
    while newest_head(&source, "nightly").lease.is_none() {
        assert!(poll_times(&mut run, 1).await.is_none());
        polls += 1;
        assert!(polls < 100);
    }
    let _ = poll_times(&mut run, 2).await;
    let mut signs = std::collections::BTreeSet::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = keys(&source, "nightly/lease");
        assert!(now.len() <= 2, "{now:?}");
        signs.extend(now);
    }
    assert!(signs.len() >= 9, "{signs:?}");
    run.await.unwrap();
    assert_eq!(keys(&source, "nightly/lease"), []);
}

/// A lease shorter than can be told is as long as the shortest.
#[tokio::test(start_paused = true)]
async fn a_lease_of_no_length_does_no_harm() {
    let scene = Scene::new().await;
    let (source, primary, _, _) = scene.fork().await;
    let backup = scene.machines.backup(&primary, &["web01"]).lease_duration(Duration::ZERO);
    let before = primary.counts().creates;
    backup.run(day(4)).await.unwrap();
    assert!(primary.counts().creates - before < 20, "no storm of signs of life");
    assert_eq!(stray(&source, "nightly"), [""; 0]);
}

/// Old heads are trimmed, and their numbers are not used again.
#[tokio::test]
async fn heads_do_not_pile_up_and_numbers_are_not_used_again() {
    let scene = Scene::new().await;
    let (source, primary, _, _) = scene.fork().await;
    let mut last = 0;
    let mut commits = std::collections::BTreeSet::new();
    for number in 4..30 {
        scene.machines.backup(&primary, &["web01"]).keep(keep(2)).run(day(number)).await.unwrap();
        let heads = keys(&source, "nightly/head");
        assert!(heads.len() <= HEADS_MAX, "{heads:?}");
        let head = newest_head(&source, "nightly");
        assert!(head.number > last && commits.insert(head.commit));
        last = head.number;
    }
    assert!(last > 60);
    // A head that a late writer stored below the boundary misleads nobody, and goes.
    let late = key(&format!("nightly/head/{:020}", 3));
    let bytes = support::objects::bytes_of(&scene.source, keys(&scene.source, "nightly/head").last().unwrap());
    offsite_repository::RepositoryExt::put(&source, &late, bytes).await.unwrap();
    scene.machines.backup(&primary, &["web01"]).run(day(31)).await.unwrap();
    assert!(!keys(&source, "nightly/head").contains(&late));
}

/// Whatever a run was cut off in, the first run after it recovers all there is, and the second finds nothing to do: it takes the lease
/// and gives it back.
#[tokio::test]
async fn recovery_is_done_once() {
    let scene = Scene::new().await;
    let mut polls = 0;
    loop {
        let (_, primary, target, second) = scene.fork().await;
        let copy = Scene::copy(&primary, &second);
        let mut run = Box::pin(copy.run(day(4)));
        let ended = poll_times(&mut run, polls).await;
        drop(run);
        TransformJob::new(&open_memory(&target).await, job(COPY)).run(day(5)).await.unwrap();
        let before: BTreeSet<_> = keys(&target, COPY).into_iter().collect();
        let again = open_memory(&target).await;
        TransformJob::new(&again, job(COPY)).run(day(5)).await.unwrap();
        let (counts, after) = (again.counts(), keys(&target, COPY));
        assert_eq!((counts.creates, counts.punches, counts.patches), (3, 0, 0), "{polls}: two heads and a second copy");
        assert!(counts.deletes <= 3, "{polls}: old heads and an old copy alone");
        let new: Vec<_> = after.iter().filter(|key| !before.contains(key)).collect();
        let is_head = |key: &str| key.contains("/head/") || key.ends_with(".head");
        assert!(new.len() == 3 && new.iter().all(|key| is_head(key.as_str())), "{polls}: {new:?}");
        if ended.is_some() {
            break;
        }
        polls += 1;
    }
    assert!(polls > 20, "{polls}");
}

/// A folder from elsewhere may claim any number: one that leaves none for the next is refused, and still read.
#[tokio::test]
async fn a_folder_whose_numbers_are_used_up_is_refused() {
    let scene = Scene::new().await;
    let cases: [fn(&mut offsite::core::format::head::Head); 3] = [
        |head| head.number = u64::MAX,
        |head| head.epoch = u32::MAX,
        |head| head.next_sequence = offsite::core::Sequence(u64::MAX),
    ];
    for change in cases {
        let (source, primary, _, _) = scene.fork().await;
        put_successor(&source, "nightly", change).await;
        let points = scene.truth.check(&primary, "nightly").await;
        let error = scene.machines.backup(&primary, &["web01"]).run(day(4)).await.unwrap_err();
        assert!(error.to_string().contains("used up"), "{}", causes(&error));
        assert_eq!(scene.truth.check(&primary, "nightly").await, points);
    }
}

/// `AlreadyExists` may be this writer's own earlier try, and a lost answer may have been a yes.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_won() {
    let scene = Scene::new().await;
    for kind in [ErrorKind::AlreadyExists, ErrorKind::Indeterminate, ErrorKind::Unavailable] {
        for spare in 0.. {
            let source = fork(&scene.source).await;
            let faulty = Faulty::new(source.clone());
            let primary = OpenRepository::open(std::sync::Arc::new(faulty.clone())).await.unwrap();
            let heads = Prefix::new("nightly/head").unwrap();
            faulty.inject(Fault::after_calls(spare, kind).on(Verb::Finish).below(heads).losing_the_answer());
            scene.machines.backup(&primary, &["web01"]).keep(keep(3)).run(day(4)).await.unwrap();
            scene.truth.check(&open_memory(&source).await, "nightly").await;
            if faulty.failures() == 0 {
                assert!(spare >= 4, "lease, point, merge, release and end of the lease are commits");
                break;
            }
        }
    }
}

/// A commit that was not stored, or may not have been, is tried again.
#[tokio::test]
async fn a_commit_that_was_not_stored_is_tried_again() {
    let scene = Scene::new().await;
    for kind in [ErrorKind::AlreadyExists, ErrorKind::Indeterminate, ErrorKind::Unavailable] {
        for spare in 0..5 {
            let source = fork(&scene.source).await;
            let faulty = Faulty::new(source.clone());
            let primary = OpenRepository::open(std::sync::Arc::new(faulty.clone())).await.unwrap();
            let heads = Prefix::new("nightly/head").unwrap();
            faulty.inject(Fault::after_calls(spare, kind).on(Verb::Finish).below(heads));
            scene.machines.backup(&primary, &["web01"]).keep(keep(3)).run(day(4)).await.unwrap();
            assert_eq!(faulty.failures(), 1, "{kind:?} {spare}");
            assert_eq!(scene.truth.check(&open_memory(&source).await, "nightly").await, [3, 4, 5]);
        }
    }
}
