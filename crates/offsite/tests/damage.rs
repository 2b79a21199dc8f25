//! Damage in every object of a job folder: it is named, what it touches is told exactly, and nothing wrong is delivered.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use bytes::Bytes;
use offsite::core::format::index::Index;
use offsite::core::format::{ENVELOPE_BYTES, Envelope, Kind};
use offsite::core::{Chain, ObjectId, StoredBlock};
use offsite::{Error, JobFolder, OpenRepository, Restore, Verify, VerifyReport};
use offsite_repository::testing::Memory;
use offsite_repository::{Extent, Key, Patch, Repository, RepositoryExt};
use support::objects::{
    FOREIGN_HOLDER, bytes_of, fork, is_copy, key, keys, newest_head, pin, put_successor, shortened, stray,
};
use support::truth::{Truth, causes};
use support::{
    BLOCK, Machines, Random, copy_job, day, files_in, job, keep, machine, memory_repository, open_memory, scratch, seed,
};

const COPY: &str = "Offsite Copy";
const FRAME_HEADER_BYTES: u64 = 96;

type Failing = BTreeSet<(u64, String)>;

/// A copy with four points of two machines after some merges, and a pin of another host that holds the last release: every
/// kind of object is there.
struct Scene {
    source: Memory,
    target: Memory,
    second: OpenRepository,
    machines: Machines,
    truth: Truth,
    pin: Key,
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(61), Truth::default());
        machines.add("web01", &[2 * BLOCK + 777, 3_000]);
        machines.add("db01", &[2 * BLOCK + 500]);
        let mut pinned = None;
        for number in 0..7 {
            machines.change("web01", 2);
            machines.change("db01", 1);
            if number >= 5 {
                // Frames of one length, to be taken for each other; of one block as well, on two days.
                machines.fill_with_noise("db01");
            }
            truth.record(&machines, &["web01", "db01"], day(number));
            machines.backup(&primary, &["web01", "db01"]).keep(keep(4)).run(day(number)).await.unwrap();
            if number == 6 {
                pinned = Some(pin(&target, COPY, FOREIGN_HOLDER).await);
            }
            let report = copy_job(&primary, &second).keep(keep(4)).run(day(number)).await.unwrap();
            assert_eq!(report.transform.released.held_bytes > 0, number == 6);
        }
        truth.record(&machines, &["web01", "db01"], day(8));
        let pin = pinned.unwrap();
        for folder in ["head", "index", "blocks", "release", "pin"] {
            assert!(!keys(&target, &format!("{COPY}/{folder}")).is_empty(), "{folder}");
        }
        Self { source: (*source).clone(), target: (*target).clone(), second, machines, truth, pin }
    }

    async fn verify(&self) -> VerifyReport {
        Verify::new(&self.second, job(COPY)).read_data(true).run().await.unwrap()
    }

    async fn failing(&self) -> Failing {
        self.truth.failing(&self.second, COPY).await
    }

    /// The points and machines that a report says are touched.
    async fn touched(&self, report: &VerifyReport) -> Failing {
        let chain = JobFolder::open(&self.second, &job(COPY)).await.unwrap().chain().clone();
        let touched = report.damage.iter().flat_map(|damage| &damage.touches);
        let touched = touched.flat_map(|touched| match &touched.machine {
            Some(name) => vec![(touched.sequence.0, name.to_string())],
            None => {
                let point = chain.get(touched.sequence).unwrap();
                point.machines.iter().map(|machine| (touched.sequence.0, machine.name.to_string())).collect()
            }
        });
        touched.collect()
    }

    /// Damage in `object` is named, and exactly what it touches fails; all else restores to the byte.
    async fn is_told(&self, object: &Key, what: &str) -> Failing {
        let report = self.verify().await;
        let named = report.damage.iter().all(|damage| damage.object == object.as_str());
        assert!(named && !report.damage.is_empty(), "{what}: {:?}", report.damage);
        assert!(report.damage.iter().all(|damage| !damage.what.is_empty()), "{what}: {:?}", report.damage);
        let failing = self.failing().await;
        assert_eq!(failing, self.touched(&report).await, "{what}: {:?}", report.damage);
        failing
    }

    /// Every machine of every point.
    async fn everything(&self) -> Failing {
        let chain = JobFolder::open(&self.second, &job(COPY)).await.unwrap().chain().clone();
        let of_point = |point: &offsite::core::RestorePoint| {
            let sequence = point.sequence.0;
            point.machines.iter().map(|machine| (sequence, machine.name.to_string())).collect::<Vec<_>>()
        };
        chain.points().iter().flat_map(of_point).collect()
    }

    async fn is_harmless(&self, what: &str) {
        assert_eq!(self.verify().await.damage, [], "{what}");
        assert_eq!(self.failing().await, Failing::new(), "{what}");
    }

    /// The frames that the chain refers to in a backup file, by offset.
    fn frames(&self, file: &Key) -> Vec<StoredBlock> {
        let head = newest_head(&self.target, COPY);
        let id = ObjectId::parse(file.name()).unwrap();
        let mut frames: Vec<StoredBlock> = Vec::new();
        for point in head.chain.points() {
            let index = bytes_of(&self.target, &key(&format!("{COPY}/index/{}", point.index.id)));
            let map = Index::decode(&index).unwrap().map;
            frames.extend(map.stored().map(|(_, _, _, at)| at).filter(|at| at.file == id));
        }
        frames.sort_unstable_by_key(|at| at.offset);
        frames
    }

    /// Whether the newest head refers to an index or a file; those that wait for their release are nobody's concern.
    fn is_live(&self, object: &Key) -> bool {
        let head = newest_head(&self.target, COPY);
        let id = ObjectId::parse(object.name()).unwrap();
        head.files.contains_key(&id) || head.chain.points().iter().any(|point| point.index.id == id)
    }

    fn live(&self, folder: &str) -> Vec<Key> {
        keys(&self.target, &format!("{COPY}/{folder}")).into_iter().filter(|object| self.is_live(object)).collect()
    }

    async fn replace(&self, object: &Key, bytes: Bytes) {
        self.target.remove(object);
        self.target.put(object, bytes).await.unwrap();
    }

    async fn patch(&self, object: &Key, offset: u64, bytes: Bytes) {
        let target = Repository::patch(&self.target).unwrap();
        Patch::patch(target, object, vec![Extent { offset, chunks: vec![bytes] }]).await.unwrap();
    }
}

