//! What verification found damaged, the next copy makes good again, and it hinders nothing else.

use std::collections::BTreeSet;

use offsite::core::retention::{Policy, Regular};
use offsite::core::{BlockMap, Sequence, StoredBlock};
use offsite::report::{MachineOutcome, Operation};
use offsite::{MergeMethod, TransformJob, Transforms, Verify};
use offsite_repository::testing::Memory;

use super::{COPY, JOB, Scene, damaged, file, flip, lengths, newest, place, verify};
use crate::support::objects::{newest_head, space, step, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory, scratch, seed};

/// Addresses of stored blocks.
type Blocks = BTreeSet<(String, u16, u32)>;

fn addresses(map: &BlockMap, is_meant: impl Fn(&StoredBlock) -> bool) -> Blocks {
    let stored = map.stored().filter(|(_, _, _, at)| is_meant(at));
    stored.map(|(machine, disk, block, _)| (machine.to_string(), disk.0, block)).collect()
}

/// Damages something that the newest state needs; says which of its blocks are gone.
type Harm = fn(&Memory, &BlockMap) -> Blocks;

const HARMS: [(&str, Harm); 4] = [
    ("a frame", |memory, state| {
        let (_, _, _, at) = state.stored().nth(4).unwrap();
        flip(memory, COPY, &at);
        addresses(state, |other| place(other) == place(&at))
    }),
    ("a block that changes the same day", |memory, state| {
        // Block 3 of each machine is written on day 3.
        let changing = state.stored().filter(|(_, _, block, _)| *block == 3 || *block == 5);
        let places: Vec<StoredBlock> = changing.map(|(_, _, _, at)| at).collect();
        places.iter().for_each(|at| flip(memory, COPY, at));
        addresses(state, |other| places.iter().any(|at| place(at) == place(other)))
    }),
    ("a file that is cut off", |memory, state| {
        let first = state.stored().map(|(_, _, _, at)| at).min_by_key(|at| (at.file, at.offset)).unwrap();
        let in_file = state.stored().map(|(_, _, _, at)| at).filter(|at| at.file == first.file);
        let cut = in_file.max_by_key(|at| at.offset).unwrap().offset - 5_000;
        assert!(memory.truncate(&file(COPY, &first), cut));
        addresses(state, |at| at.file == first.file && at.offset + u64::from(at.length) > cut)
    }),
    ("a file that is gone", |memory, state| {
        let (_, _, _, at) = state.stored().next().unwrap();
        assert!(memory.remove(&file(COPY, &at)));
        addresses(state, |other| other.file == at.file)
    }),
];

