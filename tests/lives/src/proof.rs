//! What a job folder holds, told from its stored bytes alone and compared with what the machines held.

use offsite_core::format::WireFormat;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use offsite::model::BlockMap;
use offsite::model::Digest;
use offsite::model::DiskNumber;
use offsite::model::Head;
use offsite::model::MachineMap;
use offsite::model::MachineName;
use offsite::model::ObjectId;
use offsite::model::RestorePoint;
use offsite::model::Run;
use offsite::model::Sequence;
use offsite::model::Status;
use offsite::model::Stored;
use offsite::model::StoredBlock;
use offsite::model::Timestamp;
use offsite_core::Index;
use offsite_core::format::frame::Codec;
use offsite_core::format::frame::Header;
use offsite_simulation::machines::{Content, DiskTruth};
use sha2::{Digest as _, Sha256};

use crate::machines::Machines;
use crate::violation::{Law, Violation, ensure};

/// The stored bytes by name.
pub type Contents = BTreeMap<String, Bytes>;
/// Where a frame lies: its file, and its offset there.
pub type Place = (ObjectId, u64);

/// A machine as a point has it.
#[derive(Debug)]
pub struct HeldMachine {
    /// Which.
    pub name: MachineName,
    /// When it was like that.
    pub captured: Timestamp,
    /// Its frames, with what they ought to hold.
    frames: Vec<HeldFrame>,
}

#[derive(Debug, Clone, Copy)]
struct HeldFrame {
    at: StoredBlock,
    disk: DiskNumber,
    block: u32,
    /// None, for what is spare: what it ought to hold is told by its digest alone.
    truth: Option<(Content, usize)>,
}

/// What a point stands for.
#[derive(Debug)]
struct State {
    machines: Vec<HeldMachine>,
    stored: Stored,
}

/// A frame that points need.
#[derive(Debug)]
pub struct Frame {
    /// Where it lies.
    pub at: StoredBlock,
    /// The points and machines that need it; none, if it is spare.
    pub users: BTreeSet<(Sequence, MachineName)>,
    /// Why it cannot be read, if so.
    pub flaw: Option<String>,
}

/// What a folder holds.
#[derive(Debug)]
pub struct Proven {
    /// Its newest head.
    pub head: Rc<Head>,
    /// The frames that are needed.
    pub frames: BTreeMap<Place, Frame>,
    states: BTreeMap<Sequence, Rc<State>>,
}

impl Proven {
    /// The points, archives among them.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &RestorePoint> + Clone {
        self.head.chain.all()
    }

    /// The newest state of each machine that the chain goes on from.
    #[must_use]
    pub fn newest(&self) -> BTreeMap<MachineName, Timestamp> {
        let chain = &self.head.chain;
        let steps = chain.latest().and_then(|point| chain.steps_to(point.sequence)).unwrap_or_default();
        let states = steps.into_iter().flat_map(|point| &point.machines).filter(|machine| machine.is_whole());
        states.map(|machine| (machine.name.clone(), machine.captured)).collect()
    }

    /// The machines that a point has whole.
    #[must_use]
    pub fn whole(&self) -> BTreeSet<&MachineName> {
        let states = self.points().flat_map(|point| &point.machines);
        states.filter(|machine| machine.is_whole()).map(|machine| &machine.name).collect()
    }

    /// The frames that are not what they ought to be.
    pub fn damaged(&self) -> impl Iterator<Item = (&Place, &Frame)> {
        self.frames.iter().filter(|(_, frame)| frame.flaw.is_some())
    }

    /// The machines of points that cannot be restored.
    #[must_use]
    pub fn lost(&self) -> BTreeSet<(Sequence, MachineName)> {
        self.damaged().flat_map(|(_, frame)| frame.users.iter().cloned()).collect()
    }

    /// The machines of a point that it has whole.
    pub fn machines(&self, sequence: Sequence) -> impl Iterator<Item = &HeldMachine> {
        self.states.get(&sequence).into_iter().flat_map(|state| &state.machines)
    }

    /// The bytes of each file that are needed, padding included.
    #[must_use]
    pub fn live_bytes(&self) -> BTreeMap<ObjectId, u64> {
        let alignment = u64::from(self.head.alignment_bytes);
        let mut live: BTreeMap<ObjectId, u64> = self.head.files.keys().map(|id| (*id, 0)).collect();
        for ((file, offset), frame) in &self.frames {
            let end = (offset + u64::from(frame.at.length)).next_multiple_of(alignment);
            *live.entry(*file).or_default() += end - offset;
        }
        live
    }
}

