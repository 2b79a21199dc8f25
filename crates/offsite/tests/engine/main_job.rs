//! The main job through the library: back up, copy, merge, verify, restore.

use std::collections::BTreeMap;

use offsite::model::PointKind;
use offsite::model::Sequence;
use offsite::report::Operation;
use offsite::{JobFolder, MergeMethod, Restore, Verify};
use offsite_repository::{Extent, Repository};

use crate::support::objects::is_copy;
use crate::support::{BLOCK, Machines, Random, copy_job, day, job, keep, machine, memory_repository, restored};

/// Ten days of two machines, copied daily with a retention of 3; each kept point of each chain restores to the byte.
#[tokio::test]
async fn every_kept_point_of_both_chains_restores() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(1);
    machines.add("web01", &[20 * BLOCK + 777, 3 * BLOCK]);
    machines.add("db01", &[9 * BLOCK]);
    let copy = copy_job(&primary, &second).transforms(keep(3));
    let mut history = BTreeMap::new();
    for number in 0..10 {
        if number > 0 {
            machines.change("web01", 4);
            machines.change("db01", 2);
        }
        match number {
            4 => machines.resize("web01", 0, 25 * BLOCK + 5),
            6 => machines.resize("web01", 0, 11 * BLOCK + 3),
            8 => machines.resize("db01", 0, 10 * BLOCK),
            _ => {}
        }
        let backup = machines.backup(&primary, &["web01", "db01"]).keep(keep(5)).run(day(number)).await.unwrap();
        assert_eq!(backup.full, number == 0);
        history.insert(backup.sequence.0, (machines.content("web01"), machines.content("db01")));
        let report = copy.run(day(number)).await.unwrap();
        let sync = report.sync.expect("a new point each day");
        assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
        assert_eq!(sync.sequence, backup.sequence, "both chains count from 1");
        for (repository, folder) in [(&primary, "nightly"), (&second, "Offsite Copy")] {
            let chain = JobFolder::open(repository, &job(folder)).await.unwrap().chain().clone();
            for point in chain.points() {
                let (web, db) = &history[&point.sequence.0];
                let sequence = Some(point.sequence.0);
                assert_eq!(restored(repository, folder, "web01", sequence).await, *web, "{folder} {}", point.sequence);
                assert_eq!(restored(repository, folder, "db01", sequence).await, *db, "{folder} {}", point.sequence);
            }
        }
    }
    let chain = JobFolder::open(&second, &job("Offsite Copy")).await.unwrap().chain().clone();
    let kinds: Vec<_> = chain.points().iter().map(|point| (point.sequence.0, point.kind)).collect();
    assert_eq!(kinds, [(8, PointKind::Full), (9, PointKind::Increment), (10, PointKind::Increment)]);
    for (repository, folder) in [(&primary, "nightly"), (&second, "Offsite Copy")] {
        let report = Verify::new(repository, job(folder)).read_data(true).run().await.unwrap();
        assert_eq!(report.damage, []);
        assert!(report.bytes_read > 0);
    }
}

/// The example of the retention page: on Wednesday Monday's increment goes into Sunday's full.
#[tokio::test]
async fn the_oldest_increment_becomes_the_full() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(2);
    machines.add("web01", &[6 * BLOCK]);
    let copy = copy_job(&primary, &second).transforms(keep(3));
    for number in 0..4 {
        machines.change("web01", 2);
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        let report = copy.run(day(number)).await.unwrap();
        match &report.transform.operations[..] {
            [merge] => {
                let Operation::Merge { absorbed, full, method, .. } = &merge.operation else { panic!("{merge:?}") };
                assert_eq!((number, &absorbed[..], *full), (3, &[Sequence(1)][..], Sequence(2)));
                assert_eq!(*method, MergeMethod::Adopt);
                assert_eq!((merge.tally.target.bytes_read, merge.tally.target.bytes_written), (0, 0));
                assert!(merge.tally.kept_to_plan());
            }
            operations => assert!(number < 3 && operations.is_empty(), "{operations:?}"),
        }
    }
}

/// A machine that is not in a point any more keeps its last state when the points that had it are merged.
#[tokio::test]
async fn the_last_state_of_a_machine_is_carried() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(3);
    machines.add("web01", &[5 * BLOCK]);
    machines.add("old01", &[4 * BLOCK]);
    let copy = copy_job(&primary, &second).transforms(keep(2));
    machines.backup(&primary, &["web01", "old01"]).run(day(0)).await.unwrap();
    copy.run(day(0)).await.unwrap();
    for number in 1..5 {
        machines.change("web01", 2);
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        let report = copy.run(day(number)).await.unwrap();
        let names: Vec<_> = report.sync.unwrap().machines.iter().map(|machine| machine.name.to_string()).collect();
        assert_eq!(names, ["web01"], "old01 has nothing new");
    }
    assert_eq!(restored(&second, "Offsite Copy", "old01", None).await, machines.content("old01"));
    assert_eq!(restored(&second, "Offsite Copy", "web01", None).await, machines.content("web01"));
}

