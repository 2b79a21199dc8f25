//! The transforms of a copy's chain, one after the other through a year: whatever is mixed, every kept point restores, what is
//! stored is what the points refer to, and nothing dangles.

use std::collections::BTreeMap;
use std::sync::Arc;

use offsite::model::{PointKind, Sequence, Status};
use offsite::report::Operation;
use offsite::retention::{Ageing, Anchors, ArchiveMethod, DeletedMachines, Gfs, Policy};
use offsite::{Budget, Compact, LiveShare, MergeMethod, OpenRepository, Selection, SyncRequest, Transforms};
use offsite_repository::ErrorKind;
use offsite_repository::testing::{Fault, Faulty, Memory, MemoryOptions};

use crate::support::gates::StopAfter;
use crate::support::objects::{newest_head, space, step, stray};
use crate::support::truth::Truth;
use crate::support::{
    BLOCK, Machines, Random, copy_job, day, keep, machine, memory_repository_with, open_memory, seed,
};

const JOB: &str = "Offsite Copy";
/// Kinds of transforms that the year has.
const KINDS: usize = 7;

/// What an index says and the head counts, what is there, and what is stored: all must agree.
async fn check(memory: &Memory, options: &MemoryOptions, number: i64) {
    assert_eq!(stray(memory, JOB), [""; 0], "day {number}");
    let (taken, needed) = space(memory, JOB).await;
    if options.reclaim {
        assert_eq!(taken, needed, "day {number}");
    } else {
        assert!(taken >= needed, "day {number}");
    }
    let head = newest_head(memory, JOB);
    for point in head.chain.all() {
        for (_, _, _, at) in step(memory, JOB, point).stored() {
            assert!(head.files.contains_key(&at.file), "day {number}: #{} refers to {}", point.sequence, at.file);
        }
        assert!(point.below.len() < 12, "day {number}: #{} stands on {} indexes", point.sequence, point.below.len());
    }
}

/// No archive has a file in common with any other point.
fn independent(memory: &Memory, number: i64) {
    let head = newest_head(memory, JOB);
    for archive in head.chain.archives() {
        let own = step(memory, JOB, archive).files();
        for other in head.chain.all().filter(|other| other.sequence != archive.sequence) {
            let shared = step(memory, JOB, other).files().intersection(&own).count();
            assert_eq!(shared, 0, "day {number}: #{} and #{}", archive.sequence, other.sequence);
        }
    }
}

fn settings(seed: u64, random: &mut Random) -> Transforms {
    let method = [ArchiveMethod::Shared, ArchiveMethod::Independent, ArchiveMethod::Active][(seed % 3) as usize];
    // Copies are of 22 hours, so that an anchor at 23 flags the point that is there already.
    let anchors = Anchors::default().at_hour(22 + (seed as u32 / 3) % 2).unwrap();
    let gfs = Gfs::new(2, 3, 1, 1).unwrap().with_method(method).with_anchors(anchors);
    let policy = Policy::new(keep(5)).with_gfs(gfs);
    let budget = [None, Some(Budget::Bytes(700 << 10))][random.below(2)];
    let compact = Compact::below(LiveShare::new(0.6).unwrap()).piece_bytes(600 << 10).budget(budget);
    Transforms::keeping(policy)
        .merge([MergeMethod::Auto, MergeMethod::Adopt, MergeMethod::Fold][random.below(3)])
        .deleted_machines(Some(DeletedMachines::after_days(10).unwrap()))
        .compact([None, Some(compact), Some(compact)][random.below(3)])
        .ageing(Ageing::Merge)
}

