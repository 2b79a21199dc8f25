//! Plans of operations beside what these then do.

use std::collections::BTreeMap;

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use offsite::model::Sequence;
use offsite::{
    BackupJob, BackupMethod, DamagedPart, DiskTarget, Error, Export, FullKind, ImageFormat, ImageSource, Import,
    JobFolder, MapSeed, OpenRepository, PointSelector, Policy, Restore, Selection, TransformJob, Transforms, Verify,
};
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{ErrorKind, Key, Verb};

use crate::support::objects::{bytes_of, keys};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository, scratch};

/// All objects of a job folder.
fn objects(memory: &Memory, folder: &str) -> BTreeMap<Key, Bytes> {
    keys(memory, folder).into_iter().map(|key| (key.clone(), bytes_of(memory, &key))).collect()
}

/// A job with a week of points of two machines.
async fn week(repository: &OpenRepository) -> Machines {
    let mut machines = Machines::new(7);
    machines.add("a", &[3 * BLOCK + 17, BLOCK]);
    machines.add("b", &[2 * BLOCK]);
    for number in 0..5 {
        machines.change("a", 1);
        machines.change("b", 1);
        machines.backup(repository, &["a", "b"]).run(day(number)).await.unwrap();
    }
    machines
}

#[tokio::test]
async fn a_backup_reads_no_more_than_planned_and_transforms_as_planned() {
    for method in [BackupMethod::ForeverForward, BackupMethod::Forward, BackupMethod::Reverse] {
        let (memory, repository) = memory_repository().await;
        let mut machines = Machines::new(11);
        machines.add("a", &[3 * BLOCK + 17, BLOCK]);
        let run = |machines: &Machines, full: Option<FullKind>| {
            let backup = machines.backup(&repository, &["a"]).method(method).keep(keep(3));
            full.into_iter().fold(backup, BackupJob::full)
        };
        for number in 0..9 {
            let full = match (method, number) {
                (BackupMethod::Forward, 4 | 7) => Some(FullKind::Synthetic),
                (BackupMethod::Forward, 2) => Some(FullKind::Active),
                _ => None,
            };
            machines.change("a", 1);
            let backup = run(&machines, full);
            let before = objects(&memory, "nightly");
            let plan = backup.plan(day(number)).await.unwrap();
            assert_eq!(objects(&memory, "nightly"), before, "a plan writes");
            let report = backup.run(day(number)).await.unwrap();
            assert_eq!((plan.sequence, plan.full), (report.sequence, report.full), "{method:?} {number}");
            let read: u64 = report.machines.iter().map(|machine| machine.read_bytes).sum();
            assert!(read <= plan.read_bytes_max(), "{method:?} {number}: {read} > {}", plan.read_bytes_max());
            assert_eq!((plan.machines.len(), plan.machines[0].disks, plan.machines[0].is_new), (1, 2, number == 0));
            let planned: Vec<_> = plan.operations.into_iter().map(|planned| planned.operation).collect();
            let done: Vec<_> = report.transform.operations.into_iter().map(|done| done.operation).collect();
            assert_eq!(planned, done, "{method:?} {number}");
        }
    }
}

