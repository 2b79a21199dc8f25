//! When the packs of a cache were used last.

use std::collections::BTreeMap;

use offsite_core::ObjectId;
use offsite_core::format::checksum;

/// The turn of the run that used each pack last. Turns count up with the runs that use the cache.
pub(super) type Usage = BTreeMap<ObjectId, u64>;

/// The bytes of the record.
pub(super) fn encode(usage: &Usage) -> Vec<u8> {
    let body: Vec<u8> =
        usage.iter().flat_map(|(id, turn)| id.stored().to_le_bytes().into_iter().chain(turn.to_le_bytes())).collect();
    [&checksum(&body).to_le_bytes()[..], &body].concat()
}

/// What a record says. `None` if it is damaged.
pub(super) fn decode(bytes: &[u8]) -> Option<Usage> {
    let (sum, body) = bytes.split_first_chunk::<8>()?;
    let (rows, rest) = body.as_chunks::<16>();
    if !rest.is_empty() || checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let row = |row: &[u8; 16]| {
        let (id, turn) = row.split_first_chunk::<8>()?;
        Some((ObjectId::from_stored(u64::from_le_bytes(*id)), u64::from_le_bytes(*turn.first_chunk()?)))
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_reads_back_and_damage_does_not() {
        let usage = Usage::from([(ObjectId::new(1, 1), 7), (ObjectId::new(1, 2), 9)]);
        let bytes = encode(&usage);
        assert_eq!(decode(&bytes), Some(usage));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert_eq!(decode(&damaged), None);
            assert_eq!(decode(&bytes[..position]), None);
        }
    }
}
