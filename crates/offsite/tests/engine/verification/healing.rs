//! What verification found damaged, the next run makes good again for every point, and it hinders nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite::model::{BlockMap, StoredBlock};
use offsite::report::{HealedFrom, HealingSearch, MergeReason, Note, Operation, TransformReport};
use offsite::retention::Policy;
use offsite::{JobFolder, MergeMethod, OpenRepository, TransformJob, Transforms, Verify};
use offsite_repository::testing::{Fault, Faulty, Memory, MemoryOptions};
use offsite_repository::{ErrorKind, Prefix, Verb};

use super::{COPY, JOB, Scene, damaged, file, flip, newest, place, remembered, verify};
use crate::support::objects::{newest_head, space, step, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{
    BLOCK, Machines, copy_job, day, job, keep, memory_repository, memory_repository_with, open_memory, scratch, seed,
};

/// Damages something that the newest state needs.
type Harm = fn(&Memory, &BlockMap);

/// How many blocks were put back.
fn healed(report: &TransformReport) -> u64 {
    let blocks = report.operations.iter().map(|done| match done.operation {
        Operation::Heal { blocks, .. } => blocks,
        _ => 0,
    });
    blocks.sum()
}

const HARMS: [(&str, Harm); 4] = [
    ("a frame", |memory, state| {
        let (_, _, _, at) = state.stored().nth(4).unwrap();
        flip(memory, COPY, &at);
    }),
    ("a block that changes the same day", |memory, state| {
        // Block 3 of each machine is written on day 3.
        let changing = state.stored().filter(|(_, _, block, _)| *block == 3 || *block == 5);
        let places: Vec<StoredBlock> = changing.map(|(_, _, _, at)| at).collect();
        places.iter().for_each(|at| flip(memory, COPY, at));
    }),
    ("a file that is cut off", |memory, state| {
        let first = state.stored().map(|(_, _, _, at)| at).min_by_key(|at| (at.file, at.offset)).unwrap();
        let in_file = state.stored().map(|(_, _, _, at)| at).filter(|at| at.file == first.file);
        let cut = in_file.max_by_key(|at| at.offset).unwrap().offset - 5_000;
        assert!(memory.truncate(&file(COPY, &first), cut));
    }),
    ("a file that is gone", |memory, state| {
        let (_, _, _, at) = state.stored().next().unwrap();
        assert!(memory.remove(&file(COPY, &at)));
    }),
];

#[tokio::test]
async fn the_next_run_puts_back_what_is_damaged_for_every_point() {
    for (merge, budget) in
        [(MergeMethod::Adopt, None), (MergeMethod::Fold, None), (MergeMethod::Adopt, Some(BLOCK as u64))]
    {
        for (what, harm) in HARMS {
            let what = format!("{what}, {merge:?}, budget {budget:?}");
            let mut scene = Scene::new(merge).await;
            let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
            harm(&scene.target, &newest(&scene.target, COPY));
            // Nothing is known of it yet, and the first pass over all finds it.
            loop {
                let verify = Verify::new(&second, job(COPY)).read_data(true);
                let verify = budget.map_or(verify.clone(), |budget| verify.budget_bytes(budget));
                if verify.run().await.unwrap().bytes_left == 0 {
                    break;
                }
            }
            scene.back_up(&primary, 3, 3).await;
            let plan = scene.copy(&primary, &second).plan(day(3)).await.unwrap();
            let damaged_now = damaged(&scene.target, COPY);
            let report = scene.copy(&primary, &second).run(day(3)).await.unwrap();
            let sync = report.sync.unwrap();
            // The new point holds what changed and nothing else.
            assert_eq!(sync.tally.planned.blocks, 2, "{what}");
            let healed = &report.transform.operations[0];
            assert_eq!(healed.operation, plan.operations[0].operation, "{what}");
            let Operation::Heal { blocks, ref points, from: HealedFrom::Source } = healed.operation else {
                panic!("{what}: {healed:?}");
            };
            // Each frame once, whatever points need it; no restore point is made.
            assert_eq!(blocks, damaged_now.len() as u64, "{what}");
            assert!(points.iter().all(|sequence| *sequence < sync.sequence), "{what}: {points:?}");
            assert_eq!(newest_head(&scene.target, COPY).chain.points().len(), 4, "{what}");
            assert_eq!((healed.tally.planned, healed.tally.kept_to_plan()), (plan.operations[0].cost, true), "{what}");
            assert!(healed.tally.source.bytes_read > 0, "{what}: {:?}", healed.tally);
            // Every point is right again, and nobody says otherwise.
            assert_eq!(scene.truth.failing(&second, COPY).await, BTreeSet::new(), "{what}");
            assert_eq!(damaged(&scene.target, COPY), BTreeSet::new(), "{what}: what is healed is forgotten");
            for number in 4..10 {
                scene.back_up(&primary, number, 4).await;
                let report = scene.copy(&primary, &second).run(day(number)).await;
                let report = report.unwrap_or_else(|error| panic!("{what}, day {number}: {}", causes(&error)));
                let heals =
                    report.transform.operations.iter().any(|done| matches!(done.operation, Operation::Heal { .. }));
                assert_eq!((heals, report.sync.unwrap().tally.planned.blocks), (false, 2), "{what}, day {number}");
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

/// A look without reading sees what is gone, and the next run puts it back; damage that was read before is told by it too, and not forgotten.
#[tokio::test]
async fn what_a_look_misses_the_next_run_puts_back() {
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
    // A file is one finding, and all that needs it is told until it is healed.
    let found = remembered(&scene.target, COPY).unwrap();
    assert_eq!((found.cut, found.damaged.len()), (vec![(last.file.stored(), 0)], 1));
    let known = async || JobFolder::open(&second, &job(COPY)).await.unwrap().known_damage().await.unwrap();
    let told: BTreeSet<_> = known()
        .await
        .points
        .into_iter()
        .flat_map(|(point, machines)| machines.into_keys().map(move |machine| (point.0, machine.to_string())))
        .collect();
    assert_eq!(told, scene.truth.failing(&second, COPY).await);
    let report = scene.copy(&primary, &second).run(day(3)).await.unwrap();
    assert_eq!((report.sync, healed(&report.transform)), (None, lost.len() as u64));
    assert!(known().await.is_empty() && report.transform.is_well());
    assert_eq!(scene.truth.check(&second, COPY).await.len(), 3);
}

/// Transforms alone heal, too, be it that nothing is to be copied; and no restore point is made for it.
#[tokio::test]
async fn a_machine_that_has_not_changed_is_healed() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
    let state = newest(&scene.target, COPY);
    let (name, _, _, at) = state.stored().nth(2).unwrap();
    flip(&scene.target, COPY, &at);
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    let folder = JobFolder::open(&second, &job(COPY)).await.unwrap();
    let latest = folder.chain().latest().unwrap().sequence;
    assert_eq!(folder.known_damage().await.unwrap().blocks(latest, name), 1);
    let plan = scene.copy(&primary, &second).plan(day(3)).await.unwrap();
    let report = scene.copy(&primary, &second).transform(day(3), 0).await.unwrap();
    assert_eq!((plan.sync, healed(&report)), (None, 1));
    assert_eq!(report.operations[0].tally.planned, plan.operations[0].cost);
    assert_eq!(newest_head(&scene.target, COPY).chain.points().len(), 3);
    assert_eq!(scene.truth.check(&second, COPY).await.len(), 3);
    let again = scene.copy(&primary, &second).run(day(4)).await.unwrap();
    assert!(again.sync.is_none() && again.transform.operations.is_empty(), "{again:?}");
}

/// Where only an older restore point of the source has a block, under another machine's name even, that point heals; and where the source
/// has lost it, another frame of the chain does.
#[tokio::test]
async fn a_block_is_found_by_its_bytes_wherever_it_is() {
    for in_source in [true, false] {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let mut machines = Machines::new(seed(85));
        let mut truth = Truth::default();
        machines.add("web01", &[4 * BLOCK]);
        machines.fill_with_noise("web01");
        let mut first = Vec::new();
        machines.overwrite("web01", |disk| first = disk.to_vec());
        machines.add("twin", &[4 * BLOCK]);
        let names = ["twin", "web01"];
        for number in 0..3 {
            // The twin has the block that web01 had first, in another place.
            machines.overwrite("twin", |disk| {
                disk.fill(0);
                let block = if number == 0 { 2 * BLOCK..3 * BLOCK } else { 0..0 };
                disk[block.clone()].copy_from_slice(&first[..block.len()]);
            });
            truth.record(&machines, &names, day(number));
            machines.backup(&primary, &names).keep(keep(99)).run(day(number)).await.unwrap();
            copy_job(&primary, &second).transforms(keep(99)).run(day(number)).await.unwrap();
            machines.fill_with_noise("web01");
        }
        let full = newest_head(&target, COPY).chain.points()[0].clone();
        let of = |folder: &str, memory: &Memory, name: &str, block: u32| {
            let map = step(memory, folder, &newest_head(memory, folder).chain.points()[0].clone());
            map.stored().find(|(machine, _, number, _)| machine.as_str() == name && *number == block).unwrap().3
        };
        flip(&target, COPY, &of(COPY, &target, "web01", 0));
        flip(&source, JOB, &of(JOB, &source, "web01", 0));
        if in_source {
            flip(&target, COPY, &of(COPY, &target, "twin", 2));
        } else {
            flip(&source, JOB, &of(JOB, &source, "twin", 2));
        }
        assert_eq!(verify(&second, COPY).await.damage.len(), 1 + usize::from(in_source));
        let report = copy_job(&primary, &second).transforms(keep(99)).run(day(3)).await.unwrap();
        let from = if in_source { HealedFrom::Source } else { HealedFrom::Chain };
        let Operation::Heal { blocks, ref points, from: found } = report.transform.operations[0].operation else {
            panic!("{report:?}");
        };
        assert_eq!((blocks, &points[..], found), (1 + u64::from(in_source), &[full.sequence][..], from));
        assert_eq!(truth.check(&second, COPY).await.len(), 3);
        assert_eq!(stray(&target, COPY), [""; 0]);
    }
}

/// What the source has damaged too cannot be healed; that is told each time, piles up nothing, and hinders nothing.
#[tokio::test]
async fn what_is_damaged_in_both_is_told_and_piles_up_nothing() {
    let mut scene = Scene::new(MergeMethod::Adopt).await;
    let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
    let state = newest(&scene.target, COPY);
    let of_db: Vec<_> = state.stored().filter(|(name, ..)| name.as_str() == "db01").collect();
    // The first is a block of web01, too.
    let (both, alone) = (of_db[0].3, of_db[3].3);
    [both, alone].iter().for_each(|at| flip(&scene.target, COPY, at));
    assert_eq!(verify(&second, COPY).await.damage.len(), 2);
    let there = newest(&scene.source, JOB);
    let (_, _, _, at) = there.stored().find(|(.., at)| at.digest == alone.digest).unwrap();
    flip(&scene.source, JOB, &at);
    for number in 3..7 {
        if number > 4 {
            scene.back_up(&primary, number, 4).await;
        }
        let report = scene.copy(&primary, &second).run(day(number)).await.unwrap();
        assert_eq!(healed(&report.transform), u64::from(number == 3), "day {number}");
        assert_eq!(report.sync.is_some(), number > 4, "day {number}");
        let is_told = |note: &Note| matches!(note, Note::NotHealed { machine: of, blocks: 1, searched: HealingSearch::All, .. } if of.as_str() == "db01");
        let told = report.transform.notes.iter().filter(|note| is_told(note)).count();
        assert_eq!(told, 1, "day {number}: {:?}", report.transform.notes);
        assert_eq!(damaged(&scene.target, COPY), BTreeSet::from([place(&alone)]));
        assert_eq!(stray(&scene.target, COPY), [""; 0]);
    }
    // Once the source has it again, it is healed. Transforms alone look at no source, and say so, planned or done.
    flip(&scene.source, JOB, &at);
    let transforms = TransformJob::new(&second, job(COPY));
    let planned = transforms.plan(day(7)).await.unwrap();
    let alone = transforms.run(day(7)).await.unwrap();
    assert!(matches!(&alone.notes[..], [Note::NotHealed { searched: HealingSearch::Chain, .. }]), "{:?}", alone.notes);
    assert!(alone.notes[0].to_string().ends_with("sources were not looked at"), "{}", alone.notes[0]);
    assert_eq!(planned.notes, alone.notes);
    let report = scene.copy(&primary, &second).run(day(7)).await.unwrap();
    assert_eq!((healed(&report.transform), report.transform.notes), (1, Vec::new()));
    scene.truth.check(&second, COPY).await;
}

/// A copy verifies by itself at the end of its run, and the next run heals.
#[tokio::test]
async fn a_job_verifies_and_heals_by_itself() {
    let mut scene = Scene::new(MergeMethod::Adopt).await;
    let (primary, second) = (open_memory(&scene.source).await, open_memory(&scene.target).await);
    let (_, _, _, at) = newest(&scene.target, COPY).stored().nth(2).unwrap();
    flip(&scene.target, COPY, &at);
    let policy = Policy::new(keep(9));
    let (mut blocks, mut ends, mut found) = (0, 0, 0);
    for number in 3..12 {
        scene.back_up(&primary, number, 3).await;
        let transforms = Transforms::keeping(policy.clone()).verify_bytes(8 * BLOCK as u64);
        let report = copy_job(&primary, &second).transforms(transforms).run(day(number)).await.unwrap();
        let verification = report.transform.verification.as_ref().unwrap();
        assert!(verification.bytes_read > 0 && verification.bytes_read <= 8 * BLOCK as u64);
        let is_told = report.transform.notes.iter().any(|note| matches!(note, Note::DamageFound { .. }));
        assert_eq!(is_told, !verification.damage.is_empty());
        found += usize::from(is_told);
        ends += usize::from(verification.bytes_left == 0);
        blocks += healed(&report.transform);
    }
    assert!(found > 0 && ends > 0, "{found} {ends}");
    assert_eq!(blocks, 1);
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
        assert_eq!(healed(&report.transform), if number == 3 { lost.len() as u64 } else { 0 }, "day {number}");
        assert_eq!(damaged(&scene.target, COPY), BTreeSet::new(), "what is healed is forgotten");
        reused += newest(&scene.target, COPY).stored().filter(|(_, _, _, at)| known.contains(&place(at))).count();
    }
    assert!(reused > 0, "the folds used none of these places");
    assert_eq!(verify(&second, COPY).await.damage, []);
    assert_eq!(damaged(&scene.target, COPY), BTreeSet::new());
    scene.truth.check(&second, COPY).await;
}

/// A chain of which the next merge folds an increment with a damaged block, that nobody knows of yet: which.
async fn with_a_damaged_increment() -> (Arc<Memory>, OpenRepository, Machines, StoredBlock) {
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
    (memory, repository, machines, at)
}

fn folding(repository: &OpenRepository) -> TransformJob {
    let policy = Policy::new(keep(4));
    let transforms = Transforms::keeping(policy).merge(MergeMethod::Fold).apply_changes_at_once(true);
    TransformJob::new(repository, job(JOB)).transforms(transforms)
}

/// A fold cannot move a block that is damaged: it is an adoption then, and what it met is known from then on.
#[tokio::test]
async fn a_damaged_increment_does_not_end_merging() {
    let (memory, repository, machines, at) = with_a_damaged_increment().await;
    let report = folding(&repository).run(day(5)).await.unwrap();
    let Operation::Merge { method, .. } = &report.operations[0].operation else { panic!("{report:?}") };
    assert_eq!((report.operations.len(), *method), (1, MergeMethod::Adopt));
    assert_eq!(damaged(&memory, JOB), BTreeSet::from([place(&at)]));
    let to = scratch();
    let newest = newest_head(&memory, JOB).chain.latest().unwrap().clone();
    let mut truth = Truth::default();
    truth.record(&machines, &["web01"], day(4));
    truth.restore(&repository, JOB, &newest, "web01", to.path()).await.unwrap();
}

/// What could not be read because of an outage is not looked at for damage: the run ends and says why, and the next one meets the damage.
#[tokio::test]
async fn an_outage_ends_merging_though_something_is_damaged_as_well() {
    let (memory, _, _, at) = with_a_damaged_increment().await;
    let faulty = Faulty::new((*memory).clone());
    let repository = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let blocks = Prefix::new(format!("{JOB}/blocks")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::Read).below(blocks));
    let error = folding(&repository).run(day(5)).await.unwrap_err();
    assert_eq!(error.repository_kind(), Some(ErrorKind::Unavailable), "{}", causes(&error));
    assert_eq!(damaged(&memory, JOB), BTreeSet::new());
    folding(&repository).run(day(5)).await.unwrap();
    assert_eq!(damaged(&memory, JOB), BTreeSet::from([place(&at)]));
}

/// An index that cannot be read because of an outage is none that is lost: nothing is healed, and the run says why.
#[tokio::test]
async fn an_outage_is_told_where_something_is_to_be_healed() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let (_, _, _, at) = newest(&scene.target, COPY).stored().nth(2).unwrap();
    flip(&scene.target, COPY, &at);
    let faulty = Faulty::new(scene.target.clone());
    let second = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    let indexes = Prefix::new(format!("{COPY}/index")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::Read).below(indexes));
    let error = TransformJob::new(&second, job(COPY)).run(day(3)).await.unwrap_err();
    assert_eq!(error.repository_kind(), Some(ErrorKind::Unavailable), "{}", causes(&error));
}

