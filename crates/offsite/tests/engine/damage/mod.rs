//! Damage in every object of a job folder: it is named, what it touches is told exactly, and nothing wrong is delivered.
//!
//! The folder has a full, two increments and an archive, of two machines, after some merges; a reader holds the last release, so that every
//! kind of object is there. What each damage must touch, the indexes tell that were read before it. `OFFSITE_DAMAGE` has all blocks read after
//! each damage to small objects, too, and not after every seventh.

mod cuts;
mod flips;
mod later;
mod lengths;
mod places;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offsite::model::{BlockMap, Chain, ObjectId, StoredBlock};
use offsite::retention::{Gfs, Policy};
use offsite::{CopyJob, OpenRepository, Verify, VerifyReport};
use offsite_repository::testing::Memory;
use offsite_repository::{Extent, Key, Repository, RepositoryExt};

use crate::support::objects::{Living, bytes_of, is_copy, key, keys, newest_head, pin, step};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, keep, memory_repository};

const COPY: &str = "Offsite Copy";
const FRAME_HEADER_BYTES: u64 = 96;
const PAGE: u64 = 4_096;
/// The days of the scene.
const DAYS: i64 = 12;

/// Machines of points that cannot be restored.
type Failing = BTreeSet<(u64, String)>;

/// How close a look is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// Whether all is there.
    Presence,
    /// All blocks are read.
    Data,
    /// Everything is restored, too.
    Restore,
}

/// How close a look is taken at small objects with damage number `number`: what is found of them is the same with and without reading all
/// blocks, and that takes its time.
fn look_at(number: u64) -> Look {
    let is_exhaustive = std::env::var("OFFSITE_DAMAGE").is_ok();
    if is_exhaustive || number.is_multiple_of(7) { Look::Data } else { Look::Presence }
}

/// What an object is to the newest head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// The newest, or one before it.
    Head,
    Index(ObjectId),
    /// The second copy of an index.
    Twin,
    File(ObjectId),
    /// Nothing needs it now.
    Spare,
}

struct Scene {
    source: Memory,
    target: Memory,
    second: OpenRepository,
    machines: Machines,
    truth: Truth,
    pin: Key,
    _reader: Living,
    chain: Chain,
    /// The state of each point.
    states: Vec<(u64, BlockMap)>,
}

