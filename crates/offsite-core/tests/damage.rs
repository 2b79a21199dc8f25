//! Damage to small objects, exhaustively: each is refused, and none is read as something else.

mod samples;

use offsite_core::Coverage;
use offsite_core::Head;
use offsite_core::Index;
use offsite_core::format::WireFormat;
use offsite_core::format::backup_file::BackupFileHeader;
use offsite_core::format::frame::{Codec, HEADER_BYTES, Header};
use offsite_core::format::index::Directory;
use offsite_core::format::records::{LeaseRenewal, Pin, ReleaseList, RepositoryMarker, VerificationRecord};
use offsite_core::format::{
    ENVELOPE_BYTES, Envelope, FormatError, Kind, Result, checksum, decode_record, encode_record,
};

/// Reads an object as what its name says, and writes what was read again.
fn read(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    fn record<T: serde::Serialize + serde::de::DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<Vec<u8>> {
        offsite_core::format::encode_record(kind, &decode_record::<T>(kind, bytes)?)
    }
    match name {
        "backup-file-header" => record::<BackupFileHeader>(Kind::BackupFile, bytes),
        "frame-plain" | "frame-zstd" => {
            Header::decode_frame(bytes).map(|(header, payload)| [&header.encode()[..], payload].concat())
        }
        "head" => Head::decode(bytes)?.encode(),
        "index" | "index-full" | "index-layered" | "index-rollback" => Index::decode(bytes)?.encode(),
        "lease-renewal" => record::<LeaseRenewal>(Kind::LeaseRenewal, bytes),
        "pin" => record::<Pin>(Kind::Pin, bytes),
        "release-list" => record::<ReleaseList>(Kind::ReleaseList, bytes),
        "repository" => record::<RepositoryMarker>(Kind::Repository, bytes),
        "verification" => record::<VerificationRecord>(Kind::VerificationNotes, bytes),
        other => panic!("{other} has no reader"),
    }
}

/// Makes the checksums of a changed object right again, as someone would who means harm.
fn mend(name: &str, bytes: &mut [u8]) {
    let (covered, at, header) = if name.starts_with("frame") {
        (HEADER_BYTES..bytes.len(), 48, HEADER_BYTES)
    } else {
        (ENVELOPE_BYTES..record_end(bytes), 32, ENVELOPE_BYTES)
    };
    let sum = checksum(&bytes[covered]).to_le_bytes();
    bytes[at..at + 8].copy_from_slice(&sum);
    let sum = checksum(&bytes[..header - 8]).to_le_bytes();
    bytes[header - 8..header].copy_from_slice(&sum);
}

fn record_end(bytes: &[u8]) -> usize {
    let length = u64::from_le_bytes(bytes[24..32].try_into().expect("eight bytes"));
    usize::try_from(length).map_or(bytes.len(), |length| length.saturating_add(64).min(bytes.len()))
}

#[test]
fn an_object_reads_back() {
    for (name, bytes) in samples::all() {
        assert_eq!(read(name, &bytes).unwrap(), bytes, "{name}");
    }
}

#[test]
fn each_flipped_bit_is_noticed() {
    for (name, bytes) in samples::all() {
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                assert!(read(name, &damaged).is_err(), "{name}: bit {bit} of byte {position}");
            }
        }
    }
}

#[test]
fn each_truncation_is_noticed() {
    for (name, bytes) in samples::all() {
        for length in 0..bytes.len() {
            let error = read(name, &bytes[..length]).expect_err(name);
            let short = matches!(error, FormatError::Short { .. } | FormatError::Invalid { .. });
            assert!(short, "{name} of {length} bytes: {error}");
        }
    }
}

#[test]
fn bytes_after_the_end_are_noticed() {
    for (name, bytes) in samples::all() {
        for tail in [&[0][..], &[1], &[0; 4096]] {
            let error = read(name, &[&bytes, tail].concat()).expect_err(name);
            assert!(matches!(error, FormatError::Invalid { .. } | FormatError::Long { .. }), "{name}: {error}");
        }
        // The same within the record, its length and checksums made right.
        if !name.starts_with("frame") {
            let end = record_end(&bytes);
            let mut longer = [&bytes[..end], &[0], &bytes[end..]].concat();
            longer[24..32].copy_from_slice(&(end as u64 - 63).to_le_bytes());
            mend(name, &mut longer);
            assert!(read(name, &longer).is_err(), "{name}");
        }
    }
}

