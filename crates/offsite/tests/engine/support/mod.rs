//! Disks, repositories and clocks for tests of the engine.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod drive;
pub mod elsewhere;
pub mod gates;
pub mod objects;
pub mod truth;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite::model::BlockSize;
use offsite::model::MachineName;
use offsite::model::Sequence;
use offsite::model::Timestamp;
use offsite::report::{ErrorSummary, Unseen};
use offsite::retention::Simple;
use offsite::{BackupJob, CopyJob, ImageSource, JobName, OpenRepository, PointSelector, Restore};
use offsite_repository::Repository;
use offsite_repository::testing::{Memory, MemoryOptions};
use tempfile::TempDir;

/// 2026-11-01T22:00:00Z.
const START_UNIX_SECS: i64 = 1_793_570_400;
pub const BLOCK: usize = 256 << 10;

/// The evening of a day, counted from 0.
pub fn day(number: i64) -> Timestamp {
    Timestamp::from_unix_secs(START_UNIX_SECS + number * 86_400).unwrap()
}

pub fn job(name: &str) -> JobName {
    JobName::new(name).unwrap()
}

/// A repository that is not opened, and why.
pub fn unseen(name: &str, why: &str) -> Unseen {
    Unseen::Repository { name: name.to_owned(), why: ErrorSummary::new(why, true) }
}

pub fn machine(name: &str) -> MachineName {
    MachineName::new(name).unwrap()
}

pub fn keep(points: u32) -> Simple {
    Simple::new(points).unwrap()
}

pub async fn memory_repository() -> (Arc<Memory>, OpenRepository) {
    memory_repository_with(MemoryOptions::default()).await
}

pub async fn memory_repository_with(options: MemoryOptions) -> (Arc<Memory>, OpenRepository) {
    let memory = Arc::new(Memory::with_options(options));
    let backend: Arc<dyn Repository> = memory.clone();
    (memory, OpenRepository::initialise(backend, day(0)).await.unwrap())
}

/// Opens what a memory holds, as another process would.
pub async fn open_memory(memory: &Memory) -> OpenRepository {
    OpenRepository::open(Arc::new(memory.clone())).await.unwrap()
}

/// A seed for random tests: that of `OFFSITE_SEED`, to see a failure again, or the one given.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("OFFSITE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
    println!("OFFSITE_SEED={seed}");
    seed
}

/// A folder that is gone after the test; in memory where there is such a place, as many thousand restores go there.
pub fn scratch() -> TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() { TempDir::new_in(fast).unwrap() } else { TempDir::new().unwrap() }
}

/// A small xorshift generator: tests print their seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    /// A block: zeros, compressible text or noise.
    pub fn fill(&mut self, block: &mut [u8]) {
        match self.below(4) {
            0 => block.fill(0),
            1 => block.iter_mut().for_each(|byte| *byte = self.next() as u8),
            _ => {
                let word = format!("line {} of a log; ", self.next());
                block.iter_mut().zip(word.bytes().cycle()).for_each(|(byte, letter)| *byte = letter);
            }
        }
    }
}

/// Machines whose disks are files in a folder, and what they held on each day.
pub struct Machines {
    pub folder: TempDir,
    disks: BTreeMap<String, Vec<Vec<u8>>>,
    random: Random,
}

impl Machines {
    pub fn new(seed: u64) -> Self {
        Self { folder: scratch(), disks: BTreeMap::new(), random: Random::new(seed) }
    }

    /// Adds a machine with disks of so many bytes.
    pub fn add(&mut self, name: &str, disks: &[usize]) {
        let disks = disks.iter().map(|bytes| {
            let mut disk = vec![0; *bytes];
            disk.chunks_mut(BLOCK).for_each(|block| self.random.fill(block));
            disk
        });
        let disks = disks.collect();
        self.disks.insert(name.to_owned(), disks);
        self.write(name);
    }