/// So many points, and the newest week's.
fn copy(primary: &OpenRepository, second: &OpenRepository, points: u32) -> CopyJob {
    let gfs = Gfs::new(1, 0, 0, 0).unwrap();
    copy_job(primary, second).transforms(Policy::new(keep(points)).with_gfs(gfs))
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(61), Truth::default());
        machines.add("web01", &[2 * BLOCK + 777, 3_000]);
        machines.add("db01", &[2 * BLOCK + 500]);
        let (reader, mut pinned) = (Living::new(), None);
        for number in 0..DAYS {
            machines.change("web01", 2);
            machines.change("db01", 1);
            if number >= DAYS - 2 {
                // Frames of one length, to be taken for each other; of one block as well, on two days.
                machines.fill_with_noise("db01");
            }
            truth.record(&machines, &["web01", "db01"], day(number));
            machines.backup(&primary, &["web01", "db01"]).keep(keep(4)).run(day(number)).await.unwrap();
            if number == DAYS - 1 {
                pinned = Some(pin(&target, COPY, &reader.holder).await);
            }
            let report = copy(&primary, &second, 3).run(day(number)).await.unwrap();
            assert_eq!(report.transform.released.held_bytes > 0, number == DAYS - 1);
        }
        truth.record(&machines, &["web01", "db01"], day(DAYS));
        for folder in ["head", "index", "blocks", "release", "pin"] {
            assert!(!keys(&target, &format!("{COPY}/{folder}")).is_empty(), "{folder}");
        }
        let chain = newest_head(&target, COPY).chain;
        assert_eq!((chain.archives().len(), chain.points().len()), (1, 3));
        let state = |sequence| {
            let steps = chain.steps_to(sequence).unwrap().into_iter();
            steps.fold(BlockMap::empty(), |state, point| state.overlay(&step(&target, COPY, point)))
        };
        let states = chain.all().map(|point| (point.sequence.0, state(point.sequence))).collect();
        let (source, target, pin) = ((*source).clone(), (*target).clone(), pinned.unwrap());
        Self { source, target, second, machines, truth, pin, _reader: reader, chain, states }
    }

    async fn look(&self, look: Look) -> VerifyReport {
        Verify::new(&self.second, crate::support::job(COPY)).read_data(look >= Look::Data).run().await.unwrap()
    }

    async fn failing(&self) -> Failing {
        self.truth.failing(&self.second, COPY).await
    }

    /// The points and machines that a report says are touched.
    fn touched(&self, report: &VerifyReport) -> Failing {
        let touched = report.damage.iter().flat_map(|damage| &damage.touches);
        let touched = touched.flat_map(|touched| match &touched.machine {
            Some(name) => vec![(touched.sequence.0, name.to_string())],
            None => self.machines_of(touched.sequence.0),
        });
        touched.collect()
    }

    fn machines_of(&self, sequence: u64) -> Vec<(u64, String)> {
        let point = self.chain.get(offsite::model::Sequence(sequence)).unwrap();
        point.machines.iter().map(|machine| (sequence, machine.name.to_string())).collect()
    }

    /// What stands on an index.
    fn standing_on(&self, index: ObjectId) -> Failing {
        let stands = |sequence| {
            let steps = self.chain.steps_to(sequence).unwrap().into_iter();
            steps.flat_map(|point| point.indexes()).any(|other| other.id == index)
        };
        let points = self.chain.all().map(|point| point.sequence).filter(|sequence| stands(*sequence));
        points.flat_map(|sequence| self.machines_of(sequence.0)).collect()
    }

    /// What has a block that is lost.
    fn needing(&self, is_lost: impl Fn(&StoredBlock) -> bool) -> Failing {
        let needing = self.states.iter().flat_map(|(sequence, state)| {
            let lost = state.stored().filter(|(_, _, _, at)| is_lost(at));
            lost.map(|(machine, _, _, _)| (*sequence, machine.to_string())).collect::<Vec<_>>()
        });
        needing.collect()
    }

    /// The frames that points refer to in a backup file, by offset.
    fn frames(&self, file: ObjectId) -> Vec<StoredBlock> {
        let stored = self.states.iter().flat_map(|(_, state)| state.stored()).map(|(_, _, _, at)| at);
        let by_offset: BTreeMap<u64, StoredBlock> =
            stored.filter(|at| at.file == file).map(|at| (at.offset, at)).collect();
        by_offset.into_values().collect()
    }

    fn objects(&self) -> Vec<Key> {
        keys(&self.target, COPY)
    }

    fn part(&self, object: &Key) -> Part {
        let folder = object.as_str().split('/').nth(1).unwrap();
        let id = ObjectId::parse(object.name().trim_end_matches(".index"));
        let is_listed = |id: &ObjectId| self.chain.indexes().any(|index| index.id == *id);
        match (folder, id) {
            ("head", _) => Part::Head,
            ("index", Some(id)) if is_listed(&id) => Part::Index(id),
            ("blocks", Some(id)) if is_copy(object) && is_listed(&id) => Part::Twin,
            ("blocks", Some(id)) if !is_copy(object) && !self.frames(id).is_empty() => Part::File(id),
            _ => Part::Spare,
        }
    }

    fn files(&self) -> Vec<(Key, ObjectId)> {
        let files = self.objects().into_iter().filter_map(|object| match self.part(&object) {
            Part::File(id) => Some((object, id)),
            _ => None,
        });
        files.collect()
    }

    /// Each of `objects` is named, and nothing else; `expected` is touched, and nothing else.
    async fn is_told(&self, objects: &[&Key], expected: &Failing, look: Look, what: &str) {
        let report = self.look(look).await;
        let names: BTreeSet<&str> = report.damage.iter().map(|damage| damage.object.as_str()).collect();
        assert_eq!(names, objects.iter().map(|object| object.as_str()).collect(), "{what}: {:?}", report.damage);
        assert!(report.damage.iter().all(|damage| !damage.what.to_string().is_empty()), "{what}: {:?}", report.damage);
        assert_eq!(self.touched(&report), *expected, "{what}: {:?}", report.damage);
        if look == Look::Restore {
            assert_eq!(self.failing().await, *expected, "{what}");
        }
    }

    async fn is_harmless(&self, look: Look, what: &str) {
        self.is_told(&[], &Failing::new(), look, what).await;
    }

    /// An object of no use, as far as its own content tells: what is told of it, if it is no backup file.
    async fn is_useless(&self, object: &Key, look: Look, what: &str) {
        match self.part(object) {
            Part::Head | Part::Twin => self.is_told(&[object], &Failing::new(), look, what).await,
            Part::Index(id) => self.is_told(&[object], &self.standing_on(id), look, what).await,
            Part::Spare => self.is_harmless(look, what).await,
            Part::File(_) => unreachable!("of a backup file the frames tell"),
        }
    }

    async fn replace(&self, object: &Key, bytes: Bytes) {
        self.target.remove(object);
        self.target.put(object, bytes).await.unwrap();
    }

    async fn patch(&self, object: &Key, offset: u64, bytes: Bytes) {
        let target = self.target.patch().unwrap();
        target.write_extents(object, vec![Extent::new(offset, vec![bytes])]).await.unwrap();
    }

    fn bytes(&self, object: &Key) -> Bytes {
        bytes_of(&self.target, object)
    }

    fn newest(&self) -> Key {
        keys(&self.target, &format!("{COPY}/head")).pop().unwrap()
    }
}

fn range(bytes: &Bytes, from: u64, to: u64) -> Bytes {
    bytes.slice(usize::try_from(from).unwrap()..usize::try_from(to).unwrap())
}

fn end(at: &StoredBlock) -> u64 {
    at.offset + u64::from(at.length)
}

/// A key of the same kind that nothing has.
fn unused(object: &Key) -> Key {
    let (folder, name) = object.as_str().rsplit_once('/').unwrap();
    let id = "00000001-0000fff0";
    let name = match folder.rsplit('/').next().unwrap() {
        "head" => "00000000000000000000".to_owned(),
        "pin" => format!("{:032x}-{:010}", 0xfeed, 0),
        _ if name.ends_with(".index") => format!("{id}.index"),
        _ if name.ends_with(".head") => "00000001-000000000000fff0.head".to_owned(),
        _ => id.to_owned(),
    };
    key(&format!("{folder}/{name}"))
}
