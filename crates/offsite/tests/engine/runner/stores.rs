//! Stores: what is kept, and who may keep it.

use std::fs;

use offsite::runner::{FolderStore, Holder, Memory, Store, StoreError};

use super::BOTH;
use super::world::{COPY, World, settings, time};
use crate::support::{job, scratch};

#[tokio::test(start_paused = true)]
async fn a_folder_has_one_daemon_at_a_time_and_the_next_goes_on() {
    let folder = scratch();
    let folder = folder.path().join("state");
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let clock = world.clock.clone();
    assert_eq!(FolderStore::look(&folder).unwrap(), None);
    let store = FolderStore::open(&folder, "a test", clock.as_ref()).unwrap();
    match FolderStore::open(&folder, "another", clock.as_ref()) {
        Err(StoreError::InUse { holder, .. }) => assert_eq!(holder, Some(Holder::this("a test"))),
        other => panic!("{other:?}"),
    }
    let runner = world.runner(&settings("1 day", "22:00", "UTC")).store(std::sync::Arc::new(store.clone()));
    let until = world.reached(time("2026-11-02T12:00:00Z"));
    let backups = [(time("2026-11-01T22:20:00Z"), BOTH)];
    tokio::join!(runner.run(until), world.back_up_all(&backups));
    let known = store.load(&job(COPY)).await.unwrap();
    assert!(known.last.as_ref().is_some_and(|last| last.is_finished), "{known:?}");
    let shown = FolderStore::look(&folder).unwrap().unwrap();
    assert!(shown.is_running && shown.stopped.is_none());
    assert_eq!((shown.holder, shown.started), (Holder::this("a test"), time("2026-11-01T22:00:00Z")));
    let status = &shown.jobs[&job(COPY)];
    assert!(status.last.as_ref().is_some_and(|last| last.point.is_some()), "{status:?}");
    // One that stands by has it as soon as the other has gone.
    let stand_by = FolderStore::stand_by(&folder, "the next", clock.as_ref());
    let end = async {
        world.reached(time("2026-11-02T12:10:00Z")).await;
        store.stopped(time("2026-11-02T12:10:00Z")).unwrap();
        assert_eq!(FolderStore::look(&folder).unwrap().unwrap().stopped, Some(time("2026-11-02T12:10:00Z")));
        drop(store);
    };
    let (next, ()) = tokio::join!(stand_by, end);
    let next = next.unwrap();
    assert_eq!(next.load(&job(COPY)).await.unwrap(), known);
    assert_eq!(next.shown(&job(COPY)).await.as_ref(), Some(status));
    next.rename(&job(COPY), &job("renamed")).await.unwrap();
    assert_eq!(next.load(&job(COPY)).await.unwrap(), Memory::default());
    assert_eq!(next.load(&job("renamed")).await.unwrap(), known);
    next.forget(&job("renamed")).await.unwrap();
    assert_eq!(next.load(&job("renamed")).await.unwrap(), Memory::default());
}

#[tokio::test]
async fn what_is_damaged_is_an_error_and_no_memory() {
    let folder = scratch();
    let folder = folder.path();
    let clock = offsite::runner::SystemClock;
    let store = FolderStore::open(folder, "a test", &clock).unwrap();
    store.store(&job(COPY), &Memory { added: 3, ..Memory::default() }).await.unwrap();
    assert_eq!(store.load(&job(COPY)).await.unwrap().added, 3);
    let file = folder.join("memory").join(format!("{COPY}.json"));
    let text = fs::read_to_string(&file).unwrap();
    for wrong in ["", "{}", &text.replace("\"version\": 1", "\"version\": 9")] {
        fs::write(&file, wrong).unwrap();
        let error = store.load(&job(COPY)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unreadable { path, .. } if *path == file), "{error}");
    }
    fs::write(folder.join("status.json"), "{\"version\": 1}").unwrap();
    let error = FolderStore::look(folder).unwrap_err().to_string();
    assert!(error.contains("status.json") && error.contains("version 1"), "{error}");
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    let error = FolderStore::open(&file, "a test", &clock).unwrap_err();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
}
