//! One object of each kind, small and with every optional field in use somewhere.
#![allow(dead_code, reason = "each test file uses the part that it needs")]

use offsite_core::CommitId;
use offsite_core::FolderId;
use offsite_core::RepositoryId;
use offsite_core::format::WireFormat;
use std::collections::BTreeMap;

use offsite_core::Index;
use offsite_core::format::backup_file::{BackupFileHeader, DiskLabel, MachineLabel};
use offsite_core::format::frame::{Codec, Header, Identity};
use offsite_core::format::records::{LeaseRenewal, Pin, ReleaseList, RepositoryMarker, VerificationRecord};
use offsite_core::format::{Kind, Result, encode_record};
use offsite_core::retention::{Flags, Tier};
use offsite_core::{
    BlockMap, BlockSize, Chain, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, IndexReference,
    Labels, MachineMap, MachineName, MachineNumber, MachineState, ObjectId, Origin, PointKind, Run, Sequence, Status,
    StoredBlock, Timestamp, Transferred,
};
use offsite_core::{FileState, Head, Lease, RetiredObject, Retirement, Role};

pub(crate) const FOLDER: FolderId = FolderId::new(*b"folder of a test");

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

/// What the disk of that number is known by.
pub(crate) fn identity(number: u16) -> DiskIdentity {
    let format = if number.is_multiple_of(2) { ImageFormat::Raw } else { ImageFormat::Qcow2 };
    DiskIdentity::new(DiskName::new(&format!("vd{number}")).expect("a plain name"), format)
}

fn disk(size_bytes: u64, keeps_blocks: u32, runs: Vec<Run>) -> impl FnOnce(u16) -> DiskMap {
    let count = BlockSize::MiB1.count(size_bytes);
    move |number| DiskMap::new(identity(number), size_bytes, count, keeps_blocks, runs).expect("runs of the disk")
}

fn machine<D: FnOnce(u16) -> DiskMap>(secs: i64, disks: Vec<(u16, D)>) -> MachineMap {
    let disks = disks.into_iter().map(|(number, disk)| (DiskNumber(number), disk(number))).collect();
    MachineMap::new(time(secs), disks)
}

fn state(machine: &str, status: Status, secs: i64) -> MachineState {
    MachineState::new(name(machine), status, time(secs))
}

fn copied(state: MachineState, sequence: u64) -> MachineState {
    let origin = Some(Origin::new(FolderId::new(*b"where it is from"), Sequence(sequence)));
    state.with_origin(origin)
}

fn incomplete(state: MachineState) -> MachineState {
    state.with_transferred(Transferred::new(164, 70_000))
}

/// A full of three machines that stands alone. An archive of the head.
pub(crate) fn full_index() -> Index {
    let mut map = BlockMap::empty();
    let app = disk(
        4 << 20,
        0,
        vec![stored(0, 1, 4096), Run::Zero { first: 1, count: 1 }, stored(2, 1, 12_288), stored(3, 1, 16_384)],
    );
    map.insert(name("app"), machine(1_791_000_000, vec![(0, app), (2, disk(10, 0, vec![stored(0, 1, 20_480)]))]));
    map.insert(name("db"), machine(1_791_000_060, vec![(0, disk(1 << 21, 0, vec![Run::Zero { first: 0, count: 2 }]))]));
    map.insert(name("old"), machine(1_790_000_000, vec![(0, disk(1 << 20, 0, vec![stored(0, 1, 24_576)]))]));
    Index {
        folder: FOLDER,
        id: ObjectId::new(3, 4),
        sequence: Sequence(38),
        time: time(1_791_000_100),
        kind: PointKind::Full,
        is_back_filled: false,
        base: None,
        block_size: BlockSize::MiB1,
        below: vec![],
        files: BTreeMap::from([(ObjectId::new(1, 1), 70_000)]),
        machines: vec![
            (state("app", Status::Complete, 1_791_000_000), MachineNumber(1)),
            (state("db", Status::Complete, 1_791_000_060), MachineNumber(0)),
            (state("old", Status::Carried, 1_790_000_000), MachineNumber(3)),
        ],
        map,
        spare: BlockMap::empty(),
    }
}

/// A reference to that index.
pub(crate) fn reference(index: &Index) -> IndexReference {
    offsite_core::format::index::point(index, &index.encode().expect("an index")).expect("its point").index
}

/// The full after a merge: on top of [`full_index`] it says what changed. Only the index below speaks of one of its machines,
/// and a machine of that one is gone.
pub(crate) fn layered_index() -> Index {
    let below = full_index();
    let mut map = BlockMap::empty();
    let app = disk(5_000_000, 3, vec![stored(0, 2, 16_384), Run::Zero { first: 3, count: 2 }]);
    map.insert(name("app"), machine(1_791_900_000, vec![(0, app)]));
    Index {
        id: ObjectId::new(3, 5),
        sequence: Sequence(41),
        time: time(1_791_900_100),
        below: vec![reference(&below)],
        files: BTreeMap::from([(ObjectId::new(1, 2), 20_480)]),
        machines: vec![
            (state("app", Status::Complete, 1_791_900_000), MachineNumber(1)),
            (state("db", Status::Complete, 1_791_000_060), MachineNumber(0)),
        ],
        map,
        ..below
    }
}

/// The way back from [`layered_index`]: the disk was smaller and one block was another.
pub(crate) fn rollback_index() -> Index {
    let mut map = BlockMap::empty();
    let app = disk(3 << 20, 3, vec![stored(0, 1, 28_672)]);
    map.insert(name("app"), machine(1_791_800_000, vec![(0, app)]));
    Index {
        id: ObjectId::new(3, 6),
        sequence: Sequence(40),
        time: time(1_791_800_100),
        kind: PointKind::Rollback,
        base: Some(Sequence(41)),
        files: BTreeMap::from([(ObjectId::new(1, 1), 70_000)]),
        machines: vec![(state("app", Status::Complete, 1_791_800_000), MachineNumber(1))],
        map,
        ..full_index()
    }
}

