//! What verification remembers from one run to the next.

use offsite::model::FolderId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use offsite::model::RestorePoint;
use offsite::model::StoredBlock;
use offsite::report::Note;
use offsite::{JobFolder, MergeMethod, OpenRepository, Repair, TransformJob, Verify};
use offsite_core::format::Kind;
use offsite_core::format::encode_record;
use offsite_core::format::records::VerificationRecord;
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{ErrorKind, Prefix, RepositoryExt, Verb};

use super::{COPY, JOB, Place, Scene, damaged, flip, lengths, live, newest, remembered, verify};
use crate::support::objects::{bytes_of, fork, key, keys, newest_head, step};
use crate::support::{BLOCK, Machines, day, job, keep, machine, memory_repository, open_memory, seed};

/// In one pass every block is damaged, in the next one none is: so what is remembered tells which blocks were read.
#[tokio::test]
async fn a_pass_reads_every_block_once_and_starts_over() {
    for budget in [0, 3 * BLOCK as u64, u64::MAX] {
        let (memory, repository) = memory_repository().await;
        let mut machines = Machines::new(seed(81));
        machines.add("web01", &[5 * BLOCK + 777, 3_000]);
        machines.add("db01", &[3 * BLOCK]);
        machines.fill_with_noise("db01");
        let mut today = 0;
        let mut next_day = async |machines: &mut Machines| {
            machines.change("web01", 2);
            machines.change("db01", 1);
            machines.backup(&repository, &["web01", "db01"]).keep(keep(3)).run(day(today)).await.unwrap();
            today += 1;
        };
        for _ in 0..4 {
            next_day(&mut machines).await;
        }
        let mut flipped: BTreeSet<Place> = BTreeSet::new();
        for (pass, is_damaged) in [true, false, true].into_iter().enumerate() {
            let mut read: BTreeSet<Place> = BTreeSet::new();
            for verification in 0.. {
                let what = format!("budget {budget}, pass {pass}, verification {verification}");
                let blocks = live(&memory, JOB);
                assert!(verification < 100, "{what}: a pass comes to its end");
                flipped.retain(|place| blocks.contains_key(place));
                for (place, at) in &blocks {
                    if flipped.contains(place) != is_damaged {
                        flip(&memory, JOB, at);
                        let _ = if is_damaged { flipped.insert(*place) } else { flipped.remove(place) };
                    }
                }
                let known = damaged(&memory, JOB);
                let before = repository.block_counts();
                Verify::new(&repository, job(JOB)).run().await.unwrap();
                let headers = (repository.block_counts() - before).bytes_read;
                let before = repository.block_counts();
                let report = Verify::new(&repository, job(JOB)).budget_bytes(budget).run().await.unwrap();
                let counted = (repository.block_counts() - before).bytes_read - headers;
                let now = damaged(&memory, JOB);
                let of_now = |places: &BTreeSet<Place>| -> BTreeSet<Place> {
                    places.iter().filter(|place| blocks.contains_key(place)).copied().collect()
                };
                let changed: BTreeSet<Place> = of_now(&known).symmetric_difference(&now).copied().collect();
                assert!(changed.is_disjoint(&read), "{what}: read twice");
                assert_eq!(report.bytes_read, lengths(changed.iter().map(|place| &blocks[place])), "{what}");
                let padding = 4_096 * changed.len() as u64;
                assert!((report.bytes_read..=report.bytes_read + padding).contains(&counted), "{what}: {counted}");
                assert!(report.bytes_read <= budget || changed.len() == 1, "{what}: {}", report.bytes_read);
                assert_eq!(report.damage.len(), if is_damaged { changed.len() } else { 0 }, "{what}");
                read.extend(changed);
                let left = blocks.iter().filter(|(place, _)| !read.contains(place)).map(|(_, at)| at);
                assert_eq!(report.bytes_left, lengths(left), "{what}");
                let next = remembered(&memory, JOB).and_then(|found| found.next);
                assert_eq!(next.is_some(), report.bytes_left > 0, "{what}");
                if report.bytes_left == 0 {
                    let all: BTreeSet<Place> = blocks.into_keys().collect();
                    assert!(all.is_subset(&read), "{what}");
                    assert_eq!(now, if is_damaged { all } else { BTreeSet::new() }, "{what}: found early, known still");
                    assert_eq!(verification == 0, budget == u64::MAX, "{what}");
                    break;
                }
                if is_damaged && verification < 4 {
                    next_day(&mut machines).await;
                }
            }
        }
    }
}