/// Every byte of heads, indexes, release lists and pins.
#[tokio::test]
async fn a_flipped_byte_of_a_small_object() {
    let scene = Scene::new().await;
    let mut random = Random::new(seed(71));
    let newest = keys(&scene.target, &format!("{COPY}/head")).pop().unwrap();
    let everything = scene.everything().await;
    let full = newest_head(&scene.target, COPY).chain.points()[0].index.id;
    let full = key(&format!("{COPY}/index/{full}"));
    for folder in ["head", "index", "release", "pin"] {
        let objects = match folder {
            "index" => scene.live(folder),
            _ => keys(&scene.target, &format!("{COPY}/{folder}")),
        };
        for object in &objects {
            let length = bytes_of(&scene.target, object).len() as u64;
            // Of the many old heads, a sample.
            let step = if folder == "head" && *object != newest { 97 } else { 1 };
            for offset in (0..length).step_by(step) {
                let xor = 1 << random.below(8);
                assert!(scene.target.corrupt(object, offset, xor));
                let what = format!("{object}, byte {offset} ^ {xor}");
                let report = scene.verify().await;
                match folder {
                    "head" | "index" => {
                        assert_eq!(report.damage.len(), 1, "{what}: {:?}", report.damage);
                        assert_eq!(report.damage[0].object, object.as_str(), "{what}");
                    }
                    _ => assert_eq!(report.damage, [], "{what}"),
                }
                let opened = JobFolder::open(&scene.second, &job(COPY)).await.unwrap();
                assert_eq!(opened.damaged_heads().len(), usize::from(*object == newest), "{what}");
                // Restoring everything takes longer than verifying, and what it meets is the same at most bytes.
                if offset % 11 == 0 || offset + 1 == length {
                    let failing = scene.failing().await;
                    assert_eq!(failing, scene.touched(&report).await, "{what}");
                    let lost = folder == "index" && *object == full;
                    assert_eq!(failing == everything, lost, "{what}: all points need the full's index");
                    assert_eq!(failing.is_empty(), folder != "index", "{what}");
                }
                assert!(scene.target.corrupt(object, offset, xor));
            }
        }
    }
    scene.is_harmless("undamaged").await;
}

