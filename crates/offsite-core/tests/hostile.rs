//! Bytes that someone made up: no panic, and no memory out of proportion to the bytes.
#![allow(unsafe_code, reason = "an allocator that counts is the only witness of what is allocated")]

mod samples;

use offsite_core::format::WireFormat;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use offsite_core::Index;
use offsite_core::format::backup_file::BackupFileHeader;
use offsite_core::format::frame::{HEADER_BYTES, Header};
use offsite_core::format::index::Directory;
use offsite_core::format::records::{LeaseRenewal, Pin, ReleaseList, RepositoryMarker, VerificationRecord};
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, checksum, decode_record};
use offsite_core::{Coverage, Digest, ObjectId};
use offsite_core::{Head, RetiredObject};
use proptest::prelude::*;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn count(grown: usize, shrunk: usize) {
    // A thread that ends has no counters any more.
    let _ = LIVE.try_with(|live| {
        live.set((live.get() + grown).saturating_sub(shrunk));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may exist while the content is copied.
        count(size, 0);
        count(0, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `run` held at once above what there was before.
fn peak_of(run: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    run();
    PEAK.get() - before
}

/// Reads `bytes` as everything. What can be read must write the same bytes again.
fn read_as_all(bytes: &[u8]) {
    let _ = decode_record::<BackupFileHeader>(Kind::BackupFile, bytes);
    let _ = decode_record::<LeaseRenewal>(Kind::LeaseRenewal, bytes);
    let _ = decode_record::<Pin>(Kind::Pin, bytes);
    let _ = decode_record::<ReleaseList>(Kind::ReleaseList, bytes);
    let _ = decode_record::<RepositoryMarker>(Kind::Repository, bytes);
    let _ = decode_record::<VerificationRecord>(Kind::VerificationNotes, bytes);
    if let Ok(head) = Head::decode(bytes) {
        assert_eq!(head.encode().expect("a head that was read"), bytes);
    }
    if let Ok(directory) = Directory::decode(bytes) {
        read_pages(&directory, bytes);
    }
    if let Ok(index) = Index::decode(bytes) {
        assert_eq!(index.encode().expect("an index that was read"), bytes);
    }
    if let Ok((header, payload)) = Header::decode_frame(bytes) {
        assert_eq!([&header.encode()[..], payload].concat(), bytes);
    }
}

/// Looks blocks up in an index as far as its bytes go.
fn read_pages(directory: &Directory, bytes: &[u8]) {
    let [all, ..] = samples::indexes().map(|index| Coverage::of(&index.map));
    let pages = directory.pages(&all);
    let there = pages.iter().map_while(|page| bytes.get(usize_range(page.range()))).collect::<Vec<_>>();
    let _ = directory.decode_pages(&all, &pages[..there.len()], &there);
    let _ = directory.decode_pages(&all, &pages, &there);
}

fn object(kind: Kind, record: &[u8], rest: &[u8]) -> Vec<u8> {
    [&Envelope::of(kind, record).encode()[..], record, rest].concat()
}

/// The record of a sample with some bytes replaced, removed or put in.
fn bent(sample: usize, edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let (_, mut bytes) = samples::all().swap_remove(sample);
    for (place, how, value) in edits {
        let at = ENVELOPE_BYTES + place.index(bytes.len() - ENVELOPE_BYTES);
        match how % 4 {
            0 | 1 => bytes[at] = *value,
            2 => bytes.insert(at, *value),
            _ if bytes.len() > ENVELOPE_BYTES + 1 => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_as_all(&bytes);
    }

    #[test]
    fn random_records_in_a_valid_envelope(
        kind in prop::sample::select(&Kind::ALL[..]),
        record in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(1), 0xfau8..], 0..300),
        rest in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        read_as_all(&object(kind, &record, &rest));
        read_as_all(&object(kind, &record, &[]));
    }

    #[test]
    fn bent_samples_with_valid_checksums(
        sample in 0..samples::all().len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), prop_oneof![any::<u8>(), 0xfau8.., 0..5u8]), 1..4),
    ) {
        let (name, original) = samples::all().swap_remove(sample);
        let mut bytes = bent(sample, &edits);
        if name.starts_with("frame") {
            let payload = &bytes[HEADER_BYTES..];
            let (length, sum) = (u32::try_from(payload.len()).unwrap(), checksum(payload));
            bytes[40..44].copy_from_slice(&length.to_le_bytes());
            bytes[48..56].copy_from_slice(&sum.to_le_bytes());
            let sum = checksum(&bytes[..HEADER_BYTES - 8]);
            bytes[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
            read_as_all(&bytes);
        } else {
            let kind = Kind::ALL.into_iter().find(|kind| *kind as u16 == u16::from(original[8])).unwrap();
            let record = original[24..32].try_into().map(u64::from_le_bytes).unwrap();
            let parts = original.len() - ENVELOPE_BYTES - usize::try_from(record).unwrap();
            let end = bytes.len().saturating_sub(parts).max(ENVELOPE_BYTES);
            read_as_all(&object(kind, &bytes[ENVELOPE_BYTES..end], &bytes[end..]));
        }
    }

    /// A page of an index, bent, with its digest in the directory made right.
    #[test]
    fn bent_pages(
        sample in 0..4usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), 0..6u8]), 1..5),
    ) {
        let index = &samples::indexes()[sample];
        let bytes = index.encode().unwrap();
        let directory = Directory::decode(&bytes).unwrap();
        let page = directory.pages(&Coverage::of(&index.map)).swap_remove(0);
        let (range, record_end) = (usize_range(page.range()), usize_range(directory.part_range(0)).start);
        let mut columns = bytes[range.clone()].to_vec();
        for (place, value) in edits {
            let at = place.index(columns.len());
            columns[at] = value;
        }
        let mut record = bytes[ENVELOPE_BYTES..record_end].to_vec();
        let old = Digest::of(&bytes[range.clone()]).0;
        let at = record.windows(old.len()).position(|window| window == old).expect("the page's digest");
        record[at..at + old.len()].copy_from_slice(&Digest::of(&columns).0);
        let parts = [&bytes[record_end..range.start], &columns, &bytes[range.end..]].concat();
        read_as_all(&object(Kind::Index, &record, &parts));
    }
}

