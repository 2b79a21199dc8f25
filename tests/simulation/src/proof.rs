//! What must hold of a job folder, told from its stored bytes alone: the engine that wrote them is not asked.

use offsite_core::format::WireFormat;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use offsite::model::BlockMap;
use offsite::model::DiskNumber;
use offsite::model::Head;
use offsite::model::ObjectId;
use offsite::model::RestorePoint;
use offsite::model::RetiredObject;
use offsite::model::Run;
use offsite::model::Status;
use offsite::model::StoredBlock;
use offsite_core::Index;
use offsite_core::format::ENVELOPE_BYTES;
use offsite_core::format::Envelope;
use offsite_core::format::Kind;
use offsite_core::format::backup_file::BackupFileHeader;
use offsite_core::format::backup_file::region_bytes;
use offsite_core::format::decode_record;
use offsite_core::format::frame::Codec;
use offsite_core::format::frame::Header;
use offsite_repository::testing::CrashImage;
use offsite_repository::{Reclaim, Repository};

use crate::machines::{Content, Machines};

/// What must hold, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A commit that was answered is there.
    CommittedIsDurable,
    /// Every point that is committed restores byte for byte.
    PointsRestore,
    /// What was not committed is not visible.
    NothingElseVisible,
    /// Opening after a crash succeeds and keeps every point.
    RecoverySucceeds,
    /// A second recovery changes nothing but the lease.
    RecoveryIsIdempotent,
    /// The next run succeeds.
    NextRunSucceeds,
    /// After the next release, what is stored is what is referred to.
    NothingLeaks,
    /// A run that says it has committed is in the history of the newest head.
    SuccessIsTrue,
    /// A run that says that another writer has taken over is right.
    LossIsTrue,
    /// All commits of an epoch are of one writer.
    OneWriterPerEpoch,
    /// A writer that gives its signs of life in time is not taken over.
    LivingWriterStays,
    /// A reader with a pin reads what it pinned, and nobody ever reads wrong bytes.
    PinnedReaderReads,
    /// No run takes intact data for damaged, or itself for defective.
    NoFalseAlarm,
}

impl fmt::Display for Invariant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::CommittedIsDurable => "what was committed is durable",
            Self::PointsRestore => "every committed point restores",
            Self::NothingElseVisible => "nothing else is visible",
            Self::RecoverySucceeds => "recovery succeeds",
            Self::RecoveryIsIdempotent => "recovery is idempotent",
            Self::NextRunSucceeds => "the next run succeeds",
            Self::NothingLeaks => "nothing leaks",
            Self::SuccessIsTrue => "a success is true",
            Self::LossIsTrue => "a loss is true",
            Self::OneWriterPerEpoch => "one writer per epoch",
            Self::LivingWriterStays => "a living writer stays",
            Self::PinnedReaderReads => "a pinned reader reads",
            Self::NoFalseAlarm => "no false alarm",
        })
    }
}

/// An invariant that does not hold, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// `invariant` does not hold.
    pub fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.detail)
    }
}

/// What was proven of a job folder.
#[derive(Debug, Clone)]
pub struct Proven {
    /// Its newest head.
    pub head: Arc<Head>,
    /// Bytes that its backup files need: headers, and frames with their padding, spare ones included.
    needed_bytes: u64,
}

/// A frame that was opened, and what was found in it.
type Opened = (Bytes, Content, usize);

/// Proves job folders. It remembers what it has opened: equal bytes are the same again.
#[derive(Debug, Default)]
pub struct Prover {
    heads: HashMap<Bytes, Arc<Head>>,
    indexes: HashMap<Bytes, Arc<Index>>,
    frames: HashSet<Opened>,
    headers: HashMap<Bytes, u64>,
}

/// The stored bytes by name.
pub type Contents = BTreeMap<String, Bytes>;

/// What an image holds.
#[must_use]
pub fn contents(image: &CrashImage) -> Contents {
    image.contents().into_iter().map(|(key, bytes)| (key.as_str().to_owned(), bytes)).collect()
}

/// The number of a head, by its name.
#[must_use]
pub fn head_number(name: &str, job: &str) -> Option<u64> {
    name.strip_prefix(job)?.strip_prefix("/head/")?.parse().ok()
}

