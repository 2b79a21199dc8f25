//! The mover with a failing repository, or a wrong plan.

use std::sync::Arc;

use offsite_core::plan::Move;
use offsite_core::{ObjectId, StoredBlock};
use offsite_repository::testing::Fault;
use offsite_repository::{ErrorKind, Verb};

use super::{fold, scrub};
use crate::progress::Task;
use crate::sample::Sample;
use crate::teller::Teller;
use crate::{Error, JobName, Silent};

fn job() -> JobName {
    JobName::new("nightly").unwrap()
}

fn quiet(job: &JobName) -> Teller<'_> {
    Teller::new(&Silent, Task::Transform, job)
}

/// The batch ends in the middle of a block. So each of its blocks is read alone.
#[tokio::test]
async fn an_outage_during_a_scrub_is_no_damage() {
    let sample = Sample::new(6).await;
    let file = sample.layout.backup_file(sample.blocks[0].at.file).unwrap();
    assert!(sample.memory.truncate(&file, sample.blocks[4].at.offset + 10));
    let wanted = Arc::new(sample.blocks.clone());
    let mut calls = 0;
    loop {
        sample.faulty.inject(Fault::after_calls(calls, ErrorKind::Unavailable).on(Verb::Read));
        let scrubbed = scrub(Arc::clone(&wanted), &sample.frames(), quiet(&job())).await;
        if sample.faulty.failures() == calls {
            let damaged: Vec<u32> = scrubbed.unwrap().flaws.iter().map(|flaw| flaw.block.address.block).collect();
            assert_eq!(damaged, [4, 5]);
            break;
        }
        calls += 1;
        assert_eq!(scrubbed.unwrap_err().repository_kind(), Some(ErrorKind::Unavailable), "call {calls}");
    }
    assert_eq!(calls, 7, "the batch, and each of its blocks");
}

#[tokio::test]
async fn a_fold_that_would_not_move_a_block_as_it_is_is_refused() {
    let sample = Sample::new(2).await;
    let block = &sample.blocks[0];
    let (file, alignment) = (block.at.file, u64::from(sample.head.alignment_bytes));
    let fold_to = async |to: StoredBlock| {
        let step = Move { address: block.address.clone(), source: 0, from: block.at, to };
        fold(&[step], alignment, &sample.frames(), file, quiet(&job())).await
    };
    let to = StoredBlock { offset: sample.head.files[&file].length, ..block.at };
    for wrong in [StoredBlock { file: ObjectId::new(9, 9), ..to }, StoredBlock { length: to.length + 1, ..to }] {
        let error = fold_to(wrong).await.unwrap_err();
        assert!(matches!(error, Error::Defect { .. }), "{error}");
    }
    fold_to(to).await.unwrap();
}
