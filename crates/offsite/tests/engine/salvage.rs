//! An index that is lost with its second copy comes back from frames where the head proves what these suggest, and nowhere else.

use offsite::model::ObjectId;
use offsite::model::PointKind;
use offsite::model::RestorePoint;
use offsite::model::Sequence;
use offsite::{BackupMethod, FullKind, MergeMethod, Repair, RepairReport};
use offsite_repository::Repository;
use offsite_repository::testing::Memory;

use crate::support::objects::{fork, keys, newest_head};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory};

const COPY: &str = "Offsite Copy";
const NAMES: [&str; 2] = ["db01", "web01"];

/// A copy of seven evenings that keeps so many points.
struct Scene {
    target: Memory,
    truth: Truth,
}

impl Scene {
    /// `change` does something to the machines before each evening but the first.
    async fn new(points: u32, method: MergeMethod, change: impl Fn(&mut Machines, i64)) -> Self {
        let (_, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(81), Truth::default());
        machines.add("web01", &[80 * BLOCK + 777, 3_000]);
        machines.add("db01", &[2 * BLOCK + 500]);
        for name in NAMES {
            machines.fill_with_noise(name);
        }
        // Zeros from the start on.
        machines.overwrite("web01", |disk| disk.iter_mut().skip(5 * BLOCK).take(3 * BLOCK).for_each(|byte| *byte = 0));
        for number in 0..7 {
            if number > 0 {
                change(&mut machines, number);
            }
            truth.record(&machines, &NAMES, day(number));
            machines.backup(&primary, &NAMES).keep(keep(9)).run(day(number)).await.unwrap();
            copy_job(&primary, &second)
                .transforms(offsite::Transforms::keeping(keep(points)).merge(method))
                .run(day(number))
                .await
                .unwrap();
        }
        Self { target: (*target).clone(), truth }
    }

    fn points(&self) -> Vec<RestorePoint> {
        newest_head(&self.target, COPY).chain.all().cloned().collect()
    }

    /// The copy after a repair of it without these indexes and their second copies.
    async fn without(&self, lost: &[ObjectId]) -> (Memory, RepairReport) {
        let memory = fork(&self.target).await;
        for key in keys(&memory, COPY) {
            let is_index = key.as_str().contains("/index/") || key.name().ends_with(".index");
            if is_index && lost.iter().any(|id| key.name().starts_with(&id.to_string())) {
                memory.delete(&key).await.unwrap();
            }
        }
        let before = memory.contents();
        let repository = open_memory(&memory).await;
        let planned = Repair::new(&repository, job(COPY)).plan().await.unwrap();
        assert_eq!(memory.contents(), before, "a plan writes nothing");
        let report = Repair::new(&repository, job(COPY)).run().await.unwrap();
        assert_eq!(report, planned);
        let second = Repair::new(&repository, job(COPY)).run().await.unwrap();
        assert!(second.is_intact(), "{second:?}");
        (memory, report)
    }

    /// Holds that the folder is what it was, to the last byte, and that `count` indexes were made again for that.
    async fn comes_back(&self, lost: &[ObjectId], count: usize) {
        let (memory, report) = self.without(lost).await;
        assert_eq!((report.salvaged.len(), &report.left_out[..], report.head), (count, &[][..], None), "{report:?}");
        assert_eq!(memory.contents(), self.target.contents());
    }
}

/// Writes into a block of each machine, and never zeros.
fn write(machines: &mut Machines, number: i64) {
    let block = usize::try_from(number).unwrap() * 11 % 37;
    machines.overwrite("web01", |disk| {
        let start = (block * BLOCK).min(disk.len() - 1);
        let end = (start + 2 * BLOCK).min(disk.len());
        disk[start..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(u8::try_from(number).unwrap()) | 1);
    });
    machines.overwrite("db01", |disk| disk[0] = disk[0].wrapping_add(1));
}

#[tokio::test]
async fn each_index_of_a_chain_without_merges_comes_back() {
    let scene = Scene::new(9, MergeMethod::Auto, |machines, number| {
        write(machines, number);
        match number {
            2 => machines.resize("web01", 0, 83 * BLOCK + 11),
            3 => machines.add_disk("db01", BLOCK + 7),
            5 => machines.resize("web01", 0, 81 * BLOCK + 99),
            _ => {}
        }
    })
    .await;
    let points = scene.points();
    assert_eq!(points.len(), 7);
    for point in &points {
        scene.comes_back(&[point.index.id], 1).await;
    }
}

/// The backup files and the head are enough: the files say what the disks are, by names, formats and sizes.
#[tokio::test]
async fn all_indexes_at_once_come_back() {
    let scene = Scene::new(9, MergeMethod::Auto, write).await;
    let all: Vec<ObjectId> = scene.points().iter().map(|point| point.index.id).collect();
    scene.comes_back(&all, 7).await;
}