#[tokio::test]
async fn the_next_copy_brings_what_is_damaged_and_nothing_else() {
    for (merge, budget) in
        [(MergeMethod::Adopt, None), (MergeMethod::Fold, None), (MergeMethod::Adopt, Some(BLOCK as u64))]
    {
        for (what, harm) in HARMS {
            let what = format!("{what}, {merge:?}, budget {budget:?}");
            let mut scene = Scene::new(merge).await;
            let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
            let lost = harm(&scene.target, &newest(&scene.target, COPY));
            assert!(!lost.is_empty());
            // Nothing is known of it yet, and the first pass over all finds it.
            loop {
                let verify = Verify::new(&second, job(COPY)).read_data(true);
                let verify = budget.map_or(verify.clone(), |budget| verify.budget_bytes(budget));
                if verify.run().await.unwrap().bytes_left == 0 {
                    break;
                }
            }
            scene.back_up(&primary, 3, 3).await;
            let changed: Blocks = [("web01".to_owned(), 0, 3), ("db01".to_owned(), 0, 3)].into();
            let planned = scene.copy(&primary, &second).plan(day(3)).await.unwrap().sync.unwrap().cost;
            let report = scene.copy(&primary, &second).run(day(3)).await.unwrap();
            let sync = report.sync.unwrap();
            let expected: Blocks = lost.union(&changed).cloned().collect();
            let head = newest_head(&scene.target, COPY);
            let brought = step(&scene.target, COPY, head.chain.latest().unwrap());
            assert_eq!(addresses(&brought, |_| true), expected, "{what}");
            assert_eq!(sync.healed, lost.difference(&changed).count() as u64, "{what}");
            assert_eq!((planned, sync.tally.planned.blocks), (sync.tally.planned, expected.len() as u64), "{what}");
            assert!(sync.tally.kept_to_plan(), "{what}: {:?}", sync.tally);
            let frames: Vec<StoredBlock> = brought.stored().map(|(_, _, _, at)| at).collect();
            let read = sync.tally.source.bytes_read;
            let bytes = lengths(frames.iter());
            assert!((bytes..bytes + 4_096 * frames.len() as u64).contains(&read), "{what}: {read}, {bytes}");
            let files: BTreeSet<_> = frames.iter().map(|at| at.file).collect();
            let written: u64 = files.iter().map(|id| head.files[id].length).sum();
            assert_eq!(sync.tally.target.bytes_written, written, "{what}");
            // The newest is right again; of the older ones exactly those fail that verification names.
            let failing = scene.truth.failing(&second, COPY).await;
            assert!(failing.iter().all(|(sequence, _)| Sequence(*sequence) < sync.sequence), "{what}: {failing:?}");
            assert!(!failing.is_empty(), "{what}");
            let found = verify(&second, COPY).await;
            let touches = found.damage.iter().flat_map(|damage| &damage.touches);
            let touched: BTreeSet<_> =
                touches.map(|touched| (touched.sequence.0, touched.machine.as_ref().unwrap().to_string())).collect();
            assert_eq!(failing, touched, "{what}");
            // What is healed is not healed again, and what is damaged hinders no merge, until it goes.
            for number in 4..10 {
                scene.back_up(&primary, number, 4).await;
                let report = scene.copy(&primary, &second).run(day(number)).await;
                let report = report.unwrap_or_else(|error| panic!("{what}, day {number}: {}", causes(&error)));
                let sync = report.sync.unwrap();
                assert_eq!((sync.healed, sync.tally.planned.blocks), (0, 2), "{what}, day {number}");
            }
            // A file that is cut off stays so as long as a block in it is needed.
            let found = verify(&second, COPY).await;
            assert!(found.damage.iter().all(|damage| damage.touches.is_empty()), "{what}: {:?}", found.damage);
            assert!(found.damage.is_empty() || what.contains("cut off"), "{what}: {:?}", found.damage);
            assert_eq!(damaged(&scene.target, COPY), BTreeSet::new(), "{what}: what is gone is forgotten");
            assert_eq!(scene.truth.check(&second, COPY).await.len(), 4, "{what}");
            assert_eq!(stray(&scene.target, COPY), [""; 0], "{what}");
            if merge == MergeMethod::Adopt && found.damage.is_empty() {
                let (taken, needed) = space(&scene.target, COPY).await;
                assert_eq!(taken, needed, "{what}");
            }
        }
    }
}

/// A look without reading sees what is gone, and the next copy brings it; damage that was read before is told by it too, and not forgotten.
#[tokio::test]
async fn what_a_look_misses_the_next_copy_brings() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
    let state = newest(&scene.target, COPY);
    let blocks: Vec<StoredBlock> = state.stored().map(|(_, _, _, at)| at).collect();
    let last = blocks.iter().max_by_key(|at| (at.file, at.offset)).unwrap();
    let first = blocks.iter().find(|at| at.file != last.file).unwrap();
    flip(&scene.target, COPY, first);
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    assert!(scene.target.remove(&file(COPY, last)));
    for _ in 0..2 {
        let look = Verify::new(&second, job(COPY)).run().await.unwrap();
        assert_eq!((look.damage.len(), look.notes.len(), look.bytes_read), (1, 1, 0), "{look:?}");
    }
    let lost =
        blocks.iter().filter(|at| at.file == last.file).map(place).chain([place(first)]).collect::<BTreeSet<_>>();
    assert_eq!(damaged(&scene.target, COPY), lost);
    let sync = scene.copy(&primary, &second).run(day(3)).await.unwrap().sync.unwrap();
    assert_eq!(sync.healed, lost.len() as u64);
    let head = newest_head(&scene.target, COPY);
    for name in ["web01", "db01"] {
        let to = scratch();
        scene.truth.restore(&second, COPY, head.chain.latest().unwrap(), name, to.path()).await.unwrap();
    }
}