/// A repository that takes nothing is verified all the same, and what follows from that is said.
#[tokio::test]
async fn a_repository_that_takes_nothing_is_verified() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let (_, _, _, at) = newest(&scene.target, COPY).stored().next().unwrap();
    flip(&scene.target, COPY, &at);
    let faulty = Faulty::new(scene.target.clone());
    faulty.inject(Fault::after_calls(0, ErrorKind::PermissionDenied).on(Verb::Create).for_ever());
    let reader = OpenRepository::open(Arc::new(faulty)).await.unwrap();
    let before = scene.target.contents();
    let report = verify(&reader, COPY).await;
    assert_eq!(report.damage.len(), 1);
    assert!(report.notes.iter().any(|note| matches!(note, Note::FindingsNotStored { .. })), "{:?}", report.notes);
    let first = Verify::new(&reader, job(COPY)).budget_bytes(1).run().await.unwrap();
    assert!(first.bytes_left > 0 && first.notes.len() == 1, "{:?}", first.notes);
    assert!(scene.target.contents() == before);
}

/// What cannot be removed is not what counts.
#[tokio::test]
async fn what_is_kept_for_ever_is_superseded() {
    let scene = Scene::new(MergeMethod::Adopt).await;
    let faulty = Faulty::new(scene.target.clone());
    let folder = Prefix::new(format!("{COPY}/verify")).unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::PermissionDenied).on(Verb::Delete).below(folder).for_ever());
    let reader = OpenRepository::open(Arc::new(faulty)).await.unwrap();
    let blocks = live(&scene.target, COPY).len();
    for number in 1..=blocks {
        let report = Verify::new(&reader, job(COPY)).budget_bytes(1).run().await.unwrap();
        assert_eq!(report.notes, []);
        assert_eq!(report.bytes_left == 0, number == blocks, "{number} of {blocks}");
        assert_eq!(keys(&scene.target, &format!("{COPY}/verify")).len(), number);
    }
}