/// Whether a name is that of the second copy of a head.
#[must_use]
pub fn is_head_copy(name: &str, job: &str) -> bool {
    name.strip_prefix(job).is_some_and(|rest| rest.starts_with("/blocks/") && rest.ends_with(".head"))
}

/// What is there once a writer has opened the folder of a job: the commit is made that only a second copy tells, as its writer was cut
/// off before it.
#[must_use]
pub fn finished(mut stored: Contents, job: &str) -> Contents {
    let copies = stored.iter().filter(|(name, _)| is_head_copy(name, job)).filter_map(|(_, bytes)| {
        let head = Head::decode(bytes).ok()?;
        Some((head.epoch, head.number, bytes.clone()))
    });
    let heads = stored.iter().filter_map(|(name, bytes)| Some((head_number(name, job)?, bytes)));
    if let Some((epoch, number, bytes)) = copies.max_by_key(|(epoch, number, _)| (*epoch, *number))
        && let Some((newest, head)) = heads.max_by_key(|(number, _)| *number)
        // Where the newest head is damaged, a repair has to come first.
        && Head::decode(head).is_ok_and(|head| (epoch, number) > (head.epoch, newest))
    {
        stored.insert(format!("{job}/head/{number:020}"), bytes);
    }
    stored
}

fn broken(detail: impl Into<String>) -> Violation {
    Violation::new(Invariant::PointsRestore, detail)
}

impl Prover {
    /// Proves that every point of a job's newest head restores byte for byte; none, if there is no head.
    ///
    /// # Errors
    /// What does not hold.
    pub fn prove(
        &mut self,
        stored: &Contents,
        job: &str,
        machines: &mut Machines,
    ) -> Result<Option<Proven>, Violation> {
        let newest = stored.range(format!("{job}/head/")..format!("{job}/head0")).next_back();
        let Some((name, bytes)) = newest else { return Ok(None) };
        let head = self.head(name, bytes)?;
        if head_number(name, job) != Some(head.number) {
            return Err(broken(format!("{name} is number {}", head.number)));
        }
        let blocks = stored.range(format!("{job}/blocks/")..format!("{job}/blocks0"));
        let mut is_copied = head.chain.latest().is_none();
        for (name, bytes) in blocks.filter(|(name, _)| is_head_copy(name, job)) {
            let copy = self.head(name, bytes)?;
            is_copied |= copy.chain == head.chain && copy.files == head.files;
        }
        if !is_copied {
            return Err(broken(format!("no second copy of a head has the chain of {name}")));
        }
        let mut frames: BTreeMap<(ObjectId, u64), (StoredBlock, Content)> = BTreeMap::new();
        for point in head.chain.all() {
            self.point(stored, job, &head, point, machines, &mut frames)?;
        }
        let mut needed: BTreeMap<(ObjectId, u64), u32> =
            frames.into_iter().map(|(place, (at, _))| (place, at.length)).collect();
        needed.extend(self.spare(stored, job, &head)?);
        let alignment = u64::from(head.alignment_bytes);
        let mut needed_bytes: u64 = needed.values().map(|length| u64::from(*length).next_multiple_of(alignment)).sum();
        for id in head.files.keys() {
            let name = format!("{job}/blocks/{id}");
            let bytes = stored.get(&name).ok_or_else(|| broken(format!("{name} is missing")))?;
            needed_bytes +=
                self.header_bytes(bytes, alignment).ok_or_else(|| broken(format!("{name} has no header")))?;
        }
        Ok(Some(Proven { head, needed_bytes }))
    }

