//! The naive model: machines are byte vectors, a repository is a table of frames, and nothing is clever.
//!
//! One byte of the model stands for 64 KiB of a disk, so that a block of 256 KiB has four bytes and a disk whose length
//! is no multiple of four ends with a partial block.
#![allow(dead_code, reason = "each test file uses the part that it needs")]

use std::collections::BTreeMap;

use offsite_core::{
    BlockMap, BlockSize, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, MachineMap, MachineName,
    ObjectId, Run, StoredBlock, Timestamp,
};
use proptest::prelude::*;
use sha2::Digest as _;

pub(crate) const BLOCK_SIZE: BlockSize = BlockSize::KiB256;
const UNITS: usize = 4;
const UNIT_BYTES: u64 = 64 << 10;

/// The disks of a machine, by number.
pub(crate) type Disks = BTreeMap<u16, Vec<u8>>;
/// Machines, by a letter.
pub(crate) type World = BTreeMap<u8, Disks>;

/// What happens to a disk between two restore points.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Some bytes are written: machine, disk, position, length, value.
    Write(u8, u16, usize, usize, u8),
    /// The disk gets another length; what is new is zero. A missing disk or machine comes to be.
    Resize(u8, u16, usize),
    /// The disk goes.
    DropDisk(u8, u16),
    /// The disk is another one from now on, of the same number.
    Replace(u8, u16, Vec<u8>),
}

/// What happens until the next restore point, and which machines are in it.
#[derive(Debug, Clone)]
pub(crate) struct Day {
    pub(crate) changes: Vec<Change>,
    /// A bit for each machine: it is captured. A machine that is not captured vanishes from the point.
    pub(crate) captured: u8,
}

const MACHINES: u8 = 3;

fn change() -> impl Strategy<Value = Change> {
    let place = || (0..MACHINES, 0..3u16);
    prop_oneof![
        6 => (place(), 0..24usize, 1..9usize, 0..4u8).prop_map(|((m, d), at, len, v)| Change::Write(m, d, at, len, v)),
        2 => (place(), 0..24usize).prop_map(|((m, d), len)| Change::Resize(m, d, len)),
        1 => place().prop_map(|(m, d)| Change::DropDisk(m, d)),
        1 => (place(), prop::collection::vec(0..3u8, 0..24)).prop_map(|((m, d), bytes)| Change::Replace(m, d, bytes)),
    ]
}

/// So many days at most, each of which captures a machine.
pub(crate) fn history(days: usize) -> impl Strategy<Value = Vec<Day>> {
    let day = (prop::collection::vec(change(), 0..8), 1u8..1 << MACHINES);
    prop::collection::vec(day.prop_map(|(changes, captured)| Day { changes, captured }), 1..=days)
}

/// The world after a day.
pub(crate) fn live(world: &mut World, day: &Day) {
    for change in &day.changes {
        match change {
            Change::Write(machine, disk, at, length, value) => {
                if let Some(bytes) = world.get_mut(machine).and_then(|disks| disks.get_mut(disk)) {
                    bytes.iter_mut().skip(*at).take(*length).for_each(|byte| *byte = *value);
                }
            }
            Change::Resize(machine, disk, length) => {
                world.entry(*machine).or_default().entry(*disk).or_default().resize(*length, 0);
            }
            Change::DropDisk(machine, disk) => {
                world.get_mut(machine).and_then(|disks| disks.remove(disk));
            }
            Change::Replace(machine, disk, bytes) => {
                world.entry(*machine).or_default().insert(*disk, bytes.clone());
            }
        }
    }
}

/// The machines of the world that a day captures. A machine without a disk still has a state.
pub(crate) fn captured(world: &World, day: &Day) -> World {
    (0..MACHINES)
        .filter(|machine| day.captured >> machine & 1 == 1)
        .map(|machine| (machine, world.get(&machine).cloned().unwrap_or_default()))
        .collect()
}

pub(crate) fn name(machine: u8) -> MachineName {
    MachineName::new(&format!("machine-{machine}")).expect("a plain name")
}

