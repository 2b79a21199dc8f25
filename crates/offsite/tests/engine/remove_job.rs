//! Removing a job: stopped half-way, run twice, beside readers and writers, and followed by a new job of the same name.

use std::sync::Arc;

use offsite::model::{BlockSize, Role};
use offsite::{Error, JobFolder, OpenRepository, Silent, Verify};
use offsite_repository::testing::Memory;
use tokio::runtime::{Builder, Runtime};

use crate::support::drive::poll_times;
use crate::support::objects::{fork, key, keys, newest_head, pin};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory};

const JOB: &str = "nightly";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Three points of a job, and a copy of them in the same place under another name would be no copy: so another job beside it.
async fn scene() -> (Arc<Memory>, OpenRepository, Machines, Truth) {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(5);
    machines.add("a", &[3 * BLOCK + 17, BLOCK]);
    machines.add("b", &[BLOCK]);
    let mut truth = Truth::default();
    for number in 0..3 {
        machines.change("a", 1);
        truth.record(&machines, &["a", "b"], day(number));
        machines.backup(&repository, &["a", "b"]).run(day(number)).await.unwrap();
    }
    let other = offsite::BackupJob::new(&repository, job("other"));
    let image = offsite::ImageSource::new(machines.image("b", 0));
    other.machine(crate::support::machine("b"), vec![image]).run(day(2)).await.unwrap();
    (memory, repository, machines, truth)
}

/// What is left of a job that is gone: its newest heads, and the marker.
fn assert_gone(memory: &Memory) {
    let left = keys(memory, JOB).into_iter().filter(|key| !key.as_str().contains("/head/"));
    let left: Vec<String> = left.map(|key| key.to_string()).filter(|key| !key.ends_with(".head")).collect();
    assert_eq!(left, [""; 0]);
}

async fn assert_unknown(repository: &OpenRepository) {
    assert_eq!(repository.jobs().await.unwrap(), [job("other")]);
    let error = JobFolder::open(repository, &job(JOB)).await.unwrap_err();
    assert!(matches!(error, Error::UnknownJob { .. }), "{error}");
    let report = Verify::new(repository, job("other")).read_data(true).run().await.unwrap();
    assert_eq!(report.damage, []);
}

#[tokio::test]
async fn a_removed_job_is_gone_and_a_new_one_may_have_its_name() {
    let (memory, repository, machines, _) = scene().await;
    let removed = repository.remove_job(&job(JOB), day(3), &Silent).await.unwrap();
    assert_eq!((removed.points, removed.is_gone, removed.released.held_bytes), (3, true, 0));
    assert!(removed.released.bytes > 0);
    assert_gone(&memory);
    assert_unknown(&repository).await;
    let again = repository.remove_job(&job(JOB), day(3), &Silent).await.unwrap_err();
    assert!(matches!(again, Error::UnknownJob { .. }), "{again}");
    // A new job of the name has blocks of another size and nothing of the old one.
    let mut truth = Truth::default();
    truth.record(&machines, &["a"], day(4));
    let backup = machines.backup(&repository, &["a"]).block_size(BlockSize::KiB256);
    assert!(backup.run(day(4)).await.unwrap().full);
    assert_eq!(repository.jobs().await.unwrap(), [job(JOB), job("other")]);
    truth.check(&repository, JOB).await;
    assert!(
        newest_head(&memory, JOB).machines.contains(&crate::support::machine("b")),
        "its numbers are not given again"
    );
}

#[tokio::test]
async fn a_name_passes_from_a_backup_job_to_a_copy_job() {
    let (memory, repository, machines, _) = scene().await;
    repository.remove_job(&job(JOB), day(3), &Silent).await.unwrap();
    let (_, primary) = memory_repository().await;
    let mut truth = Truth::default();
    truth.record(&machines, &["a", "b"], day(4));
    machines.backup(&primary, &["a", "b"]).keep(keep(3)).run(day(4)).await.unwrap();
    let source = vec![offsite::Source::job(&primary, job(JOB))];
    let copy = offsite::CopyJob::of(job(JOB), source, &repository).unwrap();
    assert!(copy.plan(day(4)).await.unwrap().sync.unwrap().full);
    copy.run(day(4)).await.unwrap();
    assert_eq!(newest_head(&memory, JOB).role, Role::Copy);
    truth.check(&repository, JOB).await;
    // The copy of a job that was removed has nothing to copy from, and keeps what it has.
    primary.remove_job(&job(JOB), day(5), &Silent).await.unwrap();
    assert!(copy_job(&primary, &open_memory(&memory).await).run(day(5)).await.is_err());
    truth.check(&repository, JOB).await;
}

#[tokio::test]
async fn what_a_reader_holds_goes_when_it_has_ended() {
    let (memory, repository, _, truth) = scene().await;
    let reader = pin(&memory, JOB, "other-host/boot 1 1 1 0").await;
    let head = newest_head(&memory, JOB);
    let removed = repository.remove_job(&job(JOB), day(3), &Silent).await.unwrap();
    if removed.is_gone {
        // The holder was found dead or silent.
        assert_gone(&memory);
        return;
    }
    assert!(removed.released.held_bytes > 0);
    for id in head.files.keys() {
        assert!(keys(&memory, JOB).contains(&key(&format!("{JOB}/blocks/{id}"))), "{id} went from under its reader");
    }
    drop(truth);
    memory.remove(&reader);
    let removed = repository.remove_job(&job(JOB), day(3), &Silent).await.unwrap();
    assert!(removed.is_gone);
    assert_gone(&memory);
    assert_unknown(&repository).await;
}

/// Wherever it is cut off, a point is whole or the job has none, and a second removal ends it.
#[test]
fn a_removal_that_is_cut_off_is_done_again() {
    let (memory, truth) = runtime().block_on(async {
        let (memory, _, _, truth) = scene().await;
        (memory, truth)
    });
    let (mut polls, mut before, mut after) = (0, 0, 0);
    loop {
        let (first, second) = (runtime(), runtime());
        let attempt = first.block_on(fork(&memory));
        let repository = first.block_on(open_memory(&attempt));
        let name = job(JOB);
        let mut removal = repository.remove_job(&name, day(3), &Silent);
        if let Some(ended) = first.block_on(poll_times(&mut removal, polls)) {
            assert!(ended.unwrap().is_gone);
            break;
        }
        drop(removal);
        second.block_on(async {
            let repository = open_memory(&attempt).await;
            match JobFolder::open(&repository, &job(JOB)).await {
                Ok(folder) if folder.chain().latest().is_some() => {
                    before += 1;
                    truth.check(&repository, JOB).await;
                }
                Ok(_) | Err(Error::UnknownJob { .. }) => after += 1,
                Err(error) => panic!("{error}"),
            }
            match repository.remove_job(&job(JOB), day(3), &Silent).await {
                Ok(removed) => assert!(removed.is_gone),
                Err(Error::UnknownJob { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            assert_gone(&attempt);
            assert_unknown(&repository).await;
        });
        polls += 1;
    }
    assert!(before > 3 && after > 3, "cut off {before} times before its commit and {after} times after");
}
