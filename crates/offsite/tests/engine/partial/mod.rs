//! Copies that are held, stopped or cut short by damage: what arrived is kept, and only what is missing is sent again.

mod damaged;
mod outages;

use std::sync::Arc;

use offsite::model::{Sequence, Status, Stored};
use offsite::report::{MachineOutcome, SyncOutcome};
use offsite::retention::Policy;
use offsite::{
    Error, Gate, JobFolder, MergeMethod, OpenRepository, PointSelector, Restore, SyncRequest, Transforms, Verify,
};
use offsite_repository::ErrorKind;
use offsite_repository::testing::{Fault, Faulty, Memory, MemoryOptions};

use crate::support::gates::{Held, StopAfter};
use crate::support::objects::{fork, key, keys, newest_head, space, spare, step, stray};
use crate::support::truth::Truth;
use crate::support::{
    BLOCK, Machines, Random, copy_job, day, job, keep, machine, memory_repository, memory_repository_with, open_memory,
    restored, scratch, seed,
};

const COPY: &str = "Offsite Copy";

/// Two machines of different noise, whose blocks lie in turn in the files of two days: each block is a request of its own.
struct Scene {
    source: Memory,
    primary: OpenRepository,
    machines: Machines,
    truth: Truth,
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(71), Truth::default());
        machines.add("db01", &[3 * BLOCK]);
        machines.add("web01", &[6 * BLOCK + 777]);
        for number in 0..2 {
            for name in ["db01", "web01"] {
                let mut random = Random::new(number as u64 + name.len() as u64);
                machines.overwrite(name, |disk| {
                    let blocks = disk.chunks_mut(BLOCK).enumerate();
                    let written = blocks.filter(|(block, _)| number == 0 || block % 2 == 1);
                    written.for_each(|(_, block)| block.iter_mut().for_each(|byte| *byte = random.next() as u8));
                });
            }
            truth.record(&machines, &["db01", "web01"], day(number));
            machines.backup(&primary, &["db01", "web01"]).run(day(number)).await.unwrap();
        }
        Self { source: (*source).clone(), primary, machines, truth }
    }

    /// A day on which some blocks change.
    async fn next_day(&mut self, number: i64, blocks: usize) {
        for name in ["db01", "web01"] {
            self.machines.change(name, blocks);
        }
        self.truth.record(&self.machines, &["db01", "web01"], day(number));
        self.machines.backup(&self.primary, &["db01", "web01"]).run(day(number)).await.unwrap();
    }
}

fn through(number: i64, gate: Arc<dyn Gate>) -> SyncRequest {
    SyncRequest::at(day(number)).gate(gate)
}

fn outcome<'a>(outcome: &'a SyncOutcome, name: &str) -> &'a MachineOutcome {
    &outcome.machines.iter().find(|report| report.name.as_str() == name).unwrap().outcome
}

async fn is_tidy(memory: &Memory, copy: &str) {
    assert_eq!(stray(memory, copy), [""; 0]);
    let (taken, needed) = space(memory, copy).await;
    assert_eq!(taken, needed);
}

