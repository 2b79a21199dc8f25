//! Heads: numbers, recovery, and commits whose outcome is in doubt.

use std::collections::BTreeSet;

use offsite::model::Head;
use offsite::retention::Policy;
use offsite::{Error, OpenRepository, Repair, TransformJob, Transforms, Verify};
use offsite_core::format::WireFormat;
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{ErrorKind, Key, Prefix, Verb};

use super::{COPY, Scene};
use crate::support::drive::poll_times;
use crate::support::objects::{HEADS_MAX, Living, bytes_of, copies, fork, key, keys, newest_head, pin, put_successor};
use crate::support::truth::causes;
use crate::support::{day, job, keep, open_memory};

/// Old heads are trimmed, and their numbers are not used again.
#[tokio::test]
async fn heads_do_not_pile_up_and_numbers_are_not_used_again() {
    let scene = Scene::new().await;
    let (source, primary, _, _) = scene.fork().await;
    let mut last = 0;
    let mut commits = std::collections::BTreeSet::new();
    for number in 4..30 {
        scene.machines.backup(&primary, &["web01"]).keep(keep(2)).run(day(number)).await.unwrap();
        let heads = keys(&source, "nightly/head");
        assert!(heads.len() <= HEADS_MAX, "{heads:?}");
        let head = newest_head(&source, "nightly");
        assert!(head.number > last && commits.insert(head.commit));
        last = head.number;
    }
    assert!(last > 60);
    // A head that a late writer stored below the boundary misleads nobody, and goes.
    let late = key(&format!("nightly/head/{:020}", 3));
    let bytes = crate::support::objects::bytes_of(&scene.source, keys(&scene.source, "nightly/head").last().unwrap());
    offsite_repository::RepositoryExt::put(&source, &late, bytes).await.unwrap();
    scene.machines.backup(&primary, &["web01"]).run(day(31)).await.unwrap();
    assert!(!keys(&source, "nightly/head").contains(&late));
}

/// A restore point without a new block changes the chain, and no file.
#[tokio::test]
async fn the_second_copy_of_a_head_tells_a_point_without_blocks_too() {
    let scene = Scene::new().await;
    let (source, primary, _, _) = scene.fork().await;
    let backup = scene.machines.backup(&primary, &["web01"]).keep(keep(99));
    backup.run(day(4)).await.unwrap();
    assert_eq!(backup.run(day(5)).await.unwrap().stored_blocks, 0);
    let copy = copies(&source, "nightly").into_iter().find(|key| key.name().ends_with(".head")).unwrap();
    let told = Head::decode(&bytes_of(&source, &copy)).unwrap();
    assert_eq!(told.chain, newest_head(&source, "nightly").chain);
}

/// Where heads are lost that a second copy tells of, a verification says so.
#[tokio::test]
async fn a_second_copy_of_a_head_that_is_lost_is_told() {
    let scene = Scene::new().await;
    let (source, primary, _, _) = scene.fork().await;
    let notes = async || Verify::new(&primary, job("nightly")).run().await.unwrap().notes;
    assert_eq!(notes().await, []);
    let number_of = |key: &Key| Head::decode(&bytes_of(&source, key)).unwrap().number;
    let copy = copies(&source, "nightly").into_iter().find(|key| key.name().ends_with(".head")).unwrap();
    let number = number_of(&copy);
    for head in keys(&source, "nightly/head") {
        assert!(number_of(&head) < number || source.remove(&head));
    }
    let told = format!("there is a second copy of head {number}, and the newest head is ");
    assert!(notes().await.iter().any(|note| note.to_string().starts_with(&told)), "{told}");
}

