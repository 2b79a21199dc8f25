//! Segments: which pages of one index have which digests.
//!
//! A segment is a file of 8 bytes for each stored block of an index: the first 40 bits of its digest, then the number of its page in 24
//! bits. It consists of stretches, each sorted and with a checksum of its own. A stretch fits into memory, so a segment of any length is
//! made and read with bounded memory. Nothing is ever decided by a segment alone: it says which pages are worth a look.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use offsite_core::format::checksum;
use offsite_core::{Digest, FolderId, IndexReference, ObjectId};

/// The number of entries in a stretch: 8 MiB.
const STRETCH_ENTRIES: usize = 1 << 20;
/// Pages from this number on cannot be noted.
const PAGES_MAX: u32 = 1 << 24;
const MAGIC: [u8; 8] = *b"OFFSEG\x01\0";
/// How many segments this process has begun.
static MADE: AtomicU64 = AtomicU64::new(0);
const HEADER_BYTES: usize = 8 + 16 + 8 + 32 + 8;

/// The index that a segment is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) folder: FolderId,
    pub(super) index: IndexReference,
}

impl Name {
    /// The name of the file.
    pub(super) fn file(&self) -> String {
        format!("{}{}", prefix(self.folder), self.index.id)
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..24].copy_from_slice(&self.folder.bytes());
        header[24..32].copy_from_slice(&self.index.id.stored().to_le_bytes());
        header[32..64].copy_from_slice(&self.index.digest.0);
        let own = checksum(&header[..64]);
        header[64..].copy_from_slice(&own.to_le_bytes());
        header
    }
}

/// How the names of all segments of a folder begin.
pub(super) fn prefix(folder: FolderId) -> String {
    format!("{folder}-")
}

/// The part of a digest that a segment notes.
pub(super) fn key(digest: &Digest) -> u64 {
    let mut bytes = [0; 8];
    bytes[3..].copy_from_slice(&digest.0[..5]);
    u64::from_be_bytes(bytes)
}

/// A segment that is being made.
///
/// Nothing fails because of it: what cannot be written is left out, and the next look-up makes it again.
pub(super) struct Builder {
    file: File,
    part: PathBuf,
    path: PathBuf,
    stretch: Vec<u64>,
    is_broken: bool,
}

impl Builder {
    /// A segment in `folder`. `None` if it cannot be made there.
    pub(super) fn new(folder: &Path, name: &Name) -> Option<Self> {
        let path = folder.join(name.file());
        // Others may be making the same segment.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let part = folder.join(format!("{}.{}.{number}.part", name.file(), std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&part).ok()?;
        let is_broken = file.write_all(&name.header()).is_err();
        Some(Self { file, part, path, stretch: Vec::new(), is_broken })
    }

    /// Notes that a page has this digest.
    pub(super) fn note(&mut self, digest: &Digest, page: u32) {
        self.is_broken |= page >= PAGES_MAX;
        self.stretch.push((key(digest) << 24) | u64::from(page));
        if self.stretch.len() == STRETCH_ENTRIES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.stretch.sort_unstable();
        let entries: Vec<u8> = self.stretch.drain(..).flat_map(u64::to_le_bytes).collect();
        let count = u32::try_from(entries.len() / 8).unwrap_or(u32::MAX);
        let mut written = self.file.write_all(&count.to_le_bytes());
        written = written.and_then(|()| self.file.write_all(&checksum(&entries).to_le_bytes()));
        self.is_broken |= written.and_then(|()| self.file.write_all(&entries)).is_err();
    }

    /// Ends the segment, so that look-ups find it.
    pub(super) fn finish(mut self) {
        if !self.stretch.is_empty() {
            self.flush();
        }
        // A stretch without entries is the end.
        self.flush();
        if !self.is_broken {
            let _ = std::fs::rename(&self.part, &self.path);
        }
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        // It is gone if the segment is complete.
        let _ = std::fs::remove_file(&self.part);
    }
}

/// Removes the segments in `folder` whose names `is_needed` does not know, and what processes that ended have left of theirs.
pub(super) fn sweep(folder: &Path, is_needed: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let left = name.strip_suffix(".part").map(|name| name.rsplit('.').nth(1).unwrap_or_default().to_owned());
        let is_kept = match left {
            Some(process) => Path::new("/proc").join(process).exists(),
            None => is_needed(&name),
        };
        if is_ours(&name) && !is_kept {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a file has the name of a segment: an identity, and an id.
fn is_ours(name: &str) -> bool {
    let name = name.split('.').next().unwrap_or_default();
    name.split_once('-')
        .is_some_and(|(folder, index)| folder.parse::<FolderId>().is_ok() && ObjectId::parse(index).is_some())
}

/// The pages that may have one of `wanted`, the ascending [keys](key) of digests. `None` if there is no such segment, or it is damaged
/// or of another index.
pub(super) fn candidates(folder: &Path, name: &Name, wanted: &[u64]) -> Option<Vec<u32>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(folder.join(name.file())).ok()?);
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).ok()?;
    if header != name.header() {
        return None;
    }
    let mut pages = Vec::new();
    loop {
        let (mut count, mut sum) = ([0; 4], [0; 8]);
        file.read_exact(&mut count).ok()?;
        file.read_exact(&mut sum).ok()?;
        let count = usize::try_from(u32::from_le_bytes(count)).ok().filter(|count| *count <= STRETCH_ENTRIES)?;
        let mut entries = vec![0; count * 8];
        file.read_exact(&mut entries).ok()?;
        if checksum(&entries) != u64::from_le_bytes(sum) {
            return None;
        }
        if count == 0 {
            break;
        }
        joined(&entries, wanted, &mut pages);
    }
    let mut rest = [0; 1];
    if file.read(&mut rest).ok()? != 0 {
        return None;
    }
    pages.sort_unstable();
    pages.dedup();
    Some(pages)
}

