//! The pages of one disk in an index: fixed-width columns of a bounded number of runs each.
//!
//! A page is checked and decoded alone, so that who asks for a few blocks of a large disk reads a few pages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::disk_format::{decode_identity, encode_format};
use super::error::{FormatError, Result};
use crate::{BlockSize, Digest, DiskIdentity, DiskMap, DiskNumber, ObjectId, Run, StoredBlock};

const WHAT: &str = "index";
/// First block and count of a run of zeros.
const ZERO_ROW_BYTES: usize = 4 + 4;
/// Block, file, length, offset and digest of a stored block: the longest row.
pub(super) const STORED_ROW_BYTES: usize = 4 + 4 + 4 + 8 + 32;

/// The runs of a page; only the last page of a disk has fewer.
pub(super) const PAGE_RUNS: usize = 4096;

/// A disk in the directory of an index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DiskRecord {
    pub(super) number: u16,
    pub(super) name: String,
    pub(super) format: u8,
    pub(super) size_bytes: u64,
    pub(super) keeps_blocks: u32,
    pub(super) pages: Vec<PageRecord>,
}

/// A page in the directory of an index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PageRecord {
    pub(super) first_block: u32,
    pub(super) zero_rows: u32,
    pub(super) stored_rows: u32,
    pub(super) digest: [u8; 32],
}

impl DiskRecord {
    /// What the disk is known by.
    pub(super) fn identity(&self) -> Result<DiskIdentity> {
        decode_identity(WHAT, &self.name, self.format)
    }

    /// The length of the disk's pages.
    pub(super) fn part_bytes(&self) -> u64 {
        self.pages.iter().map(PageRecord::bytes).sum()
    }
}

impl PageRecord {
    /// The page's length.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.zero_rows) * ZERO_ROW_BYTES as u64 + u64::from(self.stored_rows) * STORED_ROW_BYTES as u64
    }
}

/// Appends the pages of a disk to `part`.
pub(super) fn encode_disk(
    number: DiskNumber,
    disk: &DiskMap,
    files: &BTreeMap<ObjectId, (u32, u64)>,
    part: &mut Vec<u8>,
) -> Result<DiskRecord> {
    let pages = disk.runs().chunks(PAGE_RUNS).map(|runs| encode_page(runs, files, part));
    Ok(DiskRecord {
        number: number.0,
        name: disk.identity().name.as_str().to_owned(),
        format: encode_format(disk.identity().format),
        size_bytes: disk.size_bytes(),
        keeps_blocks: disk.keeps_blocks(),
        pages: pages.collect::<Result<_>>()?,
    })
}

fn encode_page(runs: &[Run], files: &BTreeMap<ObjectId, (u32, u64)>, part: &mut Vec<u8>) -> Result<PageRecord> {
    let rows = |count: usize| u32::try_from(count).map_err(|_| FormatError::invalid(WHAT, "a page has too many runs"));
    let stored_rows = runs.iter().filter(|run| matches!(run, Run::Stored { .. })).count();
    let zero_rows = runs.len() - stored_rows;
    let start = part.len();
    part.resize(start + zero_rows * ZERO_ROW_BYTES + stored_rows * STORED_ROW_BYTES, 0);
    let (firsts, rest) = part[start..].split_at_mut(zero_rows * 4);
    let (counts, rest) = rest.split_at_mut(zero_rows * 4);
    let (blocks, rest) = rest.split_at_mut(stored_rows * 4);
    let (numbers, rest) = rest.split_at_mut(stored_rows * 4);
    let (lengths, rest) = rest.split_at_mut(stored_rows * 4);
    let (offsets, digests) = rest.split_at_mut(stored_rows * 8);
    let mut zeros = firsts.as_chunks_mut::<4>().0.iter_mut().zip(counts.as_chunks_mut::<4>().0);
    let stored = blocks.as_chunks_mut::<4>().0.iter_mut().zip(numbers.as_chunks_mut::<4>().0);
    let stored = stored.zip(lengths.as_chunks_mut::<4>().0).zip(offsets.as_chunks_mut::<8>().0);
    let mut stored = stored.zip(digests.as_chunks_mut::<32>().0);
    // Blocks of one file follow each other, so most look-ups are saved by remembering the last.
    let mut last: Option<(ObjectId, u32, u64)> = None;
    for run in runs {
        match run {
            Run::Zero { first, count } => {
                if let Some(row) = zeros.next() {
                    (*row.0, *row.1) = (first.to_le_bytes(), count.to_le_bytes());
                }
            }
            Run::Stored { block, at } => {
                let (_, number, file_bytes) = match last.filter(|(file, ..)| *file == at.file) {
                    Some(known) => known,
                    None => {
                        let (number, file_bytes) = files.get(&at.file).ok_or_else(|| {
                            FormatError::invalid(
                                WHAT,
                                format!("block {block} lies in {}, which is not listed", at.file),
                            )
                        })?;
                        *last.insert((at.file, *number, *file_bytes))
                    }
                };
                check_place(*block, at.file, at.offset, at.length, file_bytes)?;
                if let Some(((((to_block, to_number), to_length), to_offset), to_digest)) = stored.next() {
                    (*to_block, *to_number) = (block.to_le_bytes(), number.to_le_bytes());
                    (*to_length, *to_offset) = (at.length.to_le_bytes(), at.offset.to_le_bytes());
                    *to_digest = at.digest.0;
                }
            }
        }
    }
    Ok(PageRecord {
        first_block: runs.first().map_or(0, Run::first),
        zero_rows: rows(zero_rows)?,
        stored_rows: rows(stored_rows)?,
        digest: Digest::of(&part[start..]).0,
    })
}

