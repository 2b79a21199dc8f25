//! Disks are known by their names: one that goes shifts no other, another order copies nothing, and what a disk is known by goes
//! wherever its blocks go.

use std::fs::File;
use std::path::PathBuf;

use offsite::model::BlockSize;
use offsite::report::BackupReport;
use offsite::{
    BackupJob, BackupMethod, DiskName, Error, Export, FullKind, ImageFormat, ImageSource, Import, JobFolder, MapSeed,
    MergeMethod, OpenRepository, PointSelector, Repair, Restore,
};
use offsite_repository::Repository;
use offsite_tests::TempDir;

use crate::support::objects::{fork, keys};
use crate::support::{BLOCK, copy_job, day, job, keep, machine, memory_repository, open_memory, scratch};

/// A folder with images `a` to `d`, each with content of its own.
fn images() -> TempDir {
    let folder = scratch();
    for (fill, name) in (1..).zip(["a", "b", "c", "d"]) {
        std::fs::write(folder.path().join(name), vec![fill; 2 * BLOCK + 9]).unwrap();
    }
    folder
}

struct Scene {
    folder: TempDir,
    repository: OpenRepository,
}

impl Scene {
    async fn new() -> Self {
        Self { folder: images(), repository: memory_repository().await.1 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn backup(&self, number: i64, sources: Vec<ImageSource>) -> offsite::Result<BackupReport> {
        let job = BackupJob::new(&self.repository, job("nightly")).block_size(BlockSize::KiB256);
        job.machine(machine("web01"), sources).run(day(number)).await
    }

    async fn run(&self, number: i64, names: &[&str]) -> BackupReport {
        self.backup(number, names.iter().map(|name| ImageSource::new(self.path(name))).collect()).await.unwrap()
    }

    /// Number, name and first byte of each disk that the newest point restores.
    async fn disks(&self) -> Vec<(u16, String, u8)> {
        let to = scratch();
        let report = Restore::new(&self.repository, job("nightly"), machine("web01")).run(to.path()).await.unwrap();
        let disk = |disk: &offsite::report::RestoredDisk| {
            (disk.number.0, disk.name.to_string(), std::fs::read(disk.path.as_ref().unwrap()).unwrap()[0])
        };
        report.disks.iter().map(disk).collect()
    }
}

fn listed(disks: &[(u16, &str, u8)]) -> Vec<(u16, String, u8)> {
    disks.iter().map(|(number, name, byte)| (*number, (*name).to_owned(), *byte)).collect()
}

#[tokio::test]
async fn disks_are_told_by_name_then_by_place() {
    let scene = Scene::new().await;
    assert_eq!(scene.run(0, &["a", "b", "c"]).await.stored_blocks, 9);
    assert_eq!(scene.disks().await, listed(&[(0, "a", 1), (1, "b", 2), (2, "c", 3)]));
    assert_eq!(scene.run(1, &["c", "a", "b"]).await.stored_blocks, 0, "another order");
    assert_eq!(scene.disks().await, listed(&[(0, "a", 1), (1, "b", 2), (2, "c", 3)]));
    assert_eq!(scene.run(2, &["b", "c"]).await.stored_blocks, 0, "one goes");
    assert_eq!(scene.disks().await, listed(&[(1, "b", 2), (2, "c", 3)]));
    assert_eq!(scene.run(3, &["b", "d", "c"]).await.stored_blocks, 3, "one comes");
    assert_eq!(scene.disks().await, listed(&[(0, "d", 4), (1, "b", 2), (2, "c", 3)]));
    for name in ["b", "c", "d"] {
        std::fs::rename(scene.path(name), scene.path(&format!("{name}-today"))).unwrap();
    }
    assert_eq!(scene.run(4, &["d-today", "b-today", "c-today"]).await.stored_blocks, 0, "snapshots of another day");
    assert_eq!(scene.disks().await, listed(&[(0, "d-today", 4), (1, "b-today", 2), (2, "c-today", 3)]));
    // An active full knows them, too.
    let named = |name: &str, path: &str| ImageSource::new(scene.path(path)).named(DiskName::new(name).unwrap());
    let sources = vec![named("b-today", "b-today"), named("c-today", "c-today")];
    let full = BackupJob::new(&scene.repository, job("nightly")).machine(machine("web01"), sources);
    full.full(FullKind::Active).run(day(5)).await.unwrap();
    assert_eq!(scene.disks().await, listed(&[(1, "b-today", 2), (2, "c-today", 3)]));
    // What a caller calls them.
    let sources = vec![named("vda", "b-today"), named("vdb", "c-today")];
    assert_eq!(scene.backup(6, sources).await.unwrap().stored_blocks, 0);
    let sources = vec![named("vdb", "c-today"), named("vda", "b-today")];
    assert_eq!(scene.backup(7, sources).await.unwrap().stored_blocks, 0);
    assert_eq!(scene.disks().await, listed(&[(1, "vda", 2), (2, "vdb", 3)]));
    let error = scene.backup(8, vec![named("vda", "b-today"), named("vda", "c-today")]).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidSetting { why, .. } if why.contains("called vda")), "{error}");
}

