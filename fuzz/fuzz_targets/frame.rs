//! Frames: what can be read is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offsite_core::format::checksum;
use offsite_core::format::frame::{HEADER_BYTES, Header};

fn read(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
    }
    if let Ok((header, payload)) = Header::decode_frame(bytes) {
        assert_eq!(header.frame_bytes() as usize, bytes.len());
        let again = Header::of(header.identity, header.codec, header.plain_bytes, header.digest, payload);
        assert_eq!(again.expect("a frame that was read"), header);
    }
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if bytes.len() >= HEADER_BYTES {
        let mut bytes = bytes.to_vec();
        let payload = u32::try_from(bytes.len() - HEADER_BYTES).expect("a small input");
        bytes[40..44].copy_from_slice(&payload.to_le_bytes());
        let sum = checksum(&bytes[HEADER_BYTES..]);
        bytes[48..56].copy_from_slice(&sum.to_le_bytes());
        let sum = checksum(&bytes[..HEADER_BYTES - 8]);
        bytes[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        read(&bytes);
    }
});
