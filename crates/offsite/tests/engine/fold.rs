//! Folding: each live byte of the increments is read once and written once, the full stays one file, and whatever cuts a fold
//! off hurts nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite::model::{BlockMap, ObjectId, Sequence};
use offsite::report::{MergeReason, Operation, TransformReport};
use offsite::retention::Policy;
use offsite::{Error, MergeMethod, OpenRepository, PointSelector, Restore, TransformJob, Transforms, Verify};
use offsite_core::format::frame::HEADER_BYTES;
use offsite_repository::ErrorKind::{Indeterminate, NoSpace, Unavailable};
use offsite_repository::testing::{Fault, Faulty, Memory, MemoryOptions};
use offsite_repository::{Prefix, RepositoryExt, Verb};

use crate::support::drive::poll_times;
use crate::support::objects::{fork, key, newest_head, put_successor, step, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{
    BLOCK, Machines, day, job, keep, machine, memory_repository, memory_repository_with, open_memory, scratch,
};

const JOB: &str = "nightly";
const KEPT: u32 = 3;
/// The full's file is at most so many times as long as the most that it ever had to hold: space that is free is used again, but a
/// file does not shrink, and frames of all lengths leave gaps. Without using space again, the 180 days come to far more.
const LENGTH_RATIO_MAX: f64 = 2.0;

fn folding() -> Transforms {
    let policy = Policy::new(keep(KEPT));
    Transforms::keeping(policy).merge(MergeMethod::Fold).apply_changes_at_once(true)
}

async fn fold(repository: &OpenRepository, today: i64) -> Result<TransformReport, Error> {
    TransformJob::new(repository, job(JOB)).transforms(folding()).run(day(today)).await
}

/// Points of the days up to `days`, none of them merged yet.
async fn backed_up(days: i64) -> (Arc<Memory>, Machines, Truth) {
    backed_up_to(MemoryOptions::default(), days).await
}

async fn backed_up_to(options: MemoryOptions, days: i64) -> (Arc<Memory>, Machines, Truth) {
    let (memory, repository) = memory_repository_with(options).await;
    let (mut machines, mut truth) = (Machines::new(crate::support::seed(91)), Truth::default());
    machines.add("web01", &[6 * BLOCK + 777]);
    for number in 0..days {
        machines.change("web01", 2);
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }
    (memory, machines, truth)
}

#[tokio::test]
async fn live_bytes_go_once_and_the_full_stays_one_file() {
    let (memory, repository) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(crate::support::seed(90)), Truth::default());
    machines.add("web01", &[40 * BLOCK]);
    let (mut folds, mut most_live, mut worst) = (0, 0, 0.0_f64);
    for today in 0..180 {
        machines.change("web01", 4);
        truth.record(&machines, &["web01"], day(today));
        machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(today)).await.unwrap();
        let before = newest_head(&memory, JOB);
        if before.chain.points().len() <= KEPT as usize {
            continue;
        }
        // What the increment brings: its frames, padding included.
        let increment = &before.chain.points()[1];
        let alignment = u64::from(before.alignment_bytes);
        let frames = step(&memory, JOB, increment);
        let files: BTreeSet<_> = frames.stored().map(|(_, _, _, at)| at.file).collect();
        let bytes: u64 = frames.stored().map(|(_, _, _, at)| u64::from(at.length).next_multiple_of(alignment)).sum();
        let counts = repository.block_counts();
        let report = fold(&repository, today).await.unwrap();
        let counts = repository.block_counts() - counts;
        assert_eq!((counts.bytes_read, counts.bytes_written), (bytes, bytes), "day {today}");
        assert_eq!(report.operations.len(), 1);
        assert!(report.operations[0].tally.kept_to_plan());

        let after = newest_head(&memory, JOB);
        let full = step(&memory, JOB, &after.chain.points()[0]);
        let places: BTreeSet<_> = full.stored().map(|(_, _, _, at)| at.file).collect();
        assert_eq!(places.len(), 1, "the full lives in {places:?}");
        assert!(files.is_disjoint(&after.files.keys().copied().collect()), "the increment's file is let go");
        assert_eq!(stray(&memory, JOB), [""; 0], "and gone, as nobody reads it");
        let file = &after.files[places.first().unwrap()];
        most_live = most_live.max(file.live_bytes);
        worst = worst.max(file.length as f64 / most_live as f64);
        folds += 1;
    }
    println!("{folds} folds; the file was at most {worst:.2} times as long as the most that it held");
    assert!(folds > 170 && worst <= LENGTH_RATIO_MAX, "{folds} {worst}");
    assert_eq!(truth.check(&repository, JOB).await.len(), KEPT as usize);
}