/// A block that was never written again, so that of the source's points only the full has it.
fn unchanged_block(scene: &Scene) -> StoredBlock {
    let state = newest(&scene.target, COPY);
    state.stored().find(|(name, _, block, _)| name.as_str() == "db01" && *block == 4).unwrap().3
}

/// An index of the source goes after its head was read, as when a run there merges: the points that are left are searched.
#[tokio::test]
async fn a_point_of_the_source_that_goes_meanwhile_is_passed_over() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let second = open_memory(&scene.target).await;
    flip(&scene.target, COPY, &unchanged_block(&scene));
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    let faulty = Faulty::new(scene.source.clone());
    let primary = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let indexes = Prefix::new(format!("{JOB}/index")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::NotFound).on(Verb::Read).below(indexes));
    let report = scene.copy(&primary, &second).transform(day(3), 0).await.unwrap();
    assert_eq!((faulty.failures(), healed(&report)), (1, 1), "{report:?}");
    assert_eq!(report.notes, []);
    assert_eq!(scene.truth.check(&second, COPY).await.len(), 3);
}

/// The source has a block intact when it is looked at, and cannot read it any more when it is to be carried. The run says so, leaves nothing
/// behind, and does all else; the next one tries again.
#[tokio::test]
async fn a_block_that_the_source_loses_after_it_was_looked_at_stays_as_it_is() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let second = open_memory(&scene.target).await;
    let at = unchanged_block(&scene);
    flip(&scene.target, COPY, &at);
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    let faulty = Faulty::new(scene.source.clone());
    let primary = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let blocks = Prefix::new(format!("{JOB}/blocks")).unwrap();
    // The first read looks at it.
    faulty.inject(Fault::after_calls(1, ErrorKind::Corrupt).on(Verb::Read).below(blocks));
    let copy = scene.copy(&primary, &second);
    let report = copy.transform(day(3), 0).await.unwrap();
    assert_eq!((faulty.failures(), healed(&report)), (1, 0), "{report:?}");
    assert!(matches!(&report.notes[..], [Note::NotHealedFromSource { .. }]), "{:?}", report.notes);
    assert_eq!(damaged(&scene.target, COPY), BTreeSet::from([place(&at)]));
    assert_eq!(stray(&scene.target, COPY), [""; 0]);
    assert_eq!(healed(&copy.transform(day(4), 0).await.unwrap()), 1);
    assert_eq!(scene.truth.check(&second, COPY).await.len(), 3);
}

