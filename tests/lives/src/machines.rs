//! The machines of a life: their disks, what these held at each backup, and the images that are backed up.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use offsite::ImageSource;
use offsite::model::Labels;
use offsite_simulation::machines::{BLOCK_BYTES, Content, DiskTruth};
use tempfile::TempDir;

/// At most so many machines exist.
const MACHINES_MAX: usize = 5;
/// At most so many disks has a machine.
const DISKS_MAX: usize = 3;

/// A machine, be it in a backup job or not.
#[derive(Debug, Clone)]
struct Machine {
    disks: Vec<DiskTruth>,
    tag: Option<&'static str>,
    /// Whether the images are as the disks are.
    is_written: bool,
}

/// All machines.
#[derive(Debug)]
pub struct Machines {
    folder: TempDir,
    all: BTreeMap<String, Machine>,
    past: BTreeMap<(String, i64), Vec<DiskTruth>>,
    named: u32,
    filled: u64,
}

/// The tags that machines may have.
pub const TAGS: [&str; 2] = ["gold", "silver"];

/// The sizes of disks, in bytes: most are a fraction of a block, as blocks cost time.
const SIZES: [usize; 10] =
    [700, 700, 700, 4_096, 5_000, 700, 90_000, BLOCK_BYTES, BLOCK_BYTES + 700, 3 * BLOCK_BYTES + 9];

impl Machines {
    /// No machine at all.
    ///
    /// # Panics
    /// If there is no place for their images.
    #[must_use]
    pub fn new() -> Self {
        let fast = Path::new("/dev/shm");
        let folder = if fast.is_dir() { TempDir::new_in(fast) } else { TempDir::new() };
        let folder = folder.unwrap_or_else(|error| panic!("no place for disk images: {error}"));
        Self { folder, all: BTreeMap::new(), past: BTreeMap::new(), named: 0, filled: 0 }
    }

    /// A folder for what is restored.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The names of all machines.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    /// What a machine held when it was captured.
    #[must_use]
    pub fn truth(&self, name: &str, captured_unix_secs: i64) -> Option<&[DiskTruth]> {
        self.past.get(&(name.to_owned(), captured_unix_secs)).map(Vec::as_slice)
    }

    fn content(&mut self, look: u32) -> Content {
        self.filled += 1;
        // Most frames are as short as they get; some are longer than a granule, some than a small object's room for two.
        let noise_bytes = match look % 8 {
            0..6 => 0,
            6 => 600,
            _ => 5_000,
        };
        Content::Filled { value: self.filled, noise_bytes }
    }

    fn disk(&mut self, bytes: usize, look: u32) -> DiskTruth {
        let blocks = bytes.div_ceil(BLOCK_BYTES);
        // Large disks are mostly empty.
        let first = self.content(look);
        let blocks = (0..blocks).map(|block| if block == 0 { first } else { Content::Zero }).collect();
        DiskTruth { bytes, blocks }
    }

    /// A new machine; none, if there are enough.
    pub fn create(&mut self, look: u32) -> Option<String> {
        if self.all.len() >= MACHINES_MAX {
            return None;
        }
        let name = self.fresh();
        let mut disks = vec![self.disk(size(look), look)];
        if look % 5 == 1 {
            disks.push(self.disk(size(look / 3), look + 1));
        }
        self.all.insert(name.clone(), Machine { disks, tag: None, is_written: false });
        Some(name)
    }

    fn fresh(&mut self) -> String {
        self.named += 1;
        format!("vm{}", self.named)
    }

    /// Gives a machine a name that no machine had.
    pub fn rename(&mut self, name: &str) -> Option<String> {
        let machine = self.all.remove(name)?;
        let fresh = self.fresh();
        self.all.insert(fresh.clone(), Machine { is_written: false, ..machine });
        Some(fresh)
    }

    /// Does away with a machine that nobody backs up.
    pub fn remove(&mut self, name: &str) {
        self.all.remove(name);
    }

    fn change<T>(&mut self, name: &str, change: impl FnOnce(&mut Vec<DiskTruth>) -> Option<T>) -> Option<T> {
        let machine = self.all.get_mut(name)?;
        let before = machine.disks.clone();
        let answer = change(&mut machine.disks);
        machine.is_written &= machine.disks == before;
        answer
    }

    /// Puts a content into the block that `place` names, counted over all disks of the machine.
    fn put(&mut self, name: &str, place: u32, content: Content) -> Option<()> {
        self.change(name, |disks| {
            let count = disks.iter().map(|disk| disk.blocks.len()).sum();
            let block = disks.iter_mut().flat_map(|disk| &mut disk.blocks).nth(modulo(place, count)?)?;
            *block = content;
            Some(())
        })
    }

    /// Writes new content to a block.
    pub fn write(&mut self, name: &str, place: u32, look: u32) -> Option<()> {
        let content = self.content(look);
        self.put(name, place, content)
    }

    /// Zeroes a block.
    pub fn zero(&mut self, name: &str, place: u32) -> Option<()> {
        self.put(name, place, Content::Zero)
    }

    /// Puts back what a block held at an earlier backup of the machine.
    pub fn revert(&mut self, name: &str, place: u32, which: u32) -> Option<()> {
        let past: Vec<&Vec<DiskTruth>> =
            self.past.iter().filter(|((machine, _), _)| machine == name).map(|(_, disks)| disks).collect();
        let disks = past.get(modulo(which, past.len())?)?;
        let contents: Vec<Content> = disks.iter().flat_map(|disk| disk.blocks.iter().copied()).collect();
        let content = *contents.get(modulo(place, contents.len())?)?;
        self.put(name, place, content)
    }