async fn year(seed: u64, days: i64, done: &mut BTreeMap<String, u64>) {
    let mut random = Random::new(seed);
    let options =
        MemoryOptions::default().with_reclaim(seed & 1 == 0).with_clone_range(seed & 2 == 0).with_patch(seed & 4 == 0);
    let transforms = settings(seed, &mut random);
    let can = [options.reclaim, options.clone_range, options.patch];
    println!("OFFSITE_SEED={seed}: punch, clone, patch {can:?}, {transforms:?}");
    let (_, primary) = memory_repository_with(MemoryOptions::default()).await;
    let (target, second) = memory_repository_with(options.clone()).await;
    let mut machines = Machines::new(seed);
    let names = ["vm0", "vm1", "vm2"];
    for name in names {
        machines.add(name, &[BLOCK * (1 + random.below(3)) + random.below(BLOCK)]);
    }
    let mut truth = Truth::default();
    let mut selected = vec![true; names.len()];
    for number in 0..days {
        let now = day(number);
        if random.below(12) == 0 {
            let which = random.below(names.len());
            selected[which] ^= true;
        }
        machines.change(names[random.below(names.len())], 1 + random.below(2));
        truth.record(&machines, &names, now);
        machines.backup(&primary, &names).keep(keep(3)).run(now).await.unwrap();
        let mut chosen: Vec<_> = names.iter().zip(&selected).filter(|(_, selected)| **selected).collect();
        if chosen.is_empty() {
            selected[0] = true;
            chosen = vec![(&names[0], &true)];
        }
        let selection = Selection::machines(chosen.into_iter().map(|(name, _)| machine(name)).collect());
        let job = copy_job(&primary, &second).select(selection).transforms(transforms.clone());
        let plan = job.plan(now).await.unwrap();
        let report = job.run(now).await.unwrap_or_else(|error| panic!("day {number}: {error:?}"));
        assert!(report.sync.is_none_or(|sync| sync.tally.kept_to_plan()), "day {number}");
        for operation in &report.transform.operations {
            assert!(operation.tally.kept_to_plan(), "day {number}: {operation:?}");
            if matches!(operation.operation, Operation::RemoveMachines { .. }) {
                assert_eq!((operation.tally.target.bytes_read, operation.tally.target.bytes_written), (0, 0));
            }
        }
        let planned: Vec<_> = plan.operations.iter().map(|planned| &planned.operation).collect();
        let ran: Vec<_> = report.transform.operations.iter().map(|report| &report.operation).collect();
        assert_eq!(planned, ran, "day {number}");
        let written =
            report.transform.operations.iter().filter(|done| matches!(done.operation, Operation::Compact { .. }));
        let written: u64 = written.map(|done| done.tally.target.bytes_written).sum();
        if let Some(Budget::Bytes(bytes)) = transforms.compact.and_then(|compact| compact.budget) {
            assert!(written <= bytes, "day {number}");
        }
        for report in &report.transform.operations {
            let name = format!("{:?}", report.operation);
            *done.entry(name.split_whitespace().next().unwrap().to_owned()).or_default() += 1;
            if name.contains("Cloned") {
                assert_eq!((report.tally.target.bytes_read, report.tally.target.bytes_written), (0, 0), "{name}");
            }
        }
        if seed % 3 == 1 {
            independent(&target, number);
        }
        check(&target, &options, number).await;
        if number % 30 == 29 || number + 1 == days {
            assert!(!truth.check(&open_memory(&target).await, JOB).await.is_empty());
        }
    }
}

#[tokio::test]
async fn a_year_of_transforms_leaks_nothing_and_loses_nothing() {
    let seed = seed(41);
    let mut done = BTreeMap::new();
    for seed in seed..seed + 12 {
        year(seed, 120, &mut done).await;
    }
    println!("{done:?}");
    assert!(done.values().sum::<u64>() >= 1000, "{done:?}");
    assert_eq!(done.len(), KINDS, "each kind of transform is among them: {done:?}");
}

