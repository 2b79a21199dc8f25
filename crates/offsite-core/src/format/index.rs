//! Indexes: where the blocks of a restore point lie.
//!
//! An envelope whose record is a directory, then one part per machine. A part is made of fixed-width columns, so that it
//! decodes at the speed of memory, and can be read and checked alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::columns::{DiskRecord, STORED_ROW_BYTES, decode_disk, encode_disk};
use super::error::{FormatError, Result};
use super::{ENVELOPE_BYTES, Envelope, Kind, checksum, codec};
use crate::{
    BlockMap, BlockSize, DiskNumber, IndexReference, MachineMap, MachineName, MachineNumber, MachineState, ObjectId,
    Origin, PointKind, RestorePoint, Sequence, Status, Timestamp,
};

const WHAT: &str = "index";
/// The longest index that is read: some 300 million blocks.
pub const INDEX_BYTES_MAX: u64 = 16 << 30;

/// What an index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The job folder.
    pub folder: [u8; 16],
    /// The index's own id.
    pub id: ObjectId,
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The time of the restore point.
    pub time: Timestamp,
    /// Whether the point stands alone.
    pub kind: PointKind,
    /// The size of a block.
    pub block_size: BlockSize,
    /// What the point is a copy of.
    pub origin: Option<Origin>,
    /// The backup files that hold the blocks, with their lengths.
    pub files: BTreeMap<ObjectId, u64>,
    /// The machines, with their numbers in the job folder.
    pub machines: Vec<(MachineState, MachineNumber)>,
    /// Where the blocks of complete and carried machines lie.
    pub map: BlockMap,
    /// Where the blocks of incomplete machines lie that arrived; no restore uses them.
    pub spare: BlockMap,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DirectoryRecord {
    folder: [u8; 16],
    id: u64,
    sequence: u64,
    time_unix_secs: i64,
    full: bool,
    block_bytes: u32,
    origin: Option<([u8; 16], u64)>,
    files: Vec<FileRecord>,
    machines: Vec<MachineRecord>,
}

#[derive(Serialize, Deserialize)]
struct FileRecord {
    id: u64,
    length: u64,
    /// The file's key, wrapped by the repository's: empty in clear text.
    wrapped_key: Vec<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct MachineRecord {
    name: String,
    number: u32,
    status: u8,
    captured_unix_secs: i64,
    part_checksum: u64,
    disks: Vec<DiskRecord>,
}

impl MachineRecord {
    fn part_bytes(&self) -> u64 {
        self.disks.iter().map(DiskRecord::part_bytes).sum()
    }
}

impl Index {
    /// The bytes of the index.
    ///
    /// # Errors
    /// `Invalid` if a block lies in a file that is not in `files` or past its end, or if machines and blocks do not
    /// match; `Long` if there are more blocks than an index can hold.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let files: BTreeMap<ObjectId, (u32, u64)> =
            self.files.iter().zip(0..).map(|((id, length), number)| (*id, (number, *length))).collect();
        self.check_machines()?;
        let rows = [&self.map, &self.spare].into_iter().flat_map(|map| map.machines().values());
        let rows = rows.flat_map(|machine| machine.disks.values()).map(|disk| disk.runs().len());
        let mut parts = Vec::with_capacity(rows.sum::<usize>() * STORED_ROW_BYTES);
        let mut machines = Vec::with_capacity(self.machines.len());
        for (state, number) in &self.machines {
            let source = if state.status == Status::Incomplete { &self.spare } else { &self.map };
            let machine = source.machine(&state.name).ok_or_else(|| {
                FormatError::invalid(WHAT, format!("machine {} has a state and no blocks", state.name))
            })?;
            let start = parts.len();
            let mut disks = Vec::with_capacity(machine.disks.len());
            for (number, disk) in &machine.disks {
                disks.push(encode_disk(*number, disk, &files, &mut parts)?);
            }
            machines.push(MachineRecord {
                name: state.name.as_str().to_owned(),
                number: number.0,
                status: encode_status(state.status),
                captured_unix_secs: state.captured.unix_secs(),
                part_checksum: checksum(&parts[start..]),
                disks,
            });
        }
        let files = self.files.iter();
        let record = DirectoryRecord {
            folder: self.folder,
            id: self.id.stored(),
            sequence: self.sequence.0,
            time_unix_secs: self.time.unix_secs(),
            full: self.kind == PointKind::Full,
            block_bytes: self.block_size.bytes(),
            origin: self.origin.map(|origin| (origin.folder, origin.sequence.0)),
            files: files
                .map(|(id, length)| FileRecord { id: id.stored(), length: *length, wrapped_key: Vec::new() })
                .collect(),
            machines,
        };
        let record = codec::encode(WHAT, &record)?;
        let length = ENVELOPE_BYTES + record.len() + parts.len();
        for (bytes, limit_bytes) in [(record.len(), Kind::Index.record_bytes_max()), (length, INDEX_BYTES_MAX)] {
            if bytes as u64 > limit_bytes {
                return Err(FormatError::Long { what: WHAT, bytes: bytes as u64, limit_bytes });
            }
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&Envelope::of(Kind::Index, &record).encode());
        bytes.extend_from_slice(&record);
        bytes.extend_from_slice(&parts);
        Ok(bytes)
    }

