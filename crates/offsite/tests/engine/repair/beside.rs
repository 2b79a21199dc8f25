//! A repair beside runs of the job: the lease that it waits for, and objects that go while it looks at them.

use std::sync::Arc;
use std::time::Duration;

use offsite::model::{Lease, Sequence};
use offsite::{Error, OpenRepository, Repair};
use offsite_repository::testing::{Fault, Faulty, Gate};
use offsite_repository::{ErrorKind, Prefix, Verb};
use tokio::time::{Instant, sleep};

use super::{COPY, Scene};
use crate::support::objects::{Living, foreign_lease, key, keys, newest_head, put_successor, renew};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory};

/// Of a process of this host the kernel knows that it lives. One of another host is watched: a sign of life is respected, and without one
/// for its whole duration the lease is free.
#[tokio::test(start_paused = true)]
async fn a_repair_waits_until_no_run_can_be_at_work() {
    let scene = Scene::new().await;
    let lost = keys(&scene.target, &format!("{COPY}/index")).remove(0);
    let memory = scene.without(|key| *key == lost).await;
    let repository = open_memory(&memory).await;
    let repair = Repair::new(&repository, job(COPY));

    let run = Living::new();
    let lease = Lease::new(run.holder.clone(), 60);
    put_successor(&memory, COPY, |head| head.lease = Some(lease)).await;
    let before = memory.contents();
    let error = repair.run().await.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert!(memory.contents() == before, "it wrote nothing");

    let head = put_successor(&memory, COPY, |head| head.lease = Some(foreign_lease(60))).await;
    let before = memory.contents().len();
    let sign = async {
        sleep(Duration::from_secs(50)).await;
        renew(&memory, COPY, &head, 1).await
    };
    let (answer, _) = tokio::join!(repair.run(), sign);
    assert!(matches!(answer, Err(Error::Busy { .. })), "{answer:?}");
    assert_eq!(memory.contents().len(), before + 1, "it wrote nothing");

    let start = Instant::now();
    let report = repair.run().await.unwrap();
    let waited = start.elapsed();
    assert!((60..66).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(report.restored, [lost]);
}

/// The newest head is looked at first. Where it is gone by then, a run has trimmed it, and nothing is damaged.
#[tokio::test]
async fn a_head_that_goes_after_it_was_listed_is_not_missed() {
    let scene = Scene::new().await;
    let faulty = Faulty::new(scene.target.clone());
    let repository = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let heads = Prefix::new(format!("{COPY}/head")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::NotFound).on(Verb::Read).below(heads));
    let planned = Repair::new(&repository, job(COPY)).plan().await.unwrap();
    assert_eq!(faulty.failures(), 1);
    assert!(planned.is_intact() && planned.damage.is_empty(), "{planned:?}");
}

/// The second copy of a head that is gone, or cannot be read, is made anew. Of one behind an outage nothing is known.
#[tokio::test]
async fn a_second_copy_that_goes_after_it_was_listed_is_put_back_and_one_behind_an_outage_is_not() {
    let scene = Scene::new().await;
    let blocks = Prefix::new(format!("{COPY}/blocks")).unwrap();
    let kinds = [
        (ErrorKind::NotFound, true),
        (ErrorKind::Corrupt, true),
        (ErrorKind::Unavailable, false),
        (ErrorKind::PermissionDenied, false),
    ];
    for (kind, is_lost) in kinds {
        let faulty = Faulty::new(scene.target.clone());
        let repository = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
        faulty.inject(Fault::after_calls(0, kind).on(Verb::Read).below(blocks.clone()));
        let planned = Repair::new(&repository, job(COPY)).plan().await;
        assert_eq!(faulty.failures(), 1, "{kind:?}");
        match planned {
            Ok(planned) => {
                assert!(is_lost, "{kind:?}: {planned:?}");
                assert!(
                    matches!(&planned.restored[..], [copy] if copy.name().ends_with(".head")),
                    "{kind:?}: {planned:?}"
                );
            }
            Err(error) => assert_eq!((is_lost, error.repository_kind()), (false, Some(kind)), "{error}"),
        }
    }
}

/// An index that is lost with its second copy comes back from the frames of a backup file. From one that goes after it was listed none does,
/// and what needed it is left out as if it had been gone before.
#[tokio::test]
async fn a_backup_file_that_goes_after_it_was_listed_proves_no_index() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(79);
    machines.add("web01", &[3 * BLOCK]);
    machines.fill_with_noise("web01");
    for number in 0..2 {
        machines.overwrite("web01", |disk| disk[0] = disk[0].wrapping_add(1));
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        copy_job(&primary, &second).transforms(keep(9)).run(day(number)).await.unwrap();
    }
    let head = newest_head(&target, COPY);
    let newest = head.chain.latest().unwrap();
    let index = key(&format!("{COPY}/index/{}", newest.index.id));
    assert!(target.remove(&index));
    assert!(target.remove(&key(&format!("{COPY}/blocks/{}.index", newest.index.id))));
    let faulty = Faulty::new((*target).clone());
    let repository = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let repair = Repair::new(&repository, job(COPY));
    assert_eq!(repair.plan().await.unwrap().salvaged, [index]);
    // The first that it reads there is the second copy of the head, after the listing.
    let gate = Gate::new();
    let blocks = Prefix::new(format!("{COPY}/blocks")).unwrap();
    faulty.inject(Fault::holding(0, &gate).on(Verb::Read).below(blocks));
    let file = key(&format!("{COPY}/blocks/{}", head.files.keys().next_back().unwrap()));
    let loss = async {
        gate.reached().await;
        assert!(target.remove(&file));
        gate.release();
    };
    let (planned, ()) = tokio::join!(repair.plan(), loss);
    let planned = planned.unwrap();
    let left_out: Vec<Sequence> = planned.left_out.iter().map(|left| left.sequence).collect();
    assert_eq!((planned.salvaged.len(), left_out), (0, vec![newest.sequence]), "{planned:?}");
}
