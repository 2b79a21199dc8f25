//! Somebody who writes to a store can give an object the checksum that it had. A digest tells it all the same.

mod samples;

use offsite_core::format::index::Directory;
use offsite_core::format::{ENVELOPE_BYTES, Envelope, FormatError, Kind, WireFormat, checksum};
use offsite_core::{Coverage, Index};

/// Changes `bytes` at `free` so that their checksum is `wanted`.
///
/// A CRC is linear: each bit that is turned changes the checksum by a pattern of its own. So it takes a system of linear equations.
fn force(bytes: &mut [u8], free: usize, wanted: u64) {
    let base = checksum(bytes);
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for bit in 0..64 {
        let turn = |bytes: &mut [u8]| bytes[free + bit / 8] ^= 1 << (bit % 8);
        turn(bytes);
        let (mut pattern, mut bits) = (checksum(bytes) ^ base, 1_u64 << bit);
        turn(bytes);
        for (row, of) in &rows {
            if pattern & (1 << row.ilog2()) != 0 {
                (pattern, bits) = (pattern ^ row, bits ^ of);
            }
        }
        if pattern != 0 {
            rows.push((pattern, bits));
        }
    }
    let (mut left, mut bits) = (wanted ^ base, 0);
    for (row, of) in &rows {
        if left & (1 << row.ilog2()) != 0 {
            (left, bits) = (left ^ row, bits ^ of);
        }
    }
    assert_eq!(left, 0, "eight bytes are enough for any checksum");
    for bit in 0..64 {
        if bits >> bit & 1 == 1 {
            bytes[free + bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert_eq!(checksum(bytes), wanted);
}

fn index() -> (Index, Vec<u8>) {
    let index = samples::full_index();
    let bytes = index.encode().expect("an index");
    (index, bytes)
}

/// The longest page of an index: its place among the bytes.
fn longest_page(index: &Index, directory: &Directory) -> std::ops::Range<usize> {
    let pages = directory.pages(&Coverage::of(&index.map));
    let range = pages.iter().map(|page| page.range()).max_by_key(|range| range.end - range.start).expect("a page");
    let small = |at: u64| usize::try_from(at).expect("a small index");
    small(range.start)..small(range.end)
}

#[test]
fn a_page_with_the_right_checksum_is_told() {
    let (index, mut bytes) = index();
    let directory = Directory::decode(&bytes).expect("a directory");
    let page = longest_page(&index, &directory);
    let before = checksum(&bytes[page.clone()]);
    // A page ends with the digests of its blocks. The last one pays for a change of the one before it.
    assert!(page.len() >= 2 * 52, "two stored blocks");
    bytes[page.end - 40] ^= 1;
    let free = page.len() - 8;
    force(&mut bytes[page], free, before);
    assert_eq!(Index::decode(&bytes).expect_err("a forged page"), FormatError::Checksum("index"));
}

#[test]
fn a_directory_with_the_right_checksum_is_not_the_one_that_was_referred_to() {
    let (_, bytes) = index();
    let mut forged = bytes.clone();
    let envelope = Envelope::decode(Kind::Index, &bytes).expect("an envelope");
    let end = ENVELOPE_BYTES + usize::try_from(envelope.record_bytes).expect("small");
    let record = &mut forged[ENVELOPE_BYTES..end];
    // The identity of the folder has 16 bytes of any value.
    record[0] ^= 1;
    force(record, 8, envelope.record_checksum);
    assert_ne!(forged, bytes);
    let (honest, other) = [&bytes, &forged].map(|bytes| Directory::decode(bytes).expect("a directory")).into();
    assert_ne!(honest.reference(&bytes), other.reference(&forged));
}
