//! Checks that a qcow2 image is complete.
//!
//! A reader takes tables and clusters past the end of the file for zeros. So a truncated image would be backed up as an emptier
//! disk. This module walks the tables first: everything that they refer to must lie inside the file. `docs/interop/qcow2.rst` of
//! QEMU describes the layout.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use offsite_core::ImageFormat;

use super::lock::refuse_in_use;
use super::signature::QFI;
use super::watch::Watch;
use super::{Trust, detect};
use crate::{Error, Result};

/// The bits of the offset in an entry of the first or second table.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The bit of a compressed cluster in an entry of the second table.
const COMPRESSED: u64 = 1 << 62;
/// The position of the features that a reader must know, in bytes.
const FEATURES_OFFSET: u64 = 72;
/// The feature of an image whose writer ended before its reference counts were in order.
const DIRTY: u64 = 1 << 0;
/// The feature of an image that QEMU found to be damaged.
const CORRUPT: u64 = 1 << 1;
/// The features of images that are not read, with words for such an image.
const UNREAD_FEATURES: [(u64, &str); 3] = [
    (1 << 2, "has its data in another file"),
    (1 << 3, "is compressed by another method than zlib"),
    (1 << 4, "has subclusters"),
];
/// The position at which version 3 says how long its header is. The header of version 2 has 72 bytes.
const HEADER_LENGTH_OFFSET: u64 = 100;
/// The extension of the header that names the format of the backing file.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// The largest number of extensions that are read. QEMU writes at most four.
const EXTENSIONS_MAX: usize = 64;
/// The largest first table that is read: 32 MiB, the same as QEMU's own limit.
const L1_BYTES_MAX: u64 = 32 << 20;
/// The longest chain of backing files that is followed.
const BACKING_DEPTH_MAX: usize = 64;