    /// Does to each disk of the machine what `write` does.
    pub fn overwrite(&mut self, name: &str, mut write: impl FnMut(&mut [u8])) {
        self.disks.get_mut(name).unwrap().iter_mut().for_each(|disk| write(disk));
        self.write(name);
    }

    /// Rewrites some blocks of each disk of the machine, whole or in part.
    pub fn change(&mut self, name: &str, blocks: usize) {
        for disk in self.disks.get_mut(name).unwrap() {
            for _ in 0..blocks {
                let count = disk.len().div_ceil(BLOCK);
                let block = self.random.below(count);
                let start = block * BLOCK;
                let end = (start + BLOCK).min(disk.len());
                let from = start + self.random.below(end - start);
                let to = if self.random.below(2) == 0 { end } else { (from + 4096).min(end) };
                self.random.fill(&mut disk[from..to]);
            }
        }
        self.write(name);
    }

    pub fn resize(&mut self, name: &str, disk: usize, bytes: usize) {
        self.disks.get_mut(name).unwrap()[disk].resize(bytes, 7);
        self.write(name);
    }

    /// Fills the machine's disks with bytes that do not shrink, so that stored blocks have one length.
    pub fn fill_with_noise(&mut self, name: &str) {
        for disk in self.disks.get_mut(name).unwrap() {
            disk.iter_mut().for_each(|byte| *byte = self.random.next() as u8);
        }
        self.write(name);
    }

    /// Gives the machine one more disk.
    pub fn add_disk(&mut self, name: &str, bytes: usize) {
        let mut disk = vec![0; bytes];
        disk.chunks_mut(BLOCK).for_each(|block| self.random.fill(block));
        self.disks.get_mut(name).unwrap().push(disk);
        self.write(name);
    }

    /// Takes the machine's last disk away.
    pub fn remove_disk(&mut self, name: &str) {
        self.disks.get_mut(name).unwrap().pop();
    }

    pub fn names(&self) -> Vec<String> {
        self.disks.keys().cloned().collect()
    }

    pub fn sizes(&self, name: &str) -> Vec<usize> {
        self.disks[name].iter().map(Vec::len).collect()
    }

    pub fn content(&self, name: &str) -> Vec<Vec<u8>> {
        self.disks[name].clone()
    }

    pub fn image(&self, name: &str, disk: usize) -> PathBuf {
        self.folder.path().join(format!("{name}.{disk}.img"))
    }

    fn write(&self, name: &str) {
        for (number, disk) in self.disks[name].iter().enumerate() {
            std::fs::write(self.image(name, number), disk).unwrap();
        }
    }

    /// A backup job of these machines.
    pub fn backup(&self, repository: &OpenRepository, names: &[&str]) -> BackupJob {
        let job = BackupJob::new(repository, job("nightly")).block_size(BlockSize::KiB256);
        names.iter().fold(job, |job, name| {
            let disks = (0..self.disks[*name].len()).map(|disk| ImageSource::new(self.image(name, disk)));
            job.machine(machine(name), disks.collect())
        })
    }
}

pub fn copy_job(source: &OpenRepository, target: &OpenRepository) -> CopyJob {
    CopyJob::new(job("Offsite Copy"), source, job("nightly"), target).unwrap()
}

/// The disks of a machine at a restore point, restored to a fresh folder and read.
pub async fn restored(repository: &OpenRepository, folder: &str, name: &str, sequence: Option<u64>) -> Vec<Vec<u8>> {
    let to = scratch();
    let point = sequence.map_or(PointSelector::Latest, |sequence| PointSelector::Sequence(Sequence(sequence)));
    let report = Restore::new(repository, job(folder), machine(name)).point(point).run(to.path()).await.unwrap();
    assert_eq!(files_in(to.path()), report.disks.len());
    report.disks.iter().map(|disk| std::fs::read(disk.path.as_ref().unwrap()).unwrap()).collect()
}

pub fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}
