//! What verification remembers from one run to the next, and what the next copy makes good again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use offsite::core::format::records::Verification;
use offsite::core::format::{Kind, decode_record, encode_record};
use offsite::core::retention::{Policy, Regular};
use offsite::core::{BlockMap, Sequence, StoredBlock};
use offsite::report::MachineOutcome;
use offsite::{JobFolder, MergeMethod, OpenRepository, TransformJob, Transforms, Verify, VerifyReport};
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{ErrorKind, Key, Prefix, RepositoryExt, Verb};

use crate::support::objects::{bytes_of, fork, key, keys, newest_head, space, step, stray};
use crate::support::truth::{Truth, causes};
use crate::support::{
    BLOCK, Machines, Random, copy_job, day, job, keep, memory_repository, open_memory, scratch, seed,
};

const JOB: &str = "nightly";
const COPY: &str = "Offsite Copy";
const FRAME_HEADER_BYTES: u64 = 96;

/// Where a frame lies: its file, and its offset there.
type Place = (u64, u64);

fn place(at: &StoredBlock) -> Place {
    (at.file.stored(), at.offset)
}

fn file(folder: &str, at: &StoredBlock) -> Key {
    key(&format!("{folder}/blocks/{}", at.file))
}

/// What is remembered of a job.
fn remembered(memory: &Memory, folder: &str) -> Option<Verification> {
    let found = keys(memory, &format!("{folder}/verify"));
    assert!(found.len() <= 1, "{found:?}");
    found.first().map(|key| decode_record(Kind::Verification, &bytes_of(memory, key)).unwrap())
}

fn damaged(memory: &Memory, folder: &str) -> BTreeSet<Place> {
    let found = remembered(memory, folder).into_iter().flat_map(|found| found.damaged);
    found.map(|(file, offset, _)| (file, offset)).collect()
}

/// Every block that a restore point of a job has.
fn live(memory: &Memory, folder: &str) -> BTreeMap<Place, StoredBlock> {
    let chain = newest_head(memory, folder).chain;
    let steps: Vec<BlockMap> = chain.all().map(|point| step(memory, folder, point)).collect();
    steps.iter().flat_map(BlockMap::stored).map(|(_, _, _, at)| (place(&at), at)).collect()
}

/// The state of the newest point.
fn newest(memory: &Memory, folder: &str) -> BlockMap {
    let chain = newest_head(memory, folder).chain;
    let steps = chain.steps_to(chain.latest().unwrap().sequence).unwrap();
    steps.into_iter().fold(BlockMap::empty(), |state, point| state.overlay(&step(memory, folder, point)))
}

fn flip(memory: &Memory, folder: &str, at: &StoredBlock) {
    assert!(memory.corrupt(&file(folder, at), at.offset + FRAME_HEADER_BYTES, 1));
}

async fn verify(repository: &OpenRepository, folder: &str) -> VerifyReport {
    Verify::new(repository, job(folder)).read_data(true).run().await.unwrap()
}

fn lengths<'a>(blocks: impl Iterator<Item = &'a StoredBlock>) -> u64 {
    blocks.map(|at| u64::from(at.length)).sum()
}

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

/// Two machines of noise, their backups of some days and a copy of these, which nothing has been merged in yet.
struct Scene {
    source: Memory,
    target: Memory,
    machines: Machines,
    truth: Truth,
    merge: MergeMethod,
}

impl Scene {
    async fn new(merge: MergeMethod) -> Self {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let mut scene = Self {
            source: (*source).clone(),
            target: (*target).clone(),
            machines: Machines::new(seed(82)),
            truth: Truth::default(),
            merge,
        };
        scene.machines.add("web01", &[6 * BLOCK + 777]);
        scene.machines.add("db01", &[5 * BLOCK]);
        scene.machines.fill_with_noise("web01");
        scene.machines.fill_with_noise("db01");
        for number in 0..3 {
            scene.back_up(&primary, number, number as usize).await;
            scene.copy(&primary, &second).run(day(number)).await.unwrap();
        }
        scene
    }

    /// A day on which one block of each machine changes.
    async fn back_up(&mut self, primary: &OpenRepository, number: i64, block: usize) {
        for name in ["web01", "db01"] {
            let mut random = Random::new(seed(83) + number as u64);
            self.machines.overwrite(name, |disk| {
                disk[block * BLOCK..(block + 1) * BLOCK].iter_mut().for_each(|byte| *byte = random.next() as u8);
            });
        }
        self.truth.record(&self.machines, &["web01", "db01"], day(number));
        self.machines.backup(primary, &["web01", "db01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }

    fn copy(&self, primary: &OpenRepository, second: &OpenRepository) -> offsite::CopyJob {
        let policy = Policy { regular: Regular::Simple(keep(4)), ..Policy::default() };
        copy_job(primary, second).transforms(Transforms { merge: self.merge, ..Transforms::keeping(policy) })
    }
}

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
    assert!(report.notes.iter().any(|note| note.contains("know nothing of this one")), "{:?}", report.notes);
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
        assert_eq!(report.notes, [""; 0]);
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
    let encode =
        |folder, next, damaged| encode_record(Kind::Verification, &Verification { folder, next, damaged }).unwrap();
    let honest = encode(folder, None, claims(None));
    let mut flipped = honest.clone();
    flipped[100] ^= 1;
    let cases = [
        ("another folder's", encode([7; 16], Some((1, 1)), claims(None))),
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
        let sync = base.copy(&primary, &second).run(day(3)).await.unwrap().sync.unwrap();
        assert_eq!((sync.healed, sync.tally.planned.blocks), (0, 0), "{what}");
        let report = Verify::new(&second, job(COPY)).budget_bytes(u64::MAX).run().await.unwrap();
        assert_eq!((report.damage.len(), report.bytes_left), (0, 0), "{what}");
        assert_eq!(report.bytes_read, lengths(live(&target, COPY).values()), "{what}: from the start");
        let report = Verify::new(&second, job(COPY)).budget_bytes(1).run().await.unwrap();
        assert!(report.bytes_left > 0, "{what}");
        let next = remembered(&target, COPY).unwrap().next;
        assert!(next.is_some(), "{what}: the next one goes on");
    }
    // It is believed where it can be: a copy carries again what it says, and only verification knows better.
    let target = fork(&base.target).await;
    let second = open_memory(&target).await;
    let primary = open_memory(&fork(&base.source).await).await;
    target.put(&key(&format!("{COPY}/verify/{:020}", u64::MAX)), honest.into()).await.unwrap();
    base.machines.backup(&primary, &["web01", "db01"]).run(day(3)).await.unwrap();
    let sync = base.copy(&primary, &second).run(day(3)).await.unwrap().sync.unwrap();
    assert_eq!(sync.healed, all.len() as u64);
    assert_eq!(verify(&second, COPY).await.notes.len(), 1, "there is no higher number");
}

/// A fold cannot move a block that is damaged: it fails until that is known, and is an adoption from then on.
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
    let error = transform().run(day(5)).await.unwrap_err();
    assert!(causes(&error).contains("offsite verify --read-data"), "{}", causes(&error));
    assert_eq!(verify(&repository, JOB).await.damage.len(), 1);
    let report = transform().run(day(5)).await.unwrap();
    assert_eq!(report.operations.len(), 1);
    let to = scratch();
    let newest = newest_head(&memory, JOB).chain.latest().unwrap().clone();
    let mut truth = Truth::default();
    truth.record(&machines, &["web01"], day(4));
    truth.restore(&repository, JOB, &newest, "web01", to.path()).await.unwrap();
}
