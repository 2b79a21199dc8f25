//! The directory of an index: what it says but for the blocks, and where the pages of those lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::columns::{PageRecord, decode_disk, decode_page};
use super::error::{FormatError, Result};
use super::index_record::{
    DirectoryRecord, INDEX_BYTES_MAX, IndexReferenceRecord, MachineRecord, WHAT, check_base, decode_kind, decode_time,
};
use super::{ENVELOPE_BYTES, Envelope, Kind, codec};
use crate::{
    BlockMap, BlockSize, Coverage, Digest, DiskIdentity, DiskMap, DiskNumber, FolderId, IndexReference, MachineMap,
    MachineName, MachineNumber, MachineState, ObjectId, PointKind, Run, Sequence, Status, StoredBlock, Timestamp,
};

/// The directory of an index: everything but the blocks.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The job folder.
    pub folder: FolderId,
    /// The index's own id.
    pub id: ObjectId,
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The time of the restore point.
    pub time: Timestamp,
    /// What the point needs beside its indexes.
    pub kind: PointKind,
    /// Whether the point is an archive that was made later, from an older point of the source.
    pub is_back_filled: bool,
    /// The point whose state this one changes: the one before an increment, the one after a rollback; a full has none.
    pub base: Option<Sequence>,
    /// The size of a block.
    pub block_size: BlockSize,
    /// The indexes that this one stands on, lowest first.
    pub below: Vec<IndexReference>,
    /// The machines, with their numbers in the job folder.
    pub machines: Vec<(MachineState, MachineNumber)>,
    pub(super) files: Vec<(ObjectId, u64)>,
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
        let parts_start = ENVELOPE_BYTES as u64 + envelope.record_bytes;
        let mut end = parts_start;
        let mut machines = Vec::with_capacity(record.machines.len());
        let mut parts = Vec::with_capacity(record.machines.len());
        for machine in record.machines {
            let name = MachineName::new(&machine.name).map_err(|error| FormatError::invalid(WHAT, error))?;
            let state = machine.copy.state(WHAT, name, machine.status, machine.captured_unix_secs)?;
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
        let mut disks = parts.iter().flat_map(|(_, machine)| &machine.disks);
        if !disks.all(|disks| disks.is_sorted_by(|left, right| left.number < right.number)) {
            return Err(FormatError::invalid(WHAT, "its disks are out of order"));
        }
        for (_, machine) in &parts {
            let mut names = BTreeSet::new();
            for disk in machine.disks.iter().flatten() {
                if !names.insert(disk.identity()?.name) {
                    return Err(FormatError::invalid(WHAT, "two disks of a machine have one name"));
                }
            }
        }
        let (sequence, (kind, is_back_filled)) = (Sequence(record.sequence), decode_kind(record.kind)?);
        let base = record.base.map(Sequence);
        check_base(kind, sequence, base)?;
        Ok(Self {
            folder: record.folder,
            id: ObjectId::from_stored(record.id),
            sequence,
            time: decode_time(record.time_unix_secs)?,
            kind,
            is_back_filled,
            base,
            block_size,
            below: record.below.iter().map(IndexReferenceRecord::reference).collect(),
            machines,
            files,
            parts,
            parts_start,
        })
    }

    /// What the head refers to the index by: its id, its length, and the digest of the directory, which `bytes` begin with.
    ///
    /// # Errors
    /// [`FormatError`] if `bytes` do not begin with a directory.
    pub fn reference(&self, bytes: &[u8]) -> Result<IndexReference> {
        let record = Envelope::decode(Kind::Index, bytes)?.record(bytes)?;
        Ok(IndexReference::new(self.id, self.length(), Digest::of(record)))
    }

    /// The backup files that hold the index's own blocks, oldest first.
    pub fn files(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.files.iter().map(|(id, _)| *id)
    }

    /// How long a backup file was when the index was written, if the index lists it. No row lies past that.
    #[must_use]
    pub fn file_bytes(&self, file: ObjectId) -> Option<u64> {
        self.files.iter().find(|(id, _)| *id == file).map(|(_, length)| *length)
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

    /// The disks of the `position`-th machine, with what each is known by and its size in bytes. It returns `None` if only the
    /// indexes below speak of it.
    #[must_use]
    pub fn disks(&self, position: usize) -> Option<Vec<(DiskNumber, DiskIdentity, u64)>> {
        let disks = self.parts.get(position)?.1.disks.as_ref()?.iter();
        disks.map(|disk| Some((DiskNumber(disk.number), disk.identity().ok()?, disk.size_bytes))).collect()
    }

    /// Decodes the part of the `position`-th machine; none, if only the indexes below speak of it.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    pub fn decode_part(&self, position: usize, bytes: &[u8]) -> Result<Option<MachineMap>> {
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
        let mut rest = bytes;
        let mut disks = BTreeMap::new();
        let Some(records) = &record.disks else { return Ok(None) };
        for disk in records {
            // The sum of the disks' parts is the slice's length, so this cannot run out.
            let (columns, after) = rest.split_at(usize::try_from(disk.part_bytes()).unwrap_or(usize::MAX));
            rest = after;
            let map = decode_disk(disk, columns, self.block_size, &self.files)?;
            disks.insert(DiskNumber(disk.number), map);
        }
        Ok(Some(MachineMap { captured: state.captured, disks }))
    }
}

