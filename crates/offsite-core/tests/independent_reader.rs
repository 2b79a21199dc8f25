//! A reader written from `docs/format.md` alone: if it can read a head and an index, the page is enough.
//!
//! The crate's own code makes the bytes and the values to compare with; nothing here calls its decoders.

mod samples;

use offsite_core::{PointKind, Run, Status};

/// Section 1: CRC-64/NVME, bit by bit.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = u64::MAX;
    for byte in bytes {
        sum ^= u64::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x9a6c_9329_ac4b_c9b5 } else { sum >> 1 };
        }
    }
    !sum
}

/// The bytes that are left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    /// A fixed-width integer.
    fn fixed(&mut self, width: usize) -> u64 {
        self.take(width).iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Section 4: a variable-length integer in its shortest form.
    fn int(&mut self) -> u64 {
        match self.fixed(1) {
            251 => Some(self.fixed(2)).filter(|value| *value > 250),
            252 => Some(self.fixed(4)).filter(|value| *value > 0xffff),
            253 => Some(self.fixed(8)).filter(|value| *value > 0xffff_ffff),
            254 | 255 => None,
            small => Some(small),
        }
        .expect("the shortest form")
    }

    fn signed(&mut self) -> i64 {
        let value = self.int();
        let half = i64::try_from(value >> 1).expect("63 bits");
        if value & 1 == 0 { half } else { -half - 1 }
    }

    fn flag(&mut self) -> bool {
        match self.fixed(1) {
            0 => false,
            1 => true,
            other => panic!("{other} is no flag"),
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| read(self))
    }

    fn vec<T>(&mut self, read: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.int()).map(|_| read(self)).collect()
    }

    fn bytes16(&mut self) -> [u8; 16] {
        self.take(16).try_into().expect("16 bytes")
    }

    fn string(&mut self) -> String {
        let length = self.int();
        String::from_utf8(self.take(usize::try_from(length).expect("a short text")).to_vec()).expect("UTF-8")
    }

    fn origin(&mut self) -> Option<([u8; 16], u64)> {
        self.option(|reader| (reader.bytes16(), reader.int()))
    }
}

/// Section 3: the record of an object of that kind, and what follows it.
fn open(bytes: &[u8], kind: u64) -> (Reader<'_>, &[u8]) {
    let mut envelope = Reader(bytes);
    assert_eq!(envelope.take(8), b"OFFSITE\x1a");
    assert_eq!((envelope.fixed(2), envelope.fixed(2)), (kind, 1), "kind and version");
    assert_eq!((envelope.fixed(2), envelope.fixed(2), envelope.fixed(4), envelope.fixed(4)), (0, 0, 0, 0));
    let length = usize::try_from(envelope.fixed(8)).expect("a short record");
    let sum = envelope.fixed(8);
    assert_eq!(envelope.fixed(4), 0, "critical features");
    assert_eq!(envelope.take(12), [0; 12]);
    assert_eq!(envelope.fixed(8), checksum(&bytes[..56]));
    let record = envelope.take(length);
    assert_eq!(checksum(record), sum);
    (Reader(record), envelope.0)
}

/// As section 6 numbers them.
fn status(status: Status) -> u64 {
    match status {
        Status::Complete => 0,
        Status::Incomplete => 1,
        Status::Carried => 2,
    }
}

#[test]
fn the_checksum_has_its_check_value() {
    assert_eq!(checksum(b"123456789"), 0xae8b_1486_0a79_9888);
}

#[test]
fn a_pin_is_read() {
    let (_, bytes) = samples::all().into_iter().find(|(name, _)| *name == "pin").expect("a pin");
    let (mut record, rest) = open(&bytes, 6);
    assert_eq!((record.bytes16(), record.int(), record.string()), (samples::FOLDER, 9, "host-2/17".to_owned()));
    assert!(record.0.is_empty() && rest.is_empty());
}

