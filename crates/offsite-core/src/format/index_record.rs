//! The records of an index, and the numbers that its enums have in them.

use serde::{Deserialize, Serialize};

use super::columns::DiskRecord;
use super::error::{FormatError, Result};
use crate::{
    Digest, FolderId, IndexReference, MachineName, MachineState, ObjectId, Origin, PointKind, Sequence, Status,
    Timestamp, Transferred,
};

pub(super) const WHAT: &str = "index";
/// The longest index that is read: some 300 million blocks.
pub const INDEX_BYTES_MAX: u64 = 16 << 30;

/// A reference to an index, as it is stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct IndexReferenceRecord {
    id: u64,
    length: u64,
    digest: [u8; 32],
}

impl IndexReferenceRecord {
    pub(super) fn of(index: &IndexReference) -> Self {
        let IndexReference { id, length, digest } = *index;
        Self { id: id.stored(), length, digest: digest.0 }
    }

    pub(super) fn reference(&self) -> IndexReference {
        let Self { id, length, digest } = *self;
        IndexReference { id: ObjectId::from_stored(id), length, digest: Digest(digest) }
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

/// The stored kind of a back-filled archive, which is a full.
const BACK_FILLED: u8 = 3;

pub(super) fn encode_kind(kind: PointKind, is_back_filled: bool) -> u8 {
    match kind {
        PointKind::Full if is_back_filled => BACK_FILLED,
        PointKind::Full => 0,
        PointKind::Increment => 1,
        PointKind::Rollback => 2,
    }
}

/// The kind of a point, and whether it is a back-filled archive.
pub(super) fn decode_kind(kind: u8) -> Result<(PointKind, bool)> {
    match kind {
        0 => Ok((PointKind::Full, false)),
        1 => Ok((PointKind::Increment, false)),
        2 => Ok((PointKind::Rollback, false)),
        BACK_FILLED => Ok((PointKind::Full, true)),
        other => Err(FormatError::invalid(WHAT, format!("restore point kind {other} is not known"))),
    }
}

pub(super) fn decode_time(unix_secs: i64) -> Result<Timestamp> {
    Timestamp::from_unix_secs(unix_secs).map_err(|error| FormatError::invalid("time", error))
}
