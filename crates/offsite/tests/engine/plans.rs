//! Plans of operations beside what these then do.

use std::collections::BTreeMap;

use bytes::Bytes;
use offsite::{BackupJob, BackupMethod, Error, Export, FullKind, ImageSource, MapSeed, OpenRepository, PointSelector};
use offsite_repository::Key;
use offsite_repository::testing::Memory;

use crate::support::objects::{bytes_of, keys};
use crate::support::{BLOCK, Machines, day, job, keep, machine, memory_repository};

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
