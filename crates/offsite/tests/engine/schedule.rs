//! What the time decides: compaction on a schedule, and whether a clock is believed.

use std::sync::Arc;

use offsite::report::{Note, Operation};
use offsite::retention::Policy;
use offsite::{Budget, Compact, LiveShare, OpenRepository, Transforms};
use offsite_repository::testing::{Memory, MemoryOptions};

use crate::support::objects::newest_head;
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, keep, memory_repository};

const COPY: &str = "Offsite Copy";
/// Room for a header and a block, and little more.
const BOUND_BYTES: u64 = BLOCK as u64 + (16 << 10);

/// It begins when it is due, goes on over several runs within their bounds, comes to its end, and waits for its next time.
#[tokio::test]
async fn a_bounded_compaction_comes_to_its_end_and_waits() {
    let (_, primary) = memory_repository().await;
    // What is cloned costs nothing of the bound.
    let target = Memory::with_options(MemoryOptions::default().with_clone_range(false));
    let second = OpenRepository::initialise(Arc::new(target.clone()), day(0)).await.unwrap();
    let mut machines = Machines::new(8);
    machines.add("web01", &[48 * BLOCK]);
    let mut truth = Truth::default();
    let policy = Policy::new(keep(2));
    let budget = Some(Budget::Bytes(BOUND_BYTES));
    let compact = Compact::below(LiveShare::new(0.0).unwrap()).every_days(6).budget(budget);
    let transforms = Transforms::keeping(policy).compact(compact);
    let mut compacting = Vec::new();
    let mut ended = Vec::new();
    for number in 0..30 {
        if number < 6 {
            machines.change("web01", 4);
            truth.record(&machines, &["web01"], day(number));
            machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        }
        let report = copy_job(&primary, &second).transforms(transforms.clone()).run(day(number)).await.unwrap();
        let operations = report.transform.operations.iter();
        let written: Vec<u64> = operations
            .filter(|done| matches!(done.operation, Operation::Compact { .. }))
            .map(|done| done.tally.target.bytes_written)
            .collect();
        assert!(written.iter().sum::<u64>() <= BOUND_BYTES, "day {number}: {written:?}");
        if !written.is_empty() {
            compacting.push(number);
        }
        let compacted = newest_head(&target, COPY).compacted;
        if ended.last() != Some(&compacted) {
            ended.push(compacted);
        }
        truth.check(&second, COPY).await;
    }
    assert!(compacting.len() > 1 && compacting[0] == 6, "it begins on the sixth day: {compacting:?}");
    assert_eq!(ended[0], Some(day(0)), "the schedule begins with the first run");
    assert!(ended.len() >= 2 && ended[1] > Some(day(6)), "and comes to its end: {ended:?}");
    assert!(compacting.iter().all(|number| Some(day(*number)) <= ended[1]), "nothing is left to do: {compacting:?}");
}

/// Days of daily copies, of which two are kept, with `transforms`; then runs on `later` days. What each run pruned, and noted.
async fn prunings(transforms: Transforms, later: &[i64]) -> Vec<(bool, Vec<Note>)> {
    let (_, primary) = memory_repository().await;
    let (_, second) = memory_repository().await;
    let mut machines = Machines::new(9);
    machines.add("web01", &[4 * BLOCK]);
    let mut truth = Truth::default();
    let mut found = Vec::new();
    for number in [0, 1, 2].iter().chain(later) {
        machines.change("web01", 1);
        truth.record(&machines, &["web01"], day(*number));
        machines.backup(&primary, &["web01"]).run(day(*number)).await.unwrap();
        let job = copy_job(&primary, &second).transforms(transforms.clone());
        let planned = job.plan(day(*number)).await.unwrap().operations.len();
        let report = job.run(day(*number)).await.unwrap().transform;
        assert_eq!(report.operations.len(), planned, "day {number}: a plan knows what the clock allows");
        found.push((!report.operations.is_empty(), report.notes));
        truth.check(&second, COPY).await;
    }
    found.split_off(3)
}

#[tokio::test]
async fn a_clock_that_is_too_far_ahead_prunes_nothing_until_it_is_believed() {
    let policy = Policy::new(keep(2));
    let by_hand = Transforms::keeping(policy);
    let daily = by_hand.clone().clock_ahead_max_secs(10 * 86_400);
    let pruned = |found: &[(bool, Vec<Note>)]| found.iter().map(|(pruned, _)| *pruned).collect::<Vec<_>>();
    // A quarter without a run is no reason for doubt where nobody has said how often it runs.
    assert_eq!(pruned(&prunings(by_hand.clone(), &[92, 184]).await), [true, true]);
    // Each doubtful run takes the mark on by what is believed of it.
    assert_eq!(pruned(&prunings(by_hand, &[2 + 250, 2 + 251, 2 + 252]).await), [false, false, true]);
    let found = prunings(daily, &[2 + 15, 2 + 16, 1]).await;
    assert_eq!(pruned(&found), [false, true, false]);
    assert!(found[0].1[0].to_string().contains("nothing was removed; if the clock is right"), "{found:?}");
    assert!(found[2].1[0].to_string().contains("has said"), "{found:?}");
}

/// A drive that lay in a safe for months knows from the points on the others that these have passed.
#[tokio::test]
async fn points_elsewhere_tell_that_time_has_passed() {
    let policy = Policy::new(keep(2));
    let rotated = Transforms::keeping(policy).clock_ahead_max_secs(10 * 86_400);
    let (_, primary) = memory_repository().await;
    let mut machines = Machines::new(10);
    machines.add("web01", &[4 * BLOCK]);
    machines.backup(&primary, &["web01"]).run(day(190)).await.unwrap();
    let point = offsite::JobFolder::open(&primary, &crate::support::job("nightly")).await.unwrap();
    let elsewhere: Vec<_> = point.chain().all().cloned().collect();
    let alone = prunings(rotated.clone(), &[195]).await;
    assert!(alone[0].1[0].to_string().contains("nothing was removed"), "{alone:?}");
    let among = prunings(rotated.elsewhere(elsewhere), &[195]).await;
    assert_eq!(among[0].1, []);
}