/// Adds the pages of the entries whose keys are wanted. Both ascend, and the shorter one is walked through.
fn joined(entries: &[u8], wanted: &[u64], pages: &mut Vec<u32>) {
    let (entries, _) = entries.as_chunks::<8>();
    let entry = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let page = |entry: u64| u32::try_from(entry & u64::from(PAGES_MAX - 1)).unwrap_or(u32::MAX);
    if entries.len() < wanted.len() {
        let mut rest = wanted;
        for entry in entries.iter().map(entry) {
            rest = after(rest, |key| *key < entry >> 24);
            match rest.first() {
                Some(key) if *key == entry >> 24 => pages.push(page(entry)),
                Some(_) => {}
                None => return,
            }
        }
    } else {
        let mut rest = entries;
        for key in wanted {
            rest = after(rest, |bytes| entry(bytes) >> 24 < *key);
            let equal = rest.iter().map(entry).take_while(|entry| entry >> 24 == *key);
            pages.extend(equal.map(page));
        }
    }
}

/// What follows the items for which `is_before` returns `true`. It looks nearby first.
fn after<T>(items: &[T], is_before: impl Fn(&T) -> bool) -> &[T] {
    let mut step = 1;
    while items.get(step - 1).is_some_and(&is_before) {
        step *= 2;
    }
    let near = &items[..items.len().min(step)];
    &items[near.partition_point(is_before)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Digest(digest)
    }

    fn name(index: u32) -> Name {
        Name {
            folder: FolderId::new([3; 16]),
            index: IndexReference::new(ObjectId::new(1, index), 100, Digest([7; 32])),
        }
    }

    fn keys(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut keys: Vec<u64> = numbers.into_iter().map(|number| key(&digest(number))).collect();
        keys.sort_unstable();
        keys
    }

    fn made(folder: &Path, count: u64) {
        let mut builder = Builder::new(folder, &name(1)).unwrap();
        (0..count).for_each(|number| builder.note(&digest(number), u32::try_from(number / 100).unwrap()));
        builder.finish();
    }

    #[test]
    fn pages_are_found_whichever_side_is_longer() {
        let folder = tempfile::tempdir().unwrap();
        made(folder.path(), 10_000);
        let found = |numbers: Vec<u64>| candidates(folder.path(), &name(1), &keys(numbers)).unwrap();
        assert_eq!(found(vec![5, 250, 251, 9_999]), [0, 2, 99]);
        assert_eq!(found((10_000..10_100).collect()), Vec::<u32>::new());
        let all: Vec<u32> = (0..100).collect();
        assert_eq!(found((0..50_000).collect()), all);
        assert_eq!(found(Vec::new()), Vec::<u32>::new());
    }

    #[test]
    fn a_segment_of_several_stretches_is_searched_in_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let count = STRETCH_ENTRIES as u64 + 10;
        made(folder.path(), count);
        let pages = candidates(folder.path(), &name(1), &keys([7, count - 1])).unwrap();
        assert_eq!(pages, [0, u32::try_from((count - 1) / 100).unwrap()]);
    }

    #[test]
    fn only_segments_that_nobody_needs_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        made(folder.path(), 10);
        let mine = Builder::new(folder.path(), &name(2)).unwrap();
        let left = folder.path().join(format!("{}.4294967295.0.part", name(3).file()));
        for path in [&left, &folder.path().join("notes.txt"), &folder.path().join(name(4).file())] {
            std::fs::write(path, "").unwrap();
        }
        sweep(folder.path(), |needed| needed == name(1).file());
        assert!(mine.part.exists() && folder.path().join("notes.txt").exists());
        assert!(folder.path().join(name(1).file()).exists());
        assert!(!left.exists() && !folder.path().join(name(4).file()).exists());
        let part = mine.part.clone();
        drop(mine);
        assert!(!part.exists());
    }

    #[test]
    fn what_is_damaged_cut_off_or_of_another_index_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        made(folder.path(), 1_000);
        let path = folder.path().join(name(1).file());
        let (bytes, wanted) = (std::fs::read(&path).unwrap(), keys([5]));
        assert!(candidates(folder.path(), &name(2), &wanted).is_none());
        let mut other = name(1);
        other.index.digest = Digest([8; 32]);
        assert!(candidates(folder.path(), &other, &wanted).is_none());
        for position in [0, 20, 41, 50, 60, 500, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(candidates(folder.path(), &name(1), &wanted).is_none(), "{position}");
        }
        for length in [0, 10, 60, bytes.len() - 12, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(candidates(folder.path(), &name(1), &wanted).is_none(), "{length}");
        }
        std::fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
        assert!(candidates(folder.path(), &name(1), &wanted).is_none());
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(candidates(folder.path(), &name(1), &wanted).unwrap(), [0]);
    }
}