    /// Each machine has one state, one number, and blocks where its state says; nothing else has blocks.
    fn check_machines(&self) -> Result<()> {
        let numbers: BTreeSet<_> = self.machines.iter().map(|(_, number)| number.0).collect();
        if numbers.len() != self.machines.len() {
            return Err(FormatError::invalid(WHAT, "two machines have one number"));
        }
        if !self.machines.is_sorted_by(|left, right| left.0.name < right.0.name) {
            return Err(FormatError::invalid(WHAT, "its machines are out of order"));
        }
        let spare = self.machines.iter().filter(|(state, _)| state.status == Status::Incomplete).count();
        if self.spare.machines().len() != spare || self.map.machines().len() != self.machines.len() - spare {
            return Err(FormatError::invalid(WHAT, "a machine has blocks and no state"));
        }
        Ok(())
    }

    /// Decodes a whole index.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let directory = Directory::decode(bytes)?;
        if bytes.len() as u64 != directory.length() {
            return Err(FormatError::invalid(WHAT, "its length is not what its directory says"));
        }
        let mut map = BlockMap::empty();
        let mut spare = BlockMap::empty();
        for (position, (state, _)) in directory.machines.iter().enumerate() {
            let machine = directory.decode_part(position, slice(bytes, directory.part_range(position))?)?;
            let target = if state.status == Status::Incomplete { &mut spare } else { &mut map };
            target.insert(state.name.clone(), machine);
        }
        let Directory { folder, id, sequence, time, kind, block_size, origin, files, machines, .. } = directory;
        let files = files.into_iter().collect();
        Ok(Self { folder, id, sequence, time, kind, block_size, origin, files, machines, map, spare })
    }

    /// The restore point that this index, encoded as `bytes`, describes.
    ///
    /// # Errors
    /// As for [`Directory::decode`].
    pub fn point(&self, bytes: &[u8]) -> Result<RestorePoint> {
        let envelope = Envelope::decode(Kind::Index, bytes)?;
        let (mut stored_blocks, mut stored_bytes) = (0, 0);
        for (_, _, _, at) in self.map.stored().chain(self.spare.stored()) {
            stored_blocks += 1;
            stored_bytes += u64::from(at.length);
        }
        Ok(RestorePoint {
            sequence: self.sequence,
            time: self.time,
            kind: self.kind,
            machines: self.machines.iter().map(|(state, _)| state.clone()).collect(),
            index: IndexReference {
                id: self.id,
                length: bytes.len() as u64,
                directory_checksum: envelope.record_checksum,
            },
            stored_blocks,
            stored_bytes,
            origin: self.origin,
        })
    }
}

/// The directory of an index: everything but the blocks.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The job folder.
    pub folder: [u8; 16],
    /// The index's own id.
    pub id: ObjectId,
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The time of the restore point.
    pub time: Timestamp,
    /// Whether the point stands alone.
    pub kind: PointKind,
    /// The size of a block.
    pub block_size: BlockSize,
    /// What the point is a copy of.
    pub origin: Option<Origin>,
    /// The machines, with their numbers in the job folder.
    pub machines: Vec<(MachineState, MachineNumber)>,
    files: Vec<(ObjectId, u64)>,
    parts: Vec<(Range<u64>, MachineRecord)>,
    parts_start: u64,
}