/// Of two frames with the same bytes one is damaged, and the other cannot be read any more when it is to be carried: it is known as damaged
/// then, too, until it can be read again.
#[tokio::test]
async fn a_frame_of_the_chain_that_is_lost_after_it_was_looked_at_is_known_from_then_on() {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(seed(87));
    let mut first = Vec::new();
    for name in ["web01", "twin"] {
        machines.add(name, &[2 * BLOCK]);
        machines.fill_with_noise(name);
    }
    machines.overwrite("web01", |disk| first = disk[..BLOCK].to_vec());
    machines.overwrite("twin", |disk| disk[BLOCK..].copy_from_slice(&first));
    machines.backup(&repository, &["twin", "web01"]).run(day(0)).await.unwrap();
    let full = newest(&memory, JOB);
    let of = |name: &str, block: u32| {
        full.stored().find(|(machine, _, number, _)| machine.as_str() == name && *number == block).unwrap().3
    };
    let (lost, other) = (of("web01", 0), of("twin", 1));
    assert_eq!(lost.digest, other.digest);
    flip(&memory, JOB, &lost);
    assert_eq!(verify(&repository, JOB).await.damage.len(), 1);
    let faulty = Faulty::new((*memory).clone());
    let failing = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let blocks = Prefix::new(format!("{JOB}/blocks")).unwrap();
    // The first read looks at it.
    faulty.inject(Fault::after_calls(1, ErrorKind::Corrupt).on(Verb::Read).below(blocks).for_ever());
    let report = TransformJob::new(&failing, job(JOB)).run(day(1)).await.unwrap();
    assert_eq!(report.operations, []);
    assert_eq!(damaged(&memory, JOB), BTreeSet::from([place(&lost), place(&other)]));
    assert_eq!(verify(&repository, JOB).await.damage.len(), 1);
    assert_eq!(healed(&TransformJob::new(&repository, job(JOB)).run(day(2)).await.unwrap()), 1);
    assert_eq!(damaged(&memory, JOB), BTreeSet::new());
}

