//! The bytes of heads.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::error::{FormatError, Result};
use super::index_record::{CopyRecord, IndexReferenceRecord, decode_kind, decode_time, encode_kind, encode_status};
use super::{Kind, WireFormat, decode_record, encode_record};
use crate::retention::Flags;
use crate::{
    BlockSize, Chain, CommitId, Digest, FileState, FolderId, Head, Labels, Lease, MachineName, MachineState, ObjectId,
    RestorePoint, RetiredObject, Retirement, Role, Sequence, Stored, Timestamp,
};

const WHAT: &str = "head";
/// The longest head that is read.
pub const HEAD_BYTES_MAX: u64 = 17 << 20;

#[derive(Serialize, Deserialize)]
pub(super) struct HeadRecord {
    folder: FolderId,
    number: u64,
    commit: CommitId,
    ancestry: Vec<CommitId>,
    boundary: u64,
    epoch: u32,
    sealed_epoch: u32,
    lease: Option<(String, u32)>,
    role: u8,
    block_bytes: u32,
    alignment_bytes: u32,
    next_sequence: u64,
    clock_unix_secs: i64,
    machines: Vec<MachineRecord>,
    settled_policy: Option<u64>,
    compacted_unix_secs: Option<i64>,
    brings_history: bool,
    files: Vec<FileRecord>,
    archives: Vec<PointRecord>,
    points: Vec<PointRecord>,
    retired: Vec<RetirementRecord>,
}