/// The example in the page is the golden file.
#[test]
fn the_page_shows_the_golden_pin() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A published crate comes without the page.
    let Ok(page) = std::fs::read_to_string(root.join("docs/format.md")) else { return };
    let example = page.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let shown: String = example.lines().filter_map(|line| line.get(4..)?.split("  ").next()).collect();
    let shown: String = shown.split_whitespace().filter(|word| *word != "end").collect();
    let (_, bytes) = samples::all().into_iter().find(|(name, _)| *name == "pin").expect("a pin");
    let golden: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown.trim_start_matches("the").trim_end_matches("the"), golden);
}

#[test]
fn a_head_is_read() {
    let head = samples::head();
    let bytes = head.encode().expect("a head");
    let (mut record, rest) = open(&bytes, 2);
    assert!(rest.is_empty());

    assert_eq!((record.bytes16(), record.int(), record.bytes16()), (head.folder, head.number, head.commit));
    assert_eq!(record.vec(Reader::bytes16), head.ancestry);
    assert_eq!((record.int(), record.int()), (head.boundary, head.epoch.into()));
    let lease = record.option(|reader| (reader.string(), reader.int()));
    assert_eq!(lease, head.lease.map(|lease| (lease.holder, lease.duration_secs.into())));
    assert_eq!(record.fixed(1), 1, "a copy job");
    assert_eq!((record.int(), record.int()), (1 << 20, head.alignment_bytes.into()));
    assert_eq!((record.int(), record.signed()), (head.next_sequence.0, head.clock.unix_secs()));
    let names = record.vec(Reader::string);
    assert_eq!(names, head.machines.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>());
    let files = record.vec(|reader| (reader.int(), reader.int(), reader.option(Reader::signed)));
    let expected = head
        .files
        .iter()
        .map(|(id, file)| (id.stored(), file.length, file.retain_until.map(offsite_core::Timestamp::unix_secs)));
    assert_eq!(files, expected.collect::<Vec<_>>());

    assert_eq!(record.int(), head.chain.points().len() as u64);
    for point in head.chain.points() {
        assert_eq!((record.int(), record.signed()), (point.sequence.0, point.time.unix_secs()));
        assert_eq!(record.flag(), point.kind == PointKind::Full);
        let machines = record.vec(|reader| (reader.int(), reader.fixed(1), reader.signed()));
        assert_eq!(machines.len(), point.machines.len());
        for ((number, code, captured), machine) in machines.into_iter().zip(&point.machines) {
            assert_eq!(names[usize::try_from(number).expect("a small number")], machine.name.as_str());
            assert_eq!((code, captured), (status(machine.status), machine.captured.unix_secs()));
        }
        let index = (record.int(), record.int(), record.int());
        assert_eq!(index, (point.index.id.stored(), point.index.length, point.index.directory_checksum));
        assert_eq!((record.int(), record.int()), (point.stored_blocks, point.stored_bytes));
        assert_eq!(record.origin(), point.origin.map(|origin| (origin.folder, origin.sequence.0)));
    }

    let retired = record.vec(|reader| (reader.int(), reader.fixed(1), reader.int(), reader.int()));
    let (file, index, ranges) = (2 << 32 | 1, 3 << 32 | 1, 3 << 32 | 6);
    assert_eq!(retired, [(8, 0, file, 66_000), (9, 1, index, 0), (9, 2, ranges, 4096)]);
    assert!(record.0.is_empty());
}

/// Section 7: the disk whose columns `part` starts with, in order of blocks.
fn columns(part: &mut Reader<'_>, zeros: u64, stored: u64, files: &[(u64, u64)]) -> Vec<(u64, u64, Option<Row>)> {
    let mut column = |rows: u64, width| (0..rows).map(|_| part.fixed(width)).collect::<Vec<_>>();
    let (firsts, counts) = (column(zeros, 4), column(zeros, 4));
    let (blocks, numbers, lengths, offsets) =
        (column(stored, 4), column(stored, 4), column(stored, 4), column(stored, 8));
    let mut runs: Vec<_> = firsts.into_iter().zip(counts).map(|(first, count)| (first, count, None)).collect();
    for (row, block) in blocks.into_iter().enumerate() {
        let (file, file_bytes) = files[usize::try_from(numbers[row]).expect("a small number")];
        assert!(offsets[row] + lengths[row] <= file_bytes);
        let digest = part.take(32).try_into().expect("32 bytes");
        runs.push((block, 1, Some(Row { file, offset: offsets[row], length: lengths[row], digest })));
    }
    runs.sort_by_key(|(first, _, _)| *first);
    assert!(runs.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "runs and blocks do not overlap");
    runs
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    file: u64,
    offset: u64,
    length: u64,
    digest: [u8; 32],
}

