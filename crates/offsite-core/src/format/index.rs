//! Indexes: where the blocks of a restore point lie.
//!
//! An envelope whose record is a directory, then one part per machine. A part is made of fixed-width columns, so that it
//! decodes at the speed of memory, and can be read and checked alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::columns::{DiskRecord, STORED_ROW_BYTES, encode_disk};
pub use super::directory::{Directory, Page};
use super::error::{FormatError, Result};
use super::{Envelope, Kind, WireFormat, codec};
use crate::retention::Flags;
use crate::{
    BlockMap, FolderId, Index, IndexReference, MachineName, MachineState, ObjectId, Origin, PointKind, RestorePoint,
    Sequence, Status, Stored, Timestamp, Transferred,
};

const WHAT: &str = "index";
/// The longest index that is read: some 300 million blocks.
pub const INDEX_BYTES_MAX: u64 = 16 << 30;

/// A reference to an index, as it is stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct IndexReferenceRecord {
    id: u64,
    length: u64,
    directory_checksum: u64,
}

impl IndexReferenceRecord {
    pub(super) fn of(index: &IndexReference) -> Self {
        let IndexReference { id, length, directory_checksum } = *index;
        Self { id: id.stored(), length, directory_checksum }
    }

    pub(super) fn reference(&self) -> IndexReference {
        let Self { id, length, directory_checksum } = *self;
        IndexReference { id: ObjectId::from_stored(id), length, directory_checksum }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DirectoryRecord {
    pub(super) folder: FolderId,
    pub(super) id: u64,
    pub(super) sequence: u64,
    pub(super) time_unix_secs: i64,
    pub(super) kind: u8,
    pub(super) base: Option<u64>,
    pub(super) block_bytes: u32,
    pub(super) below: Vec<IndexReferenceRecord>,
    pub(super) files: Vec<FileRecord>,
    pub(super) machines: Vec<MachineRecord>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct FileRecord {
    pub(super) id: u64,
    pub(super) length: u64,
    /// The file's key, wrapped by the repository's: empty in clear text.
    pub(super) wrapped_key: Vec<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MachineRecord {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) status: u8,
    pub(super) captured_unix_secs: i64,
    pub(super) copy: CopyRecord,
    /// `None` if the indexes below say all there is to say of it.
    pub(super) disks: Option<Vec<DiskRecord>>,
}

/// What is said of a machine that is a copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CopyRecord {
    origin: Option<(FolderId, u64)>,
    done_bytes: u64,
    left_bytes: u64,
}

impl CopyRecord {
    pub(super) fn of(state: &MachineState) -> Self {
        let Transferred { done_bytes, left_bytes } = state.transferred;
        let origin = state.origin.map(|origin| (origin.folder, origin.sequence.0));
        Self { origin, done_bytes, left_bytes }
    }

    /// The state of the machine that it is said of.
    pub(super) fn state(
        &self,
        what: &'static str,
        name: MachineName,
        status: u8,
        captured: i64,
    ) -> Result<MachineState> {
        let Self { origin, done_bytes, left_bytes } = *self;
        let (status, captured) = (decode_status(status)?, decode_time(captured)?);
        if status != Status::Incomplete && (done_bytes, left_bytes) != (0, 0) {
            return Err(FormatError::invalid(what, "a whole machine has bytes left"));
        }
        let origin = origin.map(|(folder, sequence)| Origin { folder, sequence: Sequence(sequence) });
        Ok(MachineState { name, status, captured, origin, transferred: Transferred { done_bytes, left_bytes } })
    }
}

impl MachineRecord {
    pub(super) fn part_bytes(&self) -> u64 {
        self.disks.iter().flatten().map(DiskRecord::part_bytes).sum()
    }
}

impl WireFormat for Index {
    /// The bytes of the index.
    ///
    /// # Errors
    /// `Invalid` if a block lies in a file that is not in `files` or past its end, or if machines and blocks do not
    /// match; `Long` if there are more blocks than an index can hold.
    fn encode(&self) -> Result<Vec<u8>> {
        let files: BTreeMap<ObjectId, (u32, u64)> =
            self.files.iter().zip(0..).map(|((id, length), number)| (*id, (number, *length))).collect();
        check_base(self.kind, self.sequence, self.base)?;
        self.check_machines()?;
        let rows = [&self.map, &self.spare].into_iter().flat_map(|map| map.machines().values());
        let rows = rows.flat_map(|machine| machine.disks.values()).map(|disk| disk.runs().len());
        let mut parts = Vec::with_capacity(rows.sum::<usize>() * STORED_ROW_BYTES);
        let mut machines = Vec::with_capacity(self.machines.len());
        for (state, number) in &self.machines {
            let source = if state.status == Status::Incomplete { &self.spare } else { &self.map };
            let disks = source.machine(&state.name).map(|machine| -> Result<Vec<DiskRecord>> {
                let disks = machine.disks.iter();
                disks.map(|(number, disk)| encode_disk(*number, disk, &files, &mut parts)).collect()
            });
            let disks = disks.transpose()?;
            machines.push(MachineRecord {
                name: state.name.as_str().to_owned(),
                number: number.0,
                status: encode_status(state.status),
                captured_unix_secs: state.captured.unix_secs(),
                copy: CopyRecord::of(state),
                disks,
            });
        }
        let files = self.files.iter();
        let record = DirectoryRecord {
            folder: self.folder,
            id: self.id.stored(),
            sequence: self.sequence.0,
            time_unix_secs: self.time.unix_secs(),
            kind: encode_kind(self.kind),
            base: self.base.map(|base| base.0),
            block_bytes: self.block_size.bytes(),
            below: self.below.iter().map(IndexReferenceRecord::of).collect(),
            files: files
                .map(|(id, length)| FileRecord { id: id.stored(), length: *length, wrapped_key: Vec::new() })
                .collect(),
            machines,
        };
        let record = codec::encode(WHAT, &record)?;
        let index = [&Envelope::of(Kind::Index, &record).encode()[..], &record, &parts].concat();
        for (bytes, limit_bytes) in [(record.len(), Kind::Index.record_bytes_max()), (index.len(), INDEX_BYTES_MAX)] {
            if bytes as u64 > limit_bytes {
                return Err(FormatError::Long { what: WHAT, bytes: bytes as u64, limit_bytes });
            }
        }
        Ok(index)
    }

    /// Decodes a whole index.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let directory = Directory::decode(bytes)?;
        if bytes.len() as u64 != directory.length() {
            return Err(FormatError::invalid(WHAT, "its length is not what its directory says"));
        }
        let mut map = BlockMap::empty();
        let mut spare = BlockMap::empty();
        for (position, (state, _)) in directory.machines.iter().enumerate() {
            let part = directory.decode_part(position, slice(bytes, directory.part_range(position))?)?;
            let Some(machine) = part else { continue };
            let target = if state.status == Status::Incomplete { &mut spare } else { &mut map };
            target.insert(state.name.clone(), machine);
        }
        let Directory { folder, id, sequence, time, kind, base, block_size, below, files, machines, .. } = directory;
        let files = files.into_iter().collect();
        let index = Self { folder, id, sequence, time, kind, base, block_size, below, files, machines, map, spare };
        index.check_machines()?;
        Ok(index)
    }
}

impl Index {
    /// Each machine has one state, one number, and blocks where its state says; nothing else has blocks.
    fn check_machines(&self) -> Result<()> {
        let numbers: BTreeSet<_> = self.machines.iter().map(|(_, number)| number.0).collect();
        if numbers.len() != self.machines.len() {
            return Err(FormatError::invalid(WHAT, "two machines have one number"));
        }
        if !self.machines.is_sorted_by(|left, right| left.0.name < right.0.name) {
            return Err(FormatError::invalid(WHAT, "its machines are out of order"));
        }
        let states = |incomplete: bool| {
            let states =
                self.machines.iter().filter(move |(state, _)| (state.status == Status::Incomplete) == incomplete);
            states.map(|(state, _)| &state.name).collect::<BTreeSet<_>>()
        };
        if !self.spare.machines().keys().eq(states(true))
            || !self.map.machines().keys().all(|name| states(false).contains(name))
        {
            return Err(FormatError::invalid(WHAT, "a machine has blocks and no state"));
        }
        let machines = [&self.map, &self.spare].into_iter().flat_map(|map| map.machines().values());
        for machine in machines {
            let names: BTreeSet<_> = machine.disks.values().map(|disk| &disk.identity().name).collect();
            if names.len() != machine.disks.len() {
                return Err(FormatError::invalid(WHAT, "two disks of a machine have one name"));
            }
        }
        if self.below.is_empty() && self.map.machines().len() != states(false).len() {
            return Err(FormatError::invalid(WHAT, "a machine has a state and no blocks"));
        }
        Ok(())
    }
}

/// The restore point that `index`, encoded as `bytes`, describes. Its flags are the head's to say, and so is what it has
/// stored, unless it stands alone.
///
/// # Errors
/// As for [`Directory::decode`].
pub fn point(index: &Index, bytes: &[u8]) -> Result<RestorePoint> {
    let envelope = Envelope::decode(Kind::Index, bytes)?;
    Ok(RestorePoint {
        sequence: index.sequence,
        time: index.time,
        kind: index.kind,
        machines: index.machines.iter().map(|(state, _)| state.clone()).collect(),
        index: IndexReference {
            id: index.id,
            length: bytes.len() as u64,
            directory_checksum: envelope.record_checksum,
        },
        below: index.below.clone(),
        stored: Stored::of(&index.map),
        flags: Flags::NONE,
    })
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

/// An increment changes the state of an earlier point, a rollback that of a later one, a full none.
pub(super) fn check_base(kind: PointKind, sequence: Sequence, base: Option<Sequence>) -> Result<()> {
    let is_right = match kind {
        PointKind::Full => base.is_none(),
        PointKind::Increment => base.is_some_and(|base| base < sequence),
        PointKind::Rollback => base.is_some_and(|base| base > sequence),
    };
    if is_right {
        Ok(())
    } else {
        Err(FormatError::invalid(WHAT, "it stands on a restore point that it cannot stand on"))
    }
}

pub(super) fn encode_kind(kind: PointKind) -> u8 {
    match kind {
        PointKind::Full => 0,
        PointKind::Increment => 1,
        PointKind::Rollback => 2,
    }
}

pub(super) fn decode_kind(kind: u8) -> Result<PointKind> {
    match kind {
        0 => Ok(PointKind::Full),
        1 => Ok(PointKind::Increment),
        2 => Ok(PointKind::Rollback),
        other => Err(FormatError::invalid(WHAT, format!("restore point kind {other} is not known"))),
    }
}

pub(super) fn decode_time(unix_secs: i64) -> Result<Timestamp> {
    Timestamp::from_unix_secs(unix_secs).map_err(|error| FormatError::invalid("time", error))
}
