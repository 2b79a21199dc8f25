//! Indexes: where the blocks of a restore point lie.
//!
//! An envelope whose record is a directory, then one part per machine. A part is made of fixed-width columns, so that it
//! decodes at the speed of memory, and can be read and checked alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::columns::{DiskRecord, STORED_ROW_BYTES, encode_disk};
pub use super::directory::{Directory, Page, Row};
use super::error::{FormatError, Result};
pub use super::index_record::INDEX_BYTES_MAX;
use super::index_record::{
    CopyRecord, DirectoryRecord, FileRecord, IndexReferenceRecord, MachineRecord, WHAT, check_base, encode_kind,
    encode_status,
};
use super::{Envelope, Kind, WireFormat, codec};
use crate::retention::Flags;
use crate::{BlockMap, Index, ObjectId, RestorePoint, Status, Stored};

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
            kind: encode_kind(self.kind, self.is_back_filled),
            base: self.base.map(|base| base.0),
            block_bytes: self.block_size.bytes(),
            below: self.below.iter().map(IndexReferenceRecord::of).collect(),
            files: files.map(|(id, length)| FileRecord { id: id.stored(), length: *length }).collect(),
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
        let index = Self {
            folder: directory.folder,
            id: directory.id,
            sequence: directory.sequence,
            time: directory.time,
            kind: directory.kind,
            is_back_filled: directory.is_back_filled,
            base: directory.base,
            block_size: directory.block_size,
            below: directory.below,
            files: directory.files.into_iter().collect(),
            machines: directory.machines,
            map,
            spare,
        };
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
    let reference = Directory::decode(bytes)?.reference(bytes)?;
    Ok(RestorePoint {
        sequence: index.sequence,
        time: index.time,
        kind: index.kind,
        machines: index.machines.iter().map(|(state, _)| state.clone()).collect(),
        index: reference,
        below: index.below.clone(),
        stored: Stored::of(&index.map),
        flags: Flags::NONE,
        is_back_filled: index.is_back_filled,
    })
}

fn slice(bytes: &[u8], range: Range<u64>) -> Result<&[u8]> {
    let range = usize::try_from(range.start).unwrap_or(usize::MAX)..usize::try_from(range.end).unwrap_or(usize::MAX);
    let needed_bytes = range.end as u64;
    bytes.get(range).ok_or(FormatError::Short { what: WHAT, bytes: bytes.len() as u64, needed_bytes })
}