/// Proves job folders. It remembers what it has opened: equal bytes are the same again.
#[derive(Debug, Default)]
pub struct Prover {
    heads: HashMap<Bytes, Rc<Head>>,
    indexes: HashMap<Bytes, Rc<Index>>,
    states: HashMap<(Vec<ObjectId>, u64), Rc<State>>,
    frames: HashSet<(Bytes, Digest, DiskNumber, u32)>,
    digests: HashMap<(Content, usize), Digest>,
}

/// A folder as it is stored, or would be without damage to what says where blocks lie.
#[derive(Debug, Clone, Copy)]
pub struct Stores<'a> {
    /// The stored bytes.
    pub stored: &'a Contents,
    /// What damaged objects held before.
    pub good: &'a Contents,
    /// The job.
    pub job: &'a str,
}

impl Stores<'_> {
    fn get(&self, name: &str) -> Option<&Bytes> {
        self.good.get(name).or_else(|| self.stored.get(name))
    }

    /// The names in one of its folders, and the bytes there.
    fn below(&self, folder: &str) -> BTreeMap<&str, &Bytes> {
        let (start, end) = (format!("{}/{folder}/", self.job), format!("{}/{folder}0", self.job));
        let both = self.stored.range(start.clone()..end.clone()).chain(self.good.range(start..end));
        both.map(|(name, bytes)| (name.as_str(), bytes)).collect()
    }
}

fn unreadable(detail: impl Into<String>) -> Violation {
    Violation::new(Law::Readable, detail)
}

impl Prover {
    /// Forgets what is of one life alone, and all the rest if it has become much.
    pub fn begin(&mut self) {
        self.heads.clear();
        self.indexes.clear();
        self.states.clear();
        if self.frames.len() > 50_000 || self.digests.len() > 50_000 {
            *self = Self::default();
        }
    }

    /// What a folder holds; none, if it has no head.
    ///
    /// # Errors
    /// What is not as it must be. Damaged frames are none: which are excused, the caller knows.
    pub fn prove(&mut self, stores: Stores<'_>, machines: &Machines) -> Result<Option<Proven>, Violation> {
        let job = stores.job;
        let heads = stores.below("head");
        let Some((name, bytes)) = heads.iter().next_back() else { return Ok(None) };
        let head = self.head(name, bytes)?;
        let number = name.rsplit('/').next().and_then(|number| number.parse().ok());
        ensure(number == Some(head.number), Law::Readable, || format!("{name} is number {}", head.number))?;
        let mut is_copied = head.chain.latest().is_none();
        for (name, bytes) in stores.below("blocks").iter().filter(|(name, _)| name.ends_with(".head")) {
            // One that is damaged is no copy.
            let Ok(copy) = self.head(name, bytes) else { continue };
            is_copied |= copy.chain == head.chain && copy.files == head.files;
        }
        ensure(is_copied, Law::Readable, || format!("no second copy of a head has the chain of {name}"))?;
        let mut proven = Proven { head: Rc::clone(&head), frames: BTreeMap::new(), states: BTreeMap::new() };
        for point in head.chain.all() {
            let state = self.state(stores, &head, point, machines)?;
            ensure(state.stored == point.stored, Law::Numbers, || {
                format!("{job}: point {} says {:?}, its indexes {:?}", point.sequence, point.stored, state.stored)
            })?;
            for machine in &state.machines {
                for held in &machine.frames {
                    let user = (point.sequence, machine.name.clone());
                    self.frame(stores, *held, &mut proven)?.users.insert(user);
                }
            }
            proven.states.insert(point.sequence, state);
        }
        for held in self.spare(stores, &head)? {
            self.frame(stores, held, &mut proven)?;
        }
        for id in proven.frames.keys().map(|(file, _)| *file).collect::<BTreeSet<_>>() {
            ensure(head.files.contains_key(&id), Law::Readable, || format!("{job}: file {id} is needed, not listed"))?;
        }
        Ok(Some(proven))
    }

