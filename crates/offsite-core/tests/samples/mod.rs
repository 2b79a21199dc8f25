//! One object of each kind, small and with every optional field in use somewhere.
#![allow(dead_code, reason = "each test file uses the part that it needs")]

use std::collections::BTreeMap;

use offsite_core::format::backup_file::{BackupFileHeader, MachineLabel};
use offsite_core::format::frame::{Codec, Header, Identity};
use offsite_core::format::head::{FileState, Head, Lease, RetiredObject, Retirement, Role};
use offsite_core::format::index::Index;
use offsite_core::format::records::{LeaseRenewal, Pin, ReleaseList, RepositoryMarker};
use offsite_core::format::{Kind, Result, encode_record};
use offsite_core::{
    BlockMap, BlockSize, Chain, Digest, DiskMap, DiskNumber, MachineMap, MachineName, MachineNumber, MachineState,
    ObjectId, Origin, PointKind, Run, Sequence, Status, StoredBlock, Timestamp,
};

pub(crate) const FOLDER: [u8; 16] = *b"folder of a test";

pub(crate) fn time(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs).expect("a time in range")
}

pub(crate) fn name(text: &str) -> MachineName {
    MachineName::new(text).expect("a plain name")
}

fn stored(block: u32, file: u32, offset: u64) -> Run {
    let digest = Digest([u8::try_from(block).expect("a small number") + 0xa0; 32]);
    Run::Stored { block, at: StoredBlock { file: ObjectId::new(1, file), offset, length: 164, digest } }
}

fn disk(size_bytes: u64, keeps_blocks: u32, runs: Vec<Run>) -> DiskMap {
    DiskMap::new(size_bytes, BlockSize::MiB1.count(size_bytes), keeps_blocks, runs).expect("runs of the disk")
}

fn machine(secs: i64, disks: Vec<(u16, DiskMap)>) -> MachineMap {
    let disks = disks.into_iter().map(|(number, disk)| (DiskNumber(number), disk)).collect();
    MachineMap { captured: time(secs), disks }
}

/// An increment of three machines, one of them incomplete.
pub(crate) fn index() -> Index {
    let state = |machine, status, secs| MachineState { name: name(machine), status, captured: time(secs) };
    let mut map = BlockMap::empty();
    let app = disk(5_000_000, 5, vec![Run::Zero { first: 1, count: 2 }, stored(4, 2, 4096)]);
    map.insert(name("app"), machine(1_792_000_000, vec![(0, app), (3, disk(0, 0, vec![]))]));
    map.insert(name("db"), machine(1_792_000_060, vec![(0, disk(1 << 21, 2, vec![stored(0, 1, 8192)]))]));
    let mut spare = BlockMap::empty();
    spare.insert(name("web"), machine(1_792_000_120, vec![(0, disk(1 << 20, 0, vec![stored(0, 2, 8192)]))]));
    Index {
        folder: FOLDER,
        id: ObjectId::new(3, 7),
        sequence: Sequence(42),
        time: time(1_792_000_200),
        kind: PointKind::Increment,
        block_size: BlockSize::MiB1,
        origin: Some(Origin { folder: *b"where it is from", sequence: Sequence(300) }),
        files: BTreeMap::from([(ObjectId::new(1, 1), 70_000), (ObjectId::new(1, 2), 12_288)]),
        machines: vec![
            (state("app", Status::Complete, 1_792_000_000), MachineNumber(1)),
            (state("db", Status::Carried, 1_792_000_060), MachineNumber(0)),
            (state("web", Status::Incomplete, 1_792_000_120), MachineNumber(2)),
        ],
        map,
        spare,
    }
}