/// What is there restores, and the next run folds without repair and leaves nothing lying about.
async fn recovers(memory: &Memory, truth: &Truth, today: i64) {
    let repository = open_memory(memory).await;
    // A fold that was not committed may have made the file longer: that damages nothing.
    let report = Verify::new(&repository, job(JOB)).read_data(true).run().await.unwrap();
    assert_eq!(report.damage, []);
    truth.check(&repository, JOB).await;
    fold(&repository, today).await.unwrap();
    assert_eq!(truth.check(&repository, JOB).await.len(), KEPT as usize);
    assert_eq!(stray(memory, JOB), [""; 0]);
}

#[tokio::test]
async fn a_fold_that_is_cut_off_anywhere() {
    let (memory, machines, truth) = backed_up(6).await;
    // Folded once already, so that the second fold writes into the holes of the first and not only to the end.
    fold(&open_memory(&memory).await, 6).await.unwrap();
    let (memory, truth) = with_more_days(memory, machines, truth).await;
    let mut polls = 1;
    loop {
        let attempt = fork(&memory).await;
        let repository = open_memory(&attempt).await;
        let mut run = Box::pin(fold(&repository, 9));
        let ended = poll_times(&mut run, polls).await;
        drop(run);
        recovers(&attempt, &truth, 9).await;
        if let Some(report) = ended {
            report.unwrap();
            break;
        }
        polls += 1;
    }
    println!("cut off at {polls} moments");
    assert!(polls > 20, "{polls}");
}

async fn with_more_days(memory: Arc<Memory>, mut machines: Machines, mut truth: Truth) -> (Arc<Memory>, Truth) {
    let repository = open_memory(&memory).await;
    for number in 7..9 {
        machines.change("web01", 2);
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }
    (memory, truth)
}

#[tokio::test]
async fn a_fold_in_which_any_call_fails() {
    let (memory, machines, truth) = backed_up(6).await;
    fold(&open_memory(&memory).await, 6).await.unwrap();
    let (memory, truth) = with_more_days(memory, machines, truth).await;
    let (mut calls, mut failed) = (0, 0);
    loop {
        let mut struck = false;
        let once = [Unavailable, NoSpace, Indeterminate].map(|kind| Fault::after_calls(calls, kind));
        let others = [
            Fault::after_calls(calls, Indeterminate).losing_the_answer(),
            Fault::after_calls(calls, Unavailable).for_ever(),
        ];
        for fault in once.into_iter().chain(others) {
            let attempt = fork(&memory).await;
            let faulty = Faulty::new(attempt.clone());
            faulty.inject(fault.clone());
            let result = match OpenRepository::open(Arc::new(faulty.clone())).await {
                Ok(repository) => fold(&repository, 9).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = &result {
                failed += 1;
                let is_wrong = matches!(error, Error::Defect { .. } | Error::Damaged { .. });
                assert!(!is_wrong && faulty.failures() > 0, "{fault:?}: {}", causes(error));
            }
            struck |= faulty.failures() > 0;
            faulty.heal();
            recovers(&attempt, &truth, 9).await;
        }
        if !struck {
            break;
        }
        calls += 1;
    }
    println!("{calls} calls, {failed} failed runs");
    assert!(calls > 10 && failed > 10, "{calls} {failed}");
}

/// A reader that began before the folds ends right, whenever they come in between.
#[tokio::test]
async fn readers_of_older_heads_are_not_disturbed() {
    let (memory, machines, truth) = backed_up(6).await;
    let oldest = truth.clone();
    drop(machines);
    let (mut polls, mut right, mut too_late) = (0, 0, 0);
    loop {
        let attempt = fork(&memory).await;
        let repository = open_memory(&attempt).await;
        let to = scratch();
        let restore = Restore::new(&repository, job(JOB), machine("web01")).point(PointSelector::Sequence(Sequence(1)));
        let mut reading = Box::pin(restore.run(to.path()));
        let ended = poll_times(&mut reading, polls).await;
        let writer = open_memory(&attempt).await;
        fold(&writer, 6).await.unwrap();
        fold(&writer, 7).await.unwrap();
        let is_done = ended.is_some();
        let result = match ended {
            Some(result) => result,
            None => reading.await,
        };
        match result {
            Ok(report) => {
                let disks: Vec<_> =
                    report.disks.iter().map(|disk| std::fs::read(disk.path.as_ref().unwrap()).unwrap()).collect();
                assert!(oldest.is(&disks, "web01", day(0)), "wrong bytes after {polls} polls");
                right += 1;
            }
            // It had not begun to read when the point went.
            Err(Error::UnknownPoint { .. }) => too_late += 1,
            Err(error) => panic!("after {polls} polls: {}", causes(&error)),
        }
        if is_done {
            break;
        }
        polls += 1;
    }
    println!("{right} right, {too_late} too late");
    assert!(right > 3, "{right}");
}

/// The method of the only operation, which is a merge, and why it is that one.
fn method(report: &TransformReport) -> (MergeMethod, MergeReason) {
    match &report.operations[..] {
        [done] => match done.operation {
            Operation::Merge { method, why, .. } => (method, why),
            _ => panic!("{report:?}"),
        },
        _ => panic!("{report:?}"),
    }
}

#[tokio::test]
async fn a_fold_that_cannot_be_is_an_adoption_and_says_why() {
    let (memory, _, truth) = backed_up_to(MemoryOptions::default().with_patch(false), 6).await;
    let report = fold(&open_memory(&memory).await, 6).await.unwrap();
    assert_eq!(method(&report), (MergeMethod::Adopt, MergeReason::CannotPatch));
    truth.check(&open_memory(&memory).await, JOB).await;

    // As after a writer on another host fell silent: it may yet write into its files.
    let (memory, _, truth) = backed_up(6).await;
    put_successor(&memory, JOB, |head| head.sealed_epoch = head.epoch).await;
    let report = fold(&open_memory(&memory).await, 6).await.unwrap();
    assert_eq!(method(&report), (MergeMethod::Adopt, MergeReason::NoFile));
    truth.check(&open_memory(&memory).await, JOB).await;
}

/// More names than one listing has, and none of them a backup file's.
#[tokio::test]
async fn what_others_put_beside_the_full_does_not_hide_it() {
    let (memory, _, truth) = backed_up(6).await;
    let full = step(&memory, JOB, &newest_head(&memory, JOB).chain.points()[0]);
    let file = full.files().into_iter().next().unwrap();
    let before = ObjectId::from_stored(file.stored() - 1);
    for number in 0..9 {
        memory.put(&key(&format!("{JOB}/blocks/{before}.{number}")), vec![7].into()).await.unwrap();
    }
    let report = fold(&open_memory(&memory).await, 6).await.unwrap();
    assert_eq!(method(&report), (MergeMethod::Fold, MergeReason::AsAsked));
    truth.check(&open_memory(&memory).await, JOB).await;
}

/// What is written with one flush has a bound.
#[tokio::test]
async fn a_large_fold_is_made_durable_in_lots() {
    let (memory, repository) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(crate::support::seed(98)), Truth::default());
    machines.add("web01", &[140 * BLOCK]);
    for number in 0..4 {
        match number {
            0 | 1 => machines.fill_with_noise("web01"),
            _ => machines.overwrite("web01", |disk| disk[0] = disk[0].wrapping_add(1)),
        }
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }
    let before = repository.counts().patches;
    let report = fold(&repository, 4).await.unwrap();
    assert_eq!((method(&report).0, report.operations[0].tally.planned.blocks), (MergeMethod::Fold, 140));
    assert_eq!(repository.counts().patches - before, 2, "of 37 MB");
    truth.check(&open_memory(&memory).await, JOB).await;
}

