//! The way out of bincode: `wincode` writes and reads the same bytes, for every record there is.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_wincode::SerdeCompat;
use wincode::config::{Configuration, Deserialize as _, Serialize as _};

use super::{decode, encode};
use crate::format::backup_file::BackupFileHeader;
use crate::format::head::HeadRecord;
use crate::format::index_record::DirectoryRecord;
use crate::format::records::{LeaseRenewal, Pin, ReleaseList, RepositoryMarker};
use crate::format::{ENVELOPE_BYTES, Envelope, Kind};

fn wincode_encode<T: Serialize>(record: &T) -> Vec<u8> {
    let config = Configuration::default().with_varint_encoding();
    SerdeCompat::<T>::serialize(record, config).unwrap()
}

fn wincode_decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
    let config = Configuration::default().with_varint_encoding();
    SerdeCompat::<T>::deserialize(bytes, config).unwrap()
}

/// Both read `bytes`, and both write them from what either has read.
fn check<T: Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
    let ours: T = decode("record", bytes).unwrap();
    let theirs: T = wincode_decode(bytes);
    assert_eq!(wincode_encode(&ours), bytes);
    assert_eq!(encode("record", &theirs).unwrap(), bytes);
}

fn golden(kind: Kind, text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    let record = Envelope::decode(kind, &bytes).unwrap().record(&bytes).unwrap().to_vec();
    assert!(bytes.len() >= ENVELOPE_BYTES + record.len());
    record
}

#[test]
fn wincode_reads_and_writes_every_kind_of_record() {
    macro_rules! golden {
        ($kind:ident, $file:literal) => {
            golden(Kind::$kind, include_str!(concat!("../../../tests/golden/", $file, ".hex")))
        };
    }
    check::<RepositoryMarker>(&golden!(Repository, "repository"));
    check::<HeadRecord>(&golden!(Head, "head"));
    check::<DirectoryRecord>(&golden!(Index, "index"));
    check::<BackupFileHeader>(&golden!(BackupFile, "backup-file-header"));
    check::<ReleaseList>(&golden!(ReleaseList, "release-list"));
    check::<Pin>(&golden!(Pin, "pin"));
    check::<LeaseRenewal>(&golden!(LeaseRenewal, "lease-renewal"));
}

/// Every type that a record may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Everything {
    version: u16,
    name: String,
    numbers: Vec<u64>,
    bytes: Vec<u8>,
    signed: Option<i32>,
    names: BTreeMap<String, u32>,
    fixed: [u8; 4],
}

/// Recorded from bincode 1.3.3, 2.0.1 and wincode.
#[test]
fn the_encoding_is_the_recorded_one() {
    let record = Everything {
        version: 1,
        name: "vm-01".to_owned(),
        numbers: vec![1, 250, 251, 65_536, 1 << 40],
        bytes: vec![1, 2, 3],
        signed: Some(-1),
        names: BTreeMap::from([("a".to_owned(), 7)]),
        fixed: [1, 2, 3, 4],
    };
    let hex: String = encode("record", &record).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "0105766d2d30310501fafbfb00fc00000100fd00000000000100000301020301010101610701020304");
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Nested {
    flag: bool,
    small: u8,
    long: i64,
    pair: Option<([u8; 16], u64)>,
    inner: Vec<(u64, Vec<(u64, u64)>)>,
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300u64, 0xff00..0x1_0100u64, 0xffff_ff00..0x1_0000_0100u64, any::<u64>()]
}

fn everything() -> impl Strategy<Value = Everything> {
    let texts = prop::collection::btree_map(".{0,6}", any::<u32>(), 0..4);
    let numbers = prop::collection::vec(number(), 0..300);
    (any::<u16>(), ".{0,9}", numbers, any::<Vec<u8>>(), any::<Option<i32>>(), texts, any::<[u8; 4]>()).prop_map(
        |(version, name, numbers, bytes, signed, names, fixed)| Everything {
            version,
            name,
            numbers,
            bytes,
            signed,
            names,
            fixed,
        },
    )
}

fn nested() -> impl Strategy<Value = Nested> {
    let inner = prop::collection::vec((number(), prop::collection::vec((number(), number()), 0..4)), 0..4);
    let pair = proptest::option::of((any::<[u8; 16]>(), number()));
    (any::<bool>(), any::<u8>(), any::<i64>(), pair, inner).prop_map(|(flag, small, long, pair, inner)| Nested {
        flag,
        small,
        long,
        pair,
        inner,
    })
}

fn check_value<T: Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(record: &T) {
    let bytes = encode("record", record).unwrap();
    assert_eq!(wincode_encode(record), bytes);
    assert_eq!(&wincode_decode::<T>(&bytes), record);
    assert_eq!(&decode::<T>("record", &bytes).unwrap(), record);
    assert!(decode::<T>("record", &[&bytes[..], &[0]].concat()).is_err());
    for length in 0..bytes.len() {
        assert!(decode::<T>("record", &bytes[..length]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wincode_agrees_about_any_value(everything in everything(), nested in nested()) {
        check_value(&everything);
        check_value(&nested);
    }

    /// Where both read the same made-up bytes, they read the same value.
    #[test]
    fn wincode_agrees_about_any_bytes(bytes in prop::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..60)) {
        if let Ok(record) = decode::<Nested>("record", &bytes) {
            prop_assert_eq!(wincode_decode::<Nested>(&bytes), record);
        }
    }
}

/// A number has one spelling, the shortest.
#[test]
fn longer_spellings_of_a_number_are_refused() {
    assert_eq!(decode::<u64>("number", &[250]).unwrap(), 250);
    assert_eq!(decode::<u64>("number", &[251, 251, 0]).unwrap(), 251);
    for spelling in [
        &[251, 250, 0][..],
        &[251, 0, 0],
        &[252, 251, 0, 0, 0],
        &[252, 255, 255, 0, 0],
        &[253, 1, 0, 0, 0, 0, 0, 0, 0],
        &[253, 255, 255, 255, 255, 0, 0, 0, 0],
        &[254, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[255],
    ] {
        assert!(decode::<u64>("number", spelling).is_err(), "{spelling:?}");
    }
    assert!(decode::<Vec<u8>>("bytes", &[251, 1, 0, 7]).is_err(), "the same for lengths");
    assert!(decode::<bool>("flag", &[2]).is_err());
    assert!(decode::<Option<u8>>("option", &[2, 0]).is_err());
    assert!(decode::<String>("text", &[1, 0xff]).is_err(), "no UTF-8");
    // A map with a key twice, or keys out of order.
    assert!(decode::<BTreeMap<u8, u8>>("map", &[2, 1, 1, 1, 1]).is_err());
    assert!(decode::<BTreeMap<u8, u8>>("map", &[2, 2, 1, 1, 1]).is_err());
}

/// The limit of memory follows the length, and is never too small for a record that was written.
#[test]
fn the_limit_is_never_too_small() {
    for count in [0xff0, 0xfff0, 0xf_fff0, 0xff_fff0usize] {
        let smallest = vec![0u64; count];
        assert_eq!(decode::<Vec<u64>>("numbers", &encode("numbers", &smallest).unwrap()).unwrap().len(), count);
        let texts = vec![String::new(); count];
        assert_eq!(decode::<Vec<String>>("texts", &encode("texts", &texts).unwrap()).unwrap().len(), count);
    }
}
