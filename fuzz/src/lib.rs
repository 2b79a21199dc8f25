//! What the fuzz targets share: objects whose checksums are right, so that a fuzzer gets past them.

use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, checksum};

/// The kinds of objects, by a number.
pub fn kind(number: u8) -> Kind {
    const KINDS: [Kind; 8] = [
        Kind::Repository,
        Kind::Head,
        Kind::Index,
        Kind::BackupFile,
        Kind::ReleaseList,
        Kind::Pin,
        Kind::LeaseRenewal,
        Kind::Verification,
    ];
    KINDS[usize::from(number) % KINDS.len()]
}

/// `record` in a valid envelope, and what follows it.
pub fn object(kind: Kind, record: &[u8], rest: &[u8]) -> Vec<u8> {
    [&Envelope::of(kind, record).encode()[..], record, rest].concat()
}

/// The object that `bytes` would be, had it the right checksums and a record that reaches to its end at most.
///
/// This lets the corpus be whole objects: the raw and the mended reading of one input explore the same file.
pub fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let room = bytes.len().checked_sub(ENVELOPE_BYTES)? as u64;
    let length = u64::from_le_bytes(bytes[24..32].try_into().ok()?).min(room);
    let end = ENVELOPE_BYTES + usize::try_from(length).ok()?;
    bytes[24..32].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(&bytes[ENVELOPE_BYTES..end]);
    bytes[32..40].copy_from_slice(&sum.to_le_bytes());
    let sum = checksum(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    Some(bytes)
}