#[tokio::test]
async fn a_disk_is_restored_by_name_or_number() {
    let scene = Scene::new().await;
    scene.run(0, &["a", "b"]).await;
    scene.run(1, &["b"]).await;
    scene.run(2, &["b", "c"]).await;
    for (selector, byte) in [("b", 2), ("1", 2), ("c", 3)] {
        let to = scratch();
        let path = to.path().join("one");
        let restore = Restore::new(&scene.repository, job("nightly"), machine("web01")).disk(selector);
        let report = restore.run(&path).await.unwrap();
        assert_eq!((report.disks.len(), std::fs::read(&path).unwrap()[0]), (1, byte));
    }
    let to = scratch();
    let restore = Restore::new(&scene.repository, job("nightly"), machine("web01"));
    for selector in ["a", "7"] {
        let error = restore.clone().disk(selector).run(&to.path().join("one")).await.unwrap_err();
        assert!(error.to_string().contains("0 (c), 1 (b)"), "{error}");
    }
}

/// Name and format of each disk of the machine, at each point of a folder.
async fn known(repository: &OpenRepository, folder: &str) -> Vec<Vec<(u16, String, ImageFormat)>> {
    let folder = JobFolder::open(repository, &job(folder)).await.unwrap();
    let mut all = Vec::new();
    for point in folder.chain().all() {
        let mut disks = folder.disks(point).await.unwrap();
        let disks = disks.remove(&machine("web01")).unwrap_or_default().into_iter();
        all.push(disks.map(|disk| (disk.number.0, disk.identity.name.to_string(), disk.identity.format)).collect());
    }
    all
}

/// Through copies, merges of both kinds, rollbacks, exports, imports, seeds and repairs.
#[tokio::test]
async fn what_a_disk_is_known_by_goes_with_it() {
    let expected = |names: [&str; 2]| {
        vec![(0, names[0].to_owned(), ImageFormat::Raw), (1, names[1].to_owned(), ImageFormat::Qcow2)]
    };
    for method in [MergeMethod::Adopt, MergeMethod::Fold] {
        let scene = Scene::new().await;
        let repository = &scene.repository;
        offsite_tests::qemu::create(&scene.path("q"), offsite_tests::qemu::Format::Qcow2, 1 << 20);
        let (target, second) = memory_repository().await;
        for number in 0..5 {
            std::fs::write(scene.path("a"), vec![10 + number as u8; 2 * BLOCK]).unwrap();
            // From the third day on the first disk is called otherwise.
            let first = if number < 2 { "a" } else { "first" };
            let sources = vec![
                ImageSource::new(scene.path("a")).named(DiskName::new(first).unwrap()),
                ImageSource::new(scene.path("q")),
            ];
            let backup = BackupJob::new(repository, job("nightly")).machine(machine("web01"), sources);
            let backup = if method == MergeMethod::Adopt { backup } else { backup.method(BackupMethod::Reverse) };
            let backup = if number == 0 { backup.full(FullKind::Synthetic) } else { backup };
            backup.run(day(number)).await.unwrap();
            copy_job(repository, &second)
                .transforms(offsite::Transforms::keeping(keep(2)).merge(method))
                .run(day(number))
                .await
                .unwrap();
        }
        let of_copy = vec![expected(["first", "q"]); 2];
        assert_eq!(known(&second, "Offsite Copy").await, of_copy, "{method:?}");
        // Exported and imported.
        let file = File::create(scene.path("export")).unwrap();
        Export::new(&second, job("Offsite Copy")).point(PointSelector::Latest).run(file).await.unwrap();
        let (_, third) = memory_repository().await;
        Import::new(&third, job("Offsite Copy")).run(File::open(scene.path("export")).unwrap(), day(9)).await.unwrap();
        assert_eq!(known(&third, "Offsite Copy").await, [expected(["first", "q"])]);
        // Carried as a seed.
        let (_, fourth) = memory_repository().await;
        let seed = MapSeed::new(&fourth, job("Offsite Copy"), &second, job("Offsite Copy")).unwrap();
        seed.run(day(9)).await.unwrap();
        assert_eq!(known(&fourth, "Offsite Copy").await, of_copy);
        // Repaired from its indexes alone.
        let lost = fork(&target).await;
        for key in keys(&lost, "Offsite Copy") {
            if key.as_str().contains("/head/") || key.name().ends_with(".head") {
                lost.delete(&key).await.unwrap();
            }
        }
        let repaired = open_memory(&lost).await;
        Repair::new(&repaired, job("Offsite Copy")).run().await.unwrap();
        assert_eq!(known(&repaired, "Offsite Copy").await.last(), Some(&expected(["first", "q"])));
        let points = known(repository, "nightly").await;
        assert!(points[..2].iter().all(|disks| *disks == expected(["a", "q"])), "{points:?}");
        assert!(points[2..].iter().all(|disks| *disks == expected(["first", "q"])), "{points:?}");
    }
}