/// Stopped after each number of requests: both syncs cost what was planned, and together no block more than one that is not stopped.
#[tokio::test]
async fn a_sync_that_is_stopped_anywhere_goes_on_where_it_was() {
    let mut scene = Scene::new().await;
    let (_, whole) = memory_repository().await;
    let all =
        copy_job(&scene.primary, &whole).sync(&SyncRequest::at(day(1))).await.unwrap().sync.unwrap().tally.planned;
    assert!(all.read_requests > 8, "{all:?}");
    let mut targets = Vec::new();
    for requests in 0..=all.read_requests as usize {
        let (target, second) = memory_repository().await;
        let copy = copy_job(&scene.primary, &second).transforms(keep(2));
        let first = copy.sync(&through(1, StopAfter::new(requests))).await.unwrap();
        let mut sent = 0;
        if let Some(sync) = &first.sync {
            assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
            assert_eq!(sync.tally.planned.read_requests, requests as u64);
            sent = sync.tally.planned.blocks;
        }
        assert_eq!(first.sync.is_none(), requests == 0);
        let chain = JobFolder::open(&second, &job(COPY)).await.unwrap().chain().clone();
        for name in ["db01", "web01"] {
            match outcome(&first, name) {
                MachineOutcome::Complete { captured } => assert_eq!(*captured, day(1)),
                MachineOutcome::Incomplete { transferred, .. } => {
                    assert!(requests < all.read_requests as usize);
                    let Some(point) = chain.latest() else { continue };
                    let state = point.machine(&machine(name)).unwrap();
                    assert_eq!((state.status, state.transferred), (Status::Incomplete, *transferred));
                    let refused =
                        Restore::new(&second, job(COPY), machine(name)).point(PointSelector::Sequence(Sequence(1)));
                    let refused = refused.run(scratch().path()).await.unwrap_err();
                    assert!(refused.to_string().contains("incomplete"), "{refused}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        if requests > 0 {
            is_tidy(&target, COPY).await;
            assert_eq!(Verify::new(&second, job(COPY)).read_data(true).run().await.unwrap().damage, []);
        }
        // The next one sends what is missing, and nothing else.
        let again = copy.plan(day(1)).await.unwrap();
        let forked = fork(&target).await;
        let other = copy_job(&scene.primary, &open_memory(&forked).await).transforms(keep(2));
        let second_try = other.sync(&SyncRequest::at(day(1))).await.unwrap();
        assert_eq!(again.sync.as_ref().map(|sync| sync.cost), second_try.sync.as_ref().map(|sync| sync.tally.planned));
        if let Some(sync) = &second_try.sync {
            assert!(sync.tally.kept_to_plan());
            sent += sync.tally.planned.blocks;
        }
        assert_eq!(sent, all.blocks, "after {requests} requests");
        assert!(!scene.truth.check(&open_memory(&forked).await, COPY).await.is_empty());
        is_tidy(&forked, COPY).await;
        targets.push((target, sent));
    }
    // On the next day some of what arrived is no longer wanted: it is let go.
    scene.next_day(2, 2).await;
    for (target, _) in targets {
        let second = open_memory(&target).await;
        let report = copy_job(&scene.primary, &second).transforms(keep(2)).run(day(2)).await.unwrap();
        assert!(report.sync.unwrap().tally.kept_to_plan());
        scene.truth.check(&second, COPY).await;
        assert_eq!(restored(&second, COPY, "web01", None).await, scene.machines.content("web01"));
        is_tidy(&target, COPY).await;
    }
}

/// A part that joins the restore point of its interval makes no new one.
#[tokio::test]
async fn what_is_missing_joins_the_point_of_the_interval() {
    let mut scene = Scene::new().await;
    let (target, second) = memory_repository().await;
    let copy = copy_job(&scene.primary, &second).transforms(keep(2));
    for number in 1..5 {
        if number > 1 {
            scene.next_day(number, 3).await;
        }
        let mut joins = None;
        for _ in 0..20 {
            let request = through(number, StopAfter::new(2)).joins(joins);
            let synced = copy.sync(&request).await.unwrap();
            let Some(sync) = synced.sync else { break };
            assert!(sync.tally.kept_to_plan());
            assert_eq!(sync.joined, joins.is_some());
            joins = Some(sync.sequence);
            is_tidy(&target, COPY).await;
            scene.truth.check(&second, COPY).await;
        }
        let chain = JobFolder::open(&second, &job(COPY)).await.unwrap().chain().clone();
        assert_eq!(chain.points().len() as i64, number.min(3));
        let point = chain.latest().unwrap();
        assert_eq!((Some(point.sequence), point.machines.len()), (joins, 2));
        assert!(point.machines.iter().all(|machine| machine.status == Status::Complete && machine.origin.is_some()));
        let report = copy.transform(day(number), 1).await.unwrap();
        assert!(report.operations.iter().all(|report| report.tally.kept_to_plan()));
        is_tidy(&target, COPY).await;
    }
}

/// Held at each request for as long as it takes: nothing is lost, and nobody else can take the job over.
#[tokio::test]
async fn a_sync_goes_on_after_each_pause() {
    let scene = Scene::new().await;
    let (target, second) = memory_repository().await;
    let gate = Held::new();
    let request = through(1, gate.clone());
    let copy = copy_job(&scene.primary, &second);
    let running = tokio::spawn({
        let copy = copy.clone();
        async move { copy.sync(&request).await }
    });
    let mut requests = 0;
    while !running.is_finished() {
        tokio::select! {
            () = gate.is_waiting() => {}
            () = async { while !running.is_finished() { tokio::task::yield_now().await } } => break,
        }
        requests += 1;
        assert!(matches!(copy.transform(day(1), 0).await.unwrap_err(), Error::Busy { .. }));
        assert_eq!(keys(&scene.source, "nightly/pin").len(), 1, "what is read stays readable");
        gate.let_through(1);
    }
    let synced = running.await.unwrap().unwrap().sync.unwrap();
    assert!(synced.tally.kept_to_plan());
    assert_eq!(synced.tally.planned.read_requests, requests);
    scene.truth.check(&second, COPY).await;
    is_tidy(&target, COPY).await;
    assert_eq!(keys(&scene.source, "nightly/pin").len(), 0);
}

/// The error of a restore names the way out.
#[tokio::test]
async fn an_older_point_with_the_whole_machine_is_named() {
    let mut scene = Scene::new().await;
    let (_, second) = memory_repository().await;
    let copy = copy_job(&scene.primary, &second);
    copy.sync(&SyncRequest::at(day(0))).await.unwrap();
    scene.next_day(2, 3).await;
    copy.sync(&through(2, StopAfter::new(1))).await.unwrap();
    let folder = JobFolder::open(&second, &job(COPY)).await.unwrap();
    let newest = folder.chain().latest().unwrap();
    let cut_off = newest.machines.iter().find(|machine| !machine.is_whole()).unwrap();
    let restore = Restore::new(&second, job(COPY), cut_off.name.clone()).point(PointSelector::Sequence(Sequence(2)));
    let refused = restore.run(scratch().path()).await.unwrap_err().to_string();
    assert!(refused.contains("incomplete in restore point 2; restore point 1, of"), "{refused}");
}

/// What came later is not older, though it has the machine whole.
#[tokio::test]
async fn no_newer_point_is_named_where_an_older_one_is_looked_for() {
    let mut scene = Scene::new().await;
    let (_, second) = memory_repository().await;
    let copy = copy_job(&scene.primary, &second);
    copy.sync(&through(1, StopAfter::new(1))).await.unwrap();
    let folder = JobFolder::open(&second, &job(COPY)).await.unwrap();
    let first = folder.chain().latest().unwrap();
    let cut_off = first.machines.iter().find(|machine| !machine.is_whole()).unwrap();
    scene.next_day(2, 3).await;
    copy.sync(&SyncRequest::at(day(2))).await.unwrap();
    let content = scene.machines.content(cut_off.name.as_str());
    assert_eq!(restored(&second, COPY, cut_off.name.as_str(), None).await, content);
    let restore = Restore::new(&second, job(COPY), cut_off.name.clone()).point(PointSelector::Sequence(Sequence(1)));
    let refused = restore.run(scratch().path()).await.unwrap_err().to_string();
    assert!(refused.contains("incomplete in restore point 1; no older restore point has it complete"), "{refused}");
}

/// The source goes away in the middle: what had arrived is kept, the error is told, and the next run sends the rest.
#[tokio::test]
async fn a_source_that_goes_away_costs_no_block_twice() {
    let scene = Scene::new().await;
    let (_, whole) = memory_repository().await;
    let all =
        copy_job(&scene.primary, &whole).sync(&SyncRequest::at(day(1))).await.unwrap().sync.unwrap().tally.planned;
    let mut kept = 0;
    for calls in 0..60 {
        let faulty = Faulty::new(fork(&scene.source).await);
        let primary = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
        let (target, second) = memory_repository().await;
        let copy = copy_job(&primary, &second);
        faulty.inject(Fault::after_calls(calls, ErrorKind::Unavailable).for_ever());
        match copy.run(day(1)).await {
            Err(error) => assert_eq!(error.repository_kind(), Some(ErrorKind::Unavailable), "{error}"),
            Ok(_) => break,
        }
        faulty.heal();
        if keys(&target, COPY).is_empty() {
            continue;
        }
        is_tidy(&target, COPY).await;
        let head = newest_head(&target, COPY);
        let here = spare(&target, COPY, &head).stored().count() as u64
            + head
                .chain
                .latest()
                .map_or(0, |point| crate::support::objects::step(&target, COPY, point).stored().count() as u64);
        let report = copy.run(day(1)).await.unwrap().sync;
        let sent = report.map_or(0, |sync| sync.tally.planned.blocks);
        assert_eq!(here + sent, all.blocks, "after {calls} calls");
        kept += u64::from(here > 0);
        scene.truth.check(&second, COPY).await;
        is_tidy(&target, COPY).await;
    }
    assert!(kept > 3, "{kept}");
}

/// The target fails at each call of a sync that is stopped in the middle: the next run needs no repair.
#[tokio::test]
async fn a_stopped_sync_that_fails_anywhere() {
    let mut scene = Scene::new().await;
    let (target, second) = memory_repository().await;
    // There is something from before to take and to let go.
    copy_job(&scene.primary, &second).sync(&through(1, StopAfter::new(3))).await.unwrap();
    scene.next_day(2, 2).await;
    let mut calls = 0;
    loop {
        let mut struck = false;
        let kinds = [ErrorKind::Unavailable, ErrorKind::NoSpace, ErrorKind::Indeterminate];
        let faults = kinds.map(|kind| Fault::after_calls(calls, kind)).into_iter();
        let lost = Fault::after_calls(calls, ErrorKind::Indeterminate).losing_the_answer();
        let for_ever = Fault::after_calls(calls, ErrorKind::Unavailable).for_ever();
        for fault in faults.chain([lost, for_ever]) {
            let forked = fork(&target).await;
            let faulty = Faulty::new(forked.clone());
            faulty.inject(fault.clone());
            let result = async {
                let second = OpenRepository::open(Arc::new(faulty.clone())).await?;
                copy_job(&scene.primary, &second).sync(&through(2, StopAfter::new(5))).await
            };
            if let Err(error) = result.await {
                assert!(!matches!(error, Error::Defect { .. } | Error::Damaged { .. }), "{fault:?}: {error}");
            }
            struck |= faulty.failures() > 0;
            let second = open_memory(&forked).await;
            scene.truth.check(&second, COPY).await;
            let report = copy_job(&scene.primary, &second).run(day(2)).await.unwrap();
            assert!(report.sync.is_none_or(|sync| sync.tally.kept_to_plan()), "{fault:?}");
            scene.truth.check(&second, COPY).await;
            assert_eq!(restored(&second, COPY, "web01", None).await, scene.machines.content("web01"));
            is_tidy(&forked, COPY).await;
        }
        if !struck {
            break;
        }
        calls += 1;
    }
    assert!(calls > 8, "{calls}");
}

/// The first copy of a chain is cut off, later runs complete the machines, and merges take the full in: by each way of merging, with what the
/// full had left spare on its way out, every point is read as a stranger reads it.
#[tokio::test]
async fn merges_take_in_a_full_that_was_cut_off() {
    for merge in [MergeMethod::Adopt, MergeMethod::Fold] {
        for requests in 1..8 {
            let mut scene = Scene::new().await;
            let (target, second) = memory_repository().await;
            let policy = Policy::new(keep(2));
            let transforms = Transforms::keeping(policy).merge(merge);
            let copy = copy_job(&scene.primary, &second).transforms(transforms);
            copy.sync(&through(1, StopAfter::new(requests))).await.unwrap();
            for number in 2..6 {
                scene.next_day(number, 1).await;
                let report = copy.run(day(number)).await.unwrap();
                assert!(report.transform.operations.iter().all(|done| done.tally.kept_to_plan()), "{report:?}");
                scene.truth.check(&open_memory(&target).await, COPY).await;
                for point in newest_head(&target, COPY).chain.all() {
                    let says = step(&target, COPY, point);
                    assert_eq!(point.stored, Stored::of(&says), "{merge:?}, {requests} requests, day {number}");
                }
                is_tidy(&target, COPY).await;
            }
            assert_eq!(Verify::new(&second, job(COPY)).read_data(true).run().await.unwrap().damage, []);
        }
    }
}

/// Long lives with stops at random: everything whole restores, no byte is taken for nothing, and no block is sent twice.
#[tokio::test]
async fn a_life_of_stopped_syncs() {
    let first = seed(91);
    for seed in first..first + 4 {
        println!("OFFSITE_SEED={seed}");
        let mut random = Random::new(seed);
        let options = MemoryOptions::default().with_reclaim(seed % 2 == 0);
        let (_, primary) = memory_repository_with(options.clone()).await;
        let (target, second) = memory_repository_with(options.clone()).await;
        let (mut machines, mut truth) = (Machines::new(seed), Truth::default());
        machines.add("db01", &[2 * BLOCK]);
        machines.add("web01", &[3 * BLOCK, BLOCK + 5]);
        let mut joins = None;
        for number in 0..24 {
            let names: Vec<&str> = if random.below(4) == 0 { vec!["web01"] } else { vec!["db01", "web01"] };
            names.iter().for_each(|name| machines.change(name, 1 + random.below(4)));
            if random.below(5) == 0 {
                machines.resize("web01", 0, BLOCK * (1 + random.below(5)) + random.below(3));
            }
            truth.record(&machines, &names, day(number));
            machines.backup(&primary, &names).keep(keep(3)).run(day(number)).await.unwrap();
            let copy = copy_job(&primary, &second).transforms(keep(2 + random.below(2) as u32));
            for _ in 0..1 + random.below(3) {
                let request = through(number, StopAfter::new(random.below(6))).joins(joins);
                let synced = copy.sync(&request).await.unwrap();
                joins = synced.sync.as_ref().filter(|_| random.below(2) == 0).map(|sync| sync.sequence);
                assert!(synced.sync.is_none_or(|sync| sync.tally.kept_to_plan()));
                truth.check(&second, COPY).await;
            }
            if random.below(3) > 0 {
                let report = copy.transform(day(number), 1).await.unwrap();
                assert!(report.operations.iter().all(|report| report.tally.kept_to_plan()));
                truth.check(&second, COPY).await;
            }
            assert_eq!(stray(&target, COPY), [""; 0], "after day {number}");
            let (taken, needed) = space(&target, COPY).await;
            assert!(if options.reclaim { taken == needed } else { taken >= needed }, "{taken} {needed} day {number}");
        }
        copy_job(&primary, &second).transforms(keep(2)).run(day(24)).await.unwrap();
        for name in ["db01", "web01"] {
            assert_eq!(restored(&second, COPY, name, None).await, machines.content(name));
        }
        assert!(target.contents().iter().any(|(found, _)| *found == key("offsite-repository")));
    }
}