/// Checks the image and, if they are allowed, its backing files. Returns all files, which are watched while they are read.
///
/// # Errors
/// [`Error::Image`] if a file is truncated or in use, or if a backing file was not allowed. It names the file.
pub(super) fn check(path: &Path, trust: Trust) -> Result<Vec<Watch>> {
    let mut watches = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..BACKING_DEPTH_MAX {
        let watch = watched(&path, trust)?;
        let backing = check_one(&path, watch.file(), watch.length())?;
        watches.push(watch);
        match backing {
            None => return Ok(watches),
            Some((backing, _)) if !trust.backing_files => {
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
            Some((backing, format)) => {
                let watch = watched(&backing, trust)?;
                if backing_format(&path, format, &backing, watch.file())? == ImageFormat::Raw {
                    watches.push(watch);
                    return Ok(watches);
                }
                path = backing;
            }
        }
    }
    Err(Error::image(&path, "its chain of backing files is too long, or goes in circles", None))
}

fn watched(path: &Path, trust: Trust) -> Result<Watch> {
    let file = detect::open(path)?;
    if !trust.shared {
        refuse_in_use(path, &file)?;
    }
    Watch::new(path, file)
}

/// Returns the format of `backing`, the file below the image at `path`. `named` is the format that the image names for it. `None`
/// if it names none.
///
/// Without a named format, a file that begins like qcow2 may be a raw disk to which its machine has written those bytes.
fn backing_format(path: &Path, named: Option<String>, backing: &Path, file: &File) -> Result<ImageFormat> {
    match named.as_deref() {
        Some("qcow2") => Ok(ImageFormat::Qcow2),
        Some("raw" | "file" | "host_device") => Ok(ImageFormat::Raw),
        Some(other) => {
            Err(Error::image(path, format!("its backing file has the format {other:?}, which is not read"), None))
        }
        None if detect::guess(backing, file)? == ImageFormat::Raw => Ok(ImageFormat::Raw),
        None => {
            let detail = format!(
                "it does not say in which format its backing file {} is; write it down, if you know it to be qcow2: \
                 qemu-img rebase -u -F qcow2 -b BACKING IMAGE",
                backing.display()
            );
            Err(Error::image(path, detail, None))
        }
    }
}

/// Checks one file of that length. Returns its backing file, with the format that it names for it. `None` if it has no backing
/// file.
fn check_one(path: &Path, file: &File, length: u64) -> Result<Option<(PathBuf, Option<String>)>> {
    let unreadable = |error| Error::image(path, "it cannot be read", Some(error));
    let truncated = |what: &str, end: u64| {
        Error::image(path, format!("it is truncated: {what} ends at byte {end}, the file at {length}"), None)
    };
    let mut header = [0; 72];
    let mut magic = [0; QFI.len()];
    if file.read_exact_at(&mut magic, 0).is_ok() && magic != *QFI {
        let detail = "it is no qcow2 image, and is to be read as one; if it was converted, say so (--format raw)";
        return Err(Error::image(path, detail, None));
    }
    if length < header.len() as u64 {
        return Err(truncated("its header", header.len() as u64));
    }
    file.read_exact_at(&mut header, 0).map_err(unreadable)?;
    refuse_unread(path, file, &header)?;
    let backing = backing_file(path, file, &header)?;
    let cluster_bits = be32(&header, 20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(Error::image(path, format!("its header is damaged: clusters of 2^{cluster_bits} bytes"), None));
    }
    let cluster_bytes = 1_u64 << cluster_bits;
    let (l1_entries, l1_offset) = (u64::from(be32(&header, 36)), be64(&header, 40));
    if l1_entries * 8 > L1_BYTES_MAX {
        return Err(Error::image(path, "its header is damaged: its first table is too long", None));
    }
    // QEMU refuses it as well. Where tables are missing, a reader would return zeros, a few clusters at a time, up to any size that
    // the image claims.
    let size_bytes = be64(&header, 24);
    if l1_entries < size_bytes.div_ceil(cluster_bytes * (cluster_bytes / 8)) {
        return Err(Error::image(
            path,
            format!("its header is damaged: its first table is too short for {size_bytes} bytes"),
            None,
        ));
    }
    let l1 = read_table(file, l1_offset, l1_entries * 8).ok_or_else(|| truncated("its first table", l1_offset))?;
    let mut seen = BTreeSet::new();
    for entry in l1.as_chunks::<8>().0 {
        let l2_offset = u64::from_be_bytes(*entry) & OFFSET_MASK;
        if l2_offset == 0 {
            continue;
        }
        // Without this check, a small file could make more work than any large one.
        if !l2_offset.is_multiple_of(cluster_bytes) || !seen.insert(l2_offset) {
            let detail = format!("its first table is damaged: it has a wrong offset, {l2_offset}, or has it twice");
            return Err(Error::image(path, detail, None));
        }
        let l2 = read_table(file, l2_offset, cluster_bytes)
            .ok_or_else(|| truncated("a second table", l2_offset + cluster_bytes))?;
        for entry in l2.as_chunks::<8>().0 {
            let entry = u64::from_be_bytes(*entry);
            // The last cluster of a file may be shorter if only zeros follow, as QEMU writes it.
            let start =
                if entry & COMPRESSED == 0 { entry & OFFSET_MASK } else { compressed_offset(entry, cluster_bits) };
            if start != 0 && start >= length {
                return Err(truncated("a cluster", start + cluster_bytes));
            }
        }
    }
    Ok(backing)
}

/// Refuses images that would be read wrongly: encrypted ones, and those with another layout of tables.
fn refuse_unread(path: &Path, file: &File, header: &[u8; 72]) -> Result<()> {
    let plain = "make a plain one: qemu-img convert -O qcow2 IMAGE PLAIN.qcow2";
    if be32(header, 32) != 0 {
        let detail = format!("it is encrypted, and its bytes would be backed up as they are; {plain}, with its key");
        return Err(Error::image(path, detail, None));
    }
    // The header of version 2 ends here. Version 3 goes on with the features that a reader must know.
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

/// The advice for an image that QEMU has marked as damaged.
fn repair(path: &Path) -> String {
    format!("repair it first, while nothing uses it: qemu-img check -r all {}", path.display())
}

fn compressed_offset(entry: u64, cluster_bits: u32) -> u64 {
    entry & ((1 << (62 - (cluster_bits - 8))) - 1)
}

fn backing_file(path: &Path, file: &File, header: &[u8; 72]) -> Result<Option<(PathBuf, Option<String>)>> {
    let (offset, length) = (be64(header, 8), be32(header, 16));
    if offset == 0 || length == 0 {
        return Ok(None);
    }
    let name = read_table(file, offset, u64::from(length.min(1024)))
        .and_then(|name| String::from_utf8(name).ok())
        .ok_or_else(|| Error::image(path, "the name of its backing file cannot be read", None))?;
    let name = name.strip_prefix("file:").unwrap_or(&name);
    let path = path.parent().unwrap_or(Path::new(".")).join(name);
    Ok(Some((path, named_format(file, header))))
}

/// Returns the format of the backing file that an extension of the header names. `None` if no extension names it.
fn named_format(file: &File, header: &[u8; 72]) -> Option<String> {
    let mut offset = match be32(header, 4) {
        0..3 => header.len() as u64,
        _ => u32::from_be_bytes(read_table(file, HEADER_LENGTH_OFFSET, 4)?.try_into().ok()?).into(),
    };
    for _ in 0..EXTENSIONS_MAX {
        let extension = read_table(file, offset, 8)?;
        let (kind, length) = extension.split_at_checked(4)?;
        let (kind, length) = (u32::from_be_bytes(kind.try_into().ok()?), u32::from_be_bytes(length.try_into().ok()?));
        match kind {
            0 => return None,
            BACKING_FORMAT if length <= 64 => {
                return String::from_utf8(read_table(file, offset + 8, length.into())?).ok();
            }
            _ => offset += 8 + u64::from(length).next_multiple_of(8),
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: u64 = 1 << 16;

    /// An image of four clusters: its header, its first table, a second table with this entry, and one more.
    fn image(entry: u64) -> Vec<u8> {
        let mut image = vec![0; 4 << 16];
        let mut put = |at: usize, field: &[u8]| image[at..at + field.len()].copy_from_slice(field);
        put(0, QFI);
        put(4, &2_u32.to_be_bytes());
        put(20, &16_u32.to_be_bytes());
        put(24, &CLUSTER.to_be_bytes());
        put(36, &1_u32.to_be_bytes());
        put(40, &CLUSTER.to_be_bytes());
        put(1 << 16, &(2 * CLUSTER).to_be_bytes());
        put(2 << 16, &entry.to_be_bytes());
        image
    }

    /// The offset of a compressed cluster has 54 bits, and its length follows. The offset of any other cluster has two bits more.
    #[test]
    fn clusters_lie_inside_the_file_whether_they_are_compressed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.qcow2");
        let sectors = 5_u64 << 54;
        for (entry, is_inside) in [
            (0, true),
            (3 * CLUSTER, true),
            (4 * CLUSTER, false),
            (1 << 54, false),
            (COMPRESSED | sectors | (3 * CLUSTER + 7), true),
            (COMPRESSED | sectors | (4 * CLUSTER), false),
        ] {
            std::fs::write(&path, image(entry)).unwrap();
            let checked = check_one(&path, &File::open(&path).unwrap(), 4 * CLUSTER);
            match checked {
                Ok(backing) => assert!(is_inside && backing.is_none(), "{entry:x}"),
                Err(error) => assert!(!is_inside && error.to_string().contains("a cluster"), "{entry:x}: {error}"),
            }
        }
    }
}
