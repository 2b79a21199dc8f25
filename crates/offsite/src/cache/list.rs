//! The list of a pack: the digests of its frames, and where these lie.

use offsite_core::format::checksum;
use offsite_core::{Digest, ObjectId, StoredBlock};

const MAGIC: [u8; 8] = *b"OFFPCK\x01\0";
const HEADER_BYTES: usize = 8 + 8 + 8 + 8;
/// Digest, offset, length and number of a frame.
const ROW_BYTES: usize = 32 + 8 + 4 + 4;

/// A frame of a pack, and its number in it.
pub(super) type Row = (StoredBlock, u32);

/// The length of a list of so many frames, in bytes.
pub(super) const fn list_bytes(frames: u64) -> u64 {
    HEADER_BYTES as u64 + frames * ROW_BYTES as u64
}

/// The bytes of the list of a pack with these frames.
pub(super) fn encode(id: ObjectId, frames: &[StoredBlock]) -> Vec<u8> {
    let mut rows: Vec<Row> = frames.iter().copied().zip(0..).collect();
    rows.sort_unstable_by_key(|(at, _)| at.digest);
    let mut body = Vec::with_capacity(rows.len() * ROW_BYTES);
    for (at, number) in rows {
        body.extend(at.digest.0);
        body.extend(at.offset.to_le_bytes());
        body.extend(at.length.to_le_bytes());
        body.extend(number.to_le_bytes());
    }
    let count = frames.len() as u64;
    let head = [&MAGIC[..], &id.stored().to_le_bytes(), &count.to_le_bytes()].concat();
    let sum = checksum(&[&head[..], &body].concat());
    [&head[..], &sum.to_le_bytes(), &body].concat()
}

/// The frames of a pack, by digest. `None` if it is not the list of this pack, or damaged.
pub(super) fn decode(id: ObjectId, bytes: &[u8]) -> Option<Vec<Row>> {
    let (head, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let (head, sum) = head.split_at_checked(HEADER_BYTES - 8)?;
    let count = u64::from_le_bytes(*head[16..].first_chunk()?);
    let is_whole = head[..8] == MAGIC
        && head[8..16] == id.stored().to_le_bytes()
        && count.checked_mul(ROW_BYTES as u64) == Some(body.len() as u64)
        && checksum(&[head, body].concat()).to_le_bytes() == *sum;
    if !is_whole {
        return None;
    }
    let (rows, _) = body.as_chunks::<ROW_BYTES>();
    let row = |row: &[u8; ROW_BYTES]| {
        let (digest, rest) = row.split_first_chunk::<32>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (length, number) = rest.split_first_chunk::<4>()?;
        let (offset, length) = (u64::from_le_bytes(*offset), u32::from_le_bytes(*length));
        let at = StoredBlock { file: id, offset, length, digest: Digest(*digest) };
        Some((at, u32::from_le_bytes(*number.first_chunk()?)))
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_and_no_other_bytes_do() {
        let id = ObjectId::new(3, 4);
        let frame =
            |byte: u8| StoredBlock { file: id, offset: u64::from(byte) * 10, length: 10, digest: Digest([byte; 32]) };
        let bytes = encode(id, &[frame(9), frame(2), frame(5)]);
        assert_eq!(bytes.len() as u64, list_bytes(3));
        assert_eq!(decode(id, &bytes), Some(vec![(frame(2), 1), (frame(5), 2), (frame(9), 0)]));
        assert_eq!(decode(ObjectId::new(3, 5), &bytes), None);
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert_eq!(decode(id, &damaged), None, "{position}");
            assert_eq!(decode(id, &bytes[..position]), None, "{position}");
        }
    }
}
