//! Damage never stops a run: what cannot be moved stays where it is, is named, and everything else goes on.

use offsite::model::PointKind;
use offsite::report::{HealingSearch, MachineOutcome, Note, Operation, TransformReport};
use offsite::retention::{Anchors, ArchiveMethod, Gfs, Policy};
use offsite::{Compact, MergeMethod, OpenRepository, TransformJob, Transforms, Verify};
use offsite_repository::testing::{Memory, MemoryOptions};

use super::{COPY, JOB, damaged, flip, newest, place, verify};
use crate::support::objects::{key, newest_head, space, step, stray};
use crate::support::truth::Truth;
use crate::support::{
    BLOCK, Machines, copy_job, day, job, keep, memory_repository, memory_repository_with, open_memory,
};

/// A copy of three days with an archive of the first, made as `method` says as soon as a transform runs.
async fn archived(method: ArchiveMethod, options: MemoryOptions) -> (Memory, Transforms) {
    let (memory, transforms, _) = archived_from_source(method, options).await;
    (memory, transforms)
}

/// As [`archived`], with the source.
async fn archived_from_source(method: ArchiveMethod, options: MemoryOptions) -> (Memory, Transforms, OpenRepository) {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository_with(options).await;
    let mut machines = Machines::new(7);
    machines.add("web01", &[5 * BLOCK]);
    machines.add("db01", &[3 * BLOCK]);
    let anchors = Anchors::default().at_hour(22).unwrap();
    let gfs = |method| Some(Gfs::new(3, 0, 0, 0).unwrap().with_method(method).with_anchors(anchors));
    let policy = |method| Policy::new(keep(2)).with_gfs(gfs(method));
    // Every Sunday's point is flagged; 2026-11-01 is one.
    for number in 0..11 {
        for name in ["web01", "db01"] {
            machines.change(name, 1);
        }
        machines.backup(&primary, &["web01", "db01"]).run(day(number)).await.unwrap();
        let shared = Transforms::keeping(policy(ArchiveMethod::Shared)).apply_changes_at_once(true);
        copy_job(&primary, &second).transforms(shared).run(day(number)).await.unwrap();
    }
    assert!(!newest_head(&target, COPY).chain.archives().is_empty());
    let transforms = Transforms::keeping(policy(method)).apply_changes_at_once(true);
    ((*target).clone(), transforms, primary)
}

async fn transformed(memory: &Memory, transforms: &Transforms, number: i64) -> TransformReport {
    let repository = open_memory(memory).await;
    let report =
        TransformJob::new(&repository, job(COPY)).transforms(transforms.clone()).run(day(number)).await.unwrap();
    assert!(report.operations.iter().all(|done| done.tally.kept_to_plan()), "{report:?}");
    assert_eq!(stray(memory, COPY), [""; 0]);
    report
}

fn made_independent(report: &TransformReport) -> usize {
    report.operations.iter().filter(|done| matches!(done.operation, Operation::MakeIndependent { .. })).count()
}

/// A block of an archive is damaged, known or not: the archive gets copies of all others, the run says so each time, and when the block is
/// intact again, it gets that one too.
#[tokio::test]
async fn an_archive_with_a_damaged_block_becomes_independent_but_for_that() {
    for is_known in [true, false] {
        // What is cloned is not read, so that nothing is noticed of it then.
        let options = MemoryOptions::default().with_clone_range(is_known);
        let (memory, transforms) = archived(ArchiveMethod::Independent, options).await;
        let archive = newest_head(&memory, COPY).chain.archives()[0].clone();
        // One that the archive shares with the chain.
        let chain = newest(&memory, COPY);
        let shared = |at: &_| chain.stored().any(|(_, _, _, other)| place(&other) == place(at));
        let says = step(&memory, COPY, &archive);
        let (_, _, _, at) = says.stored().find(|(_, _, _, at)| shared(at)).unwrap();
        flip(&memory, COPY, &at);
        if is_known {
            assert_eq!(verify(&open_memory(&memory).await, COPY).await.damage.len(), 1);
        }
        let report = transformed(&memory, &transforms, 11).await;
        assert!(made_independent(&report) >= 1, "{report:?}");
        assert!(
            report.notes.iter().any(|note| matches!(note, Note::ArchiveShares { blocks: 1, .. })),
            "{:?}",
            report.notes
        );
        assert!(damaged(&memory, COPY).contains(&place(&at)));
        let archive = newest_head(&memory, COPY).chain.get(archive.sequence).unwrap().clone();
        let (mine, chain) = (step(&memory, COPY, &archive), newest(&memory, COPY));
        let still: Vec<_> = mine.stored().filter(|(_, _, _, at)| chain.files().contains(&at.file)).collect();
        assert_eq!(still.iter().map(|(_, _, _, at)| place(at)).collect::<Vec<_>>(), [place(&at)]);
        // It is said again, and nothing is done twice.
        let again = transformed(&memory, &transforms, 12).await;
        let of_archive = report.notes.last().unwrap();
        let nowhere = |note: &&Note| matches!(note, Note::NotHealed { searched: HealingSearch::Chain, .. });
        let nowhere = again.notes.iter().filter(nowhere).count();
        assert_eq!((again.operations.len(), again.notes.len(), nowhere), (0, 2, 1), "{again:?}");
        assert!(again.notes.contains(of_archive), "{again:?}");
        // Its bytes are right again, and a verification has seen it.
        flip(&memory, COPY, &at);
        assert_eq!(verify(&open_memory(&memory).await, COPY).await.damage, []);
        let healed = transformed(&memory, &transforms, 13).await;
        assert_eq!((made_independent(&healed), healed.notes.len()), (1, 0), "{healed:?}");
        let archive = newest_head(&memory, COPY).chain.get(archive.sequence).unwrap().clone();
        assert!(step(&memory, COPY, &archive).files().is_disjoint(&newest(&memory, COPY).files()));
    }
}

