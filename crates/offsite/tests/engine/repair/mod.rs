//! Repair: whatever is lost of heads and indexes comes back as far as it is proven, and nothing else does.

mod beside;
mod contradictions;
mod discard;
mod headless;
mod losses;

use std::sync::Arc;

use offsite::model::{CommitId, Head, PointKind, Sequence, StoredBlock};
use offsite::{Basis, Error, JobFolder, MapSeed, OpenRepository, Repair, RepairReport, SyncRequest, Verify};
use offsite_core::format::WireFormat;
use offsite_core::format::frame::HEADER_BYTES;
use offsite_repository::testing::Memory;
use offsite_repository::{Key, Repository, RepositoryExt};

use crate::support::gates::StopAfter;
use crate::support::objects::{bytes_of, copies, fork, key, keys, newest_head, step, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory};

const BACKUP: &str = "nightly";
const COPY: &str = "Offsite Copy";

/// A copy after some merges, its source, and what its machines held.
struct Scene {
    source: Memory,
    target: Memory,
    machines: Machines,
    truth: Truth,
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(71), Truth::default());
        machines.add("web01", &[3 * BLOCK + 777, 3_000]);
        machines.add("db01", &[2 * BLOCK + 500]);
        for number in 0..7 {
            machines.change("web01", 2);
            machines.change("db01", 1);
            if number == 5 {
                machines.overwrite("web01", |disk| disk.iter_mut().take(BLOCK).for_each(|byte| *byte = 0));
            }
            truth.record(&machines, &["web01", "db01"], day(number));
            machines.backup(&primary, &["web01", "db01"]).keep(keep(4)).run(day(number)).await.unwrap();
            copy_job(&primary, &second).transforms(keep(4)).run(day(number)).await.unwrap();
        }
        Self { source: (*source).clone(), target: (*target).clone(), machines, truth }
    }

    /// The copy without the objects of which `is_lost` says so.
    async fn without(&self, is_lost: impl Fn(&Key) -> bool) -> Memory {
        let memory = fork(&self.target).await;
        for (key, _) in self.target.contents() {
            if key.as_str().starts_with(COPY) && is_lost(&key) {
                memory.delete(&key).await.unwrap();
            }
        }
        memory
    }

    /// Holds that a repaired folder has all points and goes on: another backup and copy, with merges, and nothing is left over.
    async fn goes_on(&mut self, memory: &Memory) {
        let before = newest_head(&self.target, COPY);
        let after = newest_head(memory, COPY);
        assert_eq!(after.chain, before.chain, "the chain as it was");
        let repository = open_memory(memory).await;
        assert_eq!(self.truth.check(&repository, COPY).await.len(), before.chain.all().count());
        let primary = open_memory(&fork(&self.source).await).await;
        self.machines.change("web01", 1);
        self.truth.record(&self.machines, &["web01", "db01"], day(8));
        self.machines.backup(&primary, &["web01", "db01"]).keep(keep(4)).run(day(8)).await.unwrap();
        let report = copy_job(&primary, &repository).transforms(keep(4)).run(day(8)).await.unwrap();
        let sync = report.sync.unwrap();
        assert!(!sync.full && sync.tally.planned.blocks <= 6, "only what changed is carried: {sync:?}");
        assert!(!report.transform.operations.is_empty(), "it merges");
        self.truth.check(&repository, COPY).await;
        assert_eq!(stray(memory, COPY), Vec::<String>::new());
        let verified = Verify::new(&repository, job(COPY)).read_data(true).run().await.unwrap();
        assert_eq!(verified.damage, []);
    }
}

async fn repair(memory: &Memory) -> RepairReport {
    repair_job(memory, COPY).await
}

/// Repairs a folder, as its plan says, and finds nothing more to repair and the same damage.
async fn repair_job(memory: &Memory, folder: &str) -> RepairReport {
    let repository = open_memory(memory).await;
    let before = memory.contents();
    let planned = Repair::new(&repository, job(folder)).plan().await.unwrap();
    assert_eq!(memory.contents(), before, "a plan writes nothing");
    let report = Repair::new(&repository, job(folder)).run().await.unwrap();
    assert_eq!(report, planned, "it does what its plan says");
    let second = Repair::new(&repository, job(folder)).run().await.unwrap();
    assert!(second.is_intact() && second.left_out.is_empty(), "{second:?}");
    let touches = |report: &RepairReport| report.damage.iter().map(|damage| damage.touches.clone()).collect::<Vec<_>>();
    assert_eq!(touches(&second), touches(&report), "it names what stays damaged again: {second:?}");
    report
}

