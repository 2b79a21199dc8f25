//! Heads: what can be read is written as the same bytes.
#![no_main]

use offsite_core::format::WireFormat;
use libfuzzer_sys::fuzz_target;
use offsite_core::format::Kind;
use offsite_core::Head;
use offsite_fuzz::{mended, object};

fn read(bytes: &[u8]) {
    if let Ok(head) = Head::decode(bytes) {
        assert_eq!(head.encode().expect("a head that was read"), bytes);
    }
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&object(Kind::Head, bytes, &[]));
    if let Some(bytes) = mended(bytes) {
        read(&bytes);
    }
});