    /// Proves one point.
    fn point(
        &mut self,
        stored: &Contents,
        job: &str,
        head: &Head,
        point: &RestorePoint,
        machines: &mut Machines,
        frames: &mut BTreeMap<(ObjectId, u64), (StoredBlock, Content)>,
    ) -> Result<(), Violation> {
        let mut state = BlockMap::empty();
        for step in head.chain.steps_to(point.sequence).unwrap_or_default() {
            let mut said = BlockMap::empty();
            for reference in step.indexes() {
                let name = format!("{job}/index/{}", reference.id);
                let index = self.index(stored, &name)?;
                let copy = format!("{job}/blocks/{}.index", reference.id);
                if stored.get(&copy) != stored.get(&name) {
                    return Err(broken(format!("{copy} is not the same as {name}")));
                }
                if index.id != reference.id || index.folder != head.folder {
                    return Err(broken(format!("{name} is another index")));
                }
                said = said.overlay(&index.map);
            }
            state =
                state
                    .overlay(&said.project(|name| {
                        step.machine(name).is_some_and(|machine| machine.status != Status::Incomplete)
                    }));
        }
        for listed in point.machines.iter().filter(|machine| machine.status != Status::Incomplete) {
            let what = format!("{job}, point {}, {}", point.sequence, listed.name);
            let Some(map) = state.machine(&listed.name) else { return Err(broken(format!("{what} is not there"))) };
            let truth = machines.truth(listed.name.as_str(), map.captured.unix_secs()).map(<[_]>::to_vec);
            let Some(truth) = truth else { return Err(broken(format!("{what} was never like that"))) };
            if truth.len() != map.disks.len() {
                return Err(broken(format!("{what} has {} disks", map.disks.len())));
            }
            for ((number, disk), truth) in map.disks.iter().zip(&truth) {
                if disk.size_bytes() != truth.bytes as u64 {
                    return Err(broken(format!("{what}: disk {number} has another size")));
                }
                for (block, content) in (0..).zip(&truth.blocks) {
                    let length = truth.length_of(block as usize);
                    let place = (listed.name.as_str(), *number, block);
                    match disk.get(block) {
                        Some(Run::Zero { .. }) if *content == Content::Zero => {}
                        Some(Run::Stored { at, .. }) => {
                            if at.digest != machines.digest(*content, length) {
                                return Err(broken(format!("{what}: {place:?} is another block")));
                            }
                            self.frame(stored, job, at, place, (*content, length))?;
                            frames.insert((at.file, at.offset), (at, *content));
                        }
                        other => return Err(broken(format!("{what}: {place:?} is {other:?}"))),
                    }
                }
            }
        }
        Ok(())
    }

    fn head(&mut self, name: &str, bytes: &Bytes) -> Result<Arc<Head>, Violation> {
        if let Some(head) = self.heads.get(bytes) {
            return Ok(Arc::clone(head));
        }
        let head = Head::decode(bytes).map_err(|error| broken(format!("{name} is damaged: {error}")))?;
        let head = Arc::new(head);
        self.heads.insert(bytes.clone(), Arc::clone(&head));
        Ok(head)
    }

    /// What arrived of the incomplete machines of the newest point, which the next copy may take.
    fn spare(
        &mut self,
        stored: &Contents,
        job: &str,
        head: &Head,
    ) -> Result<BTreeMap<(ObjectId, u64), u32>, Violation> {
        let newest = head.chain.latest().filter(|point| point.sequence.0 + 1 == head.next_sequence.0);
        let Some(point) = newest.filter(|point| point.machines.iter().any(|machine| !machine.is_whole())) else {
            return Ok(BTreeMap::new());
        };
        let index = self.index(stored, &format!("{job}/index/{}", point.index.id))?;
        let spare = index.spare.project(|name| point.machine(name).is_some_and(|machine| !machine.is_whole()));
        Ok(spare.stored().map(|(_, _, _, at)| ((at.file, at.offset), at.length)).collect())
    }

    fn index(&mut self, stored: &Contents, name: &str) -> Result<Arc<Index>, Violation> {
        let bytes = stored.get(name).ok_or_else(|| broken(format!("{name} is missing")))?;
        if let Some(index) = self.indexes.get(bytes) {
            return Ok(Arc::clone(index));
        }
        let index = Index::decode(bytes).map_err(|error| broken(format!("{name} is damaged: {error}")))?;
        let index = Arc::new(index);
        self.indexes.insert(bytes.clone(), Arc::clone(&index));
        Ok(index)
    }

