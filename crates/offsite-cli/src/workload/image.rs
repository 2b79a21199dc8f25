//! A disk at one of its versions.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::content::{Kind, fill_page};
use super::draw::hash;
use super::{BLOCK_BYTES, BLOCK_PAGES, Disk, PAGE_BYTES, PageSet};

/// The version that last wrote each page of a block.
type Origins = [u32; BLOCK_PAGES];

/// The content of a disk at a version. It is known without a file.
#[derive(Debug)]
pub struct Image<'a> {
    disk: &'a Disk,
    /// The blocks that a version up to this one changed. Version 0 in an entry means: as the disk was made.
    changed: BTreeMap<u64, Box<Origins>>,
}

impl<'a> Image<'a> {
    pub(super) fn new(disk: &'a Disk, version: u32) -> Self {
        let mut changed: BTreeMap<u64, Box<Origins>> = BTreeMap::new();
        for earlier in 1..=version {
            for change in disk.changes(earlier) {
                let origins = changed.entry(change.block).or_insert_with(|| Box::new([0; BLOCK_PAGES]));
                for page in change.pages.runs().flatten() {
                    origins[page] = earlier;
                }
            }
        }
        Self { disk, changed }
    }

    /// Returns `true` if no version up to this one wrote to `block`. It reads as zeros, and is a hole in the file.
    #[must_use]
    pub fn is_hole(&self, block: u64) -> bool {
        self.disk.kind(block) == Kind::Zero && !self.changed.contains_key(&block)
    }

    /// Fills `bytes` with the content of `block`. `bytes` must have the length [`BLOCK_BYTES`].
    ///
    /// # Panics
    /// If `bytes` has another length.
    pub fn read_block(&self, block: u64, bytes: &mut [u8]) {
        self.fill(block, bytes);
    }

    /// Fills `bytes` with the content of `block`. Returns the pages that were ever written.
    fn fill(&self, block: u64, bytes: &mut [u8]) -> PageSet {
        assert_eq!(bytes.len(), BLOCK_BYTES, "a block has {BLOCK_BYTES} bytes");
        let first_kind = self.disk.kind(block);
        let origins = self.changed.get(&block);
        let mut written = PageSet::NONE;
        for (page, bytes) in bytes.chunks_exact_mut(PAGE_BYTES).enumerate() {
            let version = origins.map_or(0, |origins| origins[page]);
            let kind = if version == 0 { first_kind } else { rewritten(first_kind) };
            fill_page(bytes, kind, page_seed(self.disk.content_seed(block, version), page));
            if kind != Kind::Zero {
                written.insert(page);
            }
        }
        written
    }

    /// Writes the image to an empty file.
    pub(super) fn write_to(&self, file: &mut File) -> io::Result<()> {
        file.set_len(self.disk.size_bytes())?;
        let mut bytes = vec![0; BLOCK_BYTES];
        for block in (0..self.disk.size_mib).filter(|&block| !self.is_hole(block)) {
            let written = self.fill(block, &mut bytes);
            write_pages(file, block, written, &bytes)?;
        }
        Ok(())
    }
}

/// Writes what `version` changed over the version before it. Returns the number of written bytes.
pub(super) fn write_changes(disk: &Disk, version: u32, file: &mut File) -> io::Result<u64> {
    let mut bytes = vec![0; BLOCK_BYTES];
    let mut written_bytes = 0;
    for change in disk.changes(version) {
        let kind = rewritten(disk.kind(change.block));
        let seed = disk.content_seed(change.block, version);
        for page in change.pages.runs().flatten() {
            let at = page * PAGE_BYTES;
            fill_page(&mut bytes[at..at + PAGE_BYTES], kind, page_seed(seed, page));
        }
        write_pages(file, change.block, change.pages, &bytes)?;
        written_bytes += change.bytes();
    }
    Ok(written_bytes)
}

/// Returns the kind of a block after a write. The block keeps its kind, but is no hole any more.
fn rewritten(first: Kind) -> Kind {
    if first == Kind::Zero { Kind::Mixed } else { first }
}

fn page_seed(content_seed: u64, page: usize) -> u64 {
    hash(&[content_seed, page as u64])
}

/// Writes the given pages of a block to their places.
fn write_pages(file: &mut File, block: u64, pages: PageSet, bytes: &[u8]) -> io::Result<()> {
    for run in pages.runs() {
        let (start, end) = (run.start * PAGE_BYTES, run.end * PAGE_BYTES);
        file.seek(SeekFrom::Start(block * BLOCK_BYTES as u64 + start as u64))?;
        file.write_all(&bytes[start..end])?;
    }
    Ok(())
}
