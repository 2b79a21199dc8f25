//! Copies of which something cannot be read: what can be is copied, and what cannot is told.

use offsite::report::{MachineOutcome, Reason};
use offsite::{CopyJob, Error, SyncRequest, Verify};
use offsite_core::format::frame::HEADER_BYTES;
use offsite_repository::testing::{Memory, MemoryOptions};
use offsite_repository::{Extent, Repository};

use super::{COPY, Scene, is_tidy, outcome, through};
use crate::support::gates::StopAfter;
use crate::support::objects::{key, keys, newest_head, spare, step};
use crate::support::{
    BLOCK, Machines, copy_job, day, job, machine, memory_repository, memory_repository_with, restored,
};

/// Damages the last bytes of a backup file of a source.
async fn damage(memory: &Memory, name: &str, offset_from_end: u64) -> (offsite_repository::Key, u64, bytes::Bytes) {
    let found = keys(memory, &format!("{name}/blocks")).remove(0);
    let (_, whole) = memory.contents().into_iter().find(|(key, _)| *key == found).unwrap();
    let offset = whole.len() as u64 - offset_from_end;
    let old = whole.slice(offset as usize..offset as usize + 64);
    let chunks = vec![bytes::Bytes::from(vec![0x55; 64])];
    memory.patch().unwrap().write_extents(&found, vec![Extent::new(offset, chunks)]).await.unwrap();
    (found, offset, old)
}

/// A block of one machine cannot be read: the other is copied, the damage is told, and when it is mended only that block is sent.
#[tokio::test]
async fn damage_of_one_machine_does_not_keep_the_others_from_being_copied() {
    let scene = Scene::new().await;
    let (target, second) = memory_repository().await;
    // The last frame of the first day's file is the end of web01's disk.
    let (damaged, offset, old) = damage(&scene.source, "nightly", 4096 - 200).await;
    let copy = copy_job(&scene.primary, &second);
    let report = copy.run(day(1)).await.unwrap();
    let sync = report.sync.unwrap();
    assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
    assert_eq!(sync.machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>(), ["db01"]);
    let outcomes: Vec<_> = report.machines.iter().map(|report| (report.name.as_str(), &report.outcome)).collect();
    let [("db01", MachineOutcome::Complete { .. }), ("web01", MachineOutcome::Incomplete { transferred, why, .. })] =
        outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    assert!(transferred.done_bytes > 0 && transferred.left_bytes < 2000, "{transferred:?}");
    assert!(matches!(why, Reason::Failed(why) if why.text.contains("block 6 of disk 0 of web01")), "{why}");
    assert_eq!(sync.tally.planned.read_requests, sync.tally.source.read_requests, "that of the damaged block, too");
    is_tidy(&target, COPY).await;
    // Nothing new arrives as long as it is damaged, so no new point is made.
    let again = copy.run(day(1)).await.unwrap();
    assert!(again.sync.is_none());
    scene.source.patch().unwrap().write_extents(&damaged, vec![Extent::new(offset, vec![old])]).await.unwrap();
    let mended = copy.run(day(1)).await.unwrap().sync.unwrap();
    assert_eq!((mended.tally.planned.blocks, mended.tally.kept_to_plan()), (1, true));
    assert_eq!(scene.truth.check(&second, COPY).await, [1, 2]);
    is_tidy(&target, COPY).await;
}

/// The source's file ends in the middle of a request: the blocks before that arrive.
#[tokio::test]
async fn what_lies_before_a_cut_is_copied() {
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(73);
    machines.add("db01", &[2 * BLOCK]);
    machines.add("web01", &[6 * BLOCK]);
    ["db01", "web01"].iter().for_each(|name| machines.fill_with_noise(name));
    machines.backup(&primary, &["db01", "web01"]).run(day(0)).await.unwrap();
    let full = step(&source, "nightly", &newest_head(&source, "nightly").chain.points()[0]);
    let (.., at) = full.stored().filter(|(name, ..)| name.as_str() == "web01").nth(3).unwrap();
    assert!(source.truncate(&key(&format!("nightly/blocks/{}", at.file)), at.offset + 10));
    let synced = copy_job(&primary, &second).sync(&SyncRequest::at(day(0))).await.unwrap();
    assert!(matches!(outcome(&synced, "db01"), MachineOutcome::Complete { .. }), "{synced:?}");
    assert!(matches!(outcome(&synced, "web01"), MachineOutcome::Incomplete { .. }), "{synced:?}");
    assert_eq!(spare(&target, COPY, &newest_head(&target, COPY)).stored().count(), 3);
    is_tidy(&target, COPY).await;
}

