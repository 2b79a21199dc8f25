//! What is left of damaged disks, and what an error says of the way out.
#![allow(clippy::single_range_in_vec_init, reason = "ranges of a disk, not collections of numbers")]

use std::ops::Range;
use std::sync::{Arc, Mutex};

use offsite::model::Sequence;
use offsite::report::{RestoreReport, RestoredDisk};
use offsite::{BackupJob, DiskTarget, Error, ImageFormat, ImageSource, OpenRepository, PointSelector, Restore, Verify};
use offsite_repository::testing::Memory;
use offsite_tests::LoopDevice;

use super::{backed_up, flip, place, restore};
use crate::support::objects::{key, keys, newest_head};
use crate::support::{BLOCK, Machines, day, files_in, job, machine, memory_repository, restored, scratch};

const B: u64 = BLOCK as u64;

fn salvage(repository: &OpenRepository) -> Restore {
    restore(repository).salvage(true)
}

/// The disk with zeros in these ranges.
fn without(disk: &[u8], lost: &[Range<u64>]) -> Vec<u8> {
    let mut left = disk.to_vec();
    lost.iter().for_each(|range| left[range.start as usize..range.end as usize].fill(0));
    left
}

fn read(disk: &RestoredDisk) -> Vec<u8> {
    std::fs::read(disk.path.as_ref().unwrap()).unwrap()
}

/// Two disks: one whose blocks of noise end within a block, and another.
async fn noisy() -> (Arc<Memory>, OpenRepository, Machines) {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(22);
    machines.add("web01", &[9 * BLOCK + 1234, 2 * BLOCK]);
    machines.fill_with_noise("web01");
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    (memory, repository, machines)
}

/// Lost blocks become zeros and are listed, in files, streams and on devices; everything else is as it was.
#[tokio::test]
async fn lost_blocks_become_zeros_and_are_listed() {
    let (memory, repository, machines) = noisy().await;
    for block in [1, 4, 5, 9] {
        flip(&memory, &place(&memory, 1, 0, block));
    }
    let lost = [B..2 * B, 4 * B..6 * B, 9 * B..9 * B + 1234];
    let content = machines.content("web01");
    let left = without(&content[0], &lost);
    let check = |report: &RestoreReport| {
        assert_eq!(report.disks[0].lost, lost, "{report:?}");
        assert_eq!(report.disks[0].data_bytes, 6 * B);
        assert!(report.disks.iter().skip(1).all(|disk| disk.lost.is_empty()), "{report:?}");
    };
    let to = scratch();
    let report = salvage(&repository).run(to.path()).await.unwrap();
    check(&report);
    assert!(read(&report.disks[0]) == left);
    assert!(read(&report.disks[1]) == content[1], "the other disk is whole");
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let buffer = Buffer::default();
    check(&salvage(&repository).disk("0").disk_to(DiskTarget::writer(buffer.clone())).await.unwrap());
    assert!(*buffer.0.lock().unwrap() == left);
    let image = to.path().join("disk.qcow2");
    check(&salvage(&repository).disk("0").format(ImageFormat::Qcow2).run(&image).await.unwrap());
    let again = BackupJob::new(&repository, job("again")).machine(machine("web01"), vec![ImageSource::new(image)]);
    again.run(day(1)).await.unwrap();
    assert!(restored(&repository, "again", "web01", None).await[0].starts_with(&left));
    if let Some(device) = LoopDevice::new_or_say(left.len().next_multiple_of(512), 0xaa) {
        check(&salvage(&repository).disk("0").overwrite(true).run(device.path()).await.unwrap());
        assert!(device.content().starts_with(&left));
    }
    // What is intact is restored by it as without it.
    let report = salvage(&repository).disk("1").run(&to.path().join("whole")).await.unwrap();
    assert!(report.disks[0].lost.is_empty() && read(&report.disks[0]) == content[1]);
}

/// A file that is cut off, and one that is gone.
#[tokio::test]
async fn what_lies_before_a_cut_and_beside_a_lost_file_is_restored() {
    let (memory, repository, mut machines) = noisy().await;
    let first = machines.content("web01");
    machines.overwrite("web01", |disk| disk[..BLOCK].fill(9));
    machines.backup(&repository, &["web01"]).run(day(1)).await.unwrap();
    let content = machines.content("web01");
    let (newest, _) = place(&memory, 2, 0, 0);
    assert!(memory.remove(&newest));
    let to = scratch();
    let report = salvage(&repository).run(to.path()).await.unwrap();
    for (disk, content) in report.disks.iter().zip(&content) {
        assert_eq!(disk.lost, [0..B]);
        assert!(read(disk) == without(content, &[0..B]));
    }
    // Cut in the middle of a block of the first disk, whose blocks come first.
    let (full, at) = place(&memory, 1, 0, 6);
    assert!(memory.truncate(&full, at.offset + 10));
    let to = scratch();
    let report = salvage(&repository).point(PointSelector::Sequence(Sequence(1))).run(to.path()).await.unwrap();
    assert_eq!(report.disks[0].lost, [6 * B..9 * B + 1234]);
    assert_eq!(report.disks[1].lost, [0..2 * B]);
    assert!(read(&report.disks[0]) == without(&first[0], &report.disks[0].lost));
}