    /// Puts what another block of any machine holds.
    pub fn repeat(&mut self, name: &str, place: u32, which: u32) -> Option<()> {
        let disks = self.all.values().flat_map(|machine| &machine.disks);
        let contents: Vec<Content> = disks.flat_map(|disk| disk.blocks.iter().copied()).collect();
        let content = *contents.get(modulo(which, contents.len())?)?;
        self.put(name, place, content)
    }

    /// Makes a disk longer, with zeros.
    pub fn grow(&mut self, name: &str, disk: u32, how: u32) -> Option<()> {
        let more = [1, 700, BLOCK_BYTES - 300, BLOCK_BYTES, 2 * BLOCK_BYTES][modulo(how, 5)?];
        self.change(name, |disks| {
            let position = modulo(disk, disks.len())?;
            let bytes = disks[position].bytes + more;
            (bytes <= 4 * BLOCK_BYTES).then(|| resize(&mut disks[position], bytes))
        })
    }

    /// Makes a disk shorter.
    pub fn shrink(&mut self, name: &str, disk: u32, how: u32) -> Option<()> {
        self.change(name, |disks| {
            let position = modulo(disk, disks.len())?;
            let bytes = [1, disks[position].bytes / 2, disks[position].bytes - 1][modulo(how, 3)?];
            (bytes > 0 && bytes < disks[position].bytes).then(|| resize(&mut disks[position], bytes))
        })
    }

    /// Adds a disk at the end.
    pub fn add_disk(&mut self, name: &str, look: u32) -> Option<()> {
        let disk = self.disk(size(look), look);
        self.change(name, |disks| (disks.len() < DISKS_MAX).then(|| disks.push(disk)))
    }

    /// Takes a disk away; those after it move up.
    pub fn drop_disk(&mut self, name: &str, disk: u32) -> Option<()> {
        self.change(name, |disks| {
            let position = modulo(disk, disks.len())?;
            (disks.len() > 1).then(|| drop(disks.remove(position)))
        })
    }

    /// Exchanges two disks.
    pub fn swap_disks(&mut self, name: &str, which: u32) -> Option<()> {
        self.change(name, |disks| {
            let count = disks.len();
            (count > 1).then(|| disks.swap(which as usize % count, (which as usize + 1) % count))
        })
    }

    /// Gives a machine another tag, or none.
    pub fn tag(&mut self, name: &str, which: u32) -> Option<()> {
        let machine = self.all.get_mut(name)?;
        machine.tag = [None, Some(TAGS[0]), Some(TAGS[1])][modulo(which, 3)?];
        Some(())
    }

    /// What a machine is known by.
    ///
    /// # Panics
    /// Never: its tags are words.
    #[must_use]
    pub fn labels(&self, name: &str) -> Labels {
        let tag = self.all.get(name).and_then(|machine| machine.tag);
        Labels::new(tag.map(str::to_owned), None).unwrap_or_else(|error| panic!("{tag:?} is no tag: {error}"))
    }

    /// Takes down what machines hold at a time at which no other backup of them was made.
    pub fn record(&mut self, names: impl Iterator<Item = String>, unix_secs: i64) {
        for name in names {
            if let Some(machine) = self.all.get(&name) {
                self.past.insert((name, unix_secs), machine.disks.clone());
            }
        }
    }

    /// Whether a machine was backed up at this very time.
    #[must_use]
    pub fn is_past(&self, unix_secs: i64) -> bool {
        self.past.keys().any(|(_, secs)| *secs == unix_secs)
    }

    /// The images of a machine, written as its disks are now.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn images(&mut self, name: &str) -> Vec<ImageSource> {
        let path = |disk: usize| -> PathBuf { self.folder.path().join(format!("{name}.{disk}.img")) };
        let Some(machine) = self.all.get_mut(name) else { return Vec::new() };
        if !machine.is_written {
            for (number, disk) in machine.disks.iter().enumerate() {
                write_image(&path(number), disk).unwrap_or_else(|error| panic!("no image of {name}: {error}"));
            }
            machine.is_written = true;
        }
        (0..machine.disks.len()).map(|disk| ImageSource::new(path(disk))).collect()
    }
}

impl Default for Machines {
    fn default() -> Self {
        Self::new()
    }
}

fn size(look: u32) -> usize {
    SIZES[look as usize % SIZES.len()]
}

/// A number modulo how many there are; none, if there are none.
#[must_use]
pub fn modulo(number: u32, count: usize) -> Option<usize> {
    (number as usize).checked_rem(count)
}

/// A block that gets another length is another one: what a disk holds past its end is lost when it grows again.
fn resize(disk: &mut DiskTruth, bytes: usize) {
    disk.bytes = bytes;
    let blocks = bytes.div_ceil(BLOCK_BYTES);
    disk.blocks.resize(blocks, Content::Zero);
}

fn write_image(path: &Path, disk: &DiskTruth) -> std::io::Result<()> {
    let file = File::create(path)?;
    file.set_len(disk.bytes as u64)?;
    for (block, content) in disk.blocks.iter().enumerate() {
        // Zeros are a hole in some blocks, and written in others.
        if *content != Content::Zero || block % 2 == 1 {
            file.write_all_at(&content.plain(disk.length_of(block)), (block * BLOCK_BYTES) as u64)?;
        }
    }
    Ok(())
}