/// A machine that nothing new is known of is healed all the same, once, and the others are left alone.
#[tokio::test]
async fn a_machine_that_has_not_changed_is_healed() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
    let state = newest(&scene.target, COPY);
    let (machine, _, _, at) = state.stored().nth(2).unwrap();
    flip(&scene.target, COPY, &at);
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    let planned = scene.copy(&primary, &second).plan(day(3)).await.unwrap().sync.unwrap();
    let sync = scene.copy(&primary, &second).run(day(3)).await.unwrap().sync.unwrap();
    assert_eq!((sync.healed, sync.tally.planned.blocks, planned.cost), (1, 1, sync.tally.planned));
    let head = newest_head(&scene.target, COPY);
    let newest_point = head.chain.latest().unwrap();
    let names: Vec<_> = newest_point.machines.iter().map(|machine| &machine.name).collect();
    assert_eq!(names, [machine]);
    let to = scratch();
    scene.truth.restore(&second, COPY, newest_point, machine.as_str(), to.path()).await.unwrap();
    let again = scene.copy(&primary, &second).run(day(4)).await.unwrap();
    assert!(again.sync.is_none(), "{:?}", again.sync);
}

/// What the source has damaged too cannot be healed; that is told each time, and makes no restore point after the other.
#[tokio::test]
async fn what_is_damaged_in_both_is_told_and_piles_up_nothing() {
    for others in [0, 1] {
        let scene = Scene::new(MergeMethod::Adopt).await;
        let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
        let state = newest(&scene.target, COPY);
        let of_db: Vec<_> = state.stored().filter(|(name, ..)| name.as_str() == "db01").collect();
        of_db[..=others].iter().for_each(|(_, _, _, at)| flip(&scene.target, COPY, at));
        assert_eq!(verify(&second, COPY).await.damage.len(), 1 + others);
        let there = newest(&scene.source, JOB);
        let is_meant = |name: &str, block| (name, block) == ("db01", of_db[0].2);
        let (_, _, _, at) = there.stored().find(|(name, _, block, _)| is_meant(name.as_str(), *block)).unwrap();
        flip(&scene.source, JOB, &at);
        let before = newest_head(&scene.target, COPY).chain.points().len();
        for number in 3..7 {
            let report = scene.copy(&primary, &second).run(day(number)).await.unwrap();
            let of_db = report.machines.iter().find(|machine| machine.name.as_str() == "db01").unwrap();
            assert!(matches!(of_db.outcome, MachineOutcome::Incomplete { .. }), "{others}, day {number}: {report:?}");
        }
        let points = newest_head(&scene.target, COPY).chain.points().len();
        assert!(points <= before + others, "{others}: {before} became {points}");
        assert_eq!(stray(&scene.target, COPY), [""; 0]);
    }
}

/// A copy verifies by itself at the end of its run, and the next run heals.
#[tokio::test]
async fn a_job_verifies_and_heals_by_itself() {
    let mut scene = Scene::new(MergeMethod::Adopt).await;
    let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
    let (_, _, _, at) = newest(&scene.target, COPY).stored().nth(2).unwrap();
    flip(&scene.target, COPY, &at);
    let policy = Policy { regular: Regular::Simple(keep(9)), ..Policy::default() };
    let (mut healed, mut ends, mut found) = (0, 0, 0);
    for number in 3..12 {
        scene.back_up(&primary, number, 3).await;
        let transforms = Transforms { verify_bytes: Some(8 * BLOCK as u64), ..Transforms::keeping(policy.clone()) };
        let report = copy_job(&primary, &second).transforms(transforms).run(day(number)).await.unwrap();
        let verification = report.transform.verification.unwrap();
        assert!(verification.bytes_read > 0 && verification.bytes_read <= 8 * BLOCK as u64);
        let is_told = report.transform.notes.iter().any(|note| note.contains("verification found damage"));
        assert_eq!(is_told, !verification.damage.is_empty());
        found += usize::from(is_told);
        ends += usize::from(verification.bytes_left == 0);
        healed += report.sync.unwrap().healed;
    }
    assert!(found > 0 && ends > 0, "{found} {ends}");
    assert_eq!(healed, 1);
    // Nobody asked: nothing is read.
    let report = copy_job(&primary, &second).run(day(12)).await.unwrap();
    assert_eq!(report.transform.verification, None);
}