/// Where blocks lie is told by the index alone: without it there is nothing to salvage.
#[tokio::test]
async fn without_an_index_nothing_is_salvaged() {
    let (memory, repository, machines) = noisy().await;
    machines.backup(&repository, &["web01"]).run(day(1)).await.unwrap();
    let index = newest_head(&memory, "nightly").chain.latest().unwrap().index.id;
    assert!(memory.corrupt(&key(&format!("nightly/index/{index}")), 70, 1));
    for salvages in [false, true] {
        let to = scratch();
        let error = restore(&repository).salvage(salvages).run(to.path()).await.unwrap_err();
        assert_eq!(damage(&error), (2, Some(1), false), "{error}");
        assert!(error.to_string().contains("it cannot be salvaged"), "{error}");
        assert_eq!(files_in(to.path()), 0);
    }
}

/// The point that is damaged, the one that is named as intact, and whether the rest can be salvaged.
#[track_caller]
fn damage(error: &Error) -> (u64, Option<u64>, bool) {
    let Error::MachineDamaged { sequence, intact, is_salvageable, .. } = error else { panic!("{error}") };
    (sequence.0, intact.map(|(sequence, _)| sequence.0), *is_salvageable)
}

async fn refused(repository: &OpenRepository, point: PointSelector) -> (u64, Option<u64>, bool) {
    let to = scratch();
    let error = restore(repository).point(point).run(to.path()).await.unwrap_err();
    assert_eq!(files_in(to.path()), 0);
    let streamed =
        restore(repository).point(point).disk("0").disk_to(DiskTarget::writer(std::io::sink())).await.unwrap_err();
    assert_eq!(damage(&streamed), damage(&error));
    damage(&error)
}

#[tokio::test]
async fn the_newest_intact_point_is_named() {
    let (memory, repository, mut machines) = backed_up().await;
    for number in 1..4_usize {
        let at = (number - 1) * BLOCK / 2;
        let change = |disk: &mut [u8]| disk.iter_mut().skip(at).take(100).for_each(|byte| *byte = number as u8);
        machines.overwrite("web01", change);
        machines.backup(&repository, &["web01"]).run(day(number as i64)).await.unwrap();
    }
    // The blocks of the first disk: 0 is of points 2 and 3, 1 is of point 4, 3 of the first.
    let (third, fourth, first) = (place(&memory, 3, 0, 0), place(&memory, 4, 0, 1), place(&memory, 1, 0, 3));
    flip(&memory, &fourth);
    assert_eq!(refused(&repository, PointSelector::Latest).await, (4, Some(3), true));
    // What a verification found counts, too.
    flip(&memory, &third);
    Verify::new(&repository, job("nightly")).read_data(true).run().await.unwrap();
    assert_eq!(refused(&repository, PointSelector::Latest).await, (4, Some(2), true));
    flip(&memory, &third);
    flip(&memory, &fourth);
    flip(&memory, &first);
    assert_eq!(refused(&repository, PointSelector::Sequence(Sequence(2))).await, (2, None, true));
    flip(&memory, &first);
    assert!(keys(&memory, "nightly/verify").iter().all(|found| memory.remove(found)));
    // A newer one than the one that was asked for; and a file that is gone.
    let (second, _) = place(&memory, 2, 0, 0);
    assert!(memory.remove(&second));
    assert_eq!(refused(&repository, PointSelector::Sequence(Sequence(2))).await, (2, Some(4), true));
    assert!(memory.remove(&third.0));
    assert_eq!(refused(&repository, PointSelector::Latest).await, (4, Some(1), true));
}

/// An outage is no damage: nothing is made up.
#[tokio::test]
async fn an_outage_is_not_salvaged() {
    use offsite_repository::testing::{Fault, Faulty};
    use offsite_repository::{ErrorKind, Prefix};
    let (memory, ..) = noisy().await;
    let faulty = Faulty::new(memory.fork());
    let repository = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let to = scratch();
    salvage(&repository).run(to.path()).await.unwrap();
    let to = scratch();
    faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).below(Prefix::new("nightly/blocks").unwrap()));
    let error = salvage(&repository).run(to.path()).await.unwrap_err();
    assert!(matches!(error, Error::Repository { .. }), "{error}");
}
