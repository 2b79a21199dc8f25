//! A reader written from `docs/format.md` alone: if it can read a head and an index, the page is enough.
//!
//! The crate's own code makes the bytes and the values to compare with; nothing here calls its decoders.

mod samples;

use offsite_core::format::WireFormat;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use offsite_core::{ImageFormat, IndexReference, PointKind, Run, Status, Timestamp};

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

/// Section 1: SHA-256.
fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
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

    fn bytes32(&mut self) -> [u8; 32] {
        self.take(32).try_into().expect("32 bytes")
    }

    /// An index's id, its length, and the digest of its record.
    fn reference(&mut self) -> Reference {
        (self.int(), self.int(), self.bytes32())
    }

    /// Where a machine came from, and the bytes that are done and left of an incomplete one.
    fn copied(&mut self) -> Copied {
        (self.option(|reader| (reader.bytes16(), reader.int())), self.int(), self.int())
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

/// As section 6 numbers them.
fn kind(kind: PointKind) -> u64 {
    match kind {
        PointKind::Full => 0,
        PointKind::Increment => 1,
        PointKind::Rollback => 2,
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
    assert_eq!((record.bytes16(), record.int(), record.string()), (samples::FOLDER.bytes(), 9, "host-2/17".to_owned()));
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
fn a_verification_is_read() {
    let bytes = samples::all().into_iter().find(|(name, _)| *name == "verification").expect("a verification").1;
    let (mut record, rest) = open(&bytes, 10);
    let expected = samples::verification();
    assert_eq!(record.bytes16(), expected.folder.bytes());
    assert_eq!(record.option(|reader| (reader.int(), reader.int())), expected.next);
    let damaged = record.vec(|reader| (reader.int(), reader.int(), reader.take(32).try_into().expect("32 bytes")));
    assert_eq!(damaged, expected.damaged);
    assert_eq!(record.vec(|reader| (reader.int(), reader.int())), expected.cut);
    assert_eq!(record.vec(Reader::int), expected.indexes);
    assert!(record.0.is_empty() && rest.is_empty());
}

#[test]
fn a_head_is_read() {
    let head = samples::head();
    let bytes = head.encode().expect("a head");
    let (mut record, rest) = open(&bytes, 2);
    assert!(rest.is_empty());

    assert_eq!(
        (record.bytes16(), record.int(), record.bytes16()),
        (head.folder.bytes(), head.number, head.commit.bytes())
    );
    assert_eq!(record.vec(Reader::bytes16), head.ancestry.iter().map(|id| id.bytes()).collect::<Vec<_>>());
    assert_eq!((record.int(), record.int()), (head.boundary, head.epoch.into()));
    assert_eq!(record.int(), head.sealed_epoch.into());
    let lease = record.option(|reader| (reader.string(), reader.int()));
    assert_eq!(lease, head.lease.map(|lease| (lease.holder, lease.duration_secs.into())));
    assert_eq!(record.fixed(1), 1, "a copy job");
    assert_eq!((record.int(), record.int()), (1 << 20, head.alignment_bytes.into()));
    assert_eq!((record.int(), record.signed()), (head.next_sequence.0, head.clock.unix_secs()));
    let machines = record.vec(|reader| {
        let (name, selected) = (reader.string(), reader.option(Reader::signed));
        (name, (selected, reader.vec(Reader::string), reader.vec(Reader::string)))
    });
    let selected = |name| head.last_selected.get(name).map(|time| time.unix_secs());
    let labels = |name| head.labels.get(name).cloned().unwrap_or_default();
    let texts = |texts: &mut dyn Iterator<Item = &str>| texts.map(str::to_owned).collect::<Vec<_>>();
    let expected = head.machines.iter().map(|name| {
        let (tags, containers) = (texts(&mut labels(name).tags()), texts(&mut labels(name).containers()));
        (name.as_str().to_owned(), (selected(name), tags, containers))
    });
    assert_eq!(machines, expected.collect::<Vec<_>>());
    assert_eq!(record.option(Reader::int), head.settled_policy);
    assert_eq!(record.option(Reader::signed), head.compacted.map(Timestamp::unix_secs));
    assert_eq!(record.fixed(1), u64::from(head.brings_history));
    let files = record.vec(|reader| (reader.int(), reader.int(), reader.int(), reader.option(Reader::signed)));
    let until = |file: &offsite_core::FileState| file.retain_until.map(Timestamp::unix_secs);
    let expected = head.files.iter().map(|(id, file)| (id.stored(), file.length, file.live_bytes, until(file)));
    assert_eq!(files, expected.collect::<Vec<_>>());

    let names: Vec<_> = machines.into_iter().map(|(name, _)| name).collect();
    for points in [head.chain.archives(), head.chain.points()] {
        let read = record.vec(|reader| Point::read(reader, &names));
        assert_eq!(read.len(), points.len());
        for (read, point) in read.iter().zip(points) {
            assert_eq!((read.sequence, read.time), (point.sequence.0, point.time.unix_secs()));
            assert_eq!((read.kind, read.flags), (kind(point.kind), point.flags.stored().into()));
            let machine = |machine: &offsite_core::MachineState| {
                let copied =
                    (machine.origin.map(|origin| (origin.folder.bytes(), origin.sequence.0)), machine.transferred);
                let copied = (copied.0, copied.1.done_bytes, copied.1.left_bytes);
                (machine.name.as_str().to_owned(), status(machine.status), machine.captured.unix_secs(), copied)
            };
            assert_eq!(read.machines, point.machines.iter().map(machine).collect::<Vec<_>>());
            let reference = |index: &IndexReference| (index.id.stored(), index.length, index.digest.0);
            assert_eq!(read.indexes, point.indexes().map(reference).collect::<Vec<_>>());
            assert_eq!(read.stored, (point.stored.blocks, point.stored.bytes));
        }
    }

    let retired = record
        .vec(|reader| ((reader.int(), reader.fixed(1), reader.int()), reader.option(Reader::bytes32), reader.int()));
    let (file, index, ranges) = (2 << 32 | 1, 3 << 32 | 1, 3 << 32 | 6);
    let expected = [((8, 0, file), None, 66_000), ((9, 1, index), None, 0), ((9, 2, ranges), Some([7; 32]), 4096)];
    assert_eq!(retired, expected);
    assert!(record.0.is_empty());
}

/// A block of a disk in a state or step: zeros, or where it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    Zero,
    Stored { file: u64, offset: u64, length: u64, digest: [u8; 32] },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Disk {
    name: String,
    format: u64,
    size_bytes: u64,
    keeps_blocks: u64,
    blocks: BTreeMap<u64, Block>,
}

/// The disks of a machine, by number.
type Disks = BTreeMap<u64, Disk>;

#[derive(Debug)]
struct Machine {
    name: String,
    number: u64,
    status: u64,
    captured: i64,
    disks: Option<Disks>,
}

/// The id of an index, its length, and the digest of its record.
type Reference = (u64, u64, [u8; 32]);

type Copied = (Option<([u8; 16], u64)>, u64, u64);

/// Section 6: a point of a head.
struct Point {
    sequence: u64,
    time: i64,
    kind: u64,
    flags: u64,
    machines: Vec<(String, u64, i64, Copied)>,
    /// Those below and then its own.
    indexes: Vec<Reference>,
    stored: (u64, u64),
}

impl Point {
    fn read(reader: &mut Reader<'_>, names: &[String]) -> Self {
        let (sequence, time) = (reader.int(), reader.signed());
        let (kind, flags) = (reader.fixed(1), reader.fixed(1));
        let name = |number| names[usize::try_from(number).expect("a small number")].clone();
        let machines = reader.vec(|reader| (name(reader.int()), reader.fixed(1), reader.signed(), reader.copied()));
        let index = reader.reference();
        let below = reader.vec(Reader::reference);
        let stored = (reader.int(), reader.int());
        Self { sequence, time, kind, flags, machines, indexes: [below, vec![index]].concat(), stored }
    }
}

/// Section 7: the blocks of a page, in order.
fn page(columns: &[u8], zeros: u64, stored: u64, files: &[(u64, u64)]) -> Vec<(u64, Block)> {
    let mut part = Reader(columns);
    let mut column = |rows: u64, width| (0..rows).map(|_| part.fixed(width)).collect::<Vec<_>>();
    let (firsts, counts) = (column(zeros, 4), column(zeros, 4));
    let (blocks, numbers, lengths, offsets) =
        (column(stored, 4), column(stored, 4), column(stored, 4), column(stored, 8));
    let runs = firsts.into_iter().zip(counts).flat_map(|(first, count)| first..first + count);
    let mut all: Vec<_> = runs.map(|block| (block, Block::Zero)).collect();
    for (row, block) in blocks.into_iter().enumerate() {
        let (file, file_bytes) = files[usize::try_from(numbers[row]).expect("a small number")];
        let (offset, length) = (offsets[row], lengths[row]);
        assert!(offset + length <= file_bytes);
        all.push((block, Block::Stored { file, offset, length, digest: part.take(32).try_into().expect("32 bytes") }));
    }
    assert!(part.0.is_empty());
    all.sort_by_key(|(block, _)| *block);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "no block twice");
    all
}

struct Step {
    id: u64,
    sequence: u64,
    time: i64,
    kind: u64,
    base: Option<u64>,
    below: Vec<Reference>,
    machines: Vec<Machine>,
}

/// Section 7: an index.
fn read_index(bytes: &[u8]) -> Step {
    let (mut record, mut parts) = open(bytes, 3);
    assert_eq!(record.bytes16(), samples::FOLDER.bytes());
    let (id, sequence, time, kind) = (record.int(), record.int(), record.signed(), record.fixed(1));
    let base = record.option(Reader::int);
    assert_eq!(record.int(), 1 << 20, "the block size");
    let below = record.vec(Reader::reference);
    let files = record.vec(|reader| (reader.int(), reader.int()));
    let count = record.int();
    let mut machines = Vec::new();
    for _ in 0..count {
        let (name, number, status, captured) = (record.string(), record.int(), record.fixed(1), record.signed());
        record.copied();
        let disks = record.option(|reader| {
            reader.vec(|reader| {
                let (number, name, format) = (reader.int(), reader.string(), reader.fixed(1));
                let disk = (number, name, format, reader.int(), reader.int());
                let pages = reader.vec(|reader| ([(); 3].map(|()| reader.int()), reader.bytes32()));
                (disk, pages)
            })
        });
        let disks = disks.map(|disks| {
            let mut read = Disks::new();
            for ((number, name, format, size_bytes, keeps_blocks), pages) in disks {
                let mut blocks = BTreeMap::new();
                for ([first_block, zeros, stored], sum) in pages {
                    let (columns, rest) =
                        parts.split_at(usize::try_from(8 * zeros + 52 * stored).expect("a short page"));
                    parts = rest;
                    assert_eq!(digest(columns), sum);
                    let page = page(columns, zeros, stored, &files);
                    assert_eq!(page[0].0, first_block);
                    blocks.extend(page);
                }
                read.insert(number, Disk { name, format, size_bytes, keeps_blocks, blocks });
            }
            read
        });
        machines.push(Machine { name, number, status, captured, disks });
    }
    assert!(record.0.is_empty() && parts.is_empty());
    Step { id, sequence, time, kind, base, below, machines }
}

/// What the crate's own map says of a machine, in this reader's terms.
fn disks_of(machine: &offsite_core::MachineMap) -> Disks {
    let disks = machine.disks.iter().map(|(number, disk)| {
        let blocks = disk.runs().iter().flat_map(|run| match *run {
            Run::Zero { first, count } => (first..first + count).map(|block| (block.into(), Block::Zero)).collect(),
            Run::Stored { block, at } => {
                let (file, digest) = (at.file.stored(), at.digest.0);
                vec![(block.into(), Block::Stored { file, offset: at.offset, length: at.length.into(), digest })]
            }
        });
        let (size_bytes, keeps_blocks) = (disk.size_bytes(), disk.keeps_blocks().into());
        let name = disk.identity().name.as_str().to_owned();
        let format = match disk.identity().format {
            ImageFormat::Raw => 0,
            ImageFormat::Qcow2 => 1,
            other => panic!("{other}"),
        };
        (number.0.into(), Disk { name, format, size_bytes, keeps_blocks, blocks: blocks.collect() })
    });
    disks.collect()
}

#[test]
fn indexes_are_read() {
    for index in samples::indexes() {
        let read = read_index(&index.encode().expect("an index"));
        assert_eq!((read.id, read.sequence, read.time), (index.id.stored(), index.sequence.0, index.time.unix_secs()));
        assert_eq!((read.kind, read.base), (kind(index.kind), index.base.map(|base| base.0)));
        let reference = |index: &IndexReference| (index.id.stored(), index.length, index.digest.0);
        assert_eq!(read.below, index.below.iter().map(reference).collect::<Vec<_>>());
        assert_eq!(read.machines.len(), index.machines.len());
        for (machine, (state, number)) in read.machines.iter().zip(&index.machines) {
            assert_eq!((machine.name.as_str(), machine.number), (state.name.as_str(), number.0.into()));
            assert_eq!((machine.status, machine.captured), (status(state.status), state.captured.unix_secs()));
            let known = index.map.machine(&state.name).or(index.spare.machine(&state.name));
            assert_eq!(machine.disks, known.map(disks_of));
        }
    }
}

/// Section 9: lays a step's or layer's machines over what lies below.
fn overlay(state: &mut BTreeMap<String, Disks>, machines: Vec<(String, Disks)>) {
    for (name, mut disks) in machines {
        if let Some(before) = state.remove(&name) {
            for (number, disk) in &mut disks {
                let Some(below) = before.get(number) else {
                    disk.keeps_blocks = 0;
                    continue;
                };
                for (block, at) in below.blocks.range(..disk.keeps_blocks) {
                    disk.blocks.entry(*block).or_insert_with(|| at.clone());
                }
                disk.keeps_blocks = disk.keeps_blocks.min(below.keeps_blocks);
            }
        }
        state.insert(name, disks);
    }
}

/// Section 9: the state at a point, from the bytes of a head and of the indexes by id.
fn state_at(sequence: u64) -> BTreeMap<String, Disks> {
    let head = samples::head();
    let objects: BTreeMap<u64, Vec<u8>> =
        samples::indexes().iter().map(|index| (index.id.stored(), index.encode().expect("an index"))).collect();
    let bytes = head.encode().expect("a head");
    let (mut record, _) = open(&bytes, 2);
    record.take(16);
    record.int();
    record.take(16);
    record.vec(Reader::bytes16);
    let _skipped = [(); 3].map(|()| record.int());
    record.option(|reader| (reader.string(), reader.int()));
    record.fixed(1);
    let _skipped = [(); 3].map(|()| record.int());
    record.signed();
    let names = record.vec(|reader| {
        let (name, _) = (reader.string(), reader.option(Reader::signed));
        let _labels = (reader.vec(Reader::string), reader.vec(Reader::string));
        name
    });
    record.option(Reader::int);
    record.option(Reader::signed);
    record.fixed(1);
    record.vec(|reader| (reader.int(), reader.int(), reader.int(), reader.option(Reader::signed)));
    let archives = record.vec(|reader| Point::read(reader, &names));
    let points = record.vec(|reader| Point::read(reader, &names));
    let steps: Vec<&Point> = match points.iter().position(|point| point.sequence == sequence) {
        None => archives.iter().filter(|archive| archive.sequence == sequence).collect(),
        Some(position) if points[position].kind == 2 => {
            let full = (position..).find(|at| points[*at].kind == 0).expect("a full after it");
            points[position..=full].iter().rev().collect()
        }
        Some(position) => {
            let full = (0..=position).rev().find(|at| points[*at].kind == 0).expect("a full before it");
            points[full..=position].iter().collect()
        }
    };
    let mut state = BTreeMap::new();
    for point in &steps {
        let mut step: BTreeMap<String, Disks> = BTreeMap::new();
        let mut layers = point.indexes.iter().map(|(id, length, sum)| {
            let bytes = &objects[id];
            assert_eq!((bytes.len() as u64, digest(open(bytes, 3).0.0)), (*length, *sum));
            let listed = |name: &String| point.machines.iter().any(|(other, status, ..)| other == name && *status != 1);
            let machines = read_index(bytes).machines.into_iter().filter(|machine| machine.status != 1);
            machines
                .filter(|machine| listed(&machine.name))
                .filter_map(|machine| Some((machine.name, machine.disks?)))
                .collect::<Vec<_>>()
        });
        layers.by_ref().for_each(|layer| overlay(&mut step, layer));
        overlay(&mut state, step.into_iter().collect());
    }
    let point = steps.last().expect("the point");
    state.retain(|name, _| point.machines.iter().any(|(other, status, ..)| other == name && *status != 1));
    state
}

/// A state in few letters: file and page of each stored block, `.` for zeros, `?` for nothing.
fn picture(state: &BTreeMap<String, Disks>) -> Vec<String> {
    let disk = |name: &String, number: &u64, disk: &Disk| {
        let count = disk.size_bytes.div_ceil(1 << 20);
        let block = |block| match disk.blocks.get(&block) {
            Some(Block::Zero) => ".".to_owned(),
            Some(Block::Stored { file, offset, .. }) => format!("{}@{}", file & 0xffff_ffff, offset >> 12),
            None => "?".to_owned(),
        };
        format!("{name} {number}: {}", (0..count).map(block).collect::<Vec<_>>().join(" "))
    };
    state.iter().flat_map(|(name, disks)| disks.iter().map(move |(number, map)| disk(name, number, map))).collect()
}

/// An archive, a rollback that leads back from a full of two layers, that full, and an increment on it.
#[test]
fn the_states_of_all_points_are_computed() {
    assert_eq!(picture(&state_at(38)), ["app 0: 1@1 . 1@3 1@4", "app 2: 1@5", "db 0: . ."]);
    assert_eq!(picture(&state_at(40)), ["app 0: 1@7 . 1@3"]);
    assert_eq!(picture(&state_at(41)), ["app 0: 2@4 . 1@3 . .", "db 0: . ."]);
    assert_eq!(picture(&state_at(42)), ["app 0: 2@4 . . . 2@1", "app 3: ", "db 0: 1@2 ."]);
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
