//! Readers, and what their pins hold.

use std::future::Future;

use offsite::model::RetiredObject;
use offsite::{Error, JobFolder, OpenRepository, TransformJob, Verify};
use offsite_repository::testing::{Fault, Faulty};
use offsite_repository::{ErrorKind, Prefix, Verb};

use super::{COPY, Scene};
use crate::support::drive::poll_times;
use crate::support::objects::{Living, dead_holder, key, keys, newest_head, pin, space, stray};
use crate::support::truth::causes;
use crate::support::{day, job, open_memory};

/// A restore that a merge and its release meet at each of its moments delivers the exact bytes; the space waits for it.
#[tokio::test]
async fn a_reader_holds_what_it_reads() {
    let scene = Scene::new().await;
    let mut held = 0;
    for polls in 0.. {
        let (_source, primary, target, second) = scene.fork().await;
        let reader = open_memory(&target).await;
        let oldest = JobFolder::open(&reader, &job(COPY)).await.unwrap().chain().points()[0].clone();
        let to = crate::support::scratch();
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
            let to = crate::support::scratch();
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

/// A commit that finds no room makes some, of what is listed for release: not of what a reader holds.
#[tokio::test]
async fn no_room_is_made_of_what_a_reader_holds() {
    let scene = Scene::new().await;
    let (_, primary, target, second) = scene.fork().await;
    let reader = Living::new();
    pin(&target, COPY, &reader.holder).await;
    Scene::copy(&primary, &second).run(day(4)).await.unwrap();
    let retired = newest_head(&target, COPY).retired;
    let objects = retired.iter().filter_map(|retirement| match retirement.what {
        RetiredObject::File(id) => Some(key(&format!("{COPY}/blocks/{id}"))),
        RetiredObject::Index(id) => Some(key(&format!("{COPY}/index/{id}"))),
        RetiredObject::Ranges { .. } => None,
    });
    let held: Vec<_> = objects.collect();
    assert!(!held.is_empty());
    let faulty = Faulty::new(target.clone());
    let heads = Prefix::new(format!("{COPY}/head")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::NoSpace).on(Verb::Finish).below(heads));
    let second = OpenRepository::open(std::sync::Arc::new(faulty.clone())).await.unwrap();
    TransformJob::new(&second, job(COPY)).run(day(4)).await.unwrap();
    assert_eq!(faulty.failures(), 1);
    let there = keys(&target, COPY);
    assert!(held.iter().all(|object| there.contains(object)), "{held:?} of {there:?}");
}