/// Whatever one byte is changed to, checksums made right: refused, or read as the value that has these very bytes.
#[test]
fn mended_damage_is_refused_or_has_one_meaning() {
    for (name, bytes) in samples::all() {
        let header = if name.starts_with("frame") { HEADER_BYTES } else { ENVELOPE_BYTES };
        for position in (0..bytes.len()).filter(|position| !(header - 8..header).contains(position)) {
            for value in [0, 1, 2, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, bytes[position] ^ 1] {
                let mut changed = bytes.clone();
                changed[position] = value;
                mend(name, &mut changed);
                if let Ok(again) = read(name, &changed) {
                    assert_eq!(again, changed, "{name}: byte {position} is {value:#x}");
                }
            }
        }
    }
}

#[test]
fn an_object_is_not_read_as_another_kind() {
    for (name, bytes) in samples::all() {
        for (other, _) in samples::all().iter().filter(|(other, _)| other[..2] != name[..2]) {
            let error = read(other, &bytes).expect_err(other);
            assert!(matches!(error, FormatError::Kind { .. } | FormatError::Magic(_)), "{name} as {other}: {error}");
        }
    }
}

fn changed(name: &str, change: impl Fn(&mut [u8])) -> FormatError {
    let (_, mut bytes) = samples::all().into_iter().find(|(other, _)| *other == name).expect("a sample");
    change(&mut bytes);
    mend(name, &mut bytes);
    read(name, &bytes).expect_err(name)
}

#[test]
fn newer_objects_are_refused_by_name_of_what_is_new() {
    for (name, _) in samples::all().iter().filter(|(name, _)| !name.starts_with("frame")) {
        assert!(matches!(changed(name, |bytes| bytes[10] = 2), FormatError::Version { version: 2, known: 1, .. }));
        assert!(matches!(changed(name, |bytes| bytes[10] = 0), FormatError::Version { version: 0, .. }));
        assert_eq!(changed(name, |bytes| bytes[43] = 0x80), FormatError::Feature(1 << 31));
        assert_eq!(changed(name, |bytes| bytes[12] = 1), FormatError::Suite(1));
        for reserved in [14, 15, 16, 19, 20, 23, 44, 55] {
            assert!(matches!(changed(name, |bytes| bytes[reserved] = 1), FormatError::Invalid { .. }));
        }
        for length in [20 << 20, 65 << 20, u64::MAX - 63, u64::MAX] {
            let error = changed(name, |bytes| bytes[24..32].copy_from_slice(&length.to_le_bytes()));
            assert!(matches!(error, FormatError::Long { .. } | FormatError::Short { .. }), "{error}");
        }
    }
    let frame = |at: usize, value: u8| changed("frame-plain", move |bytes| bytes[at] = value);
    assert!(matches!(frame(4, 2), FormatError::Version { version: 2, known: 1, .. }));
    assert!(matches!(frame(5, 2), FormatError::Invalid { .. }));
    assert_eq!(frame(6, 1), FormatError::Suite(1));
    for reserved in [7, 26, 27] {
        assert!(matches!(frame(reserved, 1), FormatError::Invalid { .. }));
    }
    assert!(matches!(frame(40, 42), FormatError::Invalid { .. }));
    let zeros = |range: std::ops::Range<usize>| changed("frame-zstd", move |bytes| bytes[range.clone()].fill(0));
    assert!(matches!(zeros(40..44), FormatError::Invalid { .. }), "an empty payload");
    assert!(matches!(zeros(44..48), FormatError::Invalid { .. }), "an empty block");
    let huge = changed("frame-zstd", |bytes| bytes[44..48].copy_from_slice(&((4 << 20) + 1u32).to_le_bytes()));
    assert!(matches!(huge, FormatError::Long { .. }));
}

