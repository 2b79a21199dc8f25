//! Indexes: what can be read is written as the same bytes; parts too.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use offsite_core::format::index::{Directory, Index};
use offsite_core::format::{Kind, checksum};
use offsite_fuzz::{mended, object};

/// A directory and what follows it, without the checksums.
#[derive(Arbitrary)]
struct Split<'a> {
    directory: &'a [u8],
    parts: &'a [u8],
}

fn read(bytes: &[u8]) {
    if let Ok(directory) = Directory::decode(bytes) {
        for position in 0..directory.machines.len() {
            let range = directory.part_range(position);
            let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else { continue };
            if let Some(part) = bytes.get(start..end) {
                let _ = directory.decode_part(position, part);
            }
        }
    }
    if let Ok(index) = Index::decode(bytes) {
        assert_eq!(index.encode().expect("an index that was read"), bytes);
    }
}

/// The index with the checksum of its first part put where that of the unchanged golden part stands.
fn with_part_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let directory = Directory::decode(bytes).ok()?;
    let range = directory.part_range(0);
    let part = bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)?;
    // The checksum is a u64 of the record after the marker 253; in the golden index it is the first after byte 128.
    let at = 129 + bytes.get(128..)?.iter().position(|byte| *byte == 253)?;
    let mut bytes = bytes.to_vec();
    let sum = checksum(part).to_le_bytes();
    bytes.get_mut(at..at + 8)?.copy_from_slice(&sum);
    mended(&bytes)
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(bytes) = mended(bytes) {
        read(&bytes);
        if let Some(bytes) = with_part_checksum(&bytes) {
            read(&bytes);
        }
    }
    if let Ok(split) = Split::arbitrary(&mut Unstructured::new(bytes)) {
        read(&object(Kind::Index, split.directory, split.parts));
    }
});