impl Directory {
    /// Decodes the directory at the start of `bytes`: the index, or as much of it as its envelope and directory take.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let envelope = Envelope::decode(Kind::Index, bytes)?;
        let record: DirectoryRecord = codec::decode(WHAT, envelope.record(bytes)?)?;
        let block_size =
            BlockSize::from_bytes(record.block_bytes.into()).map_err(|error| FormatError::invalid(WHAT, error))?;
        let files: Vec<_> = record.files.iter().map(|file| (ObjectId::from_stored(file.id), file.length)).collect();
        if !files.is_sorted_by(|left, right| left.0 < right.0) {
            return Err(FormatError::invalid(WHAT, "its files are out of order"));
        }
        if record.files.iter().any(|file| !file.wrapped_key.is_empty()) {
            return Err(FormatError::invalid(WHAT, "a file in clear text has a key"));
        }
        let parts_start = ENVELOPE_BYTES as u64 + envelope.record_bytes;
        let mut end = parts_start;
        let mut machines = Vec::with_capacity(record.machines.len());
        let mut parts = Vec::with_capacity(record.machines.len());
        for machine in record.machines {
            let name = MachineName::new(&machine.name).map_err(|error| FormatError::invalid(WHAT, error))?;
            let captured = decode_time(machine.captured_unix_secs)?;
            let state = MachineState { name, status: decode_status(machine.status)?, captured };
            machines.push((state, MachineNumber(machine.number)));
            let start = end;
            end += machine.part_bytes();
            if end > INDEX_BYTES_MAX {
                return Err(FormatError::Long { what: WHAT, bytes: end, limit_bytes: INDEX_BYTES_MAX });
            }
            parts.push((start..end, machine));
        }
        if !machines.is_sorted_by(|left, right| left.0.name < right.0.name) {
            return Err(FormatError::invalid(WHAT, "its machines are out of order"));
        }
        let numbers: BTreeSet<_> = machines.iter().map(|(_, number)| number.0).collect();
        if numbers.len() != machines.len() {
            return Err(FormatError::invalid(WHAT, "two machines have one number"));
        }
        if !parts.iter().all(|(_, machine)| machine.disks.is_sorted_by(|left, right| left.number < right.number)) {
            return Err(FormatError::invalid(WHAT, "its disks are out of order"));
        }
        Ok(Self {
            folder: record.folder,
            id: ObjectId::from_stored(record.id),
            sequence: Sequence(record.sequence),
            time: decode_time(record.time_unix_secs)?,
            kind: if record.full { PointKind::Full } else { PointKind::Increment },
            block_size,
            origin: record.origin.map(|(folder, sequence)| Origin { folder, sequence: Sequence(sequence) }),
            machines,
            files,
            parts,
            parts_start,
        })
    }

    /// The length of the whole index.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.parts.last().map_or(self.parts_start, |(range, _)| range.end)
    }

    /// Where the part of the `position`-th machine lies in the index.
    #[must_use]
    pub fn part_range(&self, position: usize) -> Range<u64> {
        self.parts.get(position).map_or(0..0, |(range, _)| range.clone())
    }

    /// Decodes the part of the `position`-th machine.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    pub fn decode_part(&self, position: usize, bytes: &[u8]) -> Result<MachineMap> {
        let Some(((state, _), (range, record))) = self.machines.get(position).zip(self.parts.get(position)) else {
            return Err(FormatError::invalid(WHAT, "it has fewer machines"));
        };
        if bytes.len() as u64 != range.end - range.start {
            return Err(FormatError::Short {
                what: WHAT,
                bytes: bytes.len() as u64,
                needed_bytes: range.end - range.start,
            });
        }
        if checksum(bytes) != record.part_checksum {
            return Err(FormatError::Checksum(WHAT));
        }
        let mut rest = bytes;
        let mut disks = BTreeMap::new();
        for disk in &record.disks {
            // The sum of the disks' parts is the slice's length, so this cannot run out.
            let (columns, after) = rest.split_at(usize::try_from(disk.part_bytes()).unwrap_or(usize::MAX));
            rest = after;
            let map = decode_disk(disk, columns, self.block_size, &self.files)?;
            disks.insert(DiskNumber(disk.number), map);
        }
        Ok(MachineMap { captured: state.captured, disks })
    }
}

fn slice(bytes: &[u8], range: Range<u64>) -> Result<&[u8]> {
    let range = usize::try_from(range.start).unwrap_or(usize::MAX)..usize::try_from(range.end).unwrap_or(usize::MAX);
    let needed_bytes = range.end as u64;
    bytes.get(range).ok_or(FormatError::Short { what: WHAT, bytes: bytes.len() as u64, needed_bytes })
}

pub(super) fn encode_status(status: Status) -> u8 {
    match status {
        Status::Complete => 0,
        Status::Incomplete => 1,
        Status::Carried => 2,
    }
}

pub(super) fn decode_status(status: u8) -> Result<Status> {
    match status {
        0 => Ok(Status::Complete),
        1 => Ok(Status::Incomplete),
        2 => Ok(Status::Carried),
        other => Err(FormatError::invalid(WHAT, format!("machine status {other} is not known"))),
    }
}

pub(super) fn decode_time(unix_secs: i64) -> Result<Timestamp> {
    Timestamp::from_unix_secs(unix_secs).map_err(|error| FormatError::invalid("time", error))
}