/// Every byte of the header record and of frame headers, some of each payload, and the padding, which nobody needs.
#[tokio::test]
async fn a_flipped_byte_of_a_backup_file() {
    let scene = Scene::new().await;
    let mut random = Random::new(seed(72));
    for file in scene.live("blocks") {
        let bytes = bytes_of(&scene.target, &file);
        let envelope = Envelope::decode(Kind::BackupFile, &bytes[..ENVELOPE_BYTES]).unwrap();
        let record_end = ENVELOPE_BYTES as u64 + envelope.record_bytes;
        let frames = scene.frames(&file);
        assert!(!frames.is_empty(), "a file without a live frame is gone");
        let mut needed: Vec<u64> = (0..record_end).collect();
        for at in &frames {
            needed.extend(at.offset..at.offset + FRAME_HEADER_BYTES);
            let payload = u64::from(at.length) - FRAME_HEADER_BYTES;
            let drawn = (0..3).map(|_| random.below(usize::try_from(payload).unwrap()) as u64);
            needed.extend([0, payload - 1].into_iter().chain(drawn).map(|byte| at.offset + FRAME_HEADER_BYTES + byte));
        }
        for offset in needed {
            let xor = 1 << random.below(8);
            assert!(scene.target.corrupt(&file, offset, xor));
            let what = format!("{file}, byte {offset} ^ {xor}");
            let report = scene.verify().await;
            assert_eq!(report.damage.len(), 1, "{what}: {:?}", report.damage);
            assert_eq!(report.damage[0].object, file.as_str(), "{what}");
            assert_eq!(report.damage[0].touches.is_empty(), offset < record_end, "{what}");
            if offset % 7 == 0 || FRAME_HEADER_BYTES <= offset % 4_096 {
                assert_eq!(scene.failing().await, scene.touched(&report).await, "{what}: {:?}", report.damage);
            }
            assert!(scene.target.corrupt(&file, offset, xor));
        }
        let ends = frames.iter().map(|at| at.offset + u64::from(at.length));
        for padding in ends.chain([record_end]).filter(|end| end % 4_096 != 0) {
            assert!(scene.target.corrupt(&file, padding, 0xff));
            scene.is_harmless(&format!("{file}, padding at {padding}")).await;
            assert!(scene.target.corrupt(&file, padding, 0xff));
        }
    }
}