#[tokio::test]
async fn the_plan_of_a_backup_refuses_what_its_run_refuses() {
    let (memory, repository) = memory_repository().await;
    let mut machines = week(&repository).await;
    let before = objects(&memory, "nightly");
    // A reverse-incremental run goes back from a full, and the newest point is an increment.
    let reverse = machines.backup(&repository, &["a"]).method(BackupMethod::Reverse);
    let (planned, run) = (reverse.plan(day(9)).await.unwrap_err(), reverse.run(day(9)).await.unwrap_err());
    assert_eq!(planned.to_string(), run.to_string());
    let sizes = machines.backup(&repository, &["a"]).block_size(offsite::model::BlockSize::MiB4);
    assert_eq!(sizes.plan(day(9)).await.unwrap_err().to_string(), sizes.run(day(9)).await.unwrap_err().to_string());
    // A machine that cannot be read is told, and is not in the plan.
    machines.change("a", 1);
    let missing = ImageSource::new("/nonexistent/disk.raw");
    let partly = machines.backup(&repository, &["a"]).machine(machine("gone"), vec![missing]);
    let plan = partly.plan(day(9)).await.unwrap();
    assert_eq!(plan.machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(plan.failed.iter().map(|failed| failed.name.as_str()).collect::<Vec<_>>(), ["gone"]);
    assert!(!objects(&memory, "nightly").is_empty() && objects(&memory, "nightly").len() >= before.len());
}

#[tokio::test]
async fn an_export_is_what_was_planned() {
    let (memory, repository) = memory_repository().await;
    week(&repository).await;
    let selectors = [
        (PointSelector::Latest, vec![]),
        (PointSelector::At(day(2)), vec![machine("a")]),
        (PointSelector::At(day(0)), vec![machine("b")]),
    ];
    for (point, names) in selectors {
        let export = Export::new(&repository, job("nightly")).point(point).machines(names);
        let before = objects(&memory, "nightly");
        let plan = export.plan().await.unwrap();
        assert_eq!(objects(&memory, "nightly"), before, "a plan leaves something");
        let report = export.run(std::io::sink()).await.unwrap();
        assert_eq!((plan.sequence, plan.time), (report.sequence, report.time));
        assert_eq!(plan.machines, report.machines);
        assert_eq!(plan.cost, report.tally.planned);
        assert!(report.tally.kept_to_plan());
        assert!(
            (plan.bytes_max - 32..=plan.bytes_max).contains(&report.bytes),
            "{} of {}",
            report.bytes,
            plan.bytes_max
        );
    }
    let none = Export::new(&repository, job("nightly")).machines(vec![machine("nobody")]);
    assert!(matches!(none.plan().await.unwrap_err(), Error::UnknownMachine { .. }));
}

#[tokio::test]
async fn a_seed_is_mapped_as_planned() {
    let (_, primary) = memory_repository().await;
    week(&primary).await;
    let (memory, target) = memory_repository().await;
    let map = MapSeed::new(&target, job("copy"), &primary, job("nightly")).unwrap();
    let plan = map.plan(day(9)).await.unwrap();
    assert!(keys(&memory, "copy").is_empty(), "a plan makes a folder");
    let report = map.run(day(9)).await.unwrap();
    assert_eq!((plan.points, plan.sequence, plan.time), (report.points, report.sequence, report.time));
    assert_eq!(plan.cost, report.tally.planned);
    assert!(report.tally.kept_to_plan());
    // The job has restore points now.
    assert_eq!(map.plan(day(9)).await.unwrap_err().to_string(), map.run(day(9)).await.unwrap_err().to_string());
}

/// What an export of machine names holds.
async fn exported(repository: &OpenRepository, machines: &[&str]) -> Vec<u8> {
    let folder = scratch();
    let file = folder.path().join("export");
    let names = machines.iter().map(|name| machine(name)).collect();
    Export::new(repository, job("nightly")).machines(names).save(&file).await.unwrap();
    std::fs::read(&file).unwrap()
}

#[tokio::test]
async fn a_restore_reads_and_writes_what_was_planned() {
    let (memory, repository) = memory_repository().await;
    week(&repository).await;
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        for point in [PointSelector::Latest, PointSelector::At(day(2)), PointSelector::Sequence(Sequence(1))] {
            let restore = Restore::new(&repository, job("nightly"), machine("a")).point(point).format(format);
            let folder = scratch();
            let to = folder.path().join("new/folder/");
            let (before, counted) = (objects(&memory, "nightly"), repository.block_counts());
            let plan = restore.plan(&to).await.unwrap();
            assert_eq!(repository.block_counts(), counted, "a plan reads blocks");
            assert!(!folder.path().join("new").exists(), "a plan makes a folder");
            assert_eq!(objects(&memory, "nightly"), before, "a plan leaves something");
            let report = restore.run(&to).await.unwrap();
            let counts = repository.block_counts() - counted;
            assert_eq!((plan.traffic.bytes_read, plan.traffic.read_requests), (counts.bytes_read, counts.reads));
            assert_eq!(plan.traffic, report.traffic);
            assert_eq!((plan.sequence, plan.captured), (report.sequence, report.captured));
            assert_eq!(plan.disks.len(), report.disks.len());
            for (planned, done) in plan.disks.iter().zip(&report.disks) {
                assert_eq!((planned.number, &planned.name, &planned.path), (done.number, &done.name, &done.path));
                assert_eq!((planned.size_bytes, planned.data_bytes), (done.size_bytes, done.data_bytes));
                assert!(planned.stored_bytes > 0 && planned.stored_bytes <= plan.traffic.bytes_read);
            }
            assert!(plan.is_whole() && plan.fits() && plan.intact.is_none() && plan.free_bytes.is_some());
            assert_eq!(plan.needed_bytes(), report.disks.iter().map(|disk| disk.data_bytes).sum::<u64>());
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_streamed_is_read_as_planned() {
    let (_, repository) = memory_repository().await;
    week(&repository).await;
    let restore = Restore::new(&repository, job("nightly"), machine("a")).disk("0");
    let stream = || DiskTarget::writer(std::io::sink());
    let plan = restore.plan_disk_to(&stream()).await.unwrap();
    let report = restore.disk_to(stream()).await.unwrap();
    assert_eq!((plan.traffic, plan.disks[0].path.as_ref(), plan.free_bytes), (report.traffic, None, None));
    assert_eq!(plan.needed_bytes(), 0);
    let folder = scratch();
    let file = folder.path().join("disk.raw");
    let plan = restore.plan_disk_to(&DiskTarget::path(&file)).await.unwrap();
    assert_eq!(plan.disks[0].path.as_deref(), Some(file.as_path()));
    assert_eq!(plan.traffic, restore.disk_to(DiskTarget::path(&file)).await.unwrap().traffic);
    // What takes one disk takes no two, and a stream is raw.
    let both = Restore::new(&repository, job("nightly"), machine("a"));
    let qcow2 = restore.format(ImageFormat::Qcow2);
    for refused in [both, qcow2] {
        let (planned, run) = (refused.plan_disk_to(&stream()).await, refused.disk_to(stream()).await);
        assert_eq!(planned.unwrap_err().to_string(), run.unwrap_err().to_string());
    }
}

#[tokio::test]
async fn the_plan_of_a_restore_refuses_what_its_run_refuses() {
    let (_, repository) = memory_repository().await;
    week(&repository).await;
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("file"), "text").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path("folder/a-disk1.raw"), "text").unwrap();
    let restore = |name: &str| Restore::new(&repository, job("nightly"), machine(name));
    let refused = [
        (restore("nobody"), path("new")),
        (restore("a").disk("7"), path("new")),
        (restore("a").point(PointSelector::Sequence(Sequence(99))), path("new")),
        (restore("b"), path("file")),
        (restore("a"), path("file")),
        (restore("a"), path("folder")),
        (restore("b"), path("file/below")),
        (restore("a"), path("file/below/")),
        (restore("b").overwrite(true), "/dev/null".into()),
    ];
    for (restore, to) in refused {
        let (planned, run) = (restore.plan(&to).await, restore.run(&to).await);
        assert_eq!(planned.unwrap_err().to_string(), run.unwrap_err().to_string(), "{}", to.display());
    }
    // What may be written over is.
    let plan = restore("b").overwrite(true).plan(&path("file")).await.unwrap();
    assert!(plan.disks[0].path.is_some() && std::fs::read(path("file")).unwrap() == b"text");
}

#[tokio::test]
async fn what_is_known_to_be_damaged_is_in_the_plan_of_a_restore() {
    let (memory, repository) = memory_repository().await;
    week(&repository).await;
    let folder = scratch();
    let restore = Restore::new(&repository, job("nightly"), machine("a"));
    let file = keys(&memory, "nightly/blocks").pop().unwrap();
    assert!(restore.plan(folder.path()).await.unwrap().is_whole());
    assert!(memory.truncate(&file, bytes_of(&memory, &file).len() as u64 / 2));
    let plan = restore.plan(folder.path()).await.unwrap();
    assert!(!plan.is_whole());
    let Error::MachineDamaged { intact, .. } = restore.run(folder.path()).await.unwrap_err() else { panic!() };
    assert_eq!((plan.intact, plan.intact.is_some()), (intact, true));
    let report = restore.clone().salvage(true).run(folder.path()).await.unwrap();
    let lost = |lost: &[std::ops::Range<u64>]| lost.to_vec();
    let planned: Vec<_> = plan.disks.iter().map(|disk| lost(&disk.lost)).collect();
    assert_eq!(planned, report.disks.iter().map(|disk| lost(&disk.lost)).collect::<Vec<_>>());
    // The older points are as they were.
    let (older, _) = plan.intact.unwrap();
    assert!(
        restore.point(PointSelector::Sequence(older)).plan(&folder.path().join("older/")).await.unwrap().is_whole()
    );
}

#[tokio::test]
async fn an_import_stores_what_was_planned() {
    let (_, primary) = memory_repository().await;
    week(&primary).await;
    let length = |bytes: &[u8]| bytes.len() as u64;
    for names in [&[][..], &["b"]] {
        let bytes = exported(&primary, names).await;
        let target = Faulty::new(Memory::new());
        let second = OpenRepository::initialise(Arc::new(target.clone()), day(0)).await.unwrap();
        let import = Import::new(&second, job("copy"));
        let plan = import.plan(Cursor::new(bytes.clone()), day(9)).await.unwrap();
        assert!(
            matches!(JobFolder::open(&second, &job("copy")).await, Err(Error::UnknownJob { .. })),
            "a plan makes a folder"
        );
        assert_eq!((plan.job.as_str(), plan.exported, plan.bytes), ("nightly", Sequence(5), length(&bytes)));
        assert!(plan.room.is_enough() && plan.room.free_bytes.is_none());
        // Without room, neither is anything written.
        target.tell_free_bytes(Some(plan.room.needed_bytes - 1));
        assert!(!import.plan(Cursor::new(bytes.clone()), day(9)).await.unwrap().room.is_enough());
        let error = import.run(Cursor::new(bytes.clone()), day(9)).await.unwrap_err();
        assert!(matches!(error, Error::NoRoom { .. }), "{error}");
        target.tell_free_bytes(Some(plan.room.needed_bytes));
        let plan = import.plan(Cursor::new(bytes.clone()), day(9)).await.unwrap();
        let counted = second.block_counts();
        let report = import.run(Cursor::new(bytes.clone()), day(9)).await.unwrap();
        assert_eq!((second.block_counts() - counted).bytes_written, plan.cost.bytes_written);
        assert_eq!((plan.cost, plan.sequence, plan.time), (report.tally.planned, report.sequence, report.time));
        assert!(report.tally.kept_to_plan());
        assert!(plan.machines.iter().map(|machine| &machine.name).eq(&report.machines));
        // The job has a restore point now.
        let (planned, run) =
            (import.plan(Cursor::new(bytes.clone()), day(9)).await, import.run(Cursor::new(bytes), day(9)).await);
        assert_eq!(planned.unwrap_err().to_string(), run.unwrap_err().to_string());
    }
}

/// All but damaged blocks is known without reading them.
#[tokio::test]
async fn an_export_that_is_cut_off_cannot_be_planned() {
    let (_, primary) = memory_repository().await;
    week(&primary).await;
    let bytes = exported(&primary, &[]).await;
    let (_, second) = memory_repository().await;
    let import = Import::new(&second, job("copy"));
    let mut longer = bytes.clone();
    longer.push(0);
    let mut other = bytes.clone();
    other[0] ^= 1;
    let cut = [0, 3, 200, bytes.len() / 2, bytes.len() - 1].map(|length| bytes[..length].to_vec());
    for wrong in cut.into_iter().chain([longer, other]) {
        let planned = import.plan(Cursor::new(wrong.clone()), day(9)).await.unwrap_err();
        let run = import.run(Cursor::new(wrong), day(9)).await.unwrap_err();
        assert!(matches!(planned, Error::Damaged { .. }) && matches!(run, Error::Damaged { .. }), "{planned} {run}");
    }
}

/// No run begins on a damaged newest head, so no plan says what it would do.
#[tokio::test]
async fn no_plan_goes_by_a_damaged_newest_head() {
    let (memory, repository) = memory_repository().await;
    let machines = week(&repository).await;
    let (target_memory, target) = memory_repository().await;
    let copy = copy_job(&repository, &target);
    copy.run(day(4)).await.unwrap();
    let newest = keys(&memory, "nightly/head").pop().unwrap();
    assert!(memory.corrupt(&newest, 40, 0xff));
    let backup = machines.backup(&repository, &["a"]);
    let (planned, run) = (backup.plan(day(9)).await.unwrap_err(), backup.run(day(9)).await.unwrap_err());
    assert!(matches!(planned, Error::Damaged { part: DamagedPart::Head, .. }), "{planned}");
    assert_eq!(planned.to_string(), run.to_string());
    let newest = keys(&target_memory, "Offsite Copy/head").pop().unwrap();
    assert!(target_memory.corrupt(&newest, 40, 0xff));
    let (planned, run) = (copy.plan(day(9)).await.unwrap_err(), copy.run(day(9)).await.unwrap_err());
    assert_eq!(planned.to_string(), run.to_string());
    let transform = TransformJob::new(&target, job("Offsite Copy"));
    let (planned, run) = (transform.plan(day(9)).await.unwrap_err(), transform.run(day(9)).await.unwrap_err());
    assert_eq!(planned.to_string(), run.to_string());
}

/// An import and a map may go to a folder without restore points, which has heads as well.
#[tokio::test]
async fn no_chain_begins_on_a_damaged_newest_head() {
    let (_, primary) = memory_repository().await;
    week(&primary).await;
    let bytes = exported(&primary, &[]).await;
    let (memory, second) = memory_repository().await;
    // The copy finds nothing that it selects, and leaves a folder without a restore point.
    let none = copy_job(&primary, &second).select(Selection::machines(vec![machine("nobody")]));
    none.run(day(5)).await.unwrap_err();
    let newest = keys(&memory, "Offsite Copy/head").pop().unwrap();
    assert!(memory.corrupt(&newest, 40, 0xff));
    let import = Import::new(&second, job("Offsite Copy"));
    let planned = import.plan(Cursor::new(bytes.clone()), day(9)).await.unwrap_err();
    assert_eq!(planned.to_string(), import.run(Cursor::new(bytes), day(9)).await.unwrap_err().to_string());
    let map = MapSeed::new(&second, job("Offsite Copy"), &primary, job("nightly")).unwrap();
    assert_eq!(map.plan(day(9)).await.unwrap_err().to_string(), map.run(day(9)).await.unwrap_err().to_string());
}

#[tokio::test]
async fn what_is_known_to_be_damaged_is_in_the_plans_of_an_export_and_a_map() {
    let (memory, repository) = memory_repository().await;
    week(&repository).await;
    let (_, target) = memory_repository().await;
    let export = Export::new(&repository, job("nightly"));
    let map = MapSeed::new(&target, job("copy"), &repository, job("nightly")).unwrap();
    assert!(export.plan().await.unwrap().is_whole() && map.plan(day(9)).await.unwrap().is_whole());
    let file = keys(&memory, "nightly/blocks").into_iter().next().unwrap();
    assert!(memory.corrupt(&file, bytes_of(&memory, &file).len() as u64 / 2, 0xff));
    Verify::new(&repository, job("nightly")).read_data(true).run().await.unwrap();
    let (planned, mapped) = (export.plan().await.unwrap(), map.plan(day(9)).await.unwrap());
    assert_eq!(mapped.lost.values().sum::<u64>(), 1, "{mapped:?}");
    assert_eq!(planned.is_whole(), export.run(std::io::sink()).await.is_ok(), "{planned:?}");
    assert!(map.run(day(9)).await.is_err());
}

/// A map that would fill its target does not begin.
#[tokio::test]
async fn a_map_without_room_is_not_begun() {
    let (_, primary) = memory_repository().await;
    week(&primary).await;
    let target = Faulty::new(Memory::new());
    let second = OpenRepository::initialise(Arc::new(target.clone()), day(0)).await.unwrap();
    let map = MapSeed::new(&second, job("copy"), &primary, job("nightly")).unwrap();
    let needed_bytes = map.plan(day(9)).await.unwrap().room.needed_bytes;
    target.tell_free_bytes(Some(needed_bytes - 1));
    assert!(!map.plan(day(9)).await.unwrap().room.is_enough());
    let written = second.block_counts();
    let error = map.run(day(9)).await.unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }) && error.to_string().starts_with("the map was not"), "{error}");
    assert_eq!(second.block_counts(), written, "blocks were written");
    target.tell_free_bytes(Some(needed_bytes));
    map.run(day(9)).await.unwrap();
}