/// What a disk is known by: it goes with its number and its size, so that whoever takes it from another state is seen.
pub(crate) fn identity(number: u16, size_bytes: u64) -> DiskIdentity {
    let format = if (size_bytes / UNIT_BYTES).is_multiple_of(2) { ImageFormat::Raw } else { ImageFormat::Qcow2 };
    DiskIdentity::new(DiskName::new(&format!("disk-{number}-of-{size_bytes}")).expect("a plain name"), format)
}

pub(crate) fn time(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs).expect("a time in range")
}

/// A repository's frames: what lies at (file, offset), and how long it is there.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) frames: BTreeMap<(ObjectId, u64), (Vec<u8>, u32)>,
    files: u32,
    end: u64,
}

impl Store {
    pub(crate) fn next_file(&mut self) -> ObjectId {
        self.files += 1;
        self.end = 0;
        ObjectId::new(1, self.files)
    }

    /// Stores a block behind the last one, with a length and a gap that depend on its bytes.
    fn put(&mut self, file: ObjectId, bytes: &[u8]) -> StoredBlock {
        let digest = Digest(sha2::Sha256::digest(bytes).into());
        let length = 64 + u32::from(digest.0[0]) * 3;
        let offset = self.end;
        self.end = offset + u64::from(length) + u64::from(digest.0[1] % 3) * 20_000;
        self.frames.insert((file, offset), (bytes.to_vec(), length));
        StoredBlock { file, offset, length, digest }
    }

    /// The state of these machines as a map, its blocks in a new file of this store.
    pub(crate) fn write(&mut self, world: &World, at: Timestamp) -> BlockMap {
        let file = self.next_file();
        let mut map = BlockMap::empty();
        for (machine, disks) in world {
            let disks =
                disks.iter().map(|(number, bytes)| (DiskNumber(*number), self.write_disk(file, *number, bytes)));
            map.insert(name(*machine), MachineMap::new(at, disks.collect()));
        }
        map
    }

    fn write_disk(&mut self, file: ObjectId, number: u16, bytes: &[u8]) -> DiskMap {
        let size_bytes = bytes.len() as u64 * UNIT_BYTES;
        let runs = bytes.chunks(UNITS).zip(0..).map(|(content, block)| {
            if content.iter().all(|byte| *byte == 0) {
                Run::Zero { first: block, count: 1 }
            } else {
                Run::Stored { block, at: self.put(file, content) }
            }
        });
        DiskMap::new(identity(number, size_bytes), size_bytes, BLOCK_SIZE.count(size_bytes), 0, runs.collect())
            .expect("runs of the disk")
    }

    /// The bytes of a state, from the frames that it names. Panics where it names none.
    pub(crate) fn restore(&self, state: &BlockMap) -> World {
        let machines = state.machines().iter().map(|(name, machine)| {
            let letter = name.as_str().bytes().next_back().expect("a digit") - b'0';
            (letter, machine.disks.iter().map(|(number, disk)| (number.0, self.restore_disk(number.0, disk))).collect())
        });
        machines.collect()
    }

    fn restore_disk(&self, number: u16, disk: &DiskMap) -> Vec<u8> {
        assert_eq!(*disk.identity(), identity(number, disk.size_bytes()));
        assert!(disk.is_full(), "{disk:?}");
        let length = usize::try_from(disk.size_bytes() / UNIT_BYTES).expect("a small disk");
        let mut bytes = vec![0; length];
        for (block, at) in disk.stored() {
            let (content, stored_length) = self.frames.get(&(at.file, at.offset)).expect("a frame that is still there");
            assert_eq!(*stored_length, at.length);
            assert_eq!(Digest(sha2::Sha256::digest(content).into()), at.digest);
            let from = block as usize * UNITS;
            assert_eq!(content.len(), UNITS.min(length - from), "block {block} of {length} bytes");
            bytes[from..from + content.len()].copy_from_slice(content);
        }
        bytes
    }
}

/// The naive ⊕ of a chain: for each machine its newest disks.
pub(crate) fn apply(state: &mut World, step: &World) {
    step.iter().for_each(|(machine, disks)| drop(state.insert(*machine, disks.clone())));
}

pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The last of these states.
pub(crate) fn restored(states: &[World]) -> World {
    states.last().cloned().unwrap_or_default()
}