/// Objects that are cut off at several lengths, or gone.
#[tokio::test]
async fn a_truncated_or_missing_object() {
    let scene = Scene::new().await;
    let newest = keys(&scene.target, &format!("{COPY}/head")).pop().unwrap();
    // What becomes of second copies, the tests of repair tell.
    for object in keys(&scene.target, COPY).into_iter().filter(|key| !is_copy(key)) {
        let whole = bytes_of(&scene.target, &object);
        let folder = object.as_str().split('/').nth(1).unwrap().to_owned();
        let length = whole.len() as u64;
        let mut lengths = vec![0, 1, 40, length / 3, length / 2, length - 1];
        for at in if folder == "blocks" { scene.frames(&object) } else { Vec::new() } {
            let end = at.offset + u64::from(at.length);
            lengths.extend([at.offset, at.offset + 10, at.offset + 64, end - 1, end]);
        }
        for cut in lengths.into_iter().filter(|cut| *cut < length) {
            assert!(scene.target.truncate(&object, cut));
            let what = format!("{object} cut to {cut}");
            match folder.as_str() {
                "index" | "blocks" if !scene.is_live(&object) => scene.is_harmless(&what).await,
                "release" | "pin" => scene.is_harmless(&what).await,
                "head" => assert_eq!(scene.is_told(&object, &what).await, Failing::new(), "{what}"),
                _ => drop(scene.is_told(&object, &what).await),
            }
            scene.replace(&object, whole.clone()).await;
        }
        if folder == "head" {
            // Longer than any head: not read, and no reason not to fall back.
            scene.replace(&object, vec![0; 18 << 20].into()).await;
            assert_eq!(scene.is_told(&object, "a huge head").await, Failing::new());
            scene.replace(&object, whole.clone()).await;
        }
        assert!(scene.target.remove(&object));
        let what = format!("{object} removed");
        match folder.as_str() {
            "index" | "blocks" if scene.is_live(&object) => {
                assert!(!scene.is_told(&object, &what).await.is_empty());
                assert_eq!(scene.verify().await.damage.len(), 1, "{what}: told once, not for each block");
            }
            // The newest head that is gone is a return to the one before, which nobody can tell.
            _ => scene.is_harmless(&what).await,
        }
        scene.replace(&object, whole).await;
    }
    assert!(keys(&scene.target, COPY).contains(&newest));
    scene.is_harmless("put back").await;
}

/// Intact bytes in the wrong place, and a page of zeros, as a disk leaves it after a lost write.
#[tokio::test]
async fn bytes_in_the_wrong_place() {
    let scene = Scene::new().await;
    let files = scene.live("blocks");
    let mut swapped = 0;
    for file in &files {
        let whole = bytes_of(&scene.target, file);
        let frames = scene.frames(file);
        let bytes = |at: &StoredBlock| {
            whole.slice(usize::try_from(at.offset).unwrap()..usize::try_from(at.offset).unwrap() + at.length as usize)
        };
        for (position, left) in frames.iter().enumerate() {
            for right in frames[position + 1..].iter().filter(|right| right.length == left.length) {
                scene.patch(file, left.offset, bytes(right)).await;
                scene.patch(file, right.offset, bytes(left)).await;
                assert!(!scene.is_told(file, &format!("{file}: frames swapped")).await.is_empty());
                swapped += 1;
                scene.replace(file, whole.clone()).await;
            }
        }
        for page in (0..whole.len()).step_by(4_096) {
            let end = (page + 4_096).min(whole.len());
            scene.patch(file, page as u64, vec![0; end - page].into()).await;
            let what = format!("{file}: page at {page} is zero");
            let pages = page as u64..end as u64;
            let is_hit = |at: &StoredBlock| at.offset < pages.end && pages.start < at.offset + u64::from(at.length);
            if page > 0 && !frames.iter().any(is_hit) {
                scene.is_harmless(&what).await;
            } else {
                let touches = !scene.is_told(file, &what).await.is_empty();
                assert_eq!(touches, page > 0, "{what}");
            }
            scene.replace(file, whole.clone()).await;
        }
    }
    assert!(swapped > 0);
    for (left, right) in files.iter().zip(&files[1..]) {
        let (left_bytes, right_bytes) = (bytes_of(&scene.target, left), bytes_of(&scene.target, right));
        scene.replace(left, right_bytes.clone()).await;
        scene.replace(right, left_bytes.clone()).await;
        let report = scene.verify().await;
        for file in [left, right] {
            assert!(report.damage.iter().any(|damage| damage.object == file.as_str()), "{:?}", report.damage);
        }
        assert_eq!(scene.failing().await, scene.touched(&report).await, "{:?}", report.damage);
        scene.replace(left, left_bytes).await;
        scene.replace(right, right_bytes).await;
    }
    // An index is not taken for another either.
    let indexes = keys(&scene.target, &format!("{COPY}/index"));
    let chain = newest_head(&scene.target, COPY).chain;
    let last = key(&format!("{COPY}/index/{}", chain.latest().unwrap().index.id));
    for other in indexes.iter().filter(|other| **other != last) {
        let whole = bytes_of(&scene.target, &last);
        scene.replace(&last, bytes_of(&scene.target, other)).await;
        assert!(!scene.is_told(&last, &format!("{other} in place of {last}")).await.is_empty());
        scene.replace(&last, whole).await;
    }
    scene.is_harmless("put back").await;
}

