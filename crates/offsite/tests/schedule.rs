//! Compaction on a schedule, with a bound for each run.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use offsite::core::retention::{Policy, Regular};
use offsite::report::Operation;
use offsite::{Budget, Compact, LiveShare, OpenRepository, Transforms};
use offsite_repository::testing::{Memory, MemoryOptions};
use support::objects::newest_head;
use support::truth::Truth;
use support::{BLOCK, Machines, copy_job, day, keep, memory_repository};

const COPY: &str = "Offsite Copy";
/// Room for a header and a block, and little more.
const BOUND_BYTES: u64 = BLOCK as u64 + (16 << 10);

/// It begins when it is due, goes on over several runs within their bounds, comes to its end, and waits for its next time.
#[tokio::test]
async fn a_bounded_compaction_comes_to_its_end_and_waits() {
    let (_, primary) = memory_repository().await;
    // What is cloned costs nothing of the bound.
    let target = Memory::with_options(MemoryOptions { clone_range: false, ..MemoryOptions::default() });
    let second = OpenRepository::initialise(Arc::new(target.clone()), day(0)).await.unwrap();
    let mut machines = Machines::new(8);
    machines.add("web01", &[48 * BLOCK]);
    let mut truth = Truth::default();
    let policy = Policy { regular: Regular::Simple(keep(2)), ..Policy::default() };
    let budget = Some(Budget::Bytes(BOUND_BYTES));
    let compact = Compact { every_days: Some(6), budget, ..Compact::below(LiveShare::new(0.0).unwrap()) };
    let transforms = Transforms { compact: Some(compact), ..Transforms::keeping(policy) };
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