/// Two blocks are read of an image with two small extents, and not only the extents.
#[tokio::test]
async fn a_backup_of_a_sparse_image_reads_no_more_than_planned() {
    let (_, repository) = memory_repository().await;
    let folder = scratch();
    let image = folder.path().join("sparse.raw");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(20 << 20).unwrap();
    for at in [3_u64 << 20, 10 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", at).unwrap();
    }
    let backup = BackupJob::new(&repository, job("nightly")).machine(machine("c"), vec![ImageSource::new(&image)]);
    let plan = backup.plan(day(0)).await.unwrap();
    let report = backup.run(day(0)).await.unwrap();
    assert_eq!(plan.read_bytes_max(), report.machines[0].read_bytes);
}

/// All points are dated in the future: the machines are there.
#[tokio::test]
async fn machines_that_are_dated_in_the_future_are_not_unknown() {
    let (_, primary) = memory_repository().await;
    week(&primary).await;
    let (_, second) = memory_repository().await;
    let copy = copy_job(&primary, &second);
    let (plan, report) = (copy.plan(day(-9)).await.unwrap(), copy.run(day(-9)).await.unwrap());
    assert!(plan.sync.is_none() && report.sync.is_none());
    assert_eq!(plan.machines, report.machines);
    assert_eq!(plan.machines.len(), 2, "{plan:?}");
}