    fn head(&mut self, name: &str, bytes: &Bytes) -> Result<Rc<Head>, Violation> {
        if let Some(head) = self.heads.get(bytes) {
            return Ok(Rc::clone(head));
        }
        let head = Head::decode(bytes).map_err(|error| unreadable(format!("{name}: {error}")))?;
        let head = Rc::new(head);
        self.heads.insert(bytes.clone(), Rc::clone(&head));
        Ok(head)
    }

    fn index(&mut self, stores: Stores<'_>, head: &Head, id: ObjectId) -> Result<Rc<Index>, Violation> {
        let name = format!("{}/index/{id}", stores.job);
        let bytes = stores.get(&name).ok_or_else(|| unreadable(format!("{name} is missing")))?;
        let copy = format!("{}/blocks/{id}.index", stores.job);
        ensure(stores.get(&copy) == Some(bytes), Law::Readable, || format!("{copy} is not the same as {name}"))?;
        if let Some(index) = self.indexes.get(bytes) {
            return Ok(Rc::clone(index));
        }
        let index = Index::decode(bytes).map_err(|error| unreadable(format!("{name}: {error}")))?;
        ensure(index.id == id && index.folder == head.folder, Law::Readable, || format!("{name} is another index"))?;
        let index = Rc::new(index);
        self.indexes.insert(bytes.clone(), Rc::clone(&index));
        Ok(index)
    }

    /// What a point says: a full's state, another's step.
    fn step(&mut self, stores: Stores<'_>, head: &Head, point: &RestorePoint) -> Result<BlockMap, Violation> {
        let own = self.index(stores, head, point.index.id)?;
        ensure(own.below == point.below, Law::Readable, || {
            format!("{}: index {} stands on others than point {} says", stores.job, own.id, point.sequence)
        })?;
        let mut said = BlockMap::empty();
        for reference in &point.below {
            said = said.overlay(&self.index(stores, head, reference.id)?.map);
        }
        let is_whole = |name: &MachineName| point.machine(name).is_some_and(|machine| machine.is_whole());
        Ok(said.overlay(&own.map).project(is_whole))
    }

    fn state(
        &mut self,
        stores: Stores<'_>,
        head: &Head,
        point: &RestorePoint,
        machines: &Machines,
    ) -> Result<Rc<State>, Violation> {
        let steps = head.chain.steps_to(point.sequence).unwrap_or_default();
        let ids = steps.iter().flat_map(|step| step.indexes()).map(|index| index.id).collect();
        let listed: Vec<_> = steps.iter().map(|step| &step.machines).collect();
        let key = (ids, digest_of(&format!("{:?} {listed:?}", head.folder)));
        if let Some(state) = self.states.get(&key) {
            return Ok(Rc::clone(state));
        }
        let (mut map, mut stored) = (BlockMap::empty(), Stored::default());
        for step in steps {
            let said = self.step(stores, head, step)?;
            if step.sequence == point.sequence {
                stored = Stored::of(&said);
            }
            map = map.overlay(&said);
        }
        let mut held = Vec::new();
        for listed in point.machines.iter().filter(|machine| machine.status != Status::Incomplete) {
            let what = format!("{}, point {}, {}", stores.job, point.sequence, listed.name);
            let Some(machine) = map.machine(&listed.name) else {
                return Err(Violation::new(Law::True, format!("{what} is not there")));
            };
            ensure(machine.captured == listed.captured, Law::True, || format!("{what} is of {}", machine.captured))?;
            let truth = machines.truth(listed.name.as_str(), machine.captured.unix_secs());
            let truth =
                truth.ok_or_else(|| Violation::new(Law::True, format!("{what} was not backed up at that time")))?;
            let frames = self.compare(&what, machine, truth)?;
            held.push(HeldMachine { name: listed.name.clone(), captured: listed.captured, frames });
        }
        let state = Rc::new(State { machines: held, stored });
        self.states.insert(key, Rc::clone(&state));
        Ok(state)
    }