fn usize_range(range: std::ops::Range<u64>) -> std::ops::Range<usize> {
    let at = |place| usize::try_from(place).expect("a place in memory");
    at(range.start)..at(range.end)
}

/// Each vector and string of a record claims every size, with nothing behind the claim.
#[test]
fn a_claim_allocates_nothing() {
    let claims = [0xfb, 0xfc, 0xfd, 0xfe].map(|marker: u8| [&[marker][..], &[0xff; 16], &[0; 8]].concat());
    let powers = (20..64u32).map(|power| [&[0xfd][..], &(1u64 << power).to_le_bytes(), &[0; 64]].concat());
    for claim in claims.into_iter().chain(powers) {
        for (name, bytes) in samples::all().into_iter().filter(|(name, _)| !name.starts_with("frame")) {
            let kind = Kind::ALL.into_iter().find(|kind| *kind as u16 == u16::from(bytes[8])).unwrap();
            for at in ENVELOPE_BYTES..bytes.len() {
                let hostile = object(kind, &[&bytes[ENVELOPE_BYTES..at], &claim].concat(), &[]);
                let peak = peak_of(|| read_as_all(&hostile));
                assert!(peak < 4 << 20, "{name}, byte {at}: {peak} bytes for {}", hostile.len());
            }
        }
    }
}