/// What lies where something damaged lay is not damaged.
#[tokio::test]
async fn a_place_that_was_written_again_is_not_taken_for_damaged() {
    let mut scene = Scene::new(MergeMethod::Fold).await;
    let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
    let state = newest(&scene.target, COPY);
    let full = newest_head(&scene.target, COPY).chain.points()[0].clone();
    let in_full = step(&scene.target, COPY, &full);
    let files: BTreeSet<_> = in_full.stored().map(|(_, _, _, at)| at.file).collect();
    // All of the full's file, so that whatever a fold puts there is put in a place that is remembered as damaged.
    let lost: Vec<StoredBlock> = state.stored().map(|(_, _, _, at)| at).filter(|at| files.contains(&at.file)).collect();
    lost.iter().for_each(|at| flip(&scene.target, COPY, at));
    assert_eq!(verify(&second, COPY).await.damage.len(), lost.len());
    let known = damaged(&scene.target, COPY);
    assert_eq!(known.len(), lost.len());
    let mut reused = 0;
    for number in 3..12 {
        // What is merged on a day stays in the newest state for two days more.
        scene.back_up(&primary, number, (number % 5) as usize).await;
        let report = scene.copy(&primary, &second).run(day(number)).await.unwrap();
        let sync = report.sync.unwrap();
        // Block 3 of both machines was written anew on day 3.
        assert_eq!(sync.healed, if number == 3 { lost.len() as u64 - 2 } else { 0 }, "day {number}");
        assert_eq!(damaged(&scene.target, COPY), known, "nobody has verified since");
        reused += newest(&scene.target, COPY).stored().filter(|(_, _, _, at)| known.contains(&place(at))).count();
    }
    assert!(reused > 0, "the folds used none of these places");
    assert_eq!(verify(&second, COPY).await.damage, []);
    assert_eq!(damaged(&scene.target, COPY), BTreeSet::new());
    scene.truth.check(&second, COPY).await;
}

/// A fold cannot move a block that is damaged: it is an adoption then, and what it met is known from then on.
#[tokio::test]
async fn a_damaged_increment_does_not_end_merging() {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(seed(84));
    machines.add("web01", &[4 * BLOCK]);
    for number in 0..5 {
        machines.fill_with_noise("web01");
        machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }
    let increment = newest_head(&memory, JOB).chain.points()[1].clone();
    let (_, _, _, at) = step(&memory, JOB, &increment).stored().next().unwrap();
    flip(&memory, JOB, &at);
    let policy = Policy { regular: Regular::Simple(keep(4)), ..Policy::default() };
    let transforms =
        Transforms { merge: MergeMethod::Fold, apply_changes_at_once: true, ..Transforms::keeping(policy) };
    let transform = || TransformJob::new(&repository, job(JOB)).transforms(transforms.clone());
    let report = transform().run(day(5)).await.unwrap();
    let Operation::Merge { method, .. } = &report.operations[0].operation else { panic!("{report:?}") };
    assert_eq!((report.operations.len(), *method), (1, MergeMethod::Adopt));
    assert_eq!(damaged(&memory, JOB), BTreeSet::from([place(&at)]));
    let to = scratch();
    let newest = newest_head(&memory, JOB).chain.latest().unwrap().clone();
    let mut truth = Truth::default();
    truth.record(&machines, &["web01"], day(4));
    truth.restore(&repository, JOB, &newest, "web01", to.path()).await.unwrap();
}