/// One call fails, or that and all after it: what is committed restores, and the next run goes on.
#[tokio::test]
async fn a_run_that_is_cut_off_at_any_call_loses_nothing() {
    for (method, punches) in
        [(ArchiveMethod::Independent, false), (ArchiveMethod::Active, true), (ArchiveMethod::Independent, true)]
    {
        let options = MemoryOptions::default().with_reclaim(punches).with_clone_range(false);
        let (_, primary) = memory_repository_with(MemoryOptions::default()).await;
        let (target, second) = memory_repository_with(options.clone()).await;
        let mut machines = Machines::new(7);
        let names = ["vm0", "vm1"];
        names.iter().for_each(|name| machines.add(name, &[BLOCK + 5000]));
        let mut truth = Truth::default();
        let gfs = Gfs::new(2, 0, 0, 0).unwrap().with_method(method);
        let policy = Policy::new(keep(3)).with_gfs(gfs);
        let compact = Compact::all().piece_bytes(300 << 10);
        let calm = Transforms::keeping(policy.clone()).merge(MergeMethod::Adopt);
        let wild = calm.clone().compact(compact).deleted_machines(Some(DeletedMachines::after_days(1).unwrap()));
        // The last days are copied without archives becoming independent, so that much is left to be done.
        for number in 0..13 {
            machines.change("vm0", 1);
            machines.change("vm1", 1);
            truth.record(&machines, &names, day(number));
            machines.backup(&primary, &names).run(day(number)).await.unwrap();
            let gfs = gfs.with_method(ArchiveMethod::Shared);
            let settings = calm.clone().retention(policy.clone().with_gfs(gfs));
            copy_job(&primary, &second).transforms(settings).run(day(number)).await.unwrap();
        }
        let now = day(14);
        machines.change("vm0", 1);
        truth.record(&machines, &names, now);
        machines.backup(&primary, &names).run(now).await.unwrap();
        let only = Selection::machines(vec![machine("vm0")]);
        let run = async |repository: &OpenRepository| {
            copy_job(&primary, repository).select(only.clone()).transforms(wild.clone()).run(now).await
        };
        let calls = {
            let whole = Faulty::new(target.fork());
            let opened = OpenRepository::open(Arc::new(whole.clone())).await.unwrap();
            let before = whole.calls();
            let report = run(&opened).await.unwrap();
            let done = report.transform.operations.iter().map(|done| &done.operation);
            assert!(done.clone().any(|done| matches!(done, Operation::Compact { .. })), "{:?}", report.transform);
            assert!(done.clone().any(|done| matches!(done, Operation::RemoveMachines { .. })));
            assert_eq!(
                done.clone().any(|done| matches!(done, Operation::MakeIndependent { .. })),
                method == ArchiveMethod::Independent
            );
            whole.calls() - before
        };
        println!("{calls} calls");
        for call in 0..calls {
            let once = Fault::after_calls(call, ErrorKind::Unavailable);
            for fault in [once.clone(), once.for_ever()] {
                let memory = target.fork();
                let faulty = Faulty::new(memory.clone());
                let opened = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
                faulty.inject(fault);
                let result = run(&opened).await;
                faulty.heal();
                truth.check(&open_memory(&memory).await, JOB).await;
                let again = run(&open_memory(&memory).await).await;
                again.unwrap_or_else(|error| panic!("call {call}, {result:?}: {error:?}"));
                truth.check(&open_memory(&memory).await, JOB).await;
                check(&memory, &options, call as i64).await;
                if method == ArchiveMethod::Independent {
                    independent(&memory, call as i64);
                }
                let head = newest_head(&memory, JOB);
                assert!(head.chain.all().all(|point| point.machine(&machine("vm1")).is_none()));
            }
        }
    }
}

#[tokio::test]
async fn a_first_full_that_goes_makes_the_next_increment_the_full() {
    let (_, primary) = memory_repository_with(MemoryOptions::default()).await;
    let (target, second) = memory_repository_with(MemoryOptions::default()).await;
    let mut machines = Machines::new(3);
    machines.add("vm0", &[BLOCK * 2]);
    machines.add("vm1", &[BLOCK * 2]);
    let mut truth = Truth::default();
    let transforms = Transforms::default().deleted_machines(Some(DeletedMachines::after_days(3).unwrap()));
    for number in 0..4 {
        machines.change("vm1", 1);
        truth.record(&machines, &["vm0", "vm1"], day(number));
        machines.backup(&primary, &["vm0", "vm1"]).run(day(number)).await.unwrap();
        let name = if number == 0 { "vm0" } else { "vm1" };
        let job = copy_job(&primary, &second).select(Selection::machines(vec![machine(name)]));
        let report = job.transforms(transforms.clone()).run(day(number)).await.unwrap();
        let done: Vec<_> = report.transform.operations.iter().map(|done| done.operation.clone()).collect();
        let expected = Operation::RemoveMachines {
            machines: vec![machine("vm0")],
            points: vec![Sequence(1)],
            fulls: vec![Sequence(2)],
        };
        assert_eq!(done, if number == 3 { vec![expected] } else { Vec::new() });
    }
    assert_eq!(truth.check(&open_memory(&target).await, JOB).await, [2, 3, 4]);
    check(&target, &MemoryOptions::default(), 4).await;
}

