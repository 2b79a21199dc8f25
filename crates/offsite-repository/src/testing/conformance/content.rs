//! Contents of objects that the suite writes.

use std::fmt::Display;
use std::ops::Range;

use bytes::Bytes;

/// Bytes that look random, the same each time for a seed, without a zero among them: what a hole reads as is none of them.
pub(super) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length.next_multiple_of(8));
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&(state | 0x0101_0101_0101_0101).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Where two contents differ.
pub(super) fn difference(found: &[u8], wanted: &[u8]) -> impl Display {
    if found.len() != wanted.len() {
        return format!("{} bytes instead of {}", found.len(), wanted.len());
    }
    match found.iter().zip(wanted).position(|(found, wanted)| found != wanted) {
        Some(position) => format!("byte {position} is {:#04x} instead of {:#04x}", found[position], wanted[position]),
        None => "no difference".to_owned(),
    }
}

/// A part of a buffer by the repository's kind of offsets.
pub(super) fn part<'a>(content: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    let bound = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    &content[bound(range.start)..bound(range.end)]
}