/// Nor is it where a block that was to be moved is damaged, too: the next run will see that.
#[tokio::test]
async fn an_outage_during_a_fold_is_not_taken_for_damage() {
    let (memory, ..) = backed_up(6).await;
    let chain = newest_head(&memory, JOB).chain;
    let merged = chain.points()[1..4].iter().map(|point| step(&memory, JOB, point));
    let merged = merged.fold(BlockMap::empty(), |all, step| all.overlay(&step));
    let (.., at) = merged.stored().next().unwrap();
    let file = key(&format!("{JOB}/blocks/{}", at.file));
    assert!(memory.corrupt(&file, at.offset + HEADER_BYTES as u64, 1));
    let faulty = Faulty::new((*memory).clone());
    let blocks = Prefix::new(format!("{JOB}/blocks")).unwrap();
    faulty.inject(Fault::after_calls(0, Unavailable).on(Verb::Read).below(blocks));
    let repository = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let error = fold(&repository, 6).await.unwrap_err();
    assert_eq!((error.repository_kind(), faulty.failures()), (Some(Unavailable), 1), "{}", causes(&error));
}

/// The full's file is nearly as long as an object may be: the increment's file is taken over as it is.
#[tokio::test]
async fn a_fold_that_would_make_the_file_too_long_adopts() {
    // Six blocks of noise fit into a file, and no seventh.
    let options = MemoryOptions::default().with_object_bytes_max(1_700_000);
    let (memory, repository) = memory_repository_with(options).await;
    let (mut machines, mut truth) = (Machines::new(crate::support::seed(92)), Truth::default());
    machines.add("web01", &[6 * BLOCK]);
    machines.fill_with_noise("web01");
    for number in 0..4 {
        machines.overwrite("web01", |disk| disk[0] = disk[0].wrapping_add(1));
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }
    let report = fold(&repository, 4).await.unwrap();
    let [done] = &report.operations[..] else { panic!("{report:?}") };
    let Operation::Merge { method, why, .. } = &done.operation else { panic!("{done:?}") };
    assert_eq!((*method, *why), (MergeMethod::Adopt, MergeReason::FileTooLong));
    assert!(done.tally.kept_to_plan(), "{done:?}");
    assert_eq!(truth.check(&repository, JOB).await.len(), KEPT as usize);
    assert_eq!(stray(&memory, JOB), [""; 0]);
}
