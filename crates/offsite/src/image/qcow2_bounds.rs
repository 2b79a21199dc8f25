//! Whether a qcow2 image is all there.
//!
//! A reader that meets tables or clusters past the end of the file takes them for zeros, so a truncated image would be backed up as
//! an emptier disk. Here the tables are walked first: everything that they point at must lie inside the file.
//! Layout: QEMU's docs/interop/qcow2.rst.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::detect::{self, ImageFormat};
use crate::{Error, Result};

/// What every qcow2 image starts with.
const MAGIC: &[u8; 4] = b"QFI\xfb";
/// The offset in an entry of the first or second table.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// An entry of the second table whose cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// Where the features lie that a reader must know.
const FEATURES_OFFSET: u64 = 72;
/// The feature of an image whose writer ended without putting its counts of references in order.
const DIRTY: u64 = 1 << 0;
/// The feature of an image that QEMU found to be damaged.
const CORRUPT: u64 = 1 << 1;
/// Features of images that are not read, and how an image with one is called.
const UNREAD_FEATURES: [(u64, &str); 3] = [
    (1 << 2, "has its data in another file"),
    (1 << 3, "is compressed by another method than zlib"),
    (1 << 4, "has subclusters"),
];
/// The largest first table that is read: 32 MiB, as QEMU's own limit.
const L1_BYTES_MAX: u64 = 32 << 20;
/// The longest chain of backing files that is followed.
const BACKING_DEPTH_MAX: usize = 64;

/// Checks the image and, if they are allowed, its backing files.
///
/// # Errors
/// [`Error::Image`] names the file that is truncated or refers to a backing file that was not allowed.
pub(super) fn check(path: &Path, backing_files: bool) -> Result<()> {
    let mut path = path.to_owned();
    for _ in 0..BACKING_DEPTH_MAX {
        match check_one(&path)? {
            None => return Ok(()),
            Some(backing) if !backing_files => {
                return Err(Error::image(
                    &path,
                    format!(
                        "it needs the backing file {}; allow that (--allow-backing-files) if the image comes from a \
                         trusted place, or make it stand alone: qemu-img convert -O qcow2 IMAGE WHOLE.qcow2",
                        backing.display()
                    ),
                    None,
                ));
            }
            Some(backing) => {
                if detect::detect(&backing)? == ImageFormat::Raw {
                    return Ok(());
                }
                path = backing;
            }
        }
    }
    Err(Error::image(&path, "its chain of backing files is too long, or goes in circles", None))
}