    fn frame(
        &mut self,
        stored: &Contents,
        job: &str,
        at: StoredBlock,
        place: (&str, DiskNumber, u32),
        expected: (Content, usize),
    ) -> Result<(), Violation> {
        let name = format!("{job}/blocks/{}", at.file);
        let file = stored.get(&name).ok_or_else(|| broken(format!("{name} is missing")))?;
        let start = usize::try_from(at.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(at.length as usize);
        if end > file.len() {
            return Err(broken(format!("{name} ends before {place:?}")));
        }
        let opened = (file.slice(start..end), expected.0, expected.1);
        if self.frames.contains(&opened) {
            return Ok(());
        }
        let wrong = |why: &str| broken(format!("{name}: the frame at {} of {place:?} {why}", at.offset));
        let (header, payload) = Header::decode_frame(&opened.0).map_err(|error| wrong(&error.to_string()))?;
        if (header.identity.disk, header.identity.block) != (place.1, place.2) {
            return Err(wrong("holds another block"));
        }
        let plain = match header.codec {
            Codec::Plain => payload.to_vec(),
            Codec::Zstd => zstd::bulk::decompress(payload, header.plain_bytes as usize)
                .map_err(|error| wrong(&format!("does not decompress: {error}")))?,
        };
        if plain != expected.0.plain(expected.1) {
            return Err(wrong("holds other bytes"));
        }
        self.frames.insert(opened);
        Ok(())
    }

    fn header_bytes(&mut self, file: &Bytes, alignment: u64) -> Option<u64> {
        let envelope = Envelope::decode(Kind::BackupFile, file.get(..ENVELOPE_BYTES)?).ok()?;
        let end = ENVELOPE_BYTES + usize::try_from(envelope.record_bytes).ok()?;
        let bytes = file.get(..end).map(|_| file.slice(..end))?;
        if let Some(known) = self.headers.get(&bytes) {
            return Some(*known);
        }
        let header: BackupFileHeader = decode_record(Kind::BackupFile, &bytes).ok()?;
        let needed = region_bytes(header.machines.iter().map(|machine| machine.name.as_str()), alignment);
        self.headers.insert(bytes, needed);
        Some(needed)
    }

    /// Forgets what it has opened, if that has become much.
    pub fn trim(&mut self) {
        if self.heads.len() > 4_000 {
            let frames = std::mem::take(&mut self.frames);
            *self = Self::default();
            self.frames = frames;
        }
        if self.frames.len() > 20_000 {
            self.frames.clear();
        }
    }
}

/// Proves that an image holds for a job what its newest head refers to, and not a byte more, after a run that ended well.
///
/// # Errors
/// What leaks.
pub async fn prove_tight(image: &CrashImage, stored: &Contents, job: &str, proven: &Proven) -> Result<(), Violation> {
    let head = &proven.head;
    let name = |folder: &str, id: ObjectId| format!("{job}/{folder}/{id}");
    let mut known: BTreeSet<String> = head.files.keys().map(|id| name("blocks", *id)).collect();
    known.extend(head.chain.indexes().map(|index| name("index", index.id)));
    // The second copies: one of each index, and one of the newest head that changed the chain.
    known.extend(head.chain.indexes().map(|index| format!("{job}/blocks/{}.index", index.id)));
    let copies: Vec<&String> = stored.keys().filter(|name| is_head_copy(name, job)).collect();
    if copies.len() != 1 {
        return Err(Violation::new(Invariant::NothingLeaks, format!("copies of heads: {copies:?}")));
    }
    known.extend(copies.into_iter().cloned());
    known.extend((head.boundary + 1..=head.number).map(|number| format!("{job}/head/{number:020}")));
    let leaks = |detail: String| Err(Violation::new(Invariant::NothingLeaks, detail));
    if let Some(retirement) = head.retired.first() {
        return leaks(match retirement.what {
            RetiredObject::File(id) => format!("file {id} still waits for its release"),
            RetiredObject::Index(id) => format!("index {id} still waits for its release"),
            RetiredObject::Ranges { list, .. } => format!("the ranges of {list} still wait for their release"),
        });
    }
    let folder = format!("{job}/");
    if let Some(stray) = stored.keys().find(|name| name.starts_with(&folder) && !known.contains(*name)) {
        return leaks(format!("nobody refers to {stray}"));
    }
    // What a fold that was cut off wrote into free space stays there, until another fold writes over it.
    if let (Some(reclaim), None) = (image.reclaim(), image.patch()) {
        let mut taken = 0;
        for id in head.files.keys() {
            let key = offsite_repository::Key::new(name("blocks", *id));
            let key = key.map_err(|error| Violation::new(Invariant::NothingLeaks, error.to_string()))?;
            taken += Reclaim::allocated_bytes(reclaim, &key).await.unwrap_or(0);
        }
        if taken != proven.needed_bytes {
            return leaks(format!("backup files take {taken} bytes and need {}", proven.needed_bytes));
        }
    }
    Ok(())
}