/// Damage that nobody has seen yet turns up in the middle of a fold and of a compaction: both go on, and note it.
#[tokio::test]
async fn damage_that_a_transform_meets_is_noted_and_stops_nothing() {
    let options = MemoryOptions::default().with_reclaim(false).with_patch(true);
    let (memory, shared) = archived(ArchiveMethod::Shared, options).await;
    let chain = newest_head(&memory, COPY).chain;
    let increment = step(&memory, COPY, &chain.points()[1]);
    let (_, _, _, in_increment) = increment.stored().next().unwrap();
    let of_archive = step(&memory, COPY, &chain.archives()[0]);
    let (_, _, _, in_archive) = of_archive.stored().next().unwrap();
    for at in [&in_increment, &in_archive] {
        flip(&memory, COPY, at);
    }
    let policy = shared.retention.clone().unwrap().with_regular(keep(2));
    let fold = shared.merge(MergeMethod::Fold).retention(policy).compact(Compact::all());
    // One more point, so that a merge is due.
    let (_, primary) = memory_repository().await;
    let mut machines = Machines::new(8);
    machines.add("new", &[BLOCK]);
    machines.backup(&primary, &["new"]).run(day(11)).await.unwrap();
    let second = open_memory(&memory).await;
    let report = copy_job(&primary, &second).transforms(fold.clone()).run(day(11)).await.unwrap();
    let merges = report.transform.operations.iter().filter(|done| matches!(done.operation, Operation::Merge { .. }));
    assert_eq!(merges.count(), 1, "{report:?}");
    let known = damaged(&memory, COPY);
    assert!(known.contains(&place(&in_increment)) && known.contains(&place(&in_archive)), "{known:?}");
    // Nothing is left that a further run would do.
    assert_eq!(transformed(&memory, &fold, 12).await.operations, []);
    let found = Verify::new(&second, job(COPY)).read_data(true).run().await.unwrap();
    assert_eq!(found.damage.len(), 2, "{:?}", found.damage);
}

/// A full that is read whole from a source takes what the chain has of a machine that is damaged there and has not changed; and nothing of
/// one that is intact.
#[tokio::test]
async fn an_active_full_takes_from_the_chain_what_its_source_has_damaged() {
    for is_damaged in [true, false] {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(9), Truth::default());
        machines.add("web01", &[5 * BLOCK]);
        machines.add("db01", &[3 * BLOCK]);
        machines.fill_with_noise("db01");
        let anchors = Anchors::default().at_hour(22).unwrap();
        let gfs = Gfs::new(3, 0, 0, 0).unwrap().with_method(ArchiveMethod::Active).with_anchors(anchors);
        let policy = Policy::new(keep(9)).with_gfs(gfs);
        let mut told = 0;
        for number in 0..9 {
            machines.change("web01", 1);
            let names: &[&str] = if number == 0 { &["db01", "web01"] } else { &["web01"] };
            truth.record(&machines, names, day(number));
            machines.backup(&primary, names).keep(keep(99)).run(day(number)).await.unwrap();
            if number == 1 && is_damaged {
                let full = newest_head(&source, JOB).chain.points()[0].clone();
                let of_db = step(&source, JOB, &full);
                let (.., at) = of_db.stored().filter(|(name, ..)| name.as_str() == "db01").nth(1).unwrap();
                flip(&source, JOB, &at);
            }
            let transforms = Transforms::keeping(policy.clone());
            let report = copy_job(&primary, &second).transforms(transforms).run(day(number)).await.unwrap();
            told += report.notes.iter().filter(|note| matches!(note, Note::KeptFromChain { .. })).count();
            let is_cut_off = |outcome: &MachineOutcome| matches!(outcome, MachineOutcome::Incomplete { .. });
            assert!(!report.machines.iter().any(|machine| is_cut_off(&machine.outcome)));
        }
        let chain = newest_head(&target, COPY).chain;
        let fulls = chain.points().iter().filter(|point| point.kind == PointKind::Full);
        assert_eq!((fulls.clone().count(), told), (2, usize::from(is_damaged)), "{chain:?}");
        assert!(fulls.clone().all(|full| full.machines.len() == 2));
        assert!(fulls.flat_map(|full| &full.machines).all(|machine| machine.is_whole()));
        assert_eq!(truth.check(&second, COPY).await.len(), 9);
        let (taken, needed) = space(&target, COPY).await;
        assert_eq!((taken, stray(&target, COPY)), (needed, Vec::new()));
    }
}