/// All that is left in the increment is a machine that has not arrived whole: it stays as far as it came, and the next copy goes on with it.
#[tokio::test]
async fn an_increment_of_what_was_cut_off_becomes_the_full_as_it_is() {
    let (_, primary) = memory_repository_with(MemoryOptions::default()).await;
    let (target, second) = memory_repository_with(MemoryOptions::default()).await;
    let mut machines = Machines::new(4);
    machines.add("vm0", &[BLOCK * 2]);
    machines.add("vm1", &[BLOCK * 6]);
    machines.fill_with_noise("vm1");
    let mut truth = Truth::default();
    let transforms = Transforms::default().deleted_machines(Some(DeletedMachines::after_days(3).unwrap()));
    let copy = |name: &str| {
        let job = copy_job(&primary, &second).select(Selection::machines(vec![machine(name)]));
        job.transforms(transforms.clone())
    };
    for number in 0..2 {
        // Blocks that lie in turn in two files are requests of their own.
        let write = |block: &mut [u8]| block[0] = block[0].wrapping_add(1);
        machines.overwrite("vm1", |disk| disk.chunks_mut(BLOCK).step_by(2).for_each(write));
        truth.record(&machines, &["vm0", "vm1"], day(number));
        machines.backup(&primary, &["vm0", "vm1"]).run(day(number)).await.unwrap();
        if number == 0 {
            copy("vm0").run(day(0)).await.unwrap();
        }
    }
    // Nothing arrives on the second of these days, on which the job sees that it selects vm0 no more.
    for (number, requests) in [(1, 1), (3, 0)] {
        let request = SyncRequest::at(day(number)).gate(StopAfter::new(requests));
        copy("vm1").sync(&request).await.unwrap();
    }
    let before = newest_head(&target, JOB).chain;
    let [_, cut_off] = before.points() else { panic!("{before:?}") };
    assert!(cut_off.machines.iter().all(|machine| machine.status == Status::Incomplete), "{cut_off:?}");
    let report = copy("vm1").transform(day(3), 0).await.unwrap();
    let done: Vec<_> = report.operations.iter().map(|done| done.operation.clone()).collect();
    let expected = Operation::RemoveMachines {
        machines: vec![machine("vm0")],
        points: vec![Sequence(1)],
        fulls: vec![Sequence(2)],
    };
    assert_eq!(done, [expected]);
    let after = newest_head(&target, JOB).chain;
    let [full] = after.points() else { panic!("{after:?}") };
    assert_eq!((full.kind, &full.machines), (PointKind::Full, &cut_off.machines));
    check(&target, &MemoryOptions::default(), 3).await;
    let sync = copy("vm1").sync(&SyncRequest::at(day(3))).await.unwrap().sync.unwrap();
    assert_eq!(sync.tally.planned.blocks, 5, "one has arrived");
    assert_eq!(truth.check(&open_memory(&target).await, JOB).await, [2, 3]);
    check(&target, &MemoryOptions::default(), 4).await;
}

/// A full that adoption has spread over many files gets few, and each block is read and written once on the way.
#[tokio::test]
async fn a_scattered_full_comes_together_where_nothing_can_be_punched() {
    let options = MemoryOptions::default().with_reclaim(false).with_clone_range(false).with_patch(false);
    let (_, primary) = memory_repository_with(MemoryOptions::default()).await;
    let (target, second) = memory_repository_with(options.clone()).await;
    let mut machines = Machines::new(5);
    machines.add("vm0", &[BLOCK * 12]);
    machines.fill_with_noise("vm0");
    let mut truth = Truth::default();
    let compact = Compact::below(LiveShare::new(0.0).unwrap()).files_max(3);
    for number in 0..9 {
        machines.change("vm0", 2);
        truth.record(&machines, &["vm0"], day(number));
        machines.backup(&primary, &["vm0"]).run(day(number)).await.unwrap();
        let transforms = Transforms::keeping(Policy::new(keep(2))).compact((number == 8).then_some(compact));
        let report = copy_job(&primary, &second).transforms(transforms).run(day(number)).await.unwrap();
        for done in &report.transform.operations {
            assert!(done.tally.kept_to_plan(), "{done:?}");
        }
    }
    let head = newest_head(&target, JOB);
    let full = head.chain.points().iter().find(|point| point.kind == PointKind::Full).unwrap();
    assert!(step(&target, JOB, full).files().len() <= 3);
    truth.check(&open_memory(&target).await, JOB).await;
    check(&target, &options, 9).await;
}