/// A block that cannot be read is left out, and those behind it move up: where files have a bound, into the file before. What is live in each
/// file is what lies there, and not what was to.
#[tokio::test]
async fn blocks_behind_a_damaged_one_count_in_the_files_that_they_move_up_into() {
    let (source, primary) = memory_repository().await;
    // Two blocks fit into a file.
    let options = MemoryOptions::default().with_object_bytes_max(600 << 10);
    let (target, second) = memory_repository_with(options).await;
    let mut machines = Machines::new(74);
    machines.add("db01", &[3 * BLOCK]);
    machines.add("web01", &[4 * BLOCK]);
    ["db01", "web01"].iter().for_each(|name| machines.fill_with_noise(name));
    machines.backup(&primary, &["db01", "web01"]).run(day(0)).await.unwrap();
    let full = step(&source, "nightly", &newest_head(&source, "nightly").chain.points()[0]);
    let (.., at) = full.stored().find(|(name, ..)| name.as_str() == "db01").unwrap();
    assert!(source.corrupt(&key(&format!("nightly/blocks/{}", at.file)), at.offset + HEADER_BYTES as u64, 1));
    let synced = copy_job(&primary, &second).sync(&SyncRequest::at(day(0))).await.unwrap();
    assert!(matches!(outcome(&synced, "db01"), MachineOutcome::Incomplete { .. }), "{synced:?}");
    assert!(matches!(outcome(&synced, "web01"), MachineOutcome::Complete { .. }), "{synced:?}");
    let files = newest_head(&target, COPY).files;
    let blocks: Vec<u64> = files.values().map(|file| file.live_bytes / BLOCK as u64).collect();
    assert_eq!(blocks, [2, 2, 2], "{files:?}");
    is_tidy(&target, COPY).await;
}

/// A point has nothing to lose of a machine at which its copy was cut off: what is damaged of that is an older point's.
#[tokio::test]
async fn damage_touches_no_machine_that_a_point_has_not_whole() {
    let mut scene = Scene::new().await;
    let (target, second) = memory_repository().await;
    let copy = copy_job(&scene.primary, &second);
    copy.sync(&SyncRequest::at(day(0))).await.unwrap();
    scene.next_day(2, 3).await;
    copy.sync(&through(2, StopAfter::new(1))).await.unwrap();
    let points = newest_head(&target, COPY).chain.points().to_vec();
    let cut_off = points[1].machines.iter().find(|machine| !machine.is_whole()).unwrap().name.clone();
    let full = step(&target, COPY, &points[0]);
    let (.., at) = full.stored().find(|(name, ..)| name.as_str() == cut_off.as_str()).unwrap();
    let file = key(&format!("{COPY}/blocks/{}", at.file));
    let touched = async |reads: bool| {
        let report = Verify::new(&second, job(COPY)).read_data(reads).run().await.unwrap();
        let touched = report.damage.into_iter().flat_map(|damage| damage.touches);
        let of_machine = touched.filter(|touched| touched.machine.as_ref() == Some(&cut_off));
        of_machine.map(|touched| touched.sequence).collect::<Vec<_>>()
    };
    assert!(target.corrupt(&file, at.offset + HEADER_BYTES as u64, 1));
    assert_eq!(touched(true).await, [points[0].sequence], "a block of it");
    assert!(target.remove(&file));
    assert_eq!(touched(false).await, [points[0].sequence], "a file");
}

/// A copy that brings one machine whole is one, whatever became of the others; one that brings none fails, and what arrived is kept.
#[tokio::test]
async fn a_copy_fails_if_no_machine_of_it_is_whole() {
    let (source, primary) = memory_repository().await;
    let mut machines = Machines::new(75);
    machines.add("db01", &[3 * BLOCK]);
    machines.add("web01", &[4 * BLOCK]);
    ["db01", "web01"].iter().for_each(|name| machines.fill_with_noise(name));
    machines.backup(&primary, &["db01", "web01"]).run(day(0)).await.unwrap();
    let full = step(&source, "nightly", &newest_head(&source, "nightly").chain.points()[0]);
    for (number, name) in ["db01", "web01"].into_iter().enumerate() {
        let (.., at) = full.stored().find(|(found, ..)| found.as_str() == name).unwrap();
        assert!(source.corrupt(&key(&format!("nightly/blocks/{}", at.file)), at.offset + HEADER_BYTES as u64, 1));
        let (target, second) = memory_repository().await;
        let answer = copy_job(&primary, &second).sync(&SyncRequest::at(day(0))).await;
        assert_eq!(answer.is_ok(), number == 0, "{answer:?}");
        assert!(answer.err().is_none_or(|error| matches!(error, Error::Damaged { .. })));
        assert_eq!(spare(&target, COPY, &newest_head(&target, COPY)).stored().count(), [2, 5][number]);
    }
}

/// An index that cannot be read is the loss of the machines of that point, and told; with nothing else to copy it is an error.
#[tokio::test]
async fn a_point_that_cannot_be_read_is_told() {
    let (source, primary) = memory_repository().await;
    let mut machines = Machines::new(72);
    machines.add("web01", &[2 * BLOCK]);
    machines.add("db01", &[2 * BLOCK]);
    machines.backup(&primary, &["db01"]).run(day(0)).await.unwrap();
    let index = keys(&source, "nightly/index").remove(0);
    // Another job has the other machine.
    let other = offsite::BackupJob::new(&primary, job("weekly")).block_size(offsite::model::BlockSize::KiB256);
    let other = other.machine(machine("web01"), vec![offsite::ImageSource::new(machines.image("web01", 0))]);
    other.run(day(0)).await.unwrap();
    source.remove(&index);
    let (_, second) = memory_repository().await;
    let error = copy_job(&primary, &second).run(day(0)).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    let copy = CopyJob::of(job(COPY), vec![offsite::Source::infrastructure(&primary)], &second).unwrap();
    let report = copy.run(day(0)).await.unwrap();
    assert!(report.absent().eq([&machine("db01")]), "{:?}", report.machines);
    let why = report.machines.iter().find_map(|machine| match &machine.outcome {
        MachineOutcome::Absent { why } => Some(why.to_string()),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains(index.as_str())), "{:?}", report.machines);
    assert_eq!(restored(&second, COPY, "web01", None).await, machines.content("web01"));
}
