//! One gate for every operation: what is kept when it ends there, and what the next run does.

use std::sync::Arc;

use offsite::report::Operation;
use offsite::retention::Policy;
use offsite::{Error, Export, Import, MapSeed, OpenRepository, Restore, Task, TransformJob, Transforms, Verify};

use crate::support::gates::StopAfter;
use crate::support::objects::{keys, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, day, files_in, job, keep, machine, memory_repository, scratch};

/// Two machines of several requests each.
fn machines() -> Machines {
    let mut machines = Machines::new(3);
    machines.add("a", &[40 * BLOCK]);
    machines.add("b", &[40 * BLOCK + 17]);
    machines.fill_with_noise("a");
    machines.fill_with_noise("b");
    machines
}

async fn backed_up(repository: &OpenRepository, days: i64) -> (Machines, Truth) {
    let (mut machines, mut truth) = (machines(), Truth::default());
    for number in 0..days {
        machines.change("a", 12);
        machines.change("b", 12);
        truth.record(&machines, &["a", "b"], day(number));
        machines.backup(repository, &["a", "b"]).run(day(number)).await.unwrap();
    }
    (machines, truth)
}

fn is_stopped(error: &Error, of: Task) -> bool {
    matches!(error, Error::Stopped { task, .. } if *task == of) && error.is_retryable()
}

/// A stop at every request of a backup: the machines that were read are in the point, and the next run has all.
#[tokio::test]
async fn a_backup_keeps_the_machines_that_were_read() {
    let (mut none, mut one) = (0, 0);
    for requests in 0.. {
        let (memory, repository) = memory_repository().await;
        let (machines, mut truth) = (machines(), Truth::default());
        let backup = |gate: Arc<StopAfter>| machines.backup(&repository, &["a", "b"]).gate(gate);
        match backup(StopAfter::new(requests)).run(day(0)).await {
            Err(error) => {
                assert!(is_stopped(&error, Task::Backup), "{error}");
                none += 1;
            }
            Ok(report) if report.failed.is_empty() => break,
            Ok(report) => {
                assert_eq!(report.machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>(), ["a"]);
                truth.record(&machines, &["a"], day(0));
                truth.check(&repository, "nightly").await;
                one += 1;
            }
        }
        truth.record(&machines, &["a", "b"], day(1));
        backup(StopAfter::new(usize::MAX)).run(day(1)).await.unwrap();
        truth.check(&repository, "nightly").await;
        assert_eq!(stray(&memory, "nightly"), [""; 0], "{requests}");
    }
    assert!(none > 1 && one > 1, "{none} and {one}");
}

#[tokio::test]
async fn what_is_worth_nothing_in_part_leaves_nothing() {
    let (memory, repository) = memory_repository().await;
    backed_up(&repository, 2).await;
    let (elsewhere, second) = memory_repository().await;
    let before = keys(&memory, "nightly");
    let folder = scratch();
    for requests in [0, 1, 3] {
        let gate = || StopAfter::new(requests);
        let restore = Restore::new(&repository, job("nightly"), machine("a")).gate(gate());
        assert!(is_stopped(&restore.run(&folder.path().join("disk")).await.unwrap_err(), Task::Restore));
        let export = Export::new(&repository, job("nightly")).gate(gate());
        assert!(is_stopped(&export.save(&folder.path().join("export")).await.unwrap_err(), Task::Export));
        assert_eq!(files_in(folder.path()), 0);
        let map = MapSeed::new(&second, job("copy"), &repository, job("nightly")).unwrap().gate(gate());
        assert!(is_stopped(&map.run(day(3)).await.unwrap_err(), Task::Map));
        let whole = scratch();
        let file = whole.path().join("export");
        Export::new(&repository, job("nightly")).save(&file).await.unwrap();
        let import = Import::new(&second, job("imported")).gate(gate());
        let error = import.run(std::fs::File::open(&file).unwrap(), day(3)).await.unwrap_err();
        assert!(is_stopped(&error, Task::Import), "{error}");
    }
    assert_eq!(keys(&memory, "nightly"), before, "a pin or a file is left");
    for folder in ["copy", "imported"] {
        assert_eq!(
            keys(&elsewhere, folder)
                .iter()
                .filter(|key| !key.name().ends_with(".head") && key.as_str().contains("/blocks/"))
                .count(),
            0,
            "{folder}"
        );
    }
}

#[tokio::test]
async fn a_verification_goes_on_where_it_was_stopped() {
    let (_, repository) = memory_repository().await;
    backed_up(&repository, 3).await;
    let verify =
        |requests| Verify::new(&repository, job("nightly")).budget_bytes(u64::MAX).gate(StopAfter::new(requests));
    let all = Verify::new(&repository, job("nightly")).read_data(true).run().await.unwrap().bytes_read;
    let mut read = 0;
    for rounds in 0.. {
        let report = verify(2).run().await.unwrap();
        read += report.bytes_read;
        assert_eq!((report.damage.len(), report.is_stopped), (0, report.bytes_left > 0));
        if !report.is_stopped {
            assert!(rounds > 2, "{rounds}");
            break;
        }
        assert!(report.bytes_read > 0);
    }
    assert_eq!(read, all);
}

#[tokio::test]
async fn transforms_that_were_stopped_are_done_by_the_next_run() {
    let (memory, repository) = memory_repository().await;
    let (_, mut truth) = backed_up(&repository, 6).await;
    let transforms =
        Transforms::keeping(Policy::new(keep(3))).merge(offsite::MergeMethod::Fold).apply_changes_at_once(true);
    let transform = |requests| {
        TransformJob::new(&repository, job("nightly")).transforms(transforms.clone()).gate(StopAfter::new(requests))
    };
    let stopped = transform(1).run(day(6)).await.unwrap();
    assert!(stopped.is_stopped && stopped.operations.is_empty(), "{stopped:#?}");
    truth.check(&repository, "nightly").await;
    let rest = transform(usize::MAX).run(day(6)).await.unwrap();
    assert!(!rest.is_stopped && rest.operations.iter().any(|done| matches!(done.operation, Operation::Merge { .. })));
    let kept =
        ["a", "b"].into_iter().flat_map(|name| (3..6).map(move |number| (name.to_owned(), day(number).unix_secs())));
    truth.keep_only(&kept.collect());
    truth.check(&repository, "nightly").await;
    assert_eq!(stray(&memory, "nightly"), [""; 0]);
}