/// Two files become one, and one alone would only be written again.
#[tokio::test]
async fn a_full_in_two_files_comes_together_in_one() {
    let options = MemoryOptions::default().with_reclaim(false).with_clone_range(false).with_patch(false);
    let (_, primary) = memory_repository_with(MemoryOptions::default()).await;
    let (target, second) = memory_repository_with(options).await;
    let mut machines = Machines::new(6);
    machines.add("vm0", &[BLOCK * 4]);
    machines.fill_with_noise("vm0");
    let mut truth = Truth::default();
    let compact = Compact::below(LiveShare::new(0.0).unwrap()).files_max(1);
    for number in 0..3 {
        machines.overwrite("vm0", |disk| disk[0] = disk[0].wrapping_add(1));
        truth.record(&machines, &["vm0"], day(number));
        machines.backup(&primary, &["vm0"]).run(day(number)).await.unwrap();
        let transforms = Transforms::keeping(Policy::new(keep(2))).compact((number == 2).then_some(compact));
        copy_job(&primary, &second).transforms(transforms).run(day(number)).await.unwrap();
    }
    let chain = newest_head(&target, JOB).chain;
    assert_eq!(step(&target, JOB, &chain.points()[0]).files().len(), 1, "{chain:?}");
    assert_eq!(truth.check(&open_memory(&target).await, JOB).await, [2, 3]);
}

#[test]
fn a_share_is_from_nothing_to_everything() {
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(LiveShare::new(share).is_err());
    }
    assert_eq!(LiveShare::new(1.0).unwrap(), LiveShare::ALL);
}

/// What a run says that it gave back is what is gone: each object, and each byte of a frame.
#[tokio::test]
async fn what_is_given_back_is_counted() {
    let (_, primary) = memory_repository_with(MemoryOptions::default()).await;
    let (target, second) = memory_repository_with(MemoryOptions::default()).await;
    let mut machines = Machines::new(31);
    machines.add("web01", &[6 * BLOCK]);
    let objects = |memory: &Memory| {
        let names = memory.contents().into_iter().map(|(key, _)| key);
        let of_chain = names.filter(|key| ["/blocks/", "/index/"].iter().any(|part| key.as_str().contains(part)));
        let ids = of_chain.filter_map(|key| offsite::model::ObjectId::parse(key.name()));
        ids.collect::<std::collections::BTreeSet<_>>()
    };
    let (mut deleted, mut punched) = (0, 0);
    for number in 0..9 {
        machines.change("web01", if number % 4 == 3 { 6 } else { 2 });
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        let before = objects(&target);
        let taken = if number == 0 { 0 } else { space(&target, JOB).await.0 };
        let job = copy_job(&primary, &second).transforms(keep(2));
        let report = job.sync(&offsite::SyncRequest::at(day(number))).await.unwrap();
        assert!(report.sync.is_some());
        let (with_point, (taken_with_point, _)) = (objects(&target), space(&target, JOB).await);
        assert!(
            taken_with_point >= taken && with_point.is_superset(&before),
            "day {number}: a sync gives nothing back"
        );
        let report = job.transform(day(number), 1).await.unwrap();
        let (after, (taken_after, _)) = (objects(&target), space(&target, JOB).await);
        let gone = with_point.difference(&after).count() as u64;
        assert_eq!(report.released.objects, gone, "day {number}: {report:?}");
        // What a file begins with is not among the bytes that indexes tell of.
        let more = taken_with_point - taken_after - report.released.bytes;
        assert!(more.is_multiple_of(4_096) && more <= gone * 4_096, "day {number}: {more} {report:?}");
        deleted += gone;
        punched += report.released.ranges;
    }
    assert!(deleted > 3 && punched > 3, "{deleted} {punched}");
}