#[test]
fn an_index_is_read() {
    let index = samples::index();
    let bytes = index.encode().expect("an index");
    let (mut record, mut parts) = open(&bytes, 3);

    assert_eq!((record.bytes16(), record.int(), record.int()), (index.folder, index.id.stored(), index.sequence.0));
    assert_eq!((record.signed(), record.flag(), record.int()), (index.time.unix_secs(), false, 1 << 20));
    assert_eq!(record.origin(), index.origin.map(|origin| (origin.folder, origin.sequence.0)));
    let files = record.vec(|reader| {
        let file = (reader.int(), reader.int());
        assert_eq!(reader.int(), 0, "a wrapped key");
        file
    });
    assert_eq!(files, index.files.iter().map(|(id, length)| (id.stored(), *length)).collect::<Vec<_>>());

    assert_eq!(record.int(), index.machines.len() as u64);
    for (state, number) in &index.machines {
        assert_eq!((record.string().as_str(), record.int()), (state.name.as_str(), number.0.into()));
        assert_eq!((record.fixed(1), record.signed()), (status(state.status), state.captured.unix_secs()));
        let sum = record.int();
        let disks = record.vec(|reader| [(); 5].map(|()| reader.int()));
        let length = disks.iter().map(|[.., zeros, stored]| 8 * zeros + 52 * stored).sum::<u64>();
        let (part, rest) = parts.split_at(usize::try_from(length).expect("a short part"));
        parts = rest;
        assert_eq!(checksum(part), sum);

        let mut part = Reader(part);
        let known = index.map.machine(&state.name).or(index.spare.machine(&state.name)).expect("its blocks");
        assert_eq!(disks.len(), known.disks.len());
        for ([number, size_bytes, keeps_blocks, zeros, stored], (expected, disk)) in disks.into_iter().zip(&known.disks)
        {
            assert_eq!((number, size_bytes), (expected.0.into(), disk.size_bytes()));
            assert_eq!(keeps_blocks, u64::from(disk.keeps_blocks()));
            let runs = disk.runs().iter().map(|run| match *run {
                Run::Zero { first, count } => (first.into(), count.into(), None),
                Run::Stored { block, at } => {
                    let (file, digest) = (at.file.stored(), at.digest.0);
                    (block.into(), 1, Some(Row { file, offset: at.offset, length: at.length.into(), digest }))
                }
            });
            assert_eq!(columns(&mut part, zeros, stored, &files), runs.collect::<Vec<_>>());
        }
        assert!(part.0.is_empty());
    }
    assert!(record.0.is_empty() && parts.is_empty());
}

/// Section 8.
#[test]
fn a_frame_is_read() {
    let bytes = samples::frame(offsite_core::format::frame::Codec::Zstd);
    let mut header = Reader(&bytes);
    assert_eq!(header.take(4), b"OFr\x1a");
    assert_eq!([(); 4].map(|()| header.fixed(1)), [1, 1, 0, 0], "version, codec, suite, reserved");
    assert_eq!((header.fixed(8), header.fixed(4), header.fixed(4)), (1 << 32 | 2, 5, 1), "origin, ordinal, machine");
    assert_eq!((header.fixed(2), header.fixed(2), header.fixed(4)), (3, 0, 4), "disk, reserved, block");
    assert_eq!((header.fixed(8), header.fixed(4), header.fixed(4)), (42, 43, 1 << 20), "sequence and lengths");
    assert_eq!(header.fixed(8), checksum(&bytes[96..]));
    assert_eq!(header.take(32), [9; 32], "digest");
    assert_eq!(header.fixed(8), checksum(&bytes[..88]));
    assert_eq!(header.0.len(), 43);
}