/// Whatever a run was cut off in, the first run after it recovers all there is, and the second finds nothing to do: it takes the lease
/// and gives it back.
#[tokio::test]
async fn recovery_is_done_once() {
    let scene = Scene::new().await;
    let mut polls = 0;
    loop {
        let (_, primary, target, second) = scene.fork().await;
        let copy = Scene::copy(&primary, &second);
        let mut run = Box::pin(copy.run(day(4)));
        let ended = poll_times(&mut run, polls).await;
        drop(run);
        TransformJob::new(&open_memory(&target).await, job(COPY)).run(day(5)).await.unwrap();
        let before: BTreeSet<_> = keys(&target, COPY).into_iter().collect();
        let again = open_memory(&target).await;
        TransformJob::new(&again, job(COPY)).run(day(5)).await.unwrap();
        let (counts, after) = (again.counts(), keys(&target, COPY));
        assert_eq!((counts.creates, counts.punches, counts.patches), (3, 0, 0), "{polls}: two heads and a second copy");
        assert!(counts.deletes <= 3, "{polls}: old heads and an old copy alone");
        let new: Vec<_> = after.iter().filter(|key| !before.contains(key)).collect();
        let is_head = |key: &str| key.contains("/head/") || key.ends_with(".head");
        assert!(new.len() == 3 && new.iter().all(|key| is_head(key.as_str())), "{polls}: {new:?}");
        if ended.is_some() {
            break;
        }
        polls += 1;
    }
    assert!(polls > 20, "{polls}");
}

fn keeping_three() -> Transforms {
    Transforms::keeping(Policy::new(keep(3)))
}

/// Whatever a run was cut off in, and be it just before its commit: a plan is what the next run does.
#[tokio::test]
async fn a_plan_knows_what_the_next_run_finishes_first() {
    let scene = Scene::new().await;
    let mut polls = 0;
    let mut plans = BTreeSet::new();
    loop {
        let (_, primary, _, second) = scene.fork().await;
        let copy = Scene::copy(&primary, &second);
        let mut run = Box::pin(copy.run(day(4)));
        let ended = poll_times(&mut run, polls).await;
        drop(run);
        let transforms = TransformJob::new(&second, job(COPY)).transforms(keeping_three());
        let alone = transforms.plan(day(5)).await.unwrap().operations;
        let plan = copy.plan(day(5)).await.unwrap();
        let report = copy.run(day(5)).await.unwrap();
        let planned: Vec<_> = plan.operations.iter().map(|planned| (&planned.operation, planned.cost)).collect();
        let done = &report.transform.operations;
        let done: Vec<_> = done.iter().map(|done| (&done.operation, done.tally.planned)).collect();
        assert_eq!(planned, done, "{polls}");
        let (planned, done) = (plan.sync.map(|sync| sync.cost), report.sync.map(|sync| sync.tally.planned));
        assert_eq!(planned, done, "{polls}");
        plans.insert((done.is_some(), report.transform.operations.len(), alone.len()));
        if ended.is_some() {
            break;
        }
        polls += 1;
    }
    // The point is made again, or it is there and merging is what is left, or nothing is.
    assert_eq!(plans, BTreeSet::from([(true, 1, 0), (false, 1, 1), (false, 0, 0)]));
}

/// A folder from elsewhere may claim any number: one that leaves none for the next is refused, and still read.
#[tokio::test]
async fn a_folder_whose_numbers_are_used_up_is_refused() {
    let scene = Scene::new().await;
    let cases: [fn(&mut offsite::model::Head); 3] = [
        |head| head.number = u64::MAX,
        |head| head.epoch = u32::MAX,
        |head| head.next_sequence = offsite::model::Sequence(u64::MAX),
    ];
    for change in cases {
        let (source, primary, _, _) = scene.fork().await;
        put_successor(&source, "nightly", change).await;
        let points = scene.truth.check(&primary, "nightly").await;
        let error = scene.machines.backup(&primary, &["web01"]).run(day(4)).await.unwrap_err();
        assert!(error.to_string().contains("used up"), "{}", causes(&error));
        assert_eq!(scene.truth.check(&primary, "nightly").await, points);
    }
}