/// The same where disks come, grow and shrink, and where one ends with zeros, of which there is no frame.
#[tokio::test]
async fn all_indexes_at_once_come_back_though_disks_change() {
    let scene = Scene::new(9, MergeMethod::Auto, |machines, number| {
        write(machines, number);
        match number {
            2 => machines.resize("web01", 0, 83 * BLOCK + 11),
            3 => machines.add_disk("db01", BLOCK + 7),
            5 => machines.resize("web01", 0, 81 * BLOCK + 99),
            _ => {}
        }
    })
    .await;
    let all: Vec<ObjectId> = scene.points().iter().map(|point| point.index.id).collect();
    scene.comes_back(&all, 7).await;
}

#[tokio::test]
async fn what_a_merge_wrote_comes_back() {
    for method in [MergeMethod::Adopt, MergeMethod::Fold] {
        let scene = Scene::new(3, method, write).await;
        let points = scene.points();
        assert!(!points[0].below.is_empty() && points[0].kind == PointKind::Full, "it stacks: {:?}", points[0]);
        for point in &points {
            scene.comes_back(&[point.index.id], 1).await;
        }
    }
}

/// What the full's lowest index said of its machines, no head says any more.
#[tokio::test]
async fn what_only_stands_below_is_not_guessed() {
    let scene = Scene::new(3, MergeMethod::Adopt, write).await;
    let (memory, report) = scene.without(&[scene.points()[0].below[0].id]).await;
    assert_eq!((report.salvaged.len(), report.left_out.len()), (0, 3), "{report:?}");
    assert!(newest_head(&memory, COPY).chain.all().next().is_none());
    assert!(report.left_out[0].reason().contains("do not prove it"), "{report:?}");
}

/// Of zeros there is no frame: a block that became zero looks like one that stayed.
#[tokio::test]
async fn a_block_that_became_zero_is_not_made_up() {
    let scene = Scene::new(9, MergeMethod::Auto, |machines, number| {
        write(machines, number);
        if number == 3 {
            machines.overwrite("web01", |disk| disk.iter_mut().take(BLOCK).for_each(|byte| *byte = 0));
        }
    })
    .await;
    let points = scene.points();
    let (memory, report) = scene.without(&[points[3].index.id]).await;
    let left_out: Vec<Sequence> = report.left_out.iter().map(|left| left.sequence).collect();
    let expected: Vec<Sequence> = points[3..].iter().map(|point| point.sequence).collect();
    assert_eq!((report.salvaged.len(), left_out), (0, expected), "{report:?}");
    assert_eq!(scene.truth.check(&open_memory(&memory).await, COPY).await.len(), 3);
}

/// A full carries a machine that was not backed up with it. What disks that has, only the file of an earlier point tells, where the index of
/// the point between is lost, too.
#[tokio::test]
async fn a_full_comes_back_with_the_machines_that_it_carries() {
    let (memory, repository) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(82), Truth::default());
    for name in NAMES {
        machines.add(name, &[2 * BLOCK]);
        machines.fill_with_noise(name);
    }
    truth.record(&machines, &NAMES, day(0));
    machines.backup(&repository, &NAMES).method(BackupMethod::Forward).run(day(0)).await.unwrap();
    // A block becomes zero, so that nothing proves the second index.
    machines.overwrite("web01", |disk| disk[..BLOCK].fill(0));
    truth.record(&machines, &["web01"], day(1));
    machines.backup(&repository, &["web01"]).method(BackupMethod::Forward).run(day(1)).await.unwrap();
    machines.fill_with_noise("web01");
    truth.record(&machines, &["web01"], day(2));
    let active = machines.backup(&repository, &["web01"]).method(BackupMethod::Forward).full(FullKind::Active);
    active.run(day(2)).await.unwrap();
    let before = newest_head(&memory, "nightly").chain;
    let [_, second, third] = before.points() else { panic!("{before:?}") };
    assert_eq!((third.kind, third.machines.len()), (PointKind::Full, 2));
    for key in keys(&memory, "nightly") {
        let is_index = key.as_str().contains("/index/") || key.name().ends_with(".index");
        let is_lost = |point: &RestorePoint| key.name().starts_with(&point.index.id.to_string());
        if is_index && (is_lost(second) || is_lost(third)) {
            memory.delete(&key).await.unwrap();
        }
    }
    let repository = open_memory(&memory).await;
    let report = Repair::new(&repository, job("nightly")).run().await.unwrap();
    let left_out: Vec<Sequence> = report.left_out.iter().map(|left| left.sequence).collect();
    assert_eq!((report.salvaged.len(), left_out), (1, vec![second.sequence]), "{report:?}");
    assert_eq!(newest_head(&memory, "nightly").chain.points()[1], *third);
    assert_eq!(truth.check(&repository, "nightly").await.len(), 2);
}