/// A page of a disk in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    machine: usize,
    disk: usize,
    number: usize,
    range: Range<u64>,
}

impl Page {
    /// Where it lies in the index.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

/// A stored block of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The position of its machine in [`Directory::machines`].
    pub machine: usize,
    /// The disk.
    pub disk: DiskNumber,
    /// The number of the block on the disk.
    pub block: u32,
    /// The place of its frame.
    pub at: StoredBlock,
}

/// Going through all blocks, page by page.
impl Directory {
    /// All pages, in the order in which they lie in the index. Those of incomplete machines are left out.
    #[must_use]
    pub fn all_pages(&self) -> Vec<Page> {
        let mut pages = Vec::new();
        for (machine, (range, record)) in self.parts.iter().enumerate() {
            if self.machines[machine].0.status == Status::Incomplete {
                continue;
            }
            let mut start = range.start;
            for (disk, record) in record.disks.iter().flatten().enumerate() {
                for (number, page) in record.pages.iter().enumerate() {
                    let end = start + page.bytes();
                    pages.push(Page { machine, disk, number, range: start..end });
                    start = end;
                }
            }
        }
        pages
    }

    /// The stored blocks of a page, whose bytes are `bytes`.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    pub fn rows(&self, page: &Page, bytes: &[u8]) -> Result<Vec<Row>> {
        let disk = self.parts.get(page.machine).and_then(|(_, record)| record.disks.as_ref()?.get(page.disk));
        let record = disk.and_then(|disk| Some((DiskNumber(disk.number), disk.pages.get(page.number)?)));
        let (disk, record) = record.ok_or_else(|| FormatError::invalid(WHAT, "it has fewer pages"))?;
        let needed_bytes = record.bytes();
        if bytes.len() as u64 != needed_bytes {
            return Err(FormatError::Short { what: WHAT, bytes: bytes.len() as u64, needed_bytes });
        }
        let mut runs = Vec::new();
        decode_page(record, bytes, &self.files, &mut runs)?;
        let row = |run: Run| match run {
            Run::Stored { block, at } => Some(Row { machine: page.machine, disk, block, at }),
            Run::Zero { .. } => None,
        };
        Ok(runs.into_iter().filter_map(row).collect())
    }
}

/// Looking up a few blocks.
impl Directory {
    /// The pages that say something about the blocks of `coverage`, in the order in which they lie in the index.
    #[must_use]
    pub fn pages(&self, coverage: &Coverage) -> Vec<Page> {
        let mut pages = Vec::new();
        for (machine, (range, record)) in self.parts.iter().enumerate() {
            let name = &self.machines[machine].0.name;
            let mut start = range.start;
            for (disk, record) in record.disks.iter().flatten().enumerate() {
                // A disk that did not shrink is covered from its end on; that is no reason to read its last page.
                let count = u32::try_from(self.block_size.count(record.size_bytes)).unwrap_or(u32::MAX);
                for (number, page) in record.pages.iter().enumerate() {
                    let end = start + page.bytes();
                    let next = record.pages.get(number + 1).map_or(count, |next| next.first_block);
                    if coverage.touches(name, DiskNumber(record.number), page.first_block..next) {
                        pages.push(Page { machine, disk, number, range: start..end });
                    }
                    start = end;
                }
            }
        }
        pages
    }