/// `AlreadyExists` may be this writer's own earlier try, and a lost answer may have been a yes.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_won() {
    let scene = Scene::new().await;
    for kind in [ErrorKind::AlreadyExists, ErrorKind::Indeterminate, ErrorKind::Unavailable] {
        for spare in 0.. {
            let source = fork(&scene.source).await;
            let faulty = Faulty::new(source.clone());
            let primary = OpenRepository::open(std::sync::Arc::new(faulty.clone())).await.unwrap();
            let heads = Prefix::new("nightly/head").unwrap();
            faulty.inject(Fault::after_calls(spare, kind).on(Verb::Finish).below(heads).losing_the_answer());
            scene.machines.backup(&primary, &["web01"]).keep(keep(3)).run(day(4)).await.unwrap();
            scene.truth.check(&open_memory(&source).await, "nightly").await;
            if faulty.failures() == 0 {
                assert!(spare >= 4, "lease, point, merge, release and end of the lease are commits");
                break;
            }
        }
    }
}

/// A commit that was not stored, or may not have been, is tried again.
#[tokio::test]
async fn a_commit_that_was_not_stored_is_tried_again() {
    let scene = Scene::new().await;
    for kind in [ErrorKind::AlreadyExists, ErrorKind::Indeterminate, ErrorKind::Unavailable] {
        for spare in 0..5 {
            let source = fork(&scene.source).await;
            let faulty = Faulty::new(source.clone());
            let primary = OpenRepository::open(std::sync::Arc::new(faulty.clone())).await.unwrap();
            let heads = Prefix::new("nightly/head").unwrap();
            faulty.inject(Fault::after_calls(spare, kind).on(Verb::Finish).below(heads));
            scene.machines.backup(&primary, &["web01"]).keep(keep(3)).run(day(4)).await.unwrap();
            assert_eq!(faulty.failures(), 1, "{kind:?} {spare}");
            assert_eq!(scene.truth.check(&open_memory(&source).await, "nightly").await, [3, 4, 5]);
        }
    }
}

/// Removes the heads of the copy after `before`, and returns the newest of them.
fn lose_heads_after(target: &Memory, before: &Head) -> Head {
    let after = newest_head(target, COPY);
    for number in before.number + 1..=after.number {
        assert!(target.remove(&key(&format!("{COPY}/head/{number:020}"))));
    }
    after
}

/// Heads are lost, and what only their second copy tells is not all there, as in a folder that was carried elsewhere while it was
/// written: the chain goes on from the newest head. Once it is all there, that counts.
#[tokio::test]
async fn a_second_copy_counts_if_all_that_it_adds_is_there() {
    let scene = Scene::new().await;
    let (_, primary, target, second) = scene.fork().await;
    let before = newest_head(&target, COPY);
    scene.machines.backup(&primary, &["web01"]).run(day(5)).await.unwrap();
    Scene::copy(&primary, &second).transforms(keep(9)).run(day(5)).await.unwrap();
    let after = lose_heads_after(&target, &before);
    assert_eq!(newest_head(&target, COPY).chain, before.chain);
    let new_file = after.files.keys().find(|id| !before.files.contains_key(*id)).unwrap();
    let idle = || async { TransformJob::new(&second, job(COPY)).run(day(6)).await.unwrap() };
    let file = key(&format!("{COPY}/blocks/{new_file}"));
    let whole = fork(&target).await;
    assert!(target.remove(&file));
    idle().await;
    assert_eq!(newest_head(&target, COPY).chain, before.chain, "its file is missing");
    let second = open_memory(&whole).await;
    TransformJob::new(&second, job(COPY)).run(day(6)).await.unwrap();
    assert_eq!(newest_head(&whole, COPY).chain, after.chain);
}

/// An index has a second copy, too, and a repair makes the one of the other.
#[tokio::test]
async fn a_second_copy_counts_if_its_index_or_the_second_copy_of_that_is_there() {
    let scene = Scene::new().await;
    for (has_index, has_second_copy) in [(true, false), (false, true), (false, false)] {
        let (_, primary, target, second) = scene.fork().await;
        let before = newest_head(&target, COPY);
        scene.machines.backup(&primary, &["web01"]).run(day(5)).await.unwrap();
        Scene::copy(&primary, &second).transforms(keep(9)).run(day(5)).await.unwrap();
        let after = lose_heads_after(&target, &before);
        let index = after.chain.latest().unwrap().index.id;
        assert!(has_index || target.remove(&key(&format!("{COPY}/index/{index}"))));
        assert!(has_second_copy || target.remove(&key(&format!("{COPY}/blocks/{index}.index"))));
        TransformJob::new(&second, job(COPY)).run(day(6)).await.unwrap();
        let expected = if has_index || has_second_copy { after.chain } else { before.chain };
        assert_eq!(
            newest_head(&target, COPY).chain,
            expected,
            "index: {has_index}, its second copy: {has_second_copy}"
        );
    }
}