fn is_in(folder: &'static str) -> impl Fn(&Key) -> bool {
    move |key| key.as_str().contains(&format!("/{folder}/"))
}

/// Puts bytes where others were.
async fn replace(memory: &Memory, key: &Key, bytes: Vec<u8>) {
    memory.delete(key).await.unwrap();
    memory.put(key, bytes.into()).await.unwrap();
}

async fn flip(memory: &Memory, key: &Key) {
    flip_at(memory, key, bytes_of(memory, key).len() / 2).await;
}

async fn flip_at(memory: &Memory, key: &Key, position: usize) {
    let mut bytes = bytes_of(memory, key).to_vec();
    bytes[position] ^= 0x40;
    replace(memory, key, bytes).await;
}

#[tokio::test]
async fn an_intact_folder_is_left_alone() {
    let scene = Scene::new().await;
    let before = scene.target.contents();
    let report = repair(&scene.target).await;
    assert!(report.is_intact() && report.basis == Basis::Head && report.left_out.is_empty(), "{report:?}");
    assert_eq!(scene.target.contents(), before);
}

/// A first copy that was cut off has a restore point without a whole machine.
#[tokio::test]
async fn a_point_of_which_nothing_arrived_whole_is_left_alone() {
    let (_, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let mut machines = Machines::new(77);
    machines.add("web01", &[6 * BLOCK]);
    machines.fill_with_noise("web01");
    machines.backup(&primary, &["web01"]).run(day(0)).await.unwrap();
    // Blocks that lie in turn in two files are requests of their own.
    let invert = |block: &mut [u8]| block.iter_mut().for_each(|byte| *byte = !*byte);
    machines.overwrite("web01", |disk| disk.chunks_mut(BLOCK).step_by(2).for_each(invert));
    machines.backup(&primary, &["web01"]).run(day(1)).await.unwrap();
    let request = SyncRequest::at(day(1)).gate(StopAfter::new(1));
    copy_job(&primary, &second).sync(&request).await.unwrap();
    let chain = newest_head(&target, COPY).chain;
    assert!(chain.latest().unwrap().machines.iter().all(|machine| !machine.is_whole()), "{chain:?}");
    let report = repair(&target).await;
    assert!(report.is_intact() && report.left_out.is_empty(), "{report:?}");
    assert_eq!(newest_head(&target, COPY).chain, chain);
}

#[tokio::test]
async fn heads_that_are_lost_come_back_from_the_copy() {
    let mut scene = Scene::new().await;
    let memory = scene.without(is_in("head")).await;
    let report = repair(&memory).await;
    assert_eq!((report.basis, report.left_out.len()), (Basis::HeadCopy, 0), "{report:?}");
    let (old, new) = (newest_head(&scene.target, COPY), newest_head(&memory, COPY));
    assert!(new.number > old.number && new.epoch > old.epoch && new.boundary >= old.number, "no old writer commits");
    scene.goes_on(&memory).await;
}

/// A writer that wakes up looks for its commit among those that the newest head names. What the copy tells has happened, whoever made it; and
/// the repair is a commit of its own.
#[tokio::test]
async fn a_repaired_head_is_a_commit_that_follows_the_one_that_it_was_made_of() {
    let scene = Scene::new().await;
    let copy = copies(&scene.target, COPY).into_iter().find(|key| key.name().ends_with(".head")).unwrap();
    let told = Head::decode(&bytes_of(&scene.target, &copy)).unwrap();
    let memory = scene.without(is_in("head")).await;
    repair(&memory).await;
    let repaired = newest_head(&memory, COPY);
    let followed = [&[told.commit][..], &told.ancestry[..]].concat();
    assert_eq!((repaired.commit == told.commit, repaired.ancestry), (false, followed));
}

#[tokio::test]
async fn blocks_alone_are_enough() {
    let mut scene = Scene::new().await;
    let memory = scene.without(|key| !is_in("blocks")(key)).await;
    let report = repair(&memory).await;
    assert_eq!((report.basis, report.left_out.len()), (Basis::HeadCopy, 0), "{report:?}");
    assert_eq!(report.restored.len(), newest_head(&scene.target, COPY).chain.indexes().count());
    scene.goes_on(&memory).await;
}

#[tokio::test]
async fn a_damaged_newest_head_is_the_way_out_of_a_refused_run() {
    let mut scene = Scene::new().await;
    let memory = fork(&scene.target).await;
    let newest = keys(&memory, &format!("{COPY}/head")).pop().unwrap();
    flip(&memory, &newest).await;
    let primary = open_memory(&scene.source).await;
    let refused = copy_job(&primary, &open_memory(&memory).await).run(day(7)).await;
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    let report = repair(&memory).await;
    assert_eq!(report.damaged_heads, [newest]);
    scene.goes_on(&memory).await;
}

#[tokio::test]
async fn without_heads_and_copies_the_indexes_and_every_block_tell() {
    let mut scene = Scene::new().await;
    for lost in [&["head"][..], &["head", "index"], &["head", "release", "pin", "lease"]] {
        let is_lost = |key: &Key| lost.iter().any(|folder| is_in(folder)(key)) || key.name().ends_with(".head");
        let memory = scene.without(is_lost).await;
        let report = repair(&memory).await;
        assert_eq!((report.basis, report.left_out.len()), (Basis::Indexes, 0), "{report:?}");
        let (old, new) = (newest_head(&scene.target, COPY), newest_head(&memory, COPY));
        assert_eq!((new.role, new.folder, &new.machines), (old.role, old.folder, &old.machines));
        assert_eq!((new.alignment_bytes, &new.files), (old.alignment_bytes, &old.files));
        assert!(new.next_sequence.0 > old.next_sequence.0 + 1000, "points that are lost may have had the next numbers");
        let (machines, truth) = (Machines::new(1), scene.truth.clone());
        let machines = std::mem::replace(&mut scene.machines, machines);
        let mut fresh = Scene { source: fork(&scene.source).await, target: scene.target.clone(), machines, truth };
        fresh.goes_on(&memory).await;
        scene.machines = fresh.machines;
        // And once more, with numbers that do not follow each other.
        let before = newest_head(&memory, COPY).chain;
        for (key, _) in memory.contents() {
            if key.as_str().starts_with(COPY) && is_lost(&key) {
                memory.delete(&key).await.unwrap();
            }
        }
        let report = repair(&memory).await;
        assert_eq!((report.basis, report.left_out.len()), (Basis::Indexes, 0), "{report:?}");
        assert_eq!(newest_head(&memory, COPY).chain, before);
    }
}

/// A copy takes the number of its source's point for that point's content.
#[tokio::test]
async fn the_number_of_a_point_that_was_lost_does_not_come_back() {
    let Scene { source, target, mut machines, mut truth } = Scene::new().await;
    let newest = newest_head(&source, BACKUP).chain.latest().unwrap().clone();
    let lost = newest.index.id.to_string();
    for (key, _) in source.contents() {
        if is_in("head")(&key) || key.name().ends_with(".head") || key.name().starts_with(&lost) {
            source.delete(&key).await.unwrap();
        }
    }
    repair_job(&source, BACKUP).await;
    let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
    machines.change("web01", 2);
    truth.record(&machines, &["web01", "db01"], day(8));
    machines.backup(&primary, &["web01", "db01"]).keep(keep(4)).run(day(8)).await.unwrap();
    copy_job(&primary, &second).transforms(keep(4)).run(day(8)).await.unwrap();
    truth.check(&second, COPY).await;
    let (copied, made) = (newest_head(&target, COPY), newest_head(&source, BACKUP).chain.latest().unwrap().sequence);
    assert!(made > newest.sequence, "{made} came back");
    let origins = copied.chain.latest().unwrap().machines.iter().map(|machine| machine.origin.unwrap().sequence);
    assert!(origins.eq([made; 2]), "{copied:?}");
}

/// An index that a merge replaced is still there, as after a run that was cut off before its release: it does not come back as
/// a point whose blocks were let go.
#[tokio::test]
async fn what_a_merge_superseded_is_not_resurrected() {
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (mut machines, mut truth) = (Machines::new(72), Truth::default());
    machines.add("web01", &[4 * BLOCK]);
    let mut seen = std::collections::BTreeMap::new();
    for number in 0..6 {
        machines.fill_with_noise("web01");
        truth.record(&machines, &["web01"], day(number));
        machines.backup(&primary, &["web01"]).keep(keep(3)).run(day(number)).await.unwrap();
        copy_job(&primary, &second).transforms(keep(3)).run(day(number)).await.unwrap();
        for key in keys(&target, &format!("{COPY}/index")) {
            seen.insert(key.clone(), bytes_of(&target, &key));
        }
    }
    drop(source);
    let memory = fork(&target).await;
    for (key, bytes) in &seen {
        let _ = memory.put(key, bytes.clone()).await;
    }
    for key in keys(&memory, COPY) {
        if is_in("head")(&key) || key.name().ends_with(".head") {
            memory.delete(&key).await.unwrap();
        }
    }
    let report = repair(&memory).await;
    let expected: Vec<Sequence> = newest_head(&target, COPY).chain.all().map(|point| point.sequence).collect();
    assert_eq!((report.basis, &report.points), (Basis::Indexes, &expected), "{report:?}");
    assert!(!report.left_out.is_empty(), "the old ones are named");
    truth.check(&open_memory(&memory).await, COPY).await;
}

#[tokio::test]
async fn each_index_that_is_lost_or_damaged_comes_back_and_each_copy_too() {
    let scene = Scene::new().await;
    let mut objects = keys(&scene.target, &format!("{COPY}/index"));
    objects.extend(copies(&scene.target, COPY));
    for object in objects {
        for damage in ["lost", "flipped", "cut", "zero"] {
            let memory = fork(&scene.target).await;
            match damage {
                "lost" => memory.delete(&object).await.unwrap(),
                "flipped" => flip(&memory, &object).await,
                "cut" => replace(&memory, &object, bytes_of(&memory, &object)[..100].to_vec()).await,
                _ => replace(&memory, &object, vec![0; bytes_of(&memory, &object).len()]).await,
            }
            let told = Verify::new(&open_memory(&memory).await, job(COPY)).run().await.unwrap();
            let told: Vec<bool> = told.damage.iter().map(|damage| damage.touches.is_empty()).collect();
            match () {
                () if is_in("index")(&object) => assert_eq!(told, [false], "{object} {damage}"),
                () if object.name().ends_with(".index") => assert_eq!(told, [true], "{object} {damage}"),
                () => {}
            }
            let report = repair(&memory).await;
            assert!(report.left_out.is_empty() && !report.is_intact(), "{object} {damage}: {report:?}");
            assert_eq!(newest_head(&memory, COPY).chain, newest_head(&scene.target, COPY).chain, "{object} {damage}");
            for (key, bytes) in scene.target.contents() {
                if !key.name().ends_with(".head") {
                    assert_eq!(bytes_of(&memory, &key), bytes, "{key} after {object} was {damage}");
                }
            }
            let verified = Verify::new(&open_memory(&memory).await, job(COPY)).run().await.unwrap();
            assert_eq!(verified.damage, [], "{object} {damage}");
        }
    }
}

#[tokio::test]
async fn a_second_copy_that_is_longer_than_any_head_is_put_back() {
    let scene = Scene::new().await;
    let memory = fork(&scene.target).await;
    let copy = copies(&memory, COPY).into_iter().find(|key| key.name().ends_with(".head")).unwrap();
    replace(&memory, &copy, vec![0; 18 << 20]).await;
    let report = repair(&memory).await;
    assert!(report.left_out.is_empty() && report.restored.len() == 1, "{report:?}");
    assert_eq!(report.head, None);
}

#[tokio::test]
async fn a_point_that_nothing_proves_is_left_out_with_those_that_stand_on_it() {
    let mut scene = Scene::new().await;
    let head = newest_head(&scene.target, COPY);
    let points = head.chain.points();
    // A block became zero with it, and of zeros there is no frame.
    let lost = &points[2];
    let is_lost = |key: &Key| key.name().starts_with(&lost.index.id.to_string());
    let memory = scene.without(is_lost).await;
    let report = repair(&memory).await;
    let left_out: Vec<Sequence> = report.left_out.iter().map(|left| left.sequence).collect();
    let expected: Vec<Sequence> = points[2..].iter().map(|point| point.sequence).collect();
    assert_eq!(left_out, expected, "{report:?}");
    assert_eq!(newest_head(&memory, COPY).chain.points(), &points[..2]);
    let files = keys(&memory, &format!("{COPY}/blocks")).len();
    // The next run goes on, and lets go of no file that was left out.
    let repository = open_memory(&memory).await;
    let primary = open_memory(&scene.source).await;
    let report = copy_job(&primary, &repository).transforms(keep(9)).run(day(8)).await.unwrap();
    assert!(report.sync.is_some());
    scene.truth.check(&repository, COPY).await;
    assert!(keys(&memory, &format!("{COPY}/blocks")).len() > files);
    scene.machines.change("web01", 1);
}

#[tokio::test]
async fn a_file_that_is_lost_with_the_head_takes_its_points_along_and_no_others() {
    let scene = Scene::new().await;
    let head = newest_head(&scene.target, COPY);
    let file = head.files.keys().next_back().unwrap().to_string();
    let memory = scene.without(|key| is_in("head")(key) || key.name() == file).await;
    let report = repair(&memory).await;
    assert_eq!(report.left_out.len(), 1, "{report:?}");
    assert!(report.left_out[0].reason().contains(&file));
    let repository = open_memory(&memory).await;
    assert_eq!(scene.truth.check(&repository, COPY).await.len(), head.chain.all().count() - 1);
}

/// Without heads the headers of backup files tell what frames are aligned to: that of an older one, where the newest has been cut off
/// inside of its own.
#[tokio::test]
async fn a_newest_file_that_is_cut_off_in_its_header_costs_what_lay_in_it_alone() {
    let scene = Scene::new().await;
    let head = newest_head(&scene.target, COPY);
    let memory = scene.without(|key| is_in("head")(key) || key.name().ends_with(".head")).await;
    let newest = keys(&memory, &format!("{COPY}/blocks")).pop().unwrap();
    assert!(memory.truncate(&newest, 10));
    let report = repair(&memory).await;
    let last = head.chain.latest().unwrap().sequence;
    assert!(!report.left_out.is_empty() && report.left_out.iter().all(|left| left.sequence == last), "{report:?}");
    assert_eq!(newest_head(&memory, COPY).alignment_bytes, head.alignment_bytes);
    let points: Vec<u64> = report.points.iter().map(|sequence| sequence.0).collect();
    assert_eq!(scene.truth.check(&open_memory(&memory).await, COPY).await, points);
}

/// A verification has found two blocks damaged, and since then the file has lost the end of the last one: the loss of its end tells of that
/// one.
#[tokio::test]
async fn known_damage_is_told_once() {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(78);
    machines.add("web01", &[4 * BLOCK]);
    machines.fill_with_noise("web01");
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let full = step(&memory, BACKUP, newest_head(&memory, BACKUP).chain.latest().unwrap());
    let mut blocks: Vec<StoredBlock> = full.stored().map(|(_, _, _, at)| at).collect();
    blocks.sort_unstable_by_key(|at| at.offset);
    let [first, .., last] = blocks[..] else { panic!("{blocks:?}") };
    let file = key(&format!("{BACKUP}/blocks/{}", last.file));
    for at in [first, last] {
        assert!(memory.corrupt(&file, at.offset + HEADER_BYTES as u64, 1));
    }
    let verified = Verify::new(&repository, job(BACKUP)).read_data(true).run().await.unwrap();
    assert_eq!(verified.damage.len(), 2, "{verified:?}");
    assert!(memory.truncate(&file, last.offset + u64::from(last.length) - 1));
    let report = repair_job(&memory, BACKUP).await;
    let [of_file, of_block] = &report.damage[..] else { panic!("{report:?}") };
    assert!(of_file.what.to_string().contains("instead of"), "{of_file:?}");
    assert!(of_block.what.to_string().contains("a verification found it damaged"), "{of_block:?}");
}

/// Cut off after each call that changes something, and run again.
#[tokio::test]
async fn a_repair_may_be_cut_off_anywhere() {
    let scene = Scene::new().await;
    let damaged = scene.without(|key| !is_in("blocks")(key)).await;
    let expected = newest_head(&scene.target, COPY).chain;
    for budget in 0.. {
        let memory = fork(&damaged).await;
        let repository = open_memory(&memory).await;
        let repair = Repair::new(&repository, job(COPY));
        // Each call returns to the scheduler once, so that many turns end it after each of them.
        let mut run = Box::pin(repair.run());
        let mut done = None;
        for _ in 0..budget {
            if let std::task::Poll::Ready(result) = futures_poll(&mut run).await {
                done = Some(result);
                break;
            }
        }
        drop(run);
        let report = Repair::new(&open_memory(&memory).await, job(COPY)).run().await.unwrap();
        assert!(report.left_out.is_empty(), "after {budget} turns: {report:?}");
        assert_eq!(newest_head(&memory, COPY).chain, expected, "after {budget} turns");
        if let Some(result) = done {
            assert!(result.is_ok() && report.is_intact() && budget > 10);
            break;
        }
    }
}

/// Polls a future once.
async fn futures_poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> std::task::Poll<T> {
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context)));
    let polled = polled.await;
    tokio::task::yield_now().await;
    polled
}