/// A copy job's folder with a full and an increment.
pub(crate) fn head() -> Head {
    let index = index();
    let increment = index.point(&index.encode().expect("an index")).expect("its point");
    let mut full = increment.clone();
    full.sequence = Sequence(41);
    full.kind = PointKind::Full;
    full.time = time(1_791_900_000);
    full.index.id = ObjectId::new(3, 4);
    full.origin = None;
    full.machines.truncate(1);
    Head {
        folder: FOLDER,
        number: 9,
        commit: *b"this very commit",
        ancestry: vec![*b"the commit befor", *b"and one before i"],
        boundary: 2,
        epoch: 3,
        lease: Some(Lease { holder: "host-1/4711".to_owned(), duration_secs: 300 }),
        role: Role::Copy,
        alignment_bytes: 4096,
        next_sequence: Sequence(43),
        clock: time(1_792_000_200),
        machines: vec![name("db"), name("app"), name("web")],
        files: BTreeMap::from([
            (ObjectId::new(1, 1), FileState { length: 70_000, retain_until: Some(time(1_800_000_000)) }),
            (ObjectId::new(1, 2), FileState { length: 12_288, retain_until: None }),
        ]),
        chain: Chain::new(BlockSize::MiB1, vec![full, increment]).expect("a chain"),
        retired: vec![
            Retirement { since: 8, what: RetiredObject::File(ObjectId::new(2, 1)), bytes: 66_000 },
            Retirement { since: 9, what: RetiredObject::Index(ObjectId::new(3, 1)), bytes: 0 },
            Retirement { since: 9, what: RetiredObject::Ranges(ObjectId::new(3, 6)), bytes: 4096 },
        ],
    }
}

pub(crate) fn marker() -> RepositoryMarker {
    RepositoryMarker { id: *b"a new repository", created_unix_secs: 1_790_000_000 }
}

pub(crate) fn release_list() -> ReleaseList {
    let ranges = vec![(4096, 4096), (16_384, 1 << 33)];
    ReleaseList { folder: FOLDER, files: vec![(ObjectId::new(1, 1).stored(), ranges), (u64::MAX, vec![])] }
}

pub(crate) fn pin() -> Pin {
    Pin { folder: FOLDER, head: 9, holder: "host-2/17".to_owned() }
}

pub(crate) fn lease_renewal() -> LeaseRenewal {
    LeaseRenewal { folder: FOLDER, epoch: 3, count: 251 }
}

pub(crate) fn backup_file() -> BackupFileHeader {
    let label = |number, name: &str| MachineLabel { number, name: name.to_owned() };
    BackupFileHeader {
        folder: FOLDER,
        id: ObjectId::new(1, 2).stored(),
        sequence: 42,
        time_unix_secs: -1,
        block_bytes: 1 << 20,
        alignment_bytes: 4096,
        machines: vec![label(1, "app"), label(2, "web")],
    }
}

/// A frame and its payload.
pub(crate) fn frame(codec: Codec) -> Vec<u8> {
    let identity = Identity {
        origin: ObjectId::new(1, 2),
        ordinal: 5,
        machine: MachineNumber(1),
        disk: DiskNumber(3),
        block: 4,
        sequence: Sequence(42),
    };
    let payload = *b"one hundred bytes would be too long to read";
    let plain_bytes = if codec == Codec::Plain { 43 } else { 1 << 20 };
    let header = Header::of(identity, codec, plain_bytes, Digest([9; 32]), &payload).expect("a header");
    [&header.encode()[..], &payload].concat()
}

/// Every object by the name of its golden file.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let made = |bytes: Result<Vec<u8>>| bytes.expect("a sample that can be encoded");
    vec![
        ("backup-file-header", made(encode_record(Kind::BackupFile, &backup_file()))),
        ("frame-plain", frame(Codec::Plain)),
        ("frame-zstd", frame(Codec::Zstd)),
        ("head", made(head().encode())),
        ("index", made(index().encode())),
        ("lease-renewal", made(encode_record(Kind::LeaseRenewal, &lease_renewal()))),
        ("pin", made(encode_record(Kind::Pin, &pin()))),
        ("release-list", made(encode_record(Kind::ReleaseList, &release_list()))),
        ("repository", made(encode_record(Kind::Repository, &marker()))),
    ]
}