/// The target needs nothing of the source.
#[tokio::test]
async fn the_copy_outlives_its_source() {
    let (source, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(4);
    machines.add("web01", &[7 * BLOCK]);
    let copy = copy_job(&primary, &second);
    for number in 0..3 {
        machines.change("web01", 2);
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        copy.run(day(number)).await.unwrap();
    }
    for (key, _) in source.contents() {
        source.remove(&key);
    }
    assert_eq!(restored(&second, "Offsite Copy", "web01", None).await, machines.content("web01"));
    let report = Verify::new(&second, job("Offsite Copy")).read_data(true).run().await.unwrap();
    assert_eq!((report.points, report.damage), (3, vec![]));
    assert!(copy.run(day(3)).await.is_err(), "the source is no more");
    assert!(Restore::new(&primary, job("nightly"), machine("web01")).run(machines.folder.path()).await.is_err());
}

/// Nothing new: nothing copied, and no restore point made.
#[tokio::test]
async fn a_second_run_copies_nothing() {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(5);
    machines.add("web01", &[3 * BLOCK]);
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    let copy = copy_job(&primary, &second);
    assert!(copy.run(day(0)).await.unwrap().sync.is_some());
    assert!(copy.run(day(1)).await.unwrap().sync.is_none());
    // An unchanged machine makes a restore point without a single block.
    let backup = machines.backup(&primary, &["web01"]).run(day(2)).await.unwrap();
    assert_eq!((backup.stored_blocks, backup.stored_bytes), (0, 0));
    let sync = copy.run(day(2)).await.unwrap().sync.unwrap();
    assert_eq!((sync.tally.planned.blocks, sync.tally.source.bytes_read, sync.tally.target.bytes_written), (0, 0, 0));
}

/// The plan of a dry run is what the run then does, and making it writes nothing.
#[tokio::test]
async fn a_dry_run_tells_what_the_run_does() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(6);
    machines.add("web01", &[8 * BLOCK]);
    let copy = copy_job(&primary, &second).transforms(keep(2));
    for number in 0..4 {
        machines.change("web01", 3);
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        let keys = target.contents();
        let plan = copy.plan(day(number)).await.unwrap();
        assert_eq!(target.contents(), keys, "a dry run writes nothing");
        let report = copy.run(day(number)).await.unwrap();
        let sync = report.sync.unwrap();
        let planned = plan.sync.unwrap();
        assert_eq!((planned.cost, planned.machines, planned.full), (sync.tally.planned, sync.machines, sync.full));
        let done = report.transform.operations.into_iter().map(|report| (report.operation, report.tally.planned));
        let planned = plan.operations.into_iter().map(|planned| (planned.operation, planned.cost));
        assert_eq!(planned.collect::<Vec<_>>(), done.collect::<Vec<_>>());
    }
}

/// A frame of the right block from another day is intact and wrong; a copy, which decompresses nothing, must tell it.
#[tokio::test]
async fn a_copy_refuses_a_frame_of_another_time() {
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(7);
    machines.add("web01", &[BLOCK]);
    let mut random = Random::new(7);
    let mut frames = Vec::new();
    for number in 0..2 {
        machines.overwrite("web01", |disk| disk.iter_mut().for_each(|byte| *byte = random.next() as u8));
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        let contents = source.contents();
        let (key, bytes) =
            contents.iter().rfind(|(key, _)| key.as_str().contains("/blocks/") && !is_copy(key)).unwrap();
        frames.push((key.clone(), bytes.clone()));
    }
    let [(_, older), (newer, whole)] = &frames[..] else { panic!("two backup files") };
    assert_eq!(older.len(), whole.len(), "noise is stored as it is");
    let start = whole.len() - (BLOCK + 4096);
    source
        .patch()
        .unwrap()
        .write_extents(newer, vec![Extent::new(start as u64, vec![older.slice(start..)])])
        .await
        .unwrap();
    let error = copy_job(&primary, &second).run(day(1)).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("at another time"), "{cause}");
    assert!(target.contents().iter().all(|(key, _)| !key.as_str().contains("/blocks/") || is_copy(key)));
    assert!(JobFolder::open(&second, &job("Offsite Copy")).await.unwrap().chain().points().is_empty());
}