#[tokio::test]
async fn a_writer_of_before_cannot_commit_after_a_repair() {
    let scene = Scene::new().await;
    let old = newest_head(&scene.target, COPY);
    let memory = scene.without(is_in("head")).await;
    repair(&memory).await;
    // What a writer that slept all the time would store next.
    let mut next = old;
    (next.number, next.commit) = (next.number + 1, CommitId::new([7; 16]));
    memory.put(&key(&format!("{COPY}/head/{:020}", next.number)), next.encode().unwrap().into()).await.unwrap();
    let repository = open_memory(&memory).await;
    let folder = JobFolder::open(&repository, &job(COPY)).await.unwrap();
    assert!(newest_head(&memory, COPY).number > next.number);
    assert_eq!(folder.chain(), &next.chain);
    let primary = open_memory(&scene.source).await;
    copy_job(&primary, &repository).transforms(keep(4)).run(day(8)).await.unwrap();
    assert_eq!(stray(&memory, COPY), Vec::<String>::new(), "its head is gone");
}

/// A seed of which only the blocks arrive, at another host.
#[tokio::test]
async fn a_seed_without_metadata_is_made_whole_then_mapped() {
    let mut scene = Scene::new().await;
    let carried = scene.without(|key| !is_in("blocks")(key)).await;
    carried.delete(&key("offsite-repository")).await.unwrap();
    let backend: Arc<dyn Repository> = Arc::new(carried.clone());
    assert!(matches!(OpenRepository::open(backend.clone()).await, Err(Error::Damaged { .. })));
    let seed = OpenRepository::recover(backend, day(7)).await.unwrap();
    let (_, far) = memory_repository().await;
    let map = MapSeed::new(&far, job(COPY), &seed, job(COPY)).unwrap();
    assert!(map.run(day(7)).await.is_err(), "there is no head");
    let report = Repair::new(&seed, job(COPY)).run().await.unwrap();
    assert_eq!(report.basis, Basis::HeadCopy);
    map.run(day(7)).await.unwrap();
    scene.truth.check(&far, COPY).await;
    let primary = open_memory(&scene.source).await;
    scene.machines.change("db01", 1);
    scene.truth.record(&scene.machines, &["web01", "db01"], day(8));
    scene.machines.backup(&primary, &["web01", "db01"]).keep(keep(4)).run(day(8)).await.unwrap();
    let sync = copy_job(&primary, &far).transforms(keep(4)).run(day(8)).await.unwrap().sync.unwrap();
    assert!(!sync.full && sync.tally.planned.blocks <= 3, "{sync:?}");
    scene.truth.check(&far, COPY).await;
    let kinds = newest_head(&scene.target, COPY).chain.points().iter().map(|point| point.kind).collect::<Vec<_>>();
    assert_eq!(kinds[0], PointKind::Full);
}