/// A repository that is only looked at gets no pins.
#[tokio::test]
async fn plans_of_readers_make_no_pins() {
    let faulty = Faulty::new(Memory::new());
    let repository = OpenRepository::initialise(Arc::new(faulty.clone()), day(0)).await.unwrap();
    week(&repository).await;
    let (_, target) = memory_repository().await;
    let folder = scratch();
    faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::Create));
    Restore::new(&repository, job("nightly"), machine("a")).plan(&folder.path().join("new/")).await.unwrap();
    Export::new(&repository, job("nightly")).plan().await.unwrap();
    MapSeed::new(&target, job("copy"), &repository, job("nightly")).unwrap().plan(day(9)).await.unwrap();
}

/// Each thing that a job does is set in one way, so no setting takes another back, in whatever order they come.
#[tokio::test]
async fn a_count_and_a_policy_are_transforms_that_keep_it() {
    let policy = Policy::new(keep(3));
    let transforms = Transforms::keeping(policy.clone());
    assert_eq!(transforms, Transforms::keeping(keep(3)));
    assert_eq!(transforms, policy.into());
    assert_eq!(transforms, keep(3).into());
    let merged = Transforms::default().merge(offsite::MergeMethod::Fold).retention(Policy::from(keep(3)));
    assert_eq!(merged, Transforms::keeping(keep(3)).merge(offsite::MergeMethod::Fold));
}