/// What is damaged, of another folder or of no use is as if it were not there; it misleads neither verification nor a copy.
#[tokio::test]
async fn findings_that_cannot_be_believed_are_ignored() {
    let base = Scene::new(MergeMethod::Adopt).await;
    let folder = JobFolder::open(&open_memory(&base.target).await, &job(COPY)).await.unwrap().id();
    let all: Vec<StoredBlock> = newest(&base.target, COPY).stored().map(|(_, _, _, at)| at).collect();
    let claims = |digest: Option<[u8; 32]>| -> Vec<(u64, u64, [u8; 32])> {
        all.iter().map(|at| (at.file.stored(), at.offset, digest.unwrap_or(at.digest.0))).collect()
    };
    let encode = |folder, next, damaged| {
        encode_record(
            Kind::VerificationNotes,
            &VerificationRecord { folder, next, damaged, cut: Vec::new(), indexes: Vec::new() },
        )
        .unwrap()
    };
    let honest = encode(folder, None, claims(None));
    let mut flipped = honest.clone();
    flipped[100] ^= 1;
    let cases = [
        ("another folder's", encode(FolderId::new([7; 16]), Some((1, 1)), claims(None))),
        ("flipped", flipped),
        ("cut off", honest[..honest.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("huge", vec![0; 5 << 20]),
        ("of other blocks", encode(folder, None, claims(Some([1; 32])))),
        ("of places that there are not", encode(folder, Some((u64::MAX, u64::MAX)), vec![(u64::MAX, 3, [0; 32])])),
    ];
    for (what, bytes) in cases {
        let target = fork(&base.target).await;
        let second = open_memory(&target).await;
        let primary = open_memory(&fork(&base.source).await).await;
        target.put(&key(&format!("{COPY}/verify/{:020}", 7)), bytes.into()).await.unwrap();
        base.machines.backup(&primary, &["web01", "db01"]).run(day(3)).await.unwrap();
        let run = base.copy(&primary, &second).run(day(3)).await.unwrap();
        assert_eq!((run.transform.operations.len(), run.sync.unwrap().tally.planned.blocks), (0, 0), "{what}");
        let report = Verify::new(&second, job(COPY)).budget_bytes(u64::MAX).run().await.unwrap();
        assert_eq!((report.damage.len(), report.bytes_left), (0, 0), "{what}");
        assert_eq!(report.bytes_read, lengths(live(&target, COPY).values()), "{what}: from the start");
        let report = Verify::new(&second, job(COPY)).budget_bytes(1).run().await.unwrap();
        assert!(report.bytes_left > 0, "{what}");
        let next = remembered(&target, COPY).unwrap().next;
        assert!(next.is_some(), "{what}: the next one goes on");
    }
    // It is believed where it can be: a run brings again what it says, and only verification knows better.
    let target = fork(&base.target).await;
    let second = open_memory(&target).await;
    let primary = open_memory(&fork(&base.source).await).await;
    target.put(&key(&format!("{COPY}/verify/{:020}", u64::MAX)), honest.into()).await.unwrap();
    base.machines.backup(&primary, &["web01", "db01"]).run(day(3)).await.unwrap();
    let run = base.copy(&primary, &second).run(day(3)).await.unwrap();
    let blocks = run.transform.operations.iter().map(|done| done.tally.planned.blocks).sum::<u64>();
    assert_eq!(blocks, all.len() as u64);
    assert_eq!(verify(&second, COPY).await.notes.len(), 1, "there is no higher number");
}

/// Three restore points, and in that at this position a block that a verification has found damaged.
async fn with_a_known_damaged_block(position: usize) -> (Arc<Memory>, OpenRepository, Vec<RestorePoint>) {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(seed(91));
    machines.add("web01", &[4 * BLOCK]);
    for number in 0..3 {
        machines.change("web01", 2);
        machines.backup(&repository, &["web01"]).run(day(number)).await.unwrap();
    }
    let points = newest_head(&memory, JOB).chain.points().to_vec();
    let (.., at) = step(&memory, JOB, &points[position]).stored().next().unwrap();
    flip(&memory, JOB, &at);
    assert_eq!(verify(&repository, JOB).await.damage.len(), 1);
    (memory, repository, points)
}

/// An index is found damaged, and a block was before. Both are told until they are put back, whichever comes first; what is damaged behind an
/// index that cannot be read is not forgotten.
#[tokio::test]
async fn a_damaged_index_is_told_until_it_can_be_read_again() {
    let (memory, repository, points) = with_a_known_damaged_block(2).await;
    let index = key(&format!("{JOB}/index/{}", points[1].index.id));
    let intact = bytes_of(&memory, &index);
    assert!(memory.corrupt(&index, intact.len() as u64 - 9, 1));
    let known = || async { JobFolder::open(&repository, &job(JOB)).await.unwrap().known_damage().await.unwrap() };
    let of_block = BTreeMap::from([(points[2].sequence, BTreeMap::from([(machine("web01"), 1)]))]);
    for reads in [true, false] {
        let found = Verify::new(&repository, job(JOB)).read_data(reads).run().await.unwrap();
        assert_eq!(found.damage.len(), 1, "{found:?}");
        let hidden = points[1..].iter().map(|point| point.sequence).collect();
        let found = known().await;
        assert_eq!((found.points.len(), found.unreadable), (0, hidden));
    }
    // A transform tells it, too.
    let report = TransformJob::new(&repository, job(JOB)).run(day(3)).await.unwrap();
    assert_eq!(report.damage, known().await);
    // Whoever puts it back: it is read, and not asked for.
    assert!(memory.remove(&index));
    memory.put(&index, intact).await.unwrap();
    let found = known().await;
    assert_eq!((&found.points, found.unreadable.len()), (&of_block, 0));
    assert!(memory.corrupt(&index, 200, 1));
    assert_eq!(Repair::new(&repository, job(JOB)).run().await.unwrap().restored.len(), 1);
    let found = known().await;
    assert_eq!((found.points, found.unreadable.len()), (of_block, 0));
    assert!(remembered(&memory, JOB).unwrap().indexes.is_empty());
}

/// Whether an index is damaged nobody knows while it cannot be reached: whichever read of one fails, that is the answer.
#[tokio::test]
async fn an_outage_is_not_taken_for_a_damaged_index() {
    let (memory, repository, points) = with_a_known_damaged_block(0).await;
    let index = key(&format!("{JOB}/index/{}", points[2].index.id));
    assert!(memory.corrupt(&index, bytes_of(&memory, &index).len() as u64 - 9, 1));
    assert_eq!(Verify::new(&repository, job(JOB)).run().await.unwrap().damage.len(), 1);
    let faulty = Faulty::new((*memory).clone());
    let reader = OpenRepository::open(Arc::new(faulty.clone())).await.unwrap();
    let folder = JobFolder::open(&reader, &job(JOB)).await.unwrap();
    let known = folder.known_damage().await.unwrap();
    assert!(!known.points.is_empty() && known.unreadable == BTreeSet::from([points[2].sequence]), "{known:?}");
    let indexes = Prefix::new(format!("{JOB}/index")).unwrap();
    for reads in 0.. {
        let failures = faulty.failures();
        faulty.inject(Fault::after_calls(reads, ErrorKind::Unavailable).on(Verb::Read).below(indexes.clone()));
        let answer = folder.known_damage().await;
        if faulty.failures() == failures {
            assert!(reads > 3, "{reads}");
            assert_eq!(answer.unwrap(), known);
            break;
        }
        let error = answer.unwrap_err();
        assert_eq!(error.repository_kind(), Some(ErrorKind::Unavailable), "after {reads} reads: {error}");
    }
}
