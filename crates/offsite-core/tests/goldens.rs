//! The stored bytes, frozen. A difference here is a difference on somebody's disk: a new version, not a new golden.
//!
//! `OFFSITE_UPDATE_GOLDENS=1 cargo test -p offsite-core --test goldens` writes them anew.
#![allow(clippy::disallowed_methods, reason = "whether to write the goldens anew is asked by the environment")]

mod samples;

use offsite_core::format::WireFormat;
use std::collections::BTreeSet;
use std::path::PathBuf;

use offsite_core::Head;
use offsite_core::Index;
use offsite_core::format::backup_file::{BackupFileHeader, DiskLabel, MachineLabel, region_bytes};
use offsite_core::format::frame::{Codec, HEADER_BYTES, Header};
use offsite_core::format::records::{LeaseRenewal, Pin, ReleaseList, RepositoryMarker, VerificationRecord};
use offsite_core::format::{Checksum, Envelope, Kind, checksum, decode_record};
use offsite_core::{DiskIdentity, DiskName, DiskNumber, ImageFormat};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hexadecimal"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

fn golden(name: &str) -> Vec<u8> {
    from_hex(&std::fs::read_to_string(directory().join(name).with_extension("hex")).expect("a golden file"))
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let update = std::env::var("OFFSITE_UPDATE_GOLDENS").is_ok();
    for (name, bytes) in samples::all() {
        if update {
            std::fs::write(directory().join(name).with_extension("hex"), to_hex(&bytes)).expect("a writable directory");
        }
        assert_eq!(to_hex(&bytes), to_hex(&golden(name)), "{name}");
    }
}

#[test]
fn every_golden_file_is_listed() {
    let files = std::fs::read_dir(directory()).expect("the goldens").map(|entry| entry.expect("a golden").file_name());
    let listed: BTreeSet<_> = samples::all().into_iter().map(|(name, _)| format!("{name}.hex")).collect();
    assert_eq!(files.map(|name| name.into_string().expect("a name")).collect::<BTreeSet<_>>(), listed);
}

/// What an old release wrote, a new one reads.
#[test]
fn the_golden_bytes_are_read() {
    assert_eq!(Head::decode(&golden("head")).unwrap(), samples::head());
    let names = ["index-full", "index-rollback", "index-layered", "index"];
    for (name, index) in names.into_iter().zip(samples::indexes()) {
        assert_eq!(Index::decode(&golden(name)).unwrap(), index);
    }
    assert_eq!(decode_record::<Pin>(Kind::Pin, &golden("pin")).unwrap(), samples::pin());
    let marker: RepositoryMarker = decode_record(Kind::Repository, &golden("repository")).unwrap();
    assert_eq!(marker, samples::marker());
    let renewal: LeaseRenewal = decode_record(Kind::LeaseRenewal, &golden("lease-renewal")).unwrap();
    assert_eq!(renewal, samples::lease_renewal());
    let list: ReleaseList = decode_record(Kind::ReleaseList, &golden("release-list")).unwrap();
    assert_eq!(list, samples::release_list());
    let verification: VerificationRecord = decode_record(Kind::VerificationNotes, &golden("verification")).unwrap();
    assert_eq!(verification, samples::verification());
    let header: BackupFileHeader = decode_record(Kind::BackupFile, &golden("backup-file-header")).unwrap();
    assert_eq!(header, samples::backup_file());
    for (name, codec) in [("frame-plain", Codec::Plain), ("frame-zstd", Codec::Zstd)] {
        let bytes = golden(name);
        let (header, payload) = Header::decode_frame(&bytes).unwrap();
        assert_eq!(header.codec, codec);
        assert_eq!(payload, &bytes[HEADER_BYTES..]);
        assert_eq!([&header.encode()[..], payload].concat(), bytes);
    }
}

/// The check value of CRC-64/NVME.
#[test]
fn the_checksum_is_the_published_one() {
    assert_eq!(checksum(b"123456789"), 0xae8b_1486_0a79_9888);
    assert_eq!(checksum(b""), 0);
}

