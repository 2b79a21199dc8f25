//! Every kind of record: what can be read is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offsite_core::format::backup_file::BackupFileHeader;
use offsite_core::format::records::{
    ExportEnd, ExportHeader, LeaseRenewal, Pin, ReleaseList, RepositoryMarker, VerificationRecord,
};
use offsite_core::format::{Envelope, Kind, decode_record, encode_record};
use offsite_fuzz::{kind, mended, object};

macro_rules! same {
    ($record:ty, $kind:ident, $bytes:expr) => {
        if let Ok(record) = decode_record::<$record>(Kind::$kind, $bytes) {
            assert_eq!(encode_record(Kind::$kind, &record).expect("a record that was read"), $bytes);
        }
    };
}

fn read(bytes: &[u8]) {
    same!(RepositoryMarker, Repository, bytes);
    same!(BackupFileHeader, BackupFile, bytes);
    same!(ReleaseList, ReleaseList, bytes);
    same!(Pin, Pin, bytes);
    same!(LeaseRenewal, LeaseRenewal, bytes);
    same!(ExportHeader, Export, bytes);
    same!(ExportEnd, ExportEnd, bytes);
    same!(VerificationRecord, VerificationNotes, bytes);
    for kind in Kind::ALL {
        if let Ok(envelope) = Envelope::decode(kind, bytes) {
            assert_eq!(envelope.encode(), bytes[..64]);
            let _ = envelope.record(bytes);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(bytes) = mended(bytes) {
        read(&bytes);
    }
    if let Some((first, record)) = bytes.split_first() {
        read(&object(kind(*first), record, &[]));
    }
});
