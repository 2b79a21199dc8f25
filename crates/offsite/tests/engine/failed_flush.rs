//! A drive that fails in the middle of a run: no flush is believed that failed, and none is repeated.
//!
//! Every call to the drive fails from a moment on, so that the kernel throws away what it had not written yet, and says so once. The run
//! fails with a typed error; after the drive is back, everything committed restores, the next run succeeds under new names, and
//! nothing is left. `OFFSITE_FLUSHES` sets how many moments, `OFFSITE_SEED` which. It takes root, nbdkit and nbdfuse.

use offsite_core::format::WireFormat;
use std::collections::BTreeSet;
use std::sync::Arc;

use offsite::model::Head;
use offsite::model::ObjectId;
use offsite::model::Timestamp;
use offsite::{Error, OpenRepository, Verify};
use offsite_backends::Local;
use offsite_core::format::head::HEAD_BYTES_MAX;
use offsite_repository::testing::{Fault, Faulty, Gate};
use offsite_repository::{Prefix, Repository, RepositoryExt, Verb};
use offsite_tests::{FileSystemKind, Yankable};
use tokio::runtime::{Builder, Runtime};

use crate::support::objects::is_copy;
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, Random, day, job, keep, seed};

const JOB: &str = "nightly";
const FLUSHES: i64 = 6;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

async fn open(drive: &Yankable) -> (Faulty<Local>, OpenRepository) {
    let faulty = Faulty::new(Local::open(drive.path()).await.unwrap());
    let backend: Arc<dyn Repository> = Arc::new(faulty.clone());
    (faulty, OpenRepository::open(backend).await.unwrap())
}

async fn newest_head(local: &Faulty<Local>) -> Head {
    let heads = local.list_all(&Prefix::new(format!("{JOB}/head")).unwrap()).await.unwrap();
    Head::decode(&local.get(&heads.last().unwrap().key, HEAD_BYTES_MAX).await.unwrap()).unwrap()
}

async fn backup(repository: &OpenRepository, machines: &Machines, now: Timestamp) -> Result<(), Error> {
    machines.backup(repository, &["web01"]).keep(keep(2)).run(now).await.map(drop)
}

#[test]
fn a_flush_that_fails_is_not_believed() {
    let seed = seed(63);
    let flushes = std::env::var("OFFSITE_FLUSHES").map_or(FLUSHES, |text| text.parse().expect("a number"));
    let mut drive = match Yankable::new(FileSystemKind::Ext4) {
        Ok(drive) => drive,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let mut random = Random::new(seed);
    let (mut machines, mut truth) = (Machines::new(seed), Truth::default());
    machines.add("web01", &[2 * BLOCK + 777]);
    runtime().block_on(async {
        let backend: Arc<dyn Repository> = Arc::new(Local::open(drive.path()).await.unwrap());
        let repository = OpenRepository::initialise(backend, day(0)).await.unwrap();
        for number in 0..3 {
            machines.change("web01", 1);
            truth.record(&machines, &["web01"], day(number));
            backup(&repository, &machines, day(number)).await.unwrap();
        }
    });
    let mut failed = 0;
    for flush in 0..flushes {
        let (lost, next) = (day(3 + 2 * flush), day(4 + 2 * flush));
        machines.change("web01", 2);
        truth.record(&machines, &["web01"], lost);
        let spare = random.below(8) as u64;
        let before = runtime().block_on(async {
            let (faulty, repository) = open(&drive).await;
            let gate = Gate::new();
            // What was written is with the kernel; now it is to be made durable.
            faulty.inject(Fault::holding(spare, &gate).on(Verb::Finish));
            let mut run = Box::pin(backup(&repository, &machines, lost));
            tokio::select! {
                biased;
                ended = &mut run => {
                    ended.unwrap_or_else(|error| panic!("flush {flush}: {}", causes(&error)));
                    return newest_head(&faulty).await;
                }
                () = gate.reached() => {}
            }
            let before = newest_head(&faulty).await;
            drive.pull();
            gate.release();
            match run.await {
                Err(error @ Error::Defect { .. }) => panic!("flush {flush}: {}", causes(&error)),
                Err(error) => println!("flush {flush}, call {spare}: {}", causes(&error)),
                Ok(()) => panic!("flush {flush}: a run on a dead drive succeeds"),
            }
            failed += 1;
            before
        });
        drive.plug_in_if_out();
        machines.change("web01", 1);
        truth.record(&machines, &["web01"], next);
        runtime().block_on(async {
            let (faulty, repository) = open(&drive).await;
            let report = Verify::new(&repository, job(JOB)).read_data(true).run().await.unwrap();
            assert_eq!(report.damage, [], "flush {flush}");
            truth.check(&repository, JOB).await;
            let found = newest_head(&faulty).await;
            assert!(found.number >= before.number, "flush {flush}: what was committed is committed");
            backup(&repository, &machines, next).await.unwrap();
            assert_eq!(truth.check(&repository, JOB).await.len(), 2);
            let head = newest_head(&faulty).await;
            // What was not committed has left no name behind that is used again.
            let new: BTreeSet<ObjectId> = head.files.keys().copied().collect();
            let old: BTreeSet<ObjectId> = found.files.keys().copied().collect();
            assert!(new.difference(&old).all(|id| id.epoch() > found.epoch), "flush {flush}");
            let blocks = faulty.list_all(&Prefix::new(format!("{JOB}/blocks")).unwrap()).await.unwrap();
            let files = blocks.iter().filter(|object| !is_copy(&object.key)).count();
            assert_eq!(files, new.len(), "flush {flush}: nothing is left over");
        });
    }
    println!("{failed} of {flushes} runs met a drive that failed");
    assert!(failed > 0);
}
