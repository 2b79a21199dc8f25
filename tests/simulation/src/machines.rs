//! Machines whose disks cost nothing to read and little to store, and what they held at which time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use offsite::model::Digest;
use offsite::model::MachineName;
use offsite::{ImageSource, JobName};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::numbers::Numbers;

/// The size of a block: the least there is.
pub const BLOCK_BYTES: usize = 256 << 10;

/// The disks of each machine, in blocks and in bytes beyond them.
const MACHINES: [(&str, &[(usize, usize)]); 3] = [("vm0", &[(2, 0), (1, 0)]), ("vm1", &[(2, 777)]), ("vm2", &[(1, 0)])];

/// Machines, each with the images of its disks.
pub type Images = Vec<(MachineName, Vec<ImageSource>)>;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Zeros.
    Zero,
    /// Noise, so that its frame is longer than a sector, and one word again and again.
    Filled {
        /// Tells it from all others.
        value: u64,
        /// So many bytes of noise.
        noise_bytes: usize,
    },
}

impl Content {
    /// The bytes.
    #[must_use]
    pub fn plain(self, length: usize) -> Vec<u8> {
        let mut plain = vec![0; length];
        if let Self::Filled { value, noise_bytes } = self {
            let (noise, rest) = plain.split_at_mut(noise_bytes.min(length));
            let mut numbers = Numbers::new(value);
            noise.chunks_mut(8).for_each(|word| {
                let drawn = numbers.draw().to_le_bytes();
                word.copy_from_slice(&drawn[..word.len()]);
            });
            let word = value.to_le_bytes();
            rest.chunks_mut(8).for_each(|part| part.copy_from_slice(&word[..part.len()]));
        }
        plain
    }
}

/// What a disk held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskTruth {
    /// Its size.
    pub bytes: usize,
    /// Its blocks.
    pub blocks: Vec<Content>,
}

impl DiskTruth {
    /// The length of a block, the last one being what is left.
    #[must_use]
    pub fn length_of(&self, block: usize) -> usize {
        BLOCK_BYTES.min(self.bytes - block * BLOCK_BYTES)
    }

    /// All of its bytes.
    #[must_use]
    pub fn plain(&self) -> Vec<u8> {
        let blocks = self.blocks.iter().enumerate().map(|(block, content)| content.plain(self.length_of(block)));
        blocks.collect::<Vec<_>>().concat()
    }
}

/// The machines, as they are and as they were.
#[derive(Debug)]
pub struct Machines {
    folder: TempDir,
    disks: BTreeMap<&'static str, Vec<DiskTruth>>,
    past: BTreeMap<(String, i64), Vec<DiskTruth>>,
    digests: HashMap<(Content, usize), Digest>,
    numbers: Numbers,
    filled: u64,
}

impl Machines {
    /// New machines, full of data.
    ///
    /// # Panics
    /// If there is no place for their images.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let fast = Path::new("/dev/shm");
        let folder = if fast.is_dir() { TempDir::new_in(fast) } else { TempDir::new() };
        let folder = folder.unwrap_or_else(|error| panic!("no place for disk images: {error}"));
        let mut machines = Self {
            folder,
            disks: BTreeMap::new(),
            past: BTreeMap::new(),
            digests: HashMap::new(),
            numbers: Numbers::new(seed),
            filled: seed << 20,
        };
        for (name, disks) in MACHINES {
            let mut made = Vec::new();
            for (blocks, rest) in disks {
                let bytes = blocks * BLOCK_BYTES + rest;
                let blocks = (0..bytes.div_ceil(BLOCK_BYTES)).map(|_| machines.content()).collect();
                made.push(DiskTruth { bytes, blocks });
            }
            machines.disks.insert(name, made);
            machines.write(name);
        }
        machines
    }

    fn content(&mut self) -> Content {
        self.filled += 1;
        let noise_bytes = [0, 0, 700, 3_000][self.numbers.position(4)];
        match self.numbers.below(6) {
            0 => Content::Zero,
            _ => Content::Filled { value: self.filled, noise_bytes },
        }
    }

    /// Some machines write some blocks.
    pub fn change(&mut self) {
        for (name, _) in MACHINES {
            if self.numbers.one_in(2) {
                continue;
            }
            let disk = self.numbers.position(self.disks[name].len());
            let block = self.numbers.position(self.disks[name][disk].blocks.len());
            let content = self.content();
            if let Some(disks) = self.disks.get_mut(name) {
                disks[disk].blocks[block] = content;
            }
            self.write(name);
        }
    }

    /// Takes down what all machines hold at this time.
    pub fn record(&mut self, unix_secs: i64) {
        for (name, disks) in &self.disks {
            self.past.insert(((*name).to_owned(), unix_secs), disks.clone());
        }
    }

    /// What a machine held when it was captured.
    #[must_use]
    pub fn truth(&self, name: &str, captured_unix_secs: i64) -> Option<&[DiskTruth]> {
        self.past.get(&(name.to_owned(), captured_unix_secs)).map(Vec::as_slice)
    }

    /// The digest of a block.
    pub fn digest(&mut self, content: Content, length: usize) -> Digest {
        *self.digests.entry((content, length)).or_insert_with(|| Digest(Sha256::digest(content.plain(length)).into()))
    }

    /// The machines with their images, for a backup job.
    #[must_use]
    pub fn images(&self) -> Images {
        let of = |name: &str, disks: &[DiskTruth]| {
            (0..disks.len()).map(|disk| ImageSource::new(self.image(name, disk))).collect()
        };
        self.disks.iter().map(|(name, disks)| (machine(name), of(name, disks))).collect()
    }

    /// A folder to restore to.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn image(&self, name: &str, disk: usize) -> PathBuf {
        self.folder.path().join(format!("{name}.{disk}.img"))
    }

    fn write(&self, name: &str) {
        for (number, disk) in self.disks[name].iter().enumerate() {
            std::fs::write(self.image(name, number), disk.plain())
                .unwrap_or_else(|error| panic!("a disk image cannot be written: {error}"));
        }
    }
}

/// A machine's name.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn machine(name: &str) -> MachineName {
    MachineName::new(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A job's name.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn job(name: &str) -> JobName {
    JobName::new(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
