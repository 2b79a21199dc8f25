//! Generated disks of virtual machines, for the demonstration and the benchmarks.
//!
//! A [`Disk`] is a function of its name, a seed and a size. It has versions. Version 0 is the state of the first backup. Each later
//! version changes a small part of the one before, as a day of work does. The same arguments give the same bytes everywhere and
//! always. So nothing has to be stored to know what a restored disk must hold: [`Disk::at`] returns it block by block.
//!
//! A [`Profile`] says what the disks are like. A part of the disk was never written, a part does not compress, and the rest
//! compresses about 2:1 under zstd. Machines with one seed have a part in common, as machines from one template do. Changes fall
//! mostly on a hot part of the disk, half of them as single pages.

mod content;
mod draw;
mod image;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

pub use content::Kind;
pub use image::Image;

use draw::{Stream, hash, share_of, spread};

/// The number of bytes in a page, the smallest piece of a disk that a version changes.
pub const PAGE_BYTES: usize = 4096;

/// The number of bytes in a block of the generator. A job may store the disk in blocks of another size.
pub const BLOCK_BYTES: usize = 1 << 20;

/// The number of pages in a block.
pub const BLOCK_PAGES: usize = BLOCK_BYTES / PAGE_BYTES;

/// The largest number of pages that a version changes in a block without rewriting it completely.
const SCATTERED_PAGES_MAX: usize = 32;

/// The purposes of hashes. Two purposes with one number would move together.
mod purpose {
    pub(super) const KIND: u64 = 1;
    pub(super) const HOT: u64 = 2;
    pub(super) const FIRST_CONTENT: u64 = 3;
    pub(super) const CONTENT: u64 = 4;
    pub(super) const CHANGED: u64 = 5;
    pub(super) const WHOLE: u64 = 6;
    pub(super) const PAGES: u64 = 7;
}

/// How much of a disk a version changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Changes {
    /// About this share of the blocks. Half of them are in the hot part, and some change only in scattered pages.
    Share(f64),
    /// Exactly this many blocks, or all if there are fewer, anywhere and rewritten completely. The increment stays the same while
    /// the disk around it grows.
    WholeBlocks(u64),
}

/// What a disk is like. Shares are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// The number of blocks of one kind that lie together.
    pub extent_blocks: u64,
    /// The share that was never written. It stays a hole in the file.
    pub zero: f64,
    /// The share that does not compress. The rest is mixed, and compresses about 2:1 under zstd.
    pub incompressible: f64,
    /// The share that all machines of one seed have in common. It is the first part of the disk, as a template leaves it.
    pub shared: f64,
    /// What each version changes.
    pub changes: Changes,
    /// The part of the disk that takes half of the changes.
    pub hot: f64,
    /// The share of the changed blocks that is rewritten completely. The others get 1 to 32 scattered pages.
    pub whole: f64,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            extent_blocks: 16,
            zero: 0.20,
            incompressible: 0.20,
            shared: 0.15,
            changes: Changes::Share(0.05),
            hot: 0.10,
            whole: 0.5,
        }
    }
}

impl Profile {
    /// Returns the usual profile, with extents small enough that a disk of `size_mib` has some of each kind.
    #[must_use]
    pub fn for_size(size_mib: u64) -> Self {
        let usual = Self::default();
        Self { extent_blocks: (size_mib / 64).clamp(1, usual.extent_blocks), ..usual }
    }
}

/// The pages of one block that a version wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedBlock {
    /// The number of the block. Its position in bytes is the number times [`BLOCK_BYTES`].
    pub block: u64,
    pages: PageSet,
}

impl ChangedBlock {
    /// Returns `true` if the complete block was rewritten.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.pages == PageSet::ALL
    }

    /// Returns the number of bytes that were rewritten.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages.count() * PAGE_BYTES as u64
    }
}

/// A disk of a machine, in all its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// The name of the disk. Machines, and disks of one machine, with other names have other content.
    pub name: String,
    /// The seed of the complete workload. Disks of one seed share a part of their content.
    pub seed: u64,
    /// The size in MiB, which is also the number of blocks.
    pub size_mib: u64,
    /// What the disk is like.
    pub profile: Profile,
}

impl Disk {
    /// A disk with the usual profile for its size.
    #[must_use]
    pub fn new(name: &str, seed: u64, size_mib: u64) -> Self {
        Self { name: name.to_owned(), seed, size_mib, profile: Profile::for_size(size_mib) }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_mib * BLOCK_BYTES as u64
    }

    /// Returns the kind of the block's content when the disk was made.
    #[must_use]
    pub fn kind(&self, block: u64) -> Kind {
        let owner = if self.is_shared(block) { self.seed } else { self.own() };
        let draw = spread(hash(&[owner, purpose::KIND]), self.extent_of(block), draw::GOLDEN);
        if draw < self.profile.zero {
            Kind::Zero
        } else if draw < self.profile.zero + self.profile.incompressible {
            Kind::Incompressible
        } else {
            Kind::Mixed
        }
    }