#[derive(Serialize, Deserialize)]
struct MachineRecord {
    name: String,
    last_selected_unix_secs: Option<i64>,
    tags: Vec<String>,
    containers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct FileRecord {
    id: u64,
    length: u64,
    live_bytes: u64,
    retain_until_unix_secs: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct PointRecord {
    sequence: u64,
    time_unix_secs: i64,
    kind: u8,
    flags: u8,
    machines: Vec<PointMachineRecord>,
    index: IndexReferenceRecord,
    below: Vec<IndexReferenceRecord>,
    stored_blocks: u64,
    stored_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct PointMachineRecord {
    number: u32,
    status: u8,
    captured_unix_secs: i64,
    copy: CopyRecord,
}

#[derive(Serialize, Deserialize)]
struct RetirementRecord {
    since: u64,
    what: u8,
    id: u64,
    list_digest: Option<[u8; 32]>,
    bytes: u64,
}

impl WireFormat for Head {
    /// The bytes of the head.
    ///
    /// # Errors
    /// `Invalid` if a point has a machine without a number, or for anything else that [`Head::decode`] would refuse;
    /// `Long` past [`HEAD_BYTES_MAX`].
    fn encode(&self) -> Result<Vec<u8>> {
        let numbers: BTreeMap<&MachineName, u32> = self.machines.iter().zip(0..).collect();
        let encode = |points: &[RestorePoint]| -> Result<Vec<_>> {
            points.iter().map(|point| encode_point(point, &numbers)).collect()
        };
        let files = self.files.iter().map(|(id, file)| FileRecord {
            id: id.stored(),
            length: file.length,
            live_bytes: file.live_bytes,
            retain_until_unix_secs: file.retain_until.map(Timestamp::unix_secs),
        });
        let retired = self.retired.iter().map(|retirement| {
            let (what, id, list_digest) = match retirement.what {
                RetiredObject::File(id) => (0, id, None),
                RetiredObject::Index(id) => (1, id, None),
                RetiredObject::Ranges { list, digest } => (2, list, Some(digest.0)),
            };
            RetirementRecord { since: retirement.since, what, id: id.stored(), list_digest, bytes: retirement.bytes }
        });
        let texts = |name: &MachineName, containers: bool| -> Vec<String> {
            let Some(labels) = self.labels.get(name) else { return Vec::new() };
            if containers {
                labels.containers().map(str::to_owned).collect()
            } else {
                labels.tags().map(str::to_owned).collect()
            }
        };
        let machine = |name: &MachineName| MachineRecord {
            name: name.as_str().to_owned(),
            last_selected_unix_secs: self.last_selected.get(name).map(|time| time.unix_secs()),
            tags: texts(name, false),
            containers: texts(name, true),
        };
        let record = HeadRecord {
            folder: self.folder,
            number: self.number,
            commit: self.commit,
            ancestry: self.ancestry.clone(),
            boundary: self.boundary,
            epoch: self.epoch,
            sealed_epoch: self.sealed_epoch,
            lease: self.lease.as_ref().map(|lease| (lease.holder.clone(), lease.duration_secs)),
            role: match self.role {
                Role::Backup => 0,
                Role::Copy => 1,
            },
            block_bytes: self.chain.block_size().bytes(),
            alignment_bytes: self.alignment_bytes,
            next_sequence: self.next_sequence.0,
            clock_unix_secs: self.clock.unix_secs(),
            machines: self.machines.iter().map(machine).collect(),
            settled_policy: self.settled_policy,
            compacted_unix_secs: self.compacted.map(Timestamp::unix_secs),
            brings_history: self.brings_history,
            files: files.collect(),
            archives: encode(self.chain.archives())?,
            points: encode(self.chain.points())?,
            retired: retired.collect(),
        };
        let bytes = encode_record(Kind::Head, &record)?;
        // A head that cannot be read back would lock its writer out of the folder. Heads are small and rare.
        if Self::decode(&bytes)? != *self {
            return Err(FormatError::invalid(WHAT, "it does not read back as what was written"));
        }
        Ok(bytes)
    }

    /// Decodes a head.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let record: HeadRecord = decode_record(Kind::Head, bytes)?;
        let invalid = |why: &str| FormatError::invalid(WHAT, why);
        if record.number == 0 || record.boundary >= record.number {
            return Err(invalid("its number is not above its boundary"));
        }
        if record.sealed_epoch > record.epoch {
            return Err(invalid("it was taken over from a writer that is yet to come"));
        }
        if !record.alignment_bytes.is_power_of_two() {
            return Err(invalid("its alignment is no power of two"));
        }
        let machines: Vec<MachineName> = record
            .machines
            .iter()
            .map(|machine| MachineName::new(&machine.name).map_err(|error| FormatError::invalid(WHAT, error)))
            .collect::<Result<_>>()?;
        let mut last_selected = BTreeMap::new();
        for (name, machine) in machines.iter().zip(&record.machines) {
            if let Some(secs) = machine.last_selected_unix_secs {
                last_selected.insert(name.clone(), decode_time(secs)?);
            }
        }
        let mut labels = BTreeMap::new();
        for (name, machine) in machines.iter().zip(&record.machines) {
            let own = Labels::new(machine.tags.iter().cloned(), machine.containers.iter().cloned());
            let own = own.map_err(|error| FormatError::invalid(WHAT, error))?;
            if !own.tags().eq(machine.tags.iter()) || !own.containers().eq(machine.containers.iter()) {
                return Err(invalid("the labels of a machine are out of order"));
            }
            if !own.is_empty() {
                labels.insert(name.clone(), own);
            }
        }
        if machines.iter().collect::<BTreeSet<_>>().len() != machines.len() {
            return Err(invalid("a machine has two numbers"));
        }
        let block_size =
            BlockSize::from_bytes(record.block_bytes.into()).map_err(|error| FormatError::invalid(WHAT, error))?;
        let decode = |points: &[PointRecord]| -> Result<Vec<_>> {
            points.iter().map(|point| decode_point(point, &machines)).collect()
        };
        let (archives, points) = (decode(&record.archives)?, decode(&record.points)?);
        if archives.iter().chain(&points).any(|point| point.sequence.0 >= record.next_sequence) {
            return Err(invalid("a point has a number that was not given out"));
        }
        if !record.files.is_sorted_by(|left, right| left.id < right.id) {
            return Err(invalid("its files are out of order"));
        }
        let file = |file: &FileRecord| {
            let retain_until = file.retain_until_unix_secs.map(decode_time).transpose()?;
            if file.live_bytes > file.length {
                return Err(invalid("more of a file is referred to than it has"));
            }
            let FileRecord { id, length, live_bytes, .. } = *file;
            Ok((ObjectId::from_stored(id), FileState { length, live_bytes, retain_until }))
        };
        let retirement = |retirement: &RetirementRecord| {
            let id = ObjectId::from_stored(retirement.id);
            let what = match (retirement.what, retirement.list_digest) {
                (0, None) => RetiredObject::File(id),
                (1, None) => RetiredObject::Index(id),
                (2, Some(digest)) => RetiredObject::Ranges { list: id, digest: Digest(digest) },
                (0..=2, _) => {
                    return Err(invalid("a release list has a digest, and nothing else that is retired has one"));
                }
                (other, _) => return Err(FormatError::invalid(WHAT, format!("retired object of kind {other}"))),
            };
            if retirement.since > record.number {
                return Err(invalid("something is retired since a later head"));
            }
            Ok(Retirement { since: retirement.since, what, bytes: retirement.bytes })
        };
        let files: BTreeMap<_, _> = record.files.iter().map(file).collect::<Result<_>>()?;
        let order: Vec<Sequence> = archives.iter().map(|archive| archive.sequence).collect();
        let chain = Chain::with_archives(block_size, archives, points)?;
        if !chain.archives().iter().map(|archive| archive.sequence).eq(order) {
            return Err(invalid("its archives are out of order"));
        }
        let retired: Vec<_> = record.retired.iter().map(retirement).collect::<Result<_>>()?;
        let indexes: BTreeSet<ObjectId> = chain.indexes().map(|index| index.id).collect();
        let is_referred = |retirement: &Retirement| match retirement.what {
            RetiredObject::File(id) => files.contains_key(&id),
            RetiredObject::Index(id) => indexes.contains(&id),
            RetiredObject::Ranges { .. } => false,
        };
        if retired.iter().any(is_referred) {
            return Err(invalid("something is retired and referred to"));
        }
        let lengths = files.values().map(|file| file.length).chain(chain.indexes().map(|index| index.length));
        let lengths = lengths.chain(retired.iter().map(|retirement| retirement.bytes));
        if lengths.chain(chain.all().map(|point| point.stored.bytes)).try_fold(0, u64::checked_add).is_none() {
            return Err(invalid("what it refers to is longer than any place has room for"));
        }
        Ok(Self {
            folder: record.folder,
            number: record.number,
            commit: record.commit,
            ancestry: record.ancestry,
            boundary: record.boundary,
            epoch: record.epoch,
            sealed_epoch: record.sealed_epoch,
            lease: record.lease.map(|(holder, duration_secs)| Lease { holder, duration_secs }),
            role: match record.role {
                0 => Role::Backup,
                1 => Role::Copy,
                other => return Err(FormatError::invalid(WHAT, format!("role {other} is not known"))),
            },
            alignment_bytes: record.alignment_bytes,
            next_sequence: Sequence(record.next_sequence),
            clock: decode_time(record.clock_unix_secs)?,
            machines,
            last_selected,
            labels,
            settled_policy: record.settled_policy,
            compacted: record.compacted_unix_secs.map(decode_time).transpose()?,
            brings_history: record.brings_history,
            files,
            chain,
            retired,
        })
    }
}

fn encode_point(point: &RestorePoint, numbers: &BTreeMap<&MachineName, u32>) -> Result<PointRecord> {
    let machine = |machine: &MachineState| {
        let number = *numbers
            .get(&machine.name)
            .ok_or_else(|| FormatError::invalid(WHAT, format!("machine {} has no number", machine.name)))?;
        Ok(PointMachineRecord {
            number,
            status: encode_status(machine.status),
            captured_unix_secs: machine.captured.unix_secs(),
            copy: CopyRecord::of(machine),
        })
    };
    Ok(PointRecord {
        sequence: point.sequence.0,
        time_unix_secs: point.time.unix_secs(),
        kind: encode_kind(point.kind, point.is_back_filled),
        flags: point.flags.stored(),
        machines: point.machines.iter().map(machine).collect::<Result<_>>()?,
        index: IndexReferenceRecord::of(&point.index),
        below: point.below.iter().map(IndexReferenceRecord::of).collect(),
        stored_blocks: point.stored.blocks,
        stored_bytes: point.stored.bytes,
    })
}

fn decode_point(point: &PointRecord, names: &[MachineName]) -> Result<RestorePoint> {
    let machine = |machine: &PointMachineRecord| {
        let name = names.get(machine.number as usize);
        let name = name.ok_or_else(|| FormatError::invalid(WHAT, "a point has a machine without a name"))?.clone();
        machine.copy.state(WHAT, name, machine.status, machine.captured_unix_secs)
    };
    let (kind, is_back_filled) = decode_kind(point.kind)?;
    Ok(RestorePoint {
        sequence: Sequence(point.sequence),
        time: decode_time(point.time_unix_secs)?,
        kind,
        is_back_filled,
        flags: Flags::from_stored(point.flags).ok_or_else(|| FormatError::invalid(WHAT, "a flag is not known"))?,
        machines: point.machines.iter().map(machine).collect::<Result<_>>()?,
        index: point.index.reference(),
        below: point.below.iter().map(IndexReferenceRecord::reference).collect(),
        stored: Stored { blocks: point.stored_blocks, bytes: point.stored_bytes },
    })
}
