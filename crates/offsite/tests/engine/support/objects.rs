//! The objects of a job folder as they are stored, read behind the engine's back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offsite::model::{
    BlockMap, CommitId, DiskMap, Head, Lease, MachineMap, ObjectId, RestorePoint, RetiredObject, Status,
};
use offsite_core::Index;
use offsite_core::format::backup_file::{BackupFileHeader, region_bytes};
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, WireFormat, decode_record, encode_record, records};
use offsite_repository::testing::{Memory, MemoryOptions};
use offsite_repository::{Key, Reclaim, Repository, RepositoryExt};

/// Heads that a folder has at most: the newest 16, and one that is being trimmed.
pub const HEADS_MAX: usize = 17;
/// A holder on another host: nobody here can tell whether it lives.
pub const FOREIGN_HOLDER: &str = "11111111-2222-3333-4444-555555555555 pid:[1] 1 1 00";

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// An independent memory with the same objects, whose every call returns to the scheduler once.
pub async fn fork(memory: &Memory) -> Memory {
    let fork = Memory::with_options(MemoryOptions::default().with_yields(true));
    for (key, bytes) in memory.contents() {
        fork.put(&key, bytes).await.unwrap();
    }
    fork
}

/// The keys below a folder.
pub fn keys(memory: &Memory, folder: &str) -> Vec<Key> {
    let folder = format!("{folder}/");
    // The second copies of indexes and heads are beside the backup files, and none.
    let is_asked_for = |key: &Key| key.as_str().starts_with(&folder) && !(folder.ends_with("/blocks/") && is_copy(key));
    memory.contents().into_iter().map(|(key, _)| key).filter(is_asked_for).collect()
}

/// Whether a key is that of the second copy of an index or a head.
pub fn is_copy(key: &Key) -> bool {
    key.name().ends_with(".index") || key.name().ends_with(".head")
}

/// The keys of the second copies in a job's folder.
pub fn copies(memory: &Memory, job: &str) -> Vec<Key> {
    keys(memory, job).into_iter().filter(is_copy).collect()
}

pub fn bytes_of(memory: &Memory, key: &Key) -> Bytes {
    memory.contents().into_iter().find(|(found, _)| found == key).unwrap().1
}

pub fn newest_head(memory: &Memory, job: &str) -> Head {
    let key = keys(memory, &format!("{job}/head")).pop().unwrap();
    Head::decode(&bytes_of(memory, &key)).unwrap()
}

/// Stores a head as the next one, as a writer elsewhere would.
pub async fn put_successor(memory: &Memory, job: &str, change: impl FnOnce(&mut Head)) -> Head {
    let mut head = newest_head(memory, job);
    head.ancestry.insert(0, head.commit);
    head.number += 1;
    head.commit = CommitId::new([head.number as u8; 16]);
    change(&mut head);
    let stored = memory.put(&key(&format!("{job}/head/{:020}", head.number)), head.encode().unwrap().into()).await;
    stored.unwrap();
    head
}

pub fn foreign_lease(duration_secs: u32) -> Lease {
    Lease::new(FOREIGN_HOLDER.to_owned(), duration_secs)
}

/// The map, each disk of which claims to be a byte shorter than its blocks are.
pub fn shortened(map: &BlockMap) -> BlockMap {
    let mut shorter = BlockMap::empty();
    for (name, machine) in map.machines() {
        let disks = machine.disks.iter().map(|(number, disk)| {
            let (size, count) = (disk.size_bytes() - 1, disk.block_count().into());
            (
                *number,
                DiskMap::new(disk.identity().clone(), size, count, disk.keeps_blocks(), disk.runs().to_vec()).unwrap(),
            )
        });
        shorter.insert(name.clone(), MachineMap::new(machine.captured, disks.collect()));
    }
    shorter
}

/// The words for a process of this host that has ended.
pub fn dead_holder() -> String {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    format!("{} {} {pid} 1 00", boot.trim(), namespace.display())
}

/// A process of this host that lives as long as this value: by the kernel's word, what it pins is held.
pub struct Living {
    process: std::process::Child,
    pub holder: String,
}