/// The object of that name with `old` replaced in its record, lengths and checksums made right.
fn replaced_bytes(name: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    let (_, bytes) = samples::all().into_iter().find(|(other, _)| *other == name).expect("a sample");
    let at = bytes.windows(old.len()).position(|window| window == old).expect("what is replaced");
    let mut changed = [&bytes[..at], new, &bytes[at + old.len()..]].concat();
    let length = record_end(&bytes) - 64 + new.len() - old.len();
    changed[24..32].copy_from_slice(&(length as u64).to_le_bytes());
    mend(name, &mut changed);
    changed
}

fn replaced(name: &str, old: &[u8], new: &[u8]) -> FormatError {
    read(name, &replaced_bytes(name, old, new)).expect_err(name)
}

/// Also of a directory that is read alone: a machine is looked up by its name.
#[test]
fn a_directory_names_each_machine_once() {
    for (old, new) in [(&b"\x02db"[..], &b"\x03app"[..]), (b"\x03app", b"\x03zpp")] {
        let error = Directory::decode(&replaced_bytes("index", old, new)).unwrap_err();
        assert!(error.to_string().contains("its machines are out of order"), "{error}");
    }
}

#[test]
fn contradictions_are_refused() {
    let why = |error: FormatError| match error {
        FormatError::Invalid { why, .. } => why,
        other => panic!("{other}"),
    };
    assert_eq!(why(replaced("index", b"\x03app", b"\x03zpp")), "its machines are out of order");
    assert_eq!(why(replaced("index", b"\x02db", b"\x03app")), "its machines are out of order", "one machine twice");
    assert_eq!(why(replaced("index", b"\x03app\x01", b"\x03app\x02")), "two machines have one number");
    let tags = why(replaced("head", b"\x04gold\x05linux", b"\x05linux\x04gold"));
    let containers = why(replaced("head", b"\x01\x0dsite a/rack 4", b"\x02\x01b\x01a"));
    assert_eq!([tags, containers], ["the labels of a machine are out of order"; 2]);
    assert_eq!(why(replaced("head", b"\x03web", b"\x03app")), "a machine has two numbers");
    let list_digest = [&[1][..], &[7; 32]].concat();
    let retired = "a release list has a digest, and nothing else that is retired has one";
    assert_eq!(why(replaced("head", &list_digest, &[0])), retired);
    assert_eq!(why(replaced("head", b"\x03web", b"\x03w/b")), "\"w/b\" is no machine name: it has a slash");
}

/// A machine's part is read alone, from the directory and its own bytes.
#[test]
fn a_part_is_read_alone() {
    for index in samples::indexes() {
        let bytes = index.encode().unwrap();
        let directory = Directory::decode(&bytes[..record_end(&bytes)]).unwrap();
        assert_eq!(directory.length(), bytes.len() as u64);
        for (position, (state, _)) in directory.machines.iter().enumerate() {
            let part = slice(&bytes, directory.part_range(position));
            let machine = directory.decode_part(position, part).unwrap();
            assert_eq!(machine.as_ref(), index.map.machine(&state.name).or(index.spare.machine(&state.name)));
            let needed_bytes = part.len() as u64;
            let of_length = |bytes: usize| FormatError::Short { what: "index", bytes: bytes as u64, needed_bytes };
            let longer = [part, &[0]].concat();
            assert_eq!(directory.decode_part(position, &longer).unwrap_err(), of_length(longer.len()));
            if let Some(shorter) = part.get(1..) {
                assert_eq!(directory.decode_part(position, shorter).unwrap_err(), of_length(shorter.len()));
            }
            for byte in 0..part.len() {
                let mut damaged = part.to_vec();
                damaged[byte] ^= 1;
                assert_eq!(directory.decode_part(position, &damaged).unwrap_err(), FormatError::Checksum("index"));
            }
        }
        assert!(directory.decode_part(9, &[]).is_err());
        assert_eq!(directory.part_range(9), 0..0);
    }
}