/// Heads are lost, and what their run has stored is not needed. The next run goes on from the head before, in the epoch that the lost one had.
#[tokio::test]
async fn what_a_run_has_left_whose_heads_are_lost_is_no_obstacle() {
    let scene = Scene::new().await;
    let (_, _, target, second) = scene.fork().await;
    let before = newest_head(&target, COPY);
    let reader = Living::new();
    pin(&target, COPY, &reader.holder).await;
    let policy = Policy::new(keep(2));
    let merging = Transforms::keeping(policy).apply_changes_at_once(true);
    let merge = TransformJob::new(&second, job(COPY)).transforms(merging);
    merge.run(day(3)).await.unwrap();
    lose_heads_after(&target, &before);
    let again = merge.run(day(4)).await.unwrap();
    assert_eq!(again.operations.len(), 1, "{again:?}");
    assert_eq!(scene.truth.check(&second, COPY).await.len(), 2);
}

/// Heads are lost, and only a second copy tells of a merge. The points before it are whole as long as a reader has held what the merge lets go
/// of: then it is done again when it is due. Else they are not, and the merge counts.
#[tokio::test]
async fn a_merge_that_a_second_copy_tells_counts_once_something_was_let_go_by_it() {
    let scene = Scene::new().await;
    for is_held in [true, false] {
        let (_, _, target, second) = scene.fork().await;
        let before = newest_head(&target, COPY);
        let reader = Living::new();
        let pinned = pin(&target, COPY, &reader.holder).await;
        assert!(is_held || target.remove(&pinned));
        let policy = Policy::new(keep(2));
        let merging = Transforms::keeping(policy).apply_changes_at_once(true);
        let merge = TransformJob::new(&second, job(COPY)).transforms(merging);
        let report = merge.run(day(3)).await.unwrap();
        assert_eq!((report.operations.len(), report.released.objects == 0), (1, is_held), "{report:?}");
        let after = lose_heads_after(&target, &before);
        TransformJob::new(&second, job(COPY)).run(day(4)).await.unwrap();
        let expected = if is_held { before.chain } else { after.chain };
        assert_eq!(newest_head(&target, COPY).chain, expected, "held by a reader: {is_held}");
        assert_eq!(scene.truth.check(&second, COPY).await.len(), expected.points().len());
    }
}

/// A first head would make all that is there an orphan. Where heads are lost, all of them, a run begins nothing, and a repair is the way out.
#[tokio::test]
async fn a_run_that_finds_no_head_begins_no_chain() {
    let scene = Scene::new().await;
    let (source, primary, target, second) = scene.fork().await;
    let lose_heads = |memory: &Memory, folder: &str| {
        keys(memory, &format!("{folder}/head")).iter().for_each(|head| assert!(memory.remove(head)));
    };
    let is_told = |error: &Error| {
        let text = causes(error);
        matches!(error, Error::Damaged { .. }) && text.contains("no head says which restore points they belong to")
    };
    lose_heads(&target, COPY);
    let before = target.contents();
    let error = Scene::copy(&primary, &second).run(day(4)).await.unwrap_err();
    assert!(is_told(&error), "{}", causes(&error));
    assert!(target.contents() == before, "it wrote nothing");
    lose_heads(&source, "nightly");
    let before = source.contents();
    let error = scene.machines.backup(&primary, &["web01"]).run(day(4)).await.unwrap_err();
    assert!(is_told(&error), "{}", causes(&error));
    assert!(source.contents() == before, "it wrote nothing");
    for (repository, folder) in [(&primary, "nightly"), (&second, COPY)] {
        assert!(Repair::new(repository, job(folder)).run().await.unwrap().left_out.is_empty());
    }
    scene.recovers(&source, &target).await;
}
