//! What a disk holds, and what has not reached it yet.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::options::CrashOptions;
use crate::numbers::Numbers;
use crate::testing::memory::Object;

/// What a device writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A file, whatever its name: a name that is freed and taken again is another file.
pub(super) type File = u64;

/// A change that was made and is not on the disk.
#[derive(Debug, Clone)]
enum Change {
    Write { file: File, offset: usize, bytes: Bytes },
    Punch { file: File, granules: Vec<u64> },
    Retain { file: File, until_unix_secs: i64 },
    Link { name: String, file: File },
    Unlink { name: String },
}

impl Change {
    /// The file whose data it changes; none for a change of entries.
    fn data_of(&self) -> Option<File> {
        match self {
            Self::Write { file, .. } | Self::Punch { file, .. } => Some(*file),
            Self::Retain { .. } | Self::Link { .. } | Self::Unlink { .. } => None,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    options: CrashOptions,
    // On the disk, power or not.
    files: BTreeMap<File, Object>,
    entries: BTreeMap<String, File>,
    /// What the running system knows beyond that, oldest first.
    pending: Vec<Change>,
    /// The entries as the running system sees them.
    seen: BTreeMap<String, File>,
    files_made: File,
}

impl Disk {
    pub(super) fn new(options: CrashOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// A disk that holds these objects, all of them flushed.
    pub(super) fn holding(options: CrashOptions, objects: &BTreeMap<String, Object>) -> Self {
        let mut disk = Self::new(options);
        for (name, object) in objects {
            disk.files_made += 1;
            disk.files.insert(disk.files_made, object.clone());
            disk.entries.insert(name.clone(), disk.files_made);
        }
        disk.seen = disk.entries.clone();
        disk
    }

    /// A new file's data, before it has a name.
    pub(super) fn write_new(&mut self, bytes: Bytes) -> File {
        self.files_made += 1;
        self.pending.push(Change::Write { file: self.files_made, offset: 0, bytes });
        self.files_made
    }

    /// A new file of this length whose data was given up by the system: it reads as zeros after a cut, and nothing of it is
    /// ever written.
    pub(super) fn write_lost(&mut self, length: usize) -> File {
        self.files_made += 1;
        let object = Object { bytes: Bytes::from(vec![0; length]), ..Object::default() };
        self.files.insert(self.files_made, object);
        self.files_made
    }

    /// The names that the running system sees.
    pub(super) fn names(&self) -> Vec<String> {
        self.seen.keys().cloned().collect()
    }

    pub(super) fn link(&mut self, name: &str, file: File) {
        self.seen.insert(name.to_owned(), file);
        self.pending.push(Change::Link { name: name.to_owned(), file });
    }

    pub(super) fn unlink(&mut self, name: &str) {
        if self.seen.remove(name).is_some() {
            self.pending.push(Change::Unlink { name: name.to_owned() });
        }
    }

    pub(super) fn file(&self, name: &str) -> Option<File> {
        self.seen.get(name).copied()
    }

    pub(super) fn write(&mut self, file: File, offset: usize, bytes: Bytes) {
        self.pending.push(Change::Write { file, offset, bytes });
    }

    pub(super) fn punch(&mut self, file: File, granules: Vec<u64>) {
        self.pending.push(Change::Punch { file, granules });
    }

    pub(super) fn retain(&mut self, file: File, until_unix_secs: i64) {
        self.pending.push(Change::Retain { file, until_unix_secs });
    }

    /// Flushes a file's data, if this disk does what it says.
    pub(super) fn flush_data(&mut self, file: File) {
        if self.options.flushes_data {
            self.flush(|change| change.data_of() == Some(file));
        }
    }

    /// Flushes the entries, if this disk does what it says.
    pub(super) fn flush_entries(&mut self) {
        if self.options.flushes_entries {
            self.flush(|change| change.data_of().is_none());
            self.forget_nameless();
        }
    }

    fn flush(&mut self, which: impl Fn(&Change) -> bool) {
        let (flushed, pending) = std::mem::take(&mut self.pending).into_iter().partition(|change| which(change));
        self.pending = pending;
        for change in flushed {
            let change: Change = change;
            self.apply(&change, |_| true);
        }
    }

    /// Forgets files without a name, on the disk or to come.
    ///
    /// Only when entries are flushed: a new file has no name yet.
    fn forget_nameless(&mut self) {
        let Self { files, entries, seen, pending, .. } = self;
        if files.len() > entries.len() {
            let named = |file: &File, names: &BTreeMap<String, File>| names.values().any(|named| named == file);
            let lost: Vec<File> =
                files.keys().filter(|file| !named(file, entries) && !named(file, seen)).copied().collect();
            for file in lost {
                let waits =
                    pending.iter().any(|change| matches!(change, Change::Link { file: linked, .. } if *linked == file));
                if !waits {
                    files.remove(&file);
                }
            }
        }
    }

    /// Carries a change out on the disk; of one that has several parts, those that `reaches` says.
    fn apply(&mut self, change: &Change, mut reaches: impl FnMut(u64) -> bool) {
        let granule = usize::try_from(self.options.granularity_bytes).unwrap_or(usize::MAX);
        match change {
            Change::Write { file, offset, bytes } => {
                let object = self.files.entry(*file).or_default();
                write_sectors(object, *offset, bytes, granule, &mut reaches);
            }
            Change::Punch { file, granules } => {
                let object = self.files.entry(*file).or_default();
                for hole in granules.iter().copied().filter(|hole| reaches(*hole)) {
                    object.holes.insert(hole);
                    let start = usize::try_from(hole).unwrap_or(usize::MAX).saturating_mul(granule);
                    object.change(|bytes| {
                        let end = start.saturating_add(granule).min(bytes.len());
                        bytes[start.min(end)..end].fill(0);
                    });
                }
            }
            Change::Retain { file, until_unix_secs } => {
                self.files.entry(*file).or_default().retained_until = Some(*until_unix_secs);
            }
            Change::Link { name, file } => {
                self.files.entry(*file).or_default();
                self.entries.insert(name.clone(), *file);
            }
            Change::Unlink { name } => {
                self.entries.remove(name);
            }
        }
    }

    /// What may be found after the power was cut now, told by `numbers`.
    pub(super) fn after_cut(&self, numbers: &mut Numbers) -> Self {
        let mut found = self.clone();
        for change in std::mem::take(&mut found.pending) {
            if change.data_of().is_none() {
                // Entry by entry, in no order.
                if numbers.coin() {
                    found.apply(&change, |_| true);
                }
                continue;
            }
            match numbers.below(4) {
                0 => {}
                1 => found.apply(&change, |_| true),
                _ => {
                    found.apply(&change, |_| numbers.coin());
                    found.grow(&change, numbers);
                }
            }
        }
        found.seen = found.entries.clone();
        let entries = &found.entries;
        found.files.retain(|file, _| entries.values().any(|named| named == file));
        found
    }

    /// A file's length may have reached the disk without what stands there, which reads as zeros then.
    fn grow(&mut self, change: &Change, numbers: &mut Numbers) {
        if let Change::Write { file, offset, bytes } = change
            && numbers.coin()
        {
            let end = offset + bytes.len();
            self.files.entry(*file).or_default().change(|bytes| bytes.resize(bytes.len().max(end), 0));
        }
    }

    pub(super) fn objects(&self) -> BTreeMap<String, Object> {
        let object = |file: &File| self.files.get(file).cloned().unwrap_or_default();
        self.entries.iter().map(|(name, file)| (name.clone(), object(file))).collect()
    }
}

/// Writes those sectors of `bytes` that `reaches` says.
fn write_sectors(
    object: &mut Object,
    offset: usize,
    bytes: &Bytes,
    granule: usize,
    reaches: &mut impl FnMut(u64) -> bool,
) {
    let mut at = 0;
    let holes = &mut object.holes;
    let mut kept = Vec::new();
    while at < bytes.len() {
        let position = offset + at;
        let length = (SECTOR_BYTES - position % SECTOR_BYTES).min(bytes.len() - at);
        if reaches((position / SECTOR_BYTES) as u64) {
            kept.push((position, at..at + length));
            // Sectors are never larger than granules are in truth; a test with smaller ones has them filled all the same.
            let touched = (position / granule) as u64..=((position + length - 1) / granule) as u64;
            if !holes.is_empty() {
                holes.retain(|hole| !touched.contains(hole));
            }
        }
        at += length;
    }
    object.change(|stored| {
        let end = kept.last().map_or(0, |(position, range)| position + range.len());
        let length = stored.len().max(end);
        stored.resize(length, 0);
        for (position, range) in kept {
            stored[position..position + range.len()].copy_from_slice(&bytes[range]);
        }
    });
}
