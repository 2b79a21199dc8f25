//! Indexes of millions of blocks: reading, writing, and the algebra on them.
//!
//! What matters is block entries per second: a copy job reads the whole index of a full before it carries one block.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use offsite_core::FolderId;
use offsite_core::format::WireFormat;
use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use offsite_core::Index;
use offsite_core::{
    BlockMap, BlockSize, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, MachineMap, MachineName,
    MachineNumber, MachineState, ObjectId, PointKind, Run, Sequence, Status, StoredBlock, Timestamp,
};

const MACHINES: u32 = 3;
const FRAME_BYTES: u32 = 600_000;

fn time() -> Timestamp {
    Timestamp::from_unix_secs(1_792_000_000).expect("a time in range")
}

/// A digest that looks random and is the same every time.
fn digest(seed: u64) -> Digest {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = [0; 32];
    for chunk in bytes.as_chunks_mut::<8>().0 {
        state ^= state >> 30;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 27;
        *chunk = state.to_le_bytes();
    }
    Digest(bytes)
}

/// `blocks` stored blocks over three machines. Of every hundred blocks the first three are zeros; the others are stored
/// where `stored` says so.
fn map(blocks: u32, file: ObjectId, keeps: bool, version: u64, stored: impl Fn(u32) -> bool) -> BlockMap {
    let count = blocks / MACHINES * 100 / 97;
    let mut map = BlockMap::empty();
    let mut offset = 4096;
    for machine in 0..MACHINES {
        let mut runs = Vec::new();
        for block in 0..count {
            if block % 100 < 3 {
                if !keeps && block % 100 == 0 {
                    runs.push(Run::Zero { first: block, count: 3.min(count - block) });
                }
            } else if stored(block) {
                let digest = digest(u64::from(machine) << 40 | u64::from(block) << 8 | version);
                runs.push(Run::Stored { block, at: StoredBlock { file, offset, length: FRAME_BYTES, digest } });
                offset += u64::from(FRAME_BYTES).next_multiple_of(4096);
            }
        }
        let size_bytes = u64::from(count) << 20;
        let identity = DiskIdentity::new(DiskName::nearest("vda"), ImageFormat::Raw);
        let keeps_blocks = if keeps { count } else { 0 };
        let disk = DiskMap::new(identity, size_bytes, count.into(), keeps_blocks, runs).expect("runs in order");
        map.insert(name(machine), MachineMap::new(time(), BTreeMap::from([(DiskNumber(0), disk)])));
    }
    map
}

fn full(blocks: u32) -> BlockMap {
    map(blocks, ObjectId::new(1, 1), false, 0, |_| true)
}

/// Every twentieth stored block anew.
fn increment(blocks: u32) -> BlockMap {
    map(blocks, ObjectId::new(1, 2), true, 1, |block| block % 20 == 7)
}

fn name(machine: u32) -> MachineName {
    MachineName::new(&format!("machine-{machine}")).expect("a plain name")
}

fn index(map: BlockMap) -> Index {
    let state = |name: &MachineName| MachineState::new(name.clone(), Status::Complete, time());
    Index {
        folder: FolderId::new([7; 16]),
        id: ObjectId::new(1, 9),
        sequence: Sequence(1),
        time: time(),
        kind: PointKind::Full,
        is_back_filled: false,
        base: None,
        block_size: BlockSize::MiB1,
        below: Vec::new(),
        files: map.files().into_iter().map(|file| (file, 1 << 50)).collect(),
        machines: map.machines().keys().map(state).zip((0..).map(MachineNumber)).collect(),
        map,
        spare: BlockMap::empty(),
    }
}

fn stored(map: &BlockMap) -> u64 {
    map.stored().count() as u64
}

fn format(criterion: &mut Criterion) {
    for millions in [1, 4] {
        let index = index(full(millions * 1_000_000));
        let bytes = index.encode().expect("an index");
        let mut group = criterion.benchmark_group(format!("index of {millions} million blocks"));
        group.throughput(Throughput::Elements(stored(&index.map))).sample_size(20);
        group.bench_function("decode", |bencher| {
            bencher.iter_with_large_drop(|| Index::decode(black_box(&bytes)).expect("an index"));
        });
        group.bench_function("encode", |bencher| {
            bencher.iter_with_large_drop(|| black_box(&index).encode().expect("an index"));
        });
        group.finish();
    }
}

fn algebra(criterion: &mut Criterion) {
    let (full, increment) = (full(1_000_000), increment(1_000_000));
    let next = full.overlay(&increment);
    let mut group = criterion.benchmark_group("1 million blocks, 5 % changed");
    group.throughput(Throughput::Elements(stored(&full))).sample_size(20);
    group.bench_function("overlay", |bencher| {
        bencher.iter_with_large_drop(|| black_box(&full).overlay(black_box(&increment)));
    });
    group.bench_function("overlay, displaced blocks gathered", |bencher| {
        bencher.iter_batched(
            Vec::new,
            |mut displaced| (full.overlay_with(&increment, |gone| displaced.push(gone)), displaced),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("diff", |bencher| {
        bencher.iter_with_large_drop(|| black_box(&full).diff(black_box(&next)));
    });
    group.finish();
}

criterion_group!(benches, format, algebra);
criterion_main!(benches);