/// So are its pages, each with a checksum of its own.
#[test]
fn a_page_is_read_alone() {
    for index in samples::indexes() {
        let bytes = index.encode().unwrap();
        let directory = Directory::decode(&bytes[..record_end(&bytes)]).unwrap();
        let coverage = Coverage::of(&index.map);
        // Spare blocks are of no state, so a look-up in states does not see them.
        let all = coverage.clone().union(Coverage::of(&index.spare));
        let pages = directory.pages(&all);
        let read: Vec<_> = pages.iter().map(|page| slice(&bytes, page.range())).collect();
        assert_eq!(directory.decode_pages(&all, &pages, &read).unwrap(), index.map);
        for page in directory.pages(&coverage) {
            let page_bytes = slice(&bytes, page.range()).to_vec();
            let decode = |bytes: &[u8]| directory.decode_pages(&coverage, std::slice::from_ref(&page), &[bytes]);
            assert!(decode(&page_bytes).is_ok());
            assert!(matches!(decode(&page_bytes[1..]).unwrap_err(), FormatError::Short { .. }));
            assert!(matches!(decode(&[&page_bytes[..], &[0]].concat()).unwrap_err(), FormatError::Short { .. }));
            for byte in 0..page_bytes.len() {
                let mut damaged = page_bytes.clone();
                damaged[byte] ^= 1;
                assert_eq!(decode(&damaged).unwrap_err(), FormatError::Checksum("index"));
            }
        }
    }
}

fn slice(bytes: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    let at = |place| usize::try_from(place).expect("a place in memory");
    &bytes[at(range.start)..at(range.end)]
}

/// Who reads a message knows which object to look at.
#[test]
fn an_error_names_the_kind() {
    let words = Kind::ALL.map(|kind| {
        let error = Envelope::decode(kind, b"").unwrap_err().to_string();
        error.strip_suffix(" is cut off: 0 bytes, 64 needed").expect("what is cut off").to_owned()
    });
    let known = [
        "repository marker",
        "head",
        "index",
        "backup file",
        "release list",
        "pin",
        "lease renewal",
        "export",
        "end of the export",
        "verification notes",
    ];
    assert_eq!(words, known);
}

/// What may be read may be written, and nothing longer.
#[test]
fn a_record_may_be_as_long_as_its_kind_allows() {
    let pin = |length: usize| Pin { holder: "h".repeat(length), ..samples::pin() };
    let limit = (4 << 10) + ENVELOPE_BYTES;
    let longest = (0..limit).rev().find_map(|length| encode_record(Kind::Pin, &pin(length)).ok().map(|_| length));
    let longest = pin(longest.expect("a pin"));
    let bytes = encode_record(Kind::Pin, &longest).unwrap();
    assert_eq!(bytes.len(), limit);
    assert_eq!(decode_record::<Pin>(Kind::Pin, &bytes).unwrap(), longest);
    let long = |bytes| FormatError::Long { what: "pin", bytes, limit_bytes: 4 << 10 };
    let longer = pin(longest.holder.len() + 1);
    assert_eq!(encode_record(Kind::Pin, &longer).unwrap_err(), long((4 << 10) + 1));
    // Made by someone else all the same, it is refused before it is looked at.
    let mut record = bytes[ENVELOPE_BYTES..].to_vec();
    record.push(0);
    let longer = [&Envelope::of(Kind::Pin, &record).encode()[..], &record].concat();
    assert_eq!(decode_record::<Pin>(Kind::Pin, &longer).unwrap_err(), long((4 << 10) + 1));
}

#[test]
fn a_frame_holds_a_block_of_any_size_there_is() {
    let bytes = samples::frame(Codec::Plain);
    let identity = Header::decode_frame(&bytes).unwrap().0.identity;
    let header = |plain_bytes: u32, payload: &[u8]| {
        Header::of(identity, Codec::Plain, plain_bytes, offsite_core::Digest([0; 32]), payload)
    };
    for size in offsite_core::BlockSize::ALL {
        let payload = vec![1; size.bytes() as usize];
        let header = header(size.bytes(), &payload).unwrap();
        let frame = [&header.encode()[..], &payload].concat();
        assert_eq!(Header::decode_frame(&frame).unwrap(), (header, &payload[..]));
    }
    let payload = vec![1; (4 << 20) + 1];
    assert!(matches!(header((4 << 20) + 1, &payload), Err(FormatError::Long { .. })));
}