/// An older frame of the same block, intact in itself, as a disk returns it that lost a write.
#[tokio::test]
async fn a_stale_frame() {
    let scene = Scene::new().await;
    let points = newest_head(&scene.target, COPY).chain.points().to_vec();
    let steps = points.iter().rev().take(2).map(|point| {
        let index = bytes_of(&scene.target, &key(&format!("{COPY}/index/{}", point.index.id)));
        Index::decode(&index).unwrap().map
    });
    let [newer, older] = &steps.collect::<Vec<_>>()[..] else { panic!("two points") };
    let mut stale = 0;
    for (name, disk, block, at) in newer.stored() {
        let before = older.stored().find(|(other, other_disk, other_block, before)| {
            (*other, *other_disk, *other_block, before.length) == (name, disk, block, at.length)
        });
        let Some((_, _, _, before)) = before else { continue };
        let (file, from) = (key(&format!("{COPY}/blocks/{}", at.file)), key(&format!("{COPY}/blocks/{}", before.file)));
        let start = usize::try_from(before.offset).unwrap();
        let whole = bytes_of(&scene.target, &file);
        let frame = bytes_of(&scene.target, &from).slice(start..start + before.length as usize);
        scene.patch(&file, at.offset, frame).await;
        let failing = scene.is_told(&file, &format!("block {block} of {name} is stale")).await;
        assert_eq!(failing, Failing::from([(points.last().unwrap().sequence.0, name.to_string())]));
        scene.replace(&file, whole).await;
        stale += 1;
    }
    assert!(stale > 0);
}

/// Readers fall back behind a damaged newest head and say so; writers refuse, and lose nothing.
#[tokio::test]
async fn a_damaged_newest_head() {
    let scene = Scene::new().await;
    let primary = open_memory(&scene.source).await;
    let newest = keys(&scene.target, &format!("{COPY}/head")).pop().unwrap();
    let points = scene.truth.check(&scene.second, COPY).await;
    assert!(scene.target.corrupt(&newest, 200, 1));
    let folder = JobFolder::open(&scene.second, &job(COPY)).await.unwrap();
    assert!(folder.damaged_heads()[0].contains(newest.as_str()), "{:?}", folder.damaged_heads());
    assert_eq!(scene.truth.check(&scene.second, COPY).await, points);
    assert_eq!(scene.is_told(&newest, "newest head").await, Failing::new());
    let before = scene.target.contents();
    let error = copy_job(&primary, &scene.second).keep(keep(2)).run(day(7)).await.unwrap_err();
    assert!(matches!(&error, Error::Damaged { object, .. } if object == newest.as_str()), "{}", causes(&error));
    assert!(scene.target.contents() == before, "a writer that refuses writes nothing");
    assert!(scene.target.corrupt(&newest, 200, 1));
    copy_job(&primary, &scene.second).keep(keep(2)).run(day(7)).await.unwrap();
    // The policy is another one than in the last run, so only one generation goes.
    assert_eq!(scene.truth.check(&scene.second, COPY).await.len(), 3);
}

/// The repository's marker says what it is, or the repository is not opened.
#[tokio::test]
async fn a_damaged_marker() {
    let scene = Scene::new().await;
    let marker = key("offsite-repository");
    for offset in 0..bytes_of(&scene.target, &marker).len() as u64 {
        assert!(scene.target.corrupt(&marker, offset, 0x10));
        let error = OpenRepository::open(std::sync::Arc::new(scene.target.clone())).await.unwrap_err();
        assert!(matches!(&error, Error::Damaged { object, .. } if object == marker.as_str()), "{}", causes(&error));
        assert!(scene.target.corrupt(&marker, offset, 0x10));
    }
}

