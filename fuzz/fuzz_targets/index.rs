//! Indexes: what can be read is written as the same bytes; parts too.
#![no_main]

use offsite_core::format::WireFormat;
use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use offsite_core::Index;
use offsite_core::format::index::{Directory};
use offsite_core::format::{Kind, checksum};
use offsite_core::{BlockMap, Coverage, MachineMap};
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
    if let Ok(directory) = Directory::decode(bytes) {
        let coverage = everything(&directory);
        let pages = directory.pages(&coverage);
        let range = |start, end| bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?);
        let there: Vec<&[u8]> = pages.iter().map_while(|page| range(page.range().start, page.range().end)).collect();
        let _ = directory.decode_pages(&coverage, &pages, &there);
    }
    if let Ok(index) = Index::decode(bytes) {
        assert_eq!(index.encode().expect("an index that was read"), bytes);
    }
}

/// The index with the checksum of its first page put where that of the unchanged golden page stands.
fn with_page_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let directory = Directory::decode(bytes).ok()?;
    let page = directory.pages(&everything(&directory)).first()?.range();
    let page = bytes.get(usize::try_from(page.start).ok()?..usize::try_from(page.end).ok()?)?;
    // The checksum is a u64 of the record after the marker 253; in the golden index it is the first after byte 150.
    let at = 151 + bytes.get(150..)?.iter().position(|byte| *byte == 253)?;
    let mut bytes = bytes.to_vec();
    let sum = checksum(page).to_le_bytes();
    bytes.get_mut(at..at + 8)?.copy_from_slice(&sum);
    mended(&bytes)
}

/// A coverage of all blocks of the directory's machines: none of their disks is listed, so each is covered as a whole.
fn everything(directory: &Directory) -> Coverage {
    let mut step = BlockMap::empty();
    for (state, _) in &directory.machines {
        step.insert(state.name.clone(), MachineMap::new(state.captured, BTreeMap::new()));
    }
    Coverage::of(&step)
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(bytes) = mended(bytes) {
        read(&bytes);
        if let Some(bytes) = with_page_checksum(&bytes) {
            read(&bytes);
        }
    }
    if let Ok(split) = Split::arbitrary(&mut Unstructured::new(bytes)) {
        read(&object(Kind::Index, split.directory, split.parts));
    }
});