/// However the bytes come, piece by piece, also in empty pieces.
#[test]
fn the_checksum_of_pieces_is_that_of_the_whole() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    for length in [1, 7, 64, 999, 1000] {
        let mut pieces = Checksum::default();
        for (piece, end) in bytes.chunks(length).zip(1..) {
            pieces.update(piece);
            pieces.update(&[]);
            assert_eq!(pieces.value(), checksum(&bytes[..bytes.len().min(end * length)]));
        }
    }
}

#[test]
fn a_backup_file_starts_with_room_for_its_header() {
    for (count, length) in [(0, 1), (1, 1), (2, 128), (200, 128), (70_000, 128)] {
        let mut header = samples::backup_file();
        header.machines.clear();
        for number in 0..count {
            let name = format!("{number:0>length$}");
            header.machines.push(MachineLabel { number: u32::MAX - number, name, disks: Vec::new() });
        }
        (header.id, header.sequence, header.time_unix_secs) = (u64::MAX, u64::MAX, i64::MIN);
        let bytes = offsite_core::format::encode_record(Kind::BackupFile, &header).unwrap();
        for alignment in [1, 64, 4096] {
            let region = region_bytes(header.machines.iter().map(|machine| machine.name.as_str()), alignment);
            assert!(bytes.len() as u64 <= region && region.is_multiple_of(alignment), "{count} names");
            // And with little more, as each copy of a few blocks has a file of its own.
            assert!(region < bytes.len() as u64 + alignment + 128 + 128 * u64::from(count), "{count} names: {region}");
        }
    }
}

/// The first frame starts where it would without disks; of what finds no room before that, nothing is told.
#[test]
fn a_backup_file_tells_of_as_many_disks_as_there_is_room_for() {
    let identity = |length: usize| DiskIdentity::new(DiskName::new(&"d".repeat(length)).unwrap(), ImageFormat::Qcow2);
    let disks = |count: u16, length: usize| -> Vec<DiskLabel> {
        (0..count).map(|number| DiskLabel::new(DiskNumber(number), &identity(length), u64::MAX)).collect()
    };
    let told = |machines: &[(u16, usize)], alignment_bytes: u32| -> Vec<u16> {
        let label = |(number, (count, length)): (u32, &(u16, usize))| MachineLabel {
            number,
            name: format!("web{number:02}"),
            disks: disks(*count, *length),
        };
        let machines: Vec<_> = (0..).zip(machines).map(label).collect();
        let header = BackupFileHeader { machines, alignment_bytes, ..samples::backup_file() };
        let region = region_bytes(header.machines.iter().map(|machine| machine.name.as_str()), alignment_bytes.into());
        let bytes = header.clone().encode().unwrap();
        assert_eq!(bytes.len() as u64, region);
        let envelope = Envelope::decode(Kind::BackupFile, &bytes).unwrap();
        let end = usize::try_from(64 + envelope.record_bytes).unwrap();
        assert!(bytes[end..].iter().all(|byte| *byte == 0));
        let read: BackupFileHeader = decode_record(Kind::BackupFile, &bytes[..end]).unwrap();
        for (read, meant) in read.machines.iter().zip(&header.machines) {
            assert!(read.disks.is_empty() || read == meant, "all disks of a machine, or none");
        }
        read.machines.iter().map(|machine| u16::try_from(machine.disks.len()).unwrap()).collect()
    };
    // Names of files and of devices.
    assert_eq!(told(&[(4, 16), (4, 16), (4, 16)], 64), [4, 4, 4]);
    assert_eq!(told(&[(8, 3)], 64), [8]);
    assert_eq!(told(&[(20, 3)], 64), [0], "too many for the smallest header");
    assert_eq!(told(&[(20, 3)], 4096), [20]);
    assert_eq!(told(&[(200, 16), (2, 16)], 4096), [0, 2], "one that finds no room takes none");
    assert_eq!(told(&[(1, 255), (1, 255), (1, 255), (1, 255)], 64), [1, 1, 0, 0]);
    assert_eq!(told(&[(u16::MAX, 255)], 64), [0]);
    // The room of many machines is larger than a record may be.
    let many = told(&vec![(8, 3); 160_000], 64);
    let with_disks = many.iter().filter(|disks| **disks > 0).count();
    assert!((1..160_000).contains(&with_disks), "{with_disks}");
}