/// A frame that was damaged gives its place back at the end of a run, not to the fold of that run; and a plan knows it.
#[tokio::test]
async fn a_plan_gives_no_place_away_that_the_run_holds() {
    // The full's file has no room for one block more.
    let options = MemoryOptions::default().with_object_bytes_max(1_700_000);
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository_with(options).await;
    let mut machines = Machines::new(seed(86));
    machines.add("web01", &[6 * BLOCK]);
    machines.fill_with_noise("web01");
    for number in 0..3 {
        machines.overwrite("web01", |disk| disk[0] = disk[0].wrapping_add(1));
        machines.backup(&primary, &["web01"]).keep(keep(99)).run(day(number)).await.unwrap();
        copy_job(&primary, &second).transforms(keep(99)).run(day(number)).await.unwrap();
    }
    let full = step(&target, COPY, &newest_head(&target, COPY).chain.points()[0]);
    let (.., at) = full.stored().find(|(_, _, block, _)| *block == 5).unwrap();
    flip(&target, COPY, &at);
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    let policy = Policy::new(keep(2));
    let transforms = Transforms::keeping(policy).merge(MergeMethod::Fold).apply_changes_at_once(true);
    let copy = copy_job(&primary, &second).transforms(transforms);
    let planned: Vec<_> = copy.plan(day(3)).await.unwrap().operations.into_iter().map(|done| done.operation).collect();
    let report = copy.run(day(3)).await.unwrap().transform;
    let done: Vec<_> = report.operations.into_iter().map(|done| done.operation).collect();
    assert_eq!(planned, done);
    let [Operation::Heal { .. }, Operation::Merge { method, why, .. }] = &done[..] else { panic!("{done:?}") };
    assert_eq!((*method, *why), (MergeMethod::Adopt, MergeReason::FileTooLong));
}