    /// Compares what a map says of a machine with what it held.
    fn compare(&mut self, what: &str, found: &MachineMap, truth: &[DiskTruth]) -> Result<Vec<HeldFrame>, Violation> {
        let wrong = |detail: String| Violation::new(Law::True, format!("{what}: {detail}"));
        if truth.len() != found.disks.len() {
            return Err(wrong(format!("it has {} disks and had {}", found.disks.len(), truth.len())));
        }
        let mut frames = Vec::new();
        for ((number, disk), truth) in found.disks.iter().zip(truth) {
            if disk.size_bytes() != truth.bytes as u64 {
                return Err(wrong(format!("disk {number} has {} bytes and had {}", disk.size_bytes(), truth.bytes)));
            }
            for (block, content) in (0..).zip(&truth.blocks) {
                let length = truth.length_of(block as usize);
                match disk.get(block) {
                    Some(Run::Zero { .. }) if content.plain(length).iter().all(|byte| *byte == 0) => {}
                    Some(Run::Stored { at, .. }) if at.digest == self.digest(*content, length) => {
                        frames.push(HeldFrame { at, disk: *number, block, truth: Some((*content, length)) });
                    }
                    other => {
                        return Err(wrong(format!("block {block} of disk {number} is {other:?}, was {content:?}")));
                    }
                }
            }
        }
        Ok(frames)
    }

    fn digest(&mut self, content: Content, length: usize) -> Digest {
        let digest = || Digest(Sha256::digest(content.plain(length)).into());
        *self.digests.entry((content, length)).or_insert_with(digest)
    }

    /// What arrived of the incomplete machines of the newest point, which the next copy may take.
    fn spare(&mut self, stores: Stores<'_>, head: &Head) -> Result<Vec<HeldFrame>, Violation> {
        let newest = head.chain.latest().filter(|point| point.sequence.0 + 1 == head.next_sequence.0);
        let Some(point) = newest.filter(|point| point.machines.iter().any(|machine| !machine.is_whole())) else {
            return Ok(Vec::new());
        };
        let index = self.index(stores, head, point.index.id)?;
        let spare = index.spare.project(|name| point.machine(name).is_some_and(|machine| !machine.is_whole()));
        let frames = spare.stored().map(|(_, disk, block, at)| HeldFrame { at, disk, block, truth: None });
        Ok(frames.collect())
    }

    /// Takes note of a frame that is needed, and opens it.
    fn frame<'a>(
        &mut self,
        stores: Stores<'_>,
        held: HeldFrame,
        proven: &'a mut Proven,
    ) -> Result<&'a mut Frame, Violation> {
        let place = (held.at.file, held.at.offset);
        if let Some(known) = proven.frames.get(&place) {
            ensure(known.at == held.at, Law::Readable, || {
                format!("{}: two frames lie at {} of file {}", stores.job, held.at.offset, held.at.file)
            })?;
        } else {
            let flaw = self.open(stores, held).err();
            proven.frames.insert(place, Frame { at: held.at, users: BTreeSet::new(), flaw });
        }
        proven.frames.get_mut(&place).ok_or_else(|| unreadable("a frame that is known is not"))
    }

    fn open(&mut self, stores: Stores<'_>, held: HeldFrame) -> Result<(), String> {
        let HeldFrame { at, disk, block, truth } = held;
        let file = stores.stored.get(&format!("{}/blocks/{}", stores.job, at.file)).ok_or("its file is missing")?;
        let start = usize::try_from(at.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(at.length as usize);
        if end > file.len() {
            return Err("its file ends before it".to_owned());
        }
        let opened = (file.slice(start..end), at.digest, disk, block);
        if self.frames.contains(&opened) {
            return Ok(());
        }
        let (header, payload) = Header::decode_frame(&opened.0).map_err(|error| error.to_string())?;
        if (header.identity.disk, header.identity.block) != (disk, block) {
            return Err(format!("it holds block {} of disk {}", header.identity.block, header.identity.disk));
        }
        let plain = match header.codec {
            Codec::Plain => payload.to_vec(),
            Codec::Zstd => {
                zstd::bulk::decompress(payload, header.plain_bytes as usize).map_err(|error| error.to_string())?
            }
        };
        let is_right = match truth {
            Some((content, length)) => plain == content.plain(length),
            None => Digest(Sha256::digest(&plain).into()) == at.digest,
        };
        if !is_right {
            return Err("it holds other bytes".to_owned());
        }
        self.frames.insert(opened);
        Ok(())
    }
}

fn digest_of(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
