//! Exports: one that is wrong is refused and leaves nothing, one that is right is imported and can be restored.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use offsite_core::format::records::{EXPORT_ALIGNMENT_BYTES, ExportHeader};
use offsite_core::format::{ENVELOPE_BYTES, Kind, checksum, decode_record};
use offsite_fuzz::export::{Built, end_of, import};
use offsite_fuzz::mended;

/// The export with the checksums of its envelopes and its end put right, as far as it can be told where these are.
fn whole(bytes: &[u8]) -> Option<Vec<u8>> {
    let alignment = EXPORT_ALIGNMENT_BYTES as usize;
    let mut bytes = bytes.to_vec();
    let record = envelope(&mut bytes, 0)?;
    let header: ExportHeader = decode_record(Kind::Export, bytes.get(..record)?).ok()?;
    let index = record.next_multiple_of(alignment);
    envelope(&mut bytes, index)?;
    let index_end = index.checked_add(usize::try_from(header.index_bytes).ok()?)?;
    let file = index_end.checked_next_multiple_of(alignment)?;
    envelope(&mut bytes, file);
    let end = file.checked_add(usize::try_from(header.file_bytes).ok()?)?;
    bytes.get(end..)?;
    bytes.truncate(end);
    let frames = frames(&mut bytes[file..]);
    let end = end_of(&bytes, frames);
    bytes.extend_from_slice(&end);
    Some(bytes)
}

/// Mends the envelope that starts at `start`; where its record ends.
fn envelope(bytes: &mut [u8], start: usize) -> Option<usize> {
    let object = bytes.get_mut(start..)?;
    object.copy_from_slice(&mended(object)?);
    let length = u64::from_le_bytes(object.get(24..32)?.try_into().ok()?);
    Some(start + ENVELOPE_BYTES + usize::try_from(length).ok()?)
}

/// Mends the header of each frame in a backup file; how many there are.
fn frames(file: &mut [u8]) -> u64 {
    let mut count = 0;
    for start in (0..file.len()).step_by(EXPORT_ALIGNMENT_BYTES as usize) {
        let Some(header) = file.get_mut(start..start + 96).filter(|header| header.starts_with(b"OFr\x1a")) else {
            continue;
        };
        let sum = checksum(&header[..88]);
        header[88..].copy_from_slice(&sum.to_le_bytes());
        count += 1;
    }
    count
}

fuzz_target!(|bytes: &[u8]| {
    import(bytes.to_vec());
    if let Some(bytes) = whole(bytes) {
        import(bytes);
    }
    let Ok(built) = Built::arbitrary(&mut Unstructured::new(bytes)) else { return };
    if let Some(bytes) = built.bytes() {
        let is_imported = import(bytes).is_some();
        assert!(is_imported || !built.is_right() || built.machines.is_empty(), "{built:?}");
    }
});