/// The disk whose pages are `columns`, of the length that `record` says.
pub(super) fn decode_disk(
    record: &DiskRecord,
    columns: &[u8],
    block_size: BlockSize,
    files: &[(ObjectId, u64)],
) -> Result<DiskMap> {
    let rows: usize = record.pages.iter().map(|page| page.zero_rows as usize + page.stored_rows as usize).sum();
    let mut runs = Vec::with_capacity(rows);
    let mut rest = columns;
    for page in &record.pages {
        // The sum of the pages is the slice's length, so this cannot run out.
        let (columns, after) = rest.split_at(usize::try_from(page.bytes()).unwrap_or(usize::MAX));
        rest = after;
        decode_page(page, columns, files, &mut runs)?;
    }
    let is_last = |number: usize| number + 1 == record.pages.len();
    let is_short = |page: &PageRecord| page.zero_rows as usize + page.stored_rows as usize != PAGE_RUNS;
    let block_count = block_size.count(record.size_bytes);
    let map = DiskMap::new(record.identity()?, record.size_bytes, block_count, record.keeps_blocks, runs)?;
    // One map has one spelling: neighbouring zeros are one row, the bound is the smallest, and pages are full.
    if map.runs().len() != rows
        || map.keeps_blocks() != record.keeps_blocks
        || record.pages.iter().enumerate().any(|(number, page)| is_short(page) && !is_last(number))
    {
        return Err(FormatError::invalid(WHAT, "a disk is not written in the one valid way"));
    }
    Ok(map)
}

/// Appends the runs of a page, whose bytes are `columns`, of the length that `record` says.
pub(super) fn decode_page(
    record: &PageRecord,
    columns: &[u8],
    files: &[(ObjectId, u64)],
    runs: &mut Vec<Run>,
) -> Result<()> {
    if Digest::of(columns).0 != record.digest {
        return Err(FormatError::Checksum(WHAT));
    }
    let (zero_rows, stored_rows) = (record.zero_rows as usize, record.stored_rows as usize);
    let start = runs.len();
    let (firsts, rest) = columns.split_at(zero_rows * 4);
    let (counts, rest) = rest.split_at(zero_rows * 4);
    let (blocks, rest) = rest.split_at(stored_rows * 4);
    let (file_numbers, rest) = rest.split_at(stored_rows * 4);
    let (lengths, rest) = rest.split_at(stored_rows * 4);
    let (offsets, digests) = rest.split_at(stored_rows * 8);

    let mut zeros = words(firsts).zip(words(counts)).map(|(first, count)| Run::Zero { first, count }).peekable();
    let rows = words(blocks).zip(words(file_numbers)).zip(words(lengths));
    let rows = rows.zip(offsets.as_chunks::<8>().0).zip(digests.as_chunks::<32>().0);
    for ((((block, file), length), offset), digest) in rows {
        while let Some(zero) = zeros.next_if(|zero| zero.end() <= block.into()) {
            runs.push(zero);
        }
        let offset = u64::from_le_bytes(*offset);
        let Some((file, file_bytes)) = files.get(file as usize) else {
            return Err(FormatError::invalid(WHAT, format!("block {block} lies in a file that is not listed")));
        };
        check_place(block, *file, offset, length, *file_bytes)?;
        runs.push(Run::Stored { block, at: StoredBlock { file: *file, offset, length, digest: Digest(*digest) } });
    }
    runs.extend(zeros);
    if runs.get(start).map(Run::first) != Some(record.first_block) {
        return Err(FormatError::invalid(WHAT, "a page does not start where its directory says"));
    }
    Ok(())
}

fn check_place(block: u32, file: ObjectId, offset: u64, length: u32, file_bytes: u64) -> Result<()> {
    match offset.checked_add(length.into()) {
        Some(end) if end <= file_bytes => Ok(()),
        _ => Err(FormatError::invalid(WHAT, format!("block {block} lies past the end of file {file}"))),
    }
}

fn words(column: &[u8]) -> impl Iterator<Item = u32> + '_ {
    column.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(zeros: &[(u32, u32)], keeps_blocks: u32) -> Result<DiskMap> {
        let zero_rows = u32::try_from(zeros.len()).unwrap();
        let firsts = zeros.iter().flat_map(|(first, _)| first.to_le_bytes());
        let columns: Vec<u8> = firsts.chain(zeros.iter().flat_map(|(_, count)| count.to_le_bytes())).collect();
        let first_block = zeros.first().map_or(0, |(first, _)| *first);
        let page = PageRecord { first_block, zero_rows, stored_rows: 0, digest: Digest::of(&columns).0 };
        let (name, size_bytes) = ("vda".to_owned(), 10 << 20);
        let record = DiskRecord { number: 0, name, format: 0, size_bytes, keeps_blocks, pages: vec![page] };
        decode_disk(&record, &columns, BlockSize::MiB1, &[])
    }

    #[test]
    fn a_disk_has_one_spelling() {
        assert!(decode(&[(1, 2), (4, 1)], 10).is_ok());
        assert!(decode(&[(1, 2), (3, 1)], 10).is_err(), "neighbouring zeros in two rows");
        assert!(decode(&[(4, 1), (1, 2)], 10).is_err(), "rows out of order");
        assert!(decode(&[(1, 0)], 10).is_err(), "an empty row");
        assert!(decode(&[(8, 3)], 10).is_err(), "a row past the end");
        assert!(decode(&[(7, 3)], 7).is_ok());
        assert!(decode(&[(7, 3)], 10).is_err(), "a bound that could be smaller");
        assert!(decode(&[(1, 2)], 11).is_err(), "a bound past the end");
        assert!(decode(&[(u32::MAX, u32::MAX)], 0).is_err());
    }
}