/// Whatever becomes of a release list or a pin, the next run succeeds, and releases nothing that is needed.
#[tokio::test]
async fn damaged_release_lists_and_pins_stop_nobody() {
    let scene = Scene::new().await;
    let list = keys(&scene.target, &format!("{COPY}/release")).pop().unwrap();
    let length = bytes_of(&scene.target, &list).len() as u64;
    for offset in 0..=length {
        for unpinned in [true, false] {
            let (source, target) = (fork(&scene.source).await, fork(&scene.target).await);
            let what = format!("release list, byte {offset}, pin removed: {unpinned}");
            assert!(if offset == length { target.remove(&list) } else { target.corrupt(&list, offset, 4) });
            assert!(if unpinned { target.remove(&scene.pin) } else { target.corrupt(&scene.pin, offset % 20, 4) });
            let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
            let report = copy_job(&primary, &second).keep(keep(2)).run(day(7)).await;
            let report = report.unwrap_or_else(|error| panic!("{what}: {}", causes(&error)));
            assert_eq!(report.transform.released.held_bytes == 0, unpinned, "{what}: in doubt it is held");
            assert_eq!(scene.truth.check(&second, COPY).await.len(), 3, "{what}");
            if unpinned {
                assert_eq!(stray(&target, COPY), [""; 0], "{what}");
            }
        }
    }
}

/// A chain with a damaged backup file goes on: what is intact stays, and new points are made.
#[tokio::test]
async fn a_chain_with_a_damaged_file_goes_on() {
    let scene = Scene::new().await;
    for file in scene.live("blocks") {
        for cut in [0, 4_100] {
            let (source, target) = (fork(&scene.source).await, fork(&scene.target).await);
            target.truncate(&file, cut);
            target.remove(&scene.pin);
            let (primary, second) = (open_memory(&source).await, open_memory(&target).await);
            for number in [8, 9] {
                scene.machines.backup(&primary, &["web01", "db01"]).run(day(8)).await.unwrap();
                let report = copy_job(&primary, &second).keep(keep(2)).run(day(number)).await;
                report.unwrap_or_else(|error| panic!("{file} cut to {cut}: {}", causes(&error)));
            }
            let report = Verify::new(&second, job(COPY)).read_data(true).run().await.unwrap();
            assert!(report.damage.iter().all(|damage| damage.object == file.as_str()), "{:?}", report.damage);
        }
    }
}

/// An index that is whole and says that a disk is shorter than its blocks: no block is written over what is behind it.
#[tokio::test]
async fn a_block_that_is_longer_than_its_place_is_not_restored() {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(62);
    machines.add("web01", &[BLOCK]);
    machines.fill_with_noise("web01");
    machines.overwrite("web01", |disk| disk[0] = 1);
    machines.backup(&repository, &["web01"]).run(day(0)).await.unwrap();
    let point = newest_head(&memory, "nightly").chain.points()[0].clone();
    let index_key = key(&format!("nightly/index/{}", point.index.id));
    let mut index = Index::decode(&bytes_of(&memory, &index_key)).unwrap();
    index.map = shortened(&index.map);
    let bytes = index.encode().unwrap();
    let point = index.point(&bytes).unwrap();
    memory.remove(&index_key);
    memory.put(&index_key, bytes.into()).await.unwrap();
    put_successor(&memory, "nightly", |head| head.chain = Chain::new(index.block_size, vec![point]).unwrap()).await;
    let repository = open_memory(&memory).await;
    let to = scratch();
    let error = Restore::new(&repository, job("nightly"), machine("web01")).run(to.path()).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }) && causes(&error).contains("not the length"), "{}", causes(&error));
    assert_eq!(files_in(to.path()), 0);
}