    /// What `pages` say of the blocks of `coverage`, where `bytes` holds the bytes of each: a map that knows all machines
    /// of the coverage and of their disks those blocks.
    ///
    /// # Errors
    /// [`FormatError`] says what is damaged or contradictory.
    pub fn decode_pages(&self, coverage: &Coverage, pages: &[Page], bytes: &[impl AsRef<[u8]>]) -> Result<BlockMap> {
        let mut runs: BTreeMap<(usize, usize), Vec<Run>> = BTreeMap::new();
        for (page, bytes) in pages.iter().zip(bytes) {
            let record = self.parts.get(page.machine).and_then(|(_, record)| record.disks.as_ref()?.get(page.disk));
            let record: Option<&PageRecord> = record.and_then(|disk| disk.pages.get(page.number));
            let record = record.ok_or_else(|| FormatError::invalid(WHAT, "it has fewer pages"))?;
            let (bytes, needed_bytes) = (bytes.as_ref(), record.bytes());
            if bytes.len() as u64 != needed_bytes {
                return Err(FormatError::Short { what: WHAT, bytes: bytes.len() as u64, needed_bytes });
            }
            decode_page(record, bytes, &self.files, runs.entry((page.machine, page.disk)).or_default())?;
        }
        let mut map = BlockMap::empty();
        for (machine, (state, _)) in self.machines.iter().enumerate() {
            if state.status == Status::Incomplete || !coverage.names(&state.name) {
                continue;
            }
            let Some(records) = &self.parts[machine].1.disks else { continue };
            let mut disks = BTreeMap::new();
            for (disk, record) in records.iter().enumerate() {
                let runs = runs.remove(&(machine, disk)).unwrap_or_default();
                let count = self.block_size.count(record.size_bytes);
                disks.insert(
                    DiskNumber(record.number),
                    DiskMap::new(record.identity()?, record.size_bytes, count, record.keeps_blocks, runs)?,
                );
            }
            map.insert(state.name.clone(), MachineMap { captured: state.captured, disks });
        }
        Ok(map.restricted(coverage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::columns::DiskRecord;
    use crate::format::index_record::CopyRecord;

    /// The directory of an index whose one page claims so many rows.
    fn claiming(name: &str, zero_rows: u32, stored_rows: u32) -> Vec<u8> {
        let captured = Timestamp::from_unix_secs(0).unwrap();
        let state = MachineState::new(MachineName::new(name).unwrap(), Status::Complete, captured);
        let page = PageRecord { first_block: 0, zero_rows, stored_rows, digest: [0; 32] };
        let (number, disk_name, format) = (0, "vda".to_owned(), 0);
        let disk = DiskRecord { number, name: disk_name, format, size_bytes: 1, keeps_blocks: 0, pages: vec![page] };
        let machine = MachineRecord {
            name: name.to_owned(),
            number: 0,
            status: 0,
            captured_unix_secs: 0,
            copy: CopyRecord::of(&state),
            disks: Some(vec![disk]),
        };
        let record = DirectoryRecord {
            folder: FolderId::new([0; 16]),
            id: 0,
            sequence: 0,
            time_unix_secs: 0,
            kind: 0,
            base: None,
            block_bytes: BlockSize::MiB1.bytes(),
            below: vec![],
            files: vec![],
            machines: vec![machine],
        };
        let record = codec::encode(WHAT, &record).unwrap();
        [&Envelope::of(Kind::Index, &record).encode()[..], &record].concat()
    }

    #[test]
    fn an_index_may_be_as_long_as_the_limit_and_no_longer() {
        // A row has 8 bytes or 52, so the name makes the rest a multiple of four.
        let name =
            ["a", "ab", "abc", "abcd"].into_iter().find(|name| claiming(name, u32::MAX, 0).len().is_multiple_of(4));
        let name = name.unwrap();
        let left = INDEX_BYTES_MAX - claiming(name, u32::MAX, 0).len() as u64;
        let stored_rows = u32::from(left % 8 == 4);
        let zero_rows = u32::try_from((left - 52 * u64::from(stored_rows)) / 8).unwrap();
        let longest = Directory::decode(&claiming(name, zero_rows, stored_rows)).unwrap();
        assert_eq!(longest.length(), INDEX_BYTES_MAX);
        let longer = Directory::decode(&claiming(name, zero_rows + 1, stored_rows)).unwrap_err();
        assert_eq!(longer, FormatError::Long { what: WHAT, bytes: INDEX_BYTES_MAX + 8, limit_bytes: INDEX_BYTES_MAX });
    }
}