impl Living {
    pub fn new() -> Self {
        // It waits for the end of its input, which comes with ours at the latest.
        let process = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = process.id();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let start = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().to_owned();
        Self { process, holder: format!("{} {} {pid} {start} 00", boot.trim(), namespace.display()) }
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Pins the newest head of a job for `holder`.
pub async fn pin(memory: &Memory, job: &str, holder: &str) -> Key {
    let head = newest_head(memory, job);
    let pin = records::Pin { folder: head.folder, head: head.number, holder: holder.to_owned() };
    let key = key(&format!("{job}/pin/{:032x}-{:010}", head.number, 0));
    memory.put(&key, encode_record(Kind::Pin, &pin).unwrap().into()).await.unwrap();
    key
}

/// A sign of life of the writer of a head.
pub async fn renew(memory: &Memory, job: &str, head: &Head, count: u64) -> Key {
    let sign = records::LeaseRenewal { folder: head.folder, epoch: head.epoch, count };
    let key = key(&format!("{job}/lease/{:010}-{count:020}", head.epoch));
    memory.put(&key, encode_record(Kind::LeaseRenewal, &sign).unwrap().into()).await.unwrap();
    key
}

/// Objects below a job's folder that its newest head does not refer to, and what it refers to that is not there.
pub fn stray(memory: &Memory, job: &str) -> Vec<String> {
    let head = newest_head(memory, job);
    let name = |folder: &str, id: ObjectId| format!("{job}/{folder}/{id}");
    let mut known: BTreeSet<String> = head.files.keys().map(|id| name("blocks", *id)).collect();
    known.extend(head.chain.indexes().map(|index| name("index", index.id)));
    known.extend(head.retired.iter().map(|retirement| match retirement.what {
        RetiredObject::File(id) => name("blocks", id),
        RetiredObject::Index(id) => name("index", id),
        RetiredObject::Ranges { list, .. } => name("release", list),
    }));
    // Each index has a second copy, and the newest head that changed the chain has one.
    let second_copies: Vec<String> = known.iter().filter(|name| name.contains("/index/")).cloned().collect();
    known.extend(second_copies.iter().map(|name| format!("{}.index", name.replace("/index/", "/blocks/"))));
    let heads: Vec<String> =
        copies(memory, job).iter().map(ToString::to_string).filter(|name| name.ends_with(".head")).collect();
    assert!(heads.len() <= 1, "copies of heads pile up: {heads:?}");
    known.extend(heads);
    let noted = keys(memory, &format!("{job}/verify"));
    assert!(noted.len() <= 1, "what verification remembers piles up: {noted:?}");
    known.extend(noted.iter().map(ToString::to_string));
    known.extend((head.boundary + 1..=head.number).map(|number| format!("{job}/head/{number:020}")));
    let present: BTreeSet<String> = keys(memory, job).iter().map(ToString::to_string).collect();
    assert!(keys(memory, &format!("{job}/head")).len() <= HEADS_MAX, "heads pile up: {present:?}");
    present.symmetric_difference(&known).cloned().collect()
}

/// What a point says: the rows of its indexes one above the other, of the machines that it has whole.
pub fn step(memory: &Memory, job: &str, point: &RestorePoint) -> BlockMap {
    let mut step = BlockMap::empty();
    for index in point.indexes() {
        let bytes = bytes_of(memory, &key(&format!("{job}/index/{}", index.id)));
        step = step.overlay(&Index::decode(&bytes).unwrap().map);
    }
    step.project(|name| point.machine(name).is_some_and(|machine| machine.status != Status::Incomplete))
}

/// What arrived of the incomplete machines of the newest point, which the next copy may take.
pub fn spare(memory: &Memory, job: &str, head: &Head) -> BlockMap {
    let newest = head.chain.latest().filter(|point| point.sequence.0 + 1 == head.next_sequence.0);
    let Some(point) = newest else { return BlockMap::empty() };
    let bytes = bytes_of(memory, &key(&format!("{job}/index/{}", point.index.id)));
    let is_incomplete = |name: &_| point.machine(name).is_some_and(|machine| !machine.is_whole());
    Index::decode(&bytes).unwrap().spare.project(is_incomplete)
}

/// Bytes of backup files that take space, and bytes that they must take: headers, and frames that an index refers to.
pub async fn space(memory: &Memory, job: &str) -> (u64, u64) {
    let head = newest_head(memory, job);
    let alignment = u64::from(head.alignment_bytes);
    let mut frames: BTreeMap<(ObjectId, u64), u64> = BTreeMap::new();
    for point in head.chain.all() {
        for (_, _, _, at) in step(memory, job, point).stored() {
            frames.insert((at.file, at.offset), u64::from(at.length).next_multiple_of(alignment));
        }
    }
    for (_, _, _, at) in spare(memory, job, &head).stored() {
        frames.insert((at.file, at.offset), u64::from(at.length).next_multiple_of(alignment));
    }
    for (id, file) in &head.files {
        let live = frames.iter().filter(|((file, _), _)| file == id).map(|(_, bytes)| bytes).sum::<u64>();
        assert_eq!(file.live_bytes, live, "what is live in {id}");
    }
    let mut needed = frames.values().sum::<u64>();
    let mut taken = 0;
    for (key, bytes) in memory.contents() {
        if !key.as_str().starts_with(&format!("{job}/blocks/")) || is_copy(&key) {
            continue;
        }
        let envelope = Envelope::decode(Kind::BackupFile, &bytes[..ENVELOPE_BYTES]).unwrap();
        let end = ENVELOPE_BYTES + usize::try_from(envelope.record_bytes).unwrap();
        let header: BackupFileHeader = decode_record(Kind::BackupFile, &bytes[..end]).unwrap();
        needed += region_bytes(header.machines.iter().map(|machine| machine.name.as_str()), alignment);
        taken += match memory.reclaim() {
            Some(reclaim) => Reclaim::allocated_bytes(reclaim, &key).await.unwrap(),
            None => bytes.len() as u64,
        };
    }
    (taken, needed)
}