/// Checks one file; its backing file, if it has one.
fn check_one(path: &Path) -> Result<Option<PathBuf>> {
    let file = detect::open(path)?;
    let unreadable = |error| Error::image(path, "it cannot be read", Some(error));
    let length = detect::length(&file).map_err(unreadable)?;
    let truncated = |what: &str, end: u64| {
        Error::image(path, format!("it is truncated: {what} ends at byte {end}, the file at {length}"), None)
    };
    let mut header = [0; 72];
    let mut magic = [0; MAGIC.len()];
    if file.read_exact_at(&mut magic, 0).is_ok() && magic != *MAGIC {
        return Err(Error::image(
            path,
            "it is no qcow2 image; name its format, or let it be told by its first bytes",
            None,
        ));
    }
    if length < header.len() as u64 {
        return Err(truncated("its header", header.len() as u64));
    }
    file.read_exact_at(&mut header, 0).map_err(unreadable)?;
    refuse_unread(path, &file, &header)?;
    let backing = backing_file(path, &file, &header)?;
    let cluster_bits = be32(&header, 20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(Error::image(path, format!("its header is damaged: clusters of 2^{cluster_bits} bytes"), None));
    }
    let cluster_bytes = 1_u64 << cluster_bits;
    let (l1_entries, l1_offset) = (u64::from(be32(&header, 36)), be64(&header, 40));
    if l1_entries * 8 > L1_BYTES_MAX {
        return Err(Error::image(path, "its header is damaged: its first table is too long", None));
    }
    // As QEMU refuses it; where tables are missing, zeros are read, a few clusters at a time up to whatever size is claimed.
    let size_bytes = be64(&header, 24);
    if l1_entries < size_bytes.div_ceil(cluster_bytes * (cluster_bytes / 8)) {
        return Err(Error::image(
            path,
            format!("its header is damaged: its first table is too short for {size_bytes} bytes"),
            None,
        ));
    }
    let l1 = read_table(&file, l1_offset, l1_entries * 8).ok_or_else(|| truncated("its first table", l1_offset))?;
    let mut seen = BTreeSet::new();
    for entry in l1.as_chunks::<8>().0 {
        let l2_offset = u64::from_be_bytes(*entry) & OFFSET_MASK;
        if l2_offset == 0 {
            continue;
        }
        // Otherwise a small file could have more to be read than any large one.
        if !l2_offset.is_multiple_of(cluster_bytes) || !seen.insert(l2_offset) {
            let detail = format!("its first table is damaged: it has a wrong offset, {l2_offset}, or has it twice");
            return Err(Error::image(path, detail, None));
        }
        let l2 = read_table(&file, l2_offset, cluster_bytes)
            .ok_or_else(|| truncated("a second table", l2_offset + cluster_bytes))?;
        for entry in l2.as_chunks::<8>().0 {
            let entry = u64::from_be_bytes(*entry);
            // The last cluster of a file may be cut short where only zeros follow, as QEMU writes it.
            let start =
                if entry & COMPRESSED == 0 { entry & OFFSET_MASK } else { compressed_offset(entry, cluster_bits) };
            if start != 0 && start >= length {
                return Err(truncated("a cluster", start + cluster_bytes));
            }
        }
    }
    Ok(backing)
}

/// Refuses what would be read as something else: ciphertext as a disk, or tables of another layout.
fn refuse_unread(path: &Path, file: &File, header: &[u8; 72]) -> Result<()> {
    let plain = "make a plain one: qemu-img convert -O qcow2 IMAGE PLAIN.qcow2";
    if be32(header, 32) != 0 {
        let detail = format!("it is encrypted, and its bytes would be backed up as they are; {plain}, with its key");
        return Err(Error::image(path, detail, None));
    }
    // Version 2 ends here; what follows in version 3 is features that a reader must know.
    let features = if be32(header, 4) < 3 { None } else { read_table(file, FEATURES_OFFSET, 8) };
    let features = features.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    match UNREAD_FEATURES.iter().find(|(feature, _)| features & feature != 0) {
        Some((_, what)) => Err(Error::image(path, format!("it {what}, and such images are not read; {plain}"), None)),
        None if features & CORRUPT != 0 => {
            Err(Error::image(path, format!("it is marked as damaged; {}", repair(path)), None))
        }
        None if features & DIRTY != 0 => {
            let detail =
                format!("it was not closed in order (its machine or host died), and is marked so; {}", repair(path));
            Err(Error::image(path, detail, None))
        }
        None => Ok(()),
    }
}

/// The cure of an image that is marked by QEMU.
fn repair(path: &Path) -> String {
    format!("repair it first, while nothing uses it: qemu-img check -r all {}", path.display())
}

fn compressed_offset(entry: u64, cluster_bits: u32) -> u64 {
    entry & ((1 << (62 - (cluster_bits - 8))) - 1)
}

fn backing_file(path: &Path, file: &File, header: &[u8; 72]) -> Result<Option<PathBuf>> {
    let (offset, length) = (be64(header, 8), be32(header, 16));
    if offset == 0 || length == 0 {
        return Ok(None);
    }
    let name = read_table(file, offset, u64::from(length.min(1024)))
        .and_then(|name| String::from_utf8(name).ok())
        .ok_or_else(|| Error::image(path, "the name of its backing file cannot be read", None))?;
    let name = name.strip_prefix("file:").unwrap_or(&name);
    Ok(Some(path.parent().unwrap_or(Path::new(".")).join(name)))
}

fn read_table(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut table = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut table, offset).ok()?;
    Some(table)
}

fn be32(bytes: &[u8; 72], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8; 72], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}