/// Memory follows the record's length, also where there is much before the claim.
#[test]
fn a_claim_in_a_long_record_allocates_a_bounded_multiple() {
    let head = samples::head().encode().unwrap();
    let ancestry = head.windows(4).position(|window| window == b"\x02the").expect("the ancestry");
    for count in [16, 250, 300, 4_000, 4_200, 60_000, 66_000] {
        let mut record = head[ENVELOPE_BYTES..ancestry].to_vec();
        record.push(0xfc);
        record.extend_from_slice(&u32::to_le_bytes(count));
        record.resize(record.len() + 16 * usize::try_from(count).unwrap(), 7);
        // Boundary, epoch and sealed epoch, then the claim that the holder of a lease has so long a name.
        record.extend_from_slice(&[1, 1, 0, 1, 0xfd]);
        for power in 16..31 {
            let claim = [&record[..], &(1u64 << power).to_le_bytes(), b"name"].concat();
            let bytes = object(Kind::Head, &claim, &[]);
            let peak = peak_of(|| assert!(Head::decode(&bytes).is_err()));
            assert!(peak < 256 * bytes.len(), "{peak} bytes for {}", bytes.len());
        }
    }
}

/// A directory that claims rows or pages without columns is found out before anything is made for them.
#[test]
fn an_index_without_its_columns_allocates_nothing() {
    for index in samples::indexes() {
        let bytes = index.encode().unwrap();
        for at in ENVELOPE_BYTES..bytes.len() {
            for value in [[0xfc, 0xff, 0xff, 0xff, 0xff], [0xfb, 0xff, 0xff, 0, 0]] {
                let record = [&bytes[ENVELOPE_BYTES..at], &value, &bytes[at + 1..]].concat();
                let peak = peak_of(|| read_as_all(&object(Kind::Index, &record, &[])));
                assert!(peak < 4 << 20, "byte {at}: {peak} bytes");
            }
        }
    }
}

/// The record that grows most when decoded: 16 MiB of empty names.
#[test]
fn the_worst_record_takes_a_bounded_multiple() {
    let head = samples::head().encode().unwrap();
    // Everything up to the machines, then as many empty names as a head may have bytes.
    let names = head.windows(4).position(|window| window == b"\x04\x02db").expect("the machines");
    // A name and whether it was ever selected: a byte each.
    let count = ((16 << 20) - (names - ENVELOPE_BYTES) - 5 - 6) / 2;
    let mut record = head[ENVELOPE_BYTES..names].to_vec();
    record.push(0xfc);
    record.extend_from_slice(&u32::try_from(count).unwrap().to_le_bytes());
    record.resize(record.len() + 2 * count + 6, 0);
    let bytes = object(Kind::Head, &record, &[]);
    let peak = peak_of(|| assert!(Head::decode(&bytes).is_err()));
    println_peak(peak, bytes.len());
    assert!(peak < 1 << 30, "{peak} bytes for {}", bytes.len());
}

#[allow(clippy::disallowed_macros, reason = "a figure for whoever runs the test with --nocapture")]
fn println_peak(peak: usize, bytes: usize) {
    println!("{peak} bytes at the peak for a record of {bytes}");
}

/// Each would have the engine release what is needed, or count beyond what there is.
#[test]
fn heads_that_contradict_themselves_are_neither_read_nor_written() {
    type Change = fn(&mut Head);
    let file = |head: &Head| *head.files.keys().next().unwrap();
    assert!(Head::decode(&samples::head().encode().unwrap()).is_ok() && file(&samples::head()) == ObjectId::new(1, 1));
    let changes: [(&str, Change); 4] = [
        ("a later head", |head| head.retired[0].since = head.number + 1),
        ("retired and referred to", |head| head.retired[0].what = RetiredObject::File(ObjectId::new(1, 1))),
        ("retired and referred to", |head| {
            let id = head.chain.indexes().next().unwrap().id;
            head.retired[0].what = RetiredObject::Index(id);
        }),
        ("longer than any place", |head| head.retired[0].bytes = u64::MAX),
    ];
    for (why, change) in changes {
        let mut head = samples::head();
        change(&mut head);
        // None is written, as what is written is read first.
        let error = head.encode().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