/// An increment of three machines, one of them incomplete.
pub(crate) fn index() -> Index {
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
        is_back_filled: false,
        base: Some(Sequence(41)),
        block_size: BlockSize::MiB1,
        below: vec![],
        files: BTreeMap::from([(ObjectId::new(1, 1), 70_000), (ObjectId::new(1, 2), 12_288)]),
        machines: vec![
            (copied(state("app", Status::Complete, 1_792_000_000), 300), MachineNumber(1)),
            (state("db", Status::Carried, 1_792_000_060), MachineNumber(0)),
            (incomplete(copied(state("web", Status::Incomplete, 1_792_000_120), 7)), MachineNumber(2)),
        ],
        map,
        spare,
    }
}

/// All indexes of the head.
pub(crate) fn indexes() -> [Index; 4] {
    [full_index(), rollback_index(), layered_index(), index()]
}

/// A copy job's folder: a full that a machine was removed from later, beside the chain; a rollback, the full it leads back
/// from, and an increment.
pub(crate) fn head() -> Head {
    let [mut archive, rollback, full, increment] = indexes().map(|index| {
        offsite_core::format::index::point(&index, &index.encode().expect("an index")).expect("its point")
    });
    archive.flags = Flags::NONE.with(Tier::Weekly).with(Tier::Yearly);
    archive.machines.retain(|machine| machine.name.as_str() != "old");
    let chain = Chain::with_archives(BlockSize::MiB1, vec![archive], vec![rollback, full, increment]);
    let file = |length, live_bytes, retain_until| {
        let mut file = FileState::new(length, live_bytes);
        file.retain_until = retain_until;
        file
    };
    let commit = CommitId::new(*b"this very commit");
    let mut head = Head::new(FOLDER, commit, Role::Copy, 4096, time(1_792_000_200), chain.expect("a chain"));
    head.number = 9;
    head.ancestry = vec![CommitId::new(*b"the commit befor"), CommitId::new(*b"and one before i")];
    (head.boundary, head.epoch, head.sealed_epoch) = (2, 3, 1);
    head.lease = Some(Lease::new("host-1/4711".to_owned(), 300));
    head.next_sequence = Sequence(43);
    head.machines = vec![name("db"), name("app"), name("web"), name("old")];
    head.last_selected = BTreeMap::from([(name("old"), time(1_790_000_000)), (name("web"), time(1_792_000_200))]);
    head.labels = BTreeMap::from([(name("app"), labels(&["gold", "linux"], &["site a/rack 4"]))]);
    head.settled_policy = Some(0x0123_4567_89ab_cdef);
    head.compacted = Some(time(1_791_000_000));
    head.brings_history = true;
    head.files = BTreeMap::from([
        (ObjectId::new(1, 1), file(70_000, 24_576, Some(time(1_800_000_000)))),
        (ObjectId::new(1, 2), file(20_480, 12_288, None)),
    ]);
    head.retired = vec![
        Retirement::new(8, RetiredObject::File(ObjectId::new(2, 1)), 66_000),
        Retirement::new(9, RetiredObject::Index(ObjectId::new(3, 1)), 0),
        Retirement::new(9, RetiredObject::Ranges { list: ObjectId::new(3, 6), digest: Digest([7; 32]) }, 4096),
    ];
    head
}

fn labels(tags: &[&str], containers: &[&str]) -> Labels {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Labels::new(texts(tags), texts(containers)).expect("labels")
}

pub(crate) fn marker() -> RepositoryMarker {
    RepositoryMarker { id: RepositoryId::new(*b"a new repository"), created_unix_secs: 1_790_000_000 }
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

pub(crate) fn verification() -> VerificationRecord {
    let damaged =
        vec![(ObjectId::new(1, 1).stored(), 12_288, [0xa2; 32]), (ObjectId::new(1, 2).stored(), 1 << 33, [9; 32])];
    VerificationRecord {
        folder: FOLDER,
        next: Some((ObjectId::new(1, 2).stored(), 4096)),
        damaged,
        cut: vec![(ObjectId::new(1, 3).stored(), 8192)],
        indexes: vec![ObjectId::new(2, 2).stored()],
    }
}

pub(crate) fn backup_file() -> BackupFileHeader {
    let disk = |(number, size_bytes)| DiskLabel::new(DiskNumber(number), &identity(number), size_bytes);
    let label = |number, name: &str, disks: &[(u16, u64)]| MachineLabel {
        number,
        name: name.to_owned(),
        disks: disks.iter().copied().map(disk).collect(),
    };
    BackupFileHeader {
        folder: FOLDER,
        id: ObjectId::new(1, 2).stored(),
        sequence: 42,
        time_unix_secs: -1,
        block_bytes: 1 << 20,
        alignment_bytes: 4096,
        machines: vec![label(1, "app", &[(0, 1 << 33), (3, 777)]), label(2, "web", &[])],
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
        ("index-full", made(full_index().encode())),
        ("index-layered", made(layered_index().encode())),
        ("index-rollback", made(rollback_index().encode())),
        ("lease-renewal", made(encode_record(Kind::LeaseRenewal, &lease_renewal()))),
        ("pin", made(encode_record(Kind::Pin, &pin()))),
        ("release-list", made(encode_record(Kind::ReleaseList, &release_list()))),
        ("repository", made(encode_record(Kind::Repository, &marker()))),
        ("verification", made(encode_record(Kind::VerificationNotes, &verification()))),
    ]
}