    /// Returns what `version` changed in the version before it, in order of blocks. Version 0 changed nothing.
    #[must_use]
    pub fn changes(&self, version: u32) -> Vec<ChangedBlock> {
        if version == 0 {
            return Vec::new();
        }
        match self.profile.changes {
            Changes::Share(share) => (0..self.size_mib)
                .filter(|&block| self.draw(purpose::CHANGED, version, block) < self.change_probability(block, share))
                .map(|block| ChangedBlock { block, pages: self.changed_pages(block, version) })
                .collect(),
            Changes::WholeBlocks(count) => {
                let mut ranked: Vec<(u64, u64)> = (0..self.size_mib)
                    .map(|block| (hash(&[self.own(), purpose::CHANGED, u64::from(version), block]), block))
                    .collect();
                ranked.sort_unstable();
                ranked.truncate(usize::try_from(count).unwrap_or(usize::MAX));
                let mut blocks: Vec<u64> = ranked.into_iter().map(|(_, block)| block).collect();
                blocks.sort_unstable();
                blocks.into_iter().map(|block| ChangedBlock { block, pages: PageSet::ALL }).collect()
            }
        }
    }

    /// Returns the number of bytes that `version` rewrote, to the page. In blocks of 1 MiB, it is the number of [`Self::changes`]
    /// times the block size.
    #[must_use]
    pub fn changed_bytes(&self, version: u32) -> u64 {
        self.changes(version).iter().map(ChangedBlock::bytes).sum()
    }

    /// Returns the content of the disk at `version`.
    #[must_use]
    pub fn at(&self, version: u32) -> Image<'_> {
        Image::new(self, version)
    }

    /// Writes the disk at `version` to a new file at `path`. The parts that were never written stay holes.
    ///
    /// # Errors
    /// An error if the file cannot be created or written.
    pub fn write_full(&self, path: &Path, version: u32) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        self.at(version).write_to(&mut file)
    }

    /// Turns the file at `path` from the version before `version` into `version`, in place. It writes only what changed. Returns
    /// the number of written bytes.
    ///
    /// # Errors
    /// An error if the file does not exist, has another size than the disk, or cannot be written.
    pub fn apply(&self, path: &Path, version: u32) -> io::Result<u64> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() != self.size_bytes() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a file of {} MiB", self.size_mib)));
        }
        image::write_changes(self, version, &mut file)
    }

    /// Returns `true` if the file at `path` is the disk at `version`, to the last byte.
    ///
    /// # Errors
    /// An error if the file cannot be read.
    pub fn is_same(&self, path: &Path, version: u32) -> io::Result<bool> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != self.size_bytes() {
            return Ok(false);
        }
        let content = self.at(version);
        let (mut expected, mut found) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
        for block in 0..self.size_mib {
            content.read_block(block, &mut expected);
            file.read_exact(&mut found)?;
            if expected != found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the hash of what makes this disk different from all others.
    fn own(&self) -> u64 {
        self.name.bytes().fold(hash(&[self.seed]), |so_far, byte| hash(&[so_far, u64::from(byte)]))
    }

    fn extent_of(&self, block: u64) -> u64 {
        block / self.profile.extent_blocks.max(1)
    }

    fn is_shared(&self, block: u64) -> bool {
        self.extent_of(block) as f64 + 0.5 < self.profile.shared * self.extent_of(self.size_mib) as f64
    }

    fn is_hot(&self, block: u64) -> bool {
        spread(hash(&[self.own(), purpose::HOT]), self.extent_of(block), draw::SQRT_2) < self.profile.hot
    }

    /// Returns the seed of the content of `block`, as `version` wrote it.
    fn content_seed(&self, block: u64, version: u32) -> u64 {
        if version == 0 && self.is_shared(block) {
            hash(&[self.seed, purpose::FIRST_CONTENT, block])
        } else {
            hash(&[self.own(), purpose::CONTENT, u64::from(version), block])
        }
    }

    fn draw(&self, purpose: u64, version: u32, block: u64) -> f64 {
        share_of(hash(&[self.own(), purpose, u64::from(version), block]))
    }

    /// Returns how likely a version changes `block`. Half of the changes fall on the hot part, and half on the rest.
    fn change_probability(&self, block: u64, share: f64) -> f64 {
        let hot = self.profile.hot.clamp(0.0, 1.0);
        if hot == 0.0 || hot == 1.0 {
            share
        } else if self.is_hot(block) {
            share * 0.5 / hot
        } else {
            share * 0.5 / (1.0 - hot)
        }
    }

    fn changed_pages(&self, block: u64, version: u32) -> PageSet {
        if self.draw(purpose::WHOLE, version, block) < self.profile.whole {
            return PageSet::ALL;
        }
        let mut stream = Stream::new(hash(&[self.own(), purpose::PAGES, u64::from(version), block]));
        let mut pages = PageSet::NONE;
        for _ in 0..=stream.below(SCATTERED_PAGES_MAX) {
            pages.insert(stream.below(BLOCK_PAGES));
        }
        pages
    }
}

/// A set of pages of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageSet([u64; BLOCK_PAGES / 64]);

impl PageSet {
    const NONE: Self = Self([0; BLOCK_PAGES / 64]);
    const ALL: Self = Self([u64::MAX; BLOCK_PAGES / 64]);

    fn insert(&mut self, page: usize) {
        self.0[page / 64] |= 1 << (page % 64);
    }

    fn contains(&self, page: usize) -> bool {
        self.0[page / 64] >> (page % 64) & 1 == 1
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Returns the pages of the set as ranges, each as long as possible.
    fn runs(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = (next..BLOCK_PAGES).find(|&page| self.contains(page))?;
            next = (start..BLOCK_PAGES).find(|&page| !self.contains(page)).unwrap_or(BLOCK_PAGES);
            Some(start..next)
        })
    }
}
