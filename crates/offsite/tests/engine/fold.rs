//! Folding: each live byte of the increments is read once and written once, the full stays one file, and whatever cuts a fold
//! off hurts nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite::core::Sequence;
use offsite::core::retention::{Policy, Regular};
use offsite::report::TransformReport;
use offsite::{Error, MergeMethod, OpenRepository, PointSelector, Restore, TransformJob, Transforms, Verify};
use offsite_repository::ErrorKind::{Indeterminate, NoSpace, Unavailable};
use offsite_repository::testing::{Fault, Faulty, Memory};

use crate::support::drive::poll_times;
use crate::support::objects::{fork, newest_head, step, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, day, job, keep, machine, memory_repository, open_memory, scratch};

const JOB: &str = "nightly";
const KEPT: u32 = 3;
/// The full's file is at most so many times as long as the most that it ever had to hold: space that is free is used again, but a
/// file does not shrink, and frames of all lengths leave gaps. Without using space again, the 180 days come to far more.
const LENGTH_RATIO_MAX: f64 = 2.0;

fn folding() -> Transforms {
    let policy = Policy { regular: Regular::Simple(keep(KEPT)), ..Policy::default() };
    Transforms { merge: MergeMethod::Fold, apply_changes_at_once: true, ..Transforms::keeping(policy) }
}

async fn fold(repository: &OpenRepository, today: i64) -> Result<TransformReport, Error> {
    TransformJob::new(repository, job(JOB)).transforms(folding()).run(day(today)).await
}

/// Points of the days up to `days`, none of them merged yet.
async fn backed_up(days: i64) -> (Arc<Memory>, Machines, Truth) {
    let (memory, repository) = memory_repository().await;
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
                let is_wrong = matches!(error, Error::Defect(_) | Error::Damaged { .. });
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