/// A frame is said to be damaged and is not, and an index cannot be read that needs it, too: nothing is let go on that word.
#[tokio::test]
async fn nothing_is_healed_while_an_index_cannot_be_read() {
    let (memory, transforms, primary) = archived_from_source(ArchiveMethod::Shared, MemoryOptions::default()).await;
    let archive = newest_head(&memory, COPY).chain.archives()[0].clone();
    let chain = newest(&memory, COPY);
    let shared = |at: &_| chain.stored().any(|(.., other)| place(&other) == place(at));
    let (.., at) = step(&memory, COPY, &archive).stored().find(|(.., at)| shared(at)).unwrap();
    flip(&memory, COPY, &at);
    assert_eq!(verify(&open_memory(&memory).await, COPY).await.damage.len(), 1);
    flip(&memory, COPY, &at);
    let index = key(&format!("{COPY}/index/{}", archive.index.id));
    assert!(memory.corrupt(&index, 100, 1));
    let second = open_memory(&memory).await;
    let job = copy_job(&primary, &second).transforms(transforms.clone());
    // Whatever else comes of it.
    let waited = job.transform(day(11), 0).await;
    assert!(
        waited.is_err()
            || !waited.unwrap().operations.iter().any(|done| matches!(done.operation, Operation::Heal { .. }))
    );
    assert!(memory.corrupt(&index, 100, 1));
    assert_eq!(verify(&second, COPY).await.damage, []);
}

/// The point of a week is damaged, and the one before it is not: that one becomes the archive.
#[tokio::test]
async fn an_intact_point_becomes_the_archive_in_place_of_a_damaged_one() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(10), Truth::default());
    machines.add("web01", &[3 * BLOCK]);
    let gfs = Gfs::new(3, 0, 0, 0).unwrap().with_anchors(Anchors::default().at_hour(22).unwrap());
    let keeping = |points, gfs: &Gfs| {
        let policy = Policy::new(keep(points)).with_gfs(*gfs);
        Transforms::keeping(policy).apply_changes_at_once(true)
    };
    for number in 0..10 {
        // Each day has a block of its own that the next one has no more.
        machines.overwrite("web01", |disk| disk[..BLOCK].fill(1 + u8::try_from(number).unwrap()));
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&primary, &["web01"]).run(day(number)).await.unwrap();
        copy_job(&primary, &second).transforms(keeping(4, &gfs)).run(day(number)).await.unwrap();
    }
    let points = newest_head(&target, COPY).chain.points().to_vec();
    let flagged = points.iter().position(|point| !point.flags.is_empty()).unwrap();
    let [before, sunday, ..] = &points[..] else { panic!("{points:?}") };
    assert_eq!((flagged, sunday.time), (1, day(7)));
    let (.., at) = step(&target, COPY, sunday).stored().next().unwrap();
    flip(&target, COPY, &at);
    assert_eq!(verify(&second, COPY).await.damage.len(), 1);
    let report = transformed(&target, &keeping(2, &gfs), 9).await;
    let moved = report.operations.iter().filter(|done| matches!(done.operation, Operation::StandIn { .. }));
    assert_eq!(moved.count(), 1, "{report:?}");
    let chain = newest_head(&target, COPY).chain;
    assert_eq!(chain.archives().iter().map(|archive| archive.sequence).collect::<Vec<_>>(), [before.sequence]);
    assert!(chain.get(sunday.sequence).is_none(), "{chain:?}");
    assert_eq!(truth.check(&second, COPY).await.len(), 3, "what is left is intact");
}
