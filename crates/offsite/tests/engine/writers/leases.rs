//! Leases: silence, signs of life, and their lengths.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use offsite::Error;
use tokio::time::Instant;

use super::Scene;
use crate::support::day;
use crate::support::drive::poll_times;
use crate::support::objects::{foreign_lease, keys, newest_head, put_successor, renew, stray};
use crate::support::truth::causes;

/// What a run says while it waits.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl offsite::Progress for Notes {
    fn wait(&self, wait: &offsite::Wait<'_>) {
        self.0.lock().unwrap().push(wait.to_string());
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
        // What it reads is read by tasks and threads of their own, which a busy machine keeps waiting.
        assert!(polls < 1_000_000);
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
