//! Look-ups in one long index: what they find, and what they cost. To measure, run them with more blocks, in the release profile:
//!
//! ```sh
//! OFFSITE_LOOK_UP_BLOCKS=1048576 cargo test --release -p offsite --lib lending::search_tests -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::time::Instant;

use offsite_core::format::WireFormat;
use offsite_core::{
    BlockSize, Chain, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, Index, MachineMap,
    MachineNumber, ObjectId, Run, StoredBlock,
};
use offsite_repository::RepositoryExt;

use super::filter::Filter;
use super::search::{Searched, Wanted};
use crate::sample::Sample;

fn digest(number: u64) -> Digest {
    let mut digest = [0; 32];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in digest.as_chunks_mut::<8>().0 {
        state ^= state >> 30;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 27;
        *chunk = state.to_le_bytes();
    }
    Digest(digest)
}

fn wanted(numbers: impl Iterator<Item = u64>) -> Wanted {
    let mut digests: Vec<Digest> = numbers.map(digest).collect();
    digests.sort_unstable();
    Wanted::new(digests)
}

/// One index of many blocks: how long a look-up takes without a filter, while the filter is made, and with it.
#[tokio::test]
async fn look_ups_in_one_long_index() {
    let blocks: u32 =
        std::env::var("OFFSITE_LOOK_UP_BLOCKS").ok().and_then(|blocks| blocks.parse().ok()).unwrap_or(1 << 14);
    let sample = Sample::new(1).await;
    let at = sample.blocks[0].at;
    let run = |block: u32| {
        let at =
            StoredBlock { offset: 4096 * (u64::from(block) + 1), length: 4096, digest: digest(block.into()), ..at };
        Run::Stored { block, at }
    };
    let identity = DiskIdentity::new(DiskName::new("vda").unwrap(), ImageFormat::Raw);
    let size_bytes = u64::from(blocks) * u64::from(BlockSize::KiB256.bytes());
    let disk = DiskMap::new(identity, size_bytes, blocks.into(), 0, (0..blocks).map(run).collect()).unwrap();
    let mut map = sample.state.clone();
    for machine in &sample.point.machines {
        map.insert(
            machine.name.clone(),
            MachineMap::new(machine.captured, BTreeMap::from([(DiskNumber(0), disk.clone())])),
        );
    }
    let index = Index {
        folder: sample.head.folder,
        id: ObjectId::new(9, 9),
        sequence: sample.point.sequence,
        time: sample.point.time,
        kind: sample.point.kind,
        base: None,
        block_size: BlockSize::KiB256,
        is_back_filled: false,
        below: Vec::new(),
        files: BTreeMap::from([(at.file, 1 << 50)]),
        machines: sample.point.machines.iter().cloned().zip((0..).map(MachineNumber)).collect(),
        map,
        spare: offsite_core::BlockMap::empty(),
    };
    let bytes = index.encode().unwrap();
    let (length, point) = (bytes.len() as u64, offsite_core::format::index::point(&index, &bytes).unwrap());
    sample.repository.backend().put(&sample.layout.index(index.id).unwrap(), bytes.into()).await.unwrap();
    let chain = Chain::new(BlockSize::KiB256, vec![point]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let filter = Filter::new(folder.path(), sample.repository.id());
    let searched =
        Searched { repository: &sample.repository, layout: &sample.layout, folder: sample.head.folder, chain: &chain };
    println!("{blocks} blocks, an index of {length} bytes");
    let strangers = u64::from(blocks)..2 * u64::from(blocks);
    for (what, filter, numbers) in [
        ("without a filter, all strangers", None, strangers.clone()),
        ("while it is made, all strangers", Some(&filter), strangers.clone()),
        ("with the filter, all strangers", Some(&filter), strangers.clone()),
        ("with the filter, 1000 strangers", Some(&filter), u64::from(blocks)..u64::from(blocks) + 1000),
        ("with the filter, 1000 that are there", Some(&filter), 0..1000),
        ("with the filter, all are there", Some(&filter), 0..u64::from(blocks)),
    ] {
        let (count, mut wanted) = (numbers.end - numbers.start, wanted(numbers));
        let (begun, read) = (Instant::now(), sample.repository.counts().bytes_read);
        let found = searched.search(&mut wanted, filter, |_| false).await.unwrap();
        let is_there = what.contains("there");
        assert_eq!(found.len() as u64, if is_there { count } else { 0 }, "{what}");
        assert!(found.iter().all(|(address, at)| at.digest == digest(address.block.into())));
        let (took, read) = (begun.elapsed(), sample.repository.counts().bytes_read - read);
        println!(
            "{what}: {count} wanted, {} found, {read} bytes of indexes read, {:.3} s, {:.0} ns a block",
            found.len(),
            took.as_secs_f64(),
            took.as_nanos() as f64 / count as f64
        );
    }
    let segments = std::fs::read_dir(folder.path().join(sample.repository.id().to_string())).unwrap();
    let segments: u64 = segments.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    println!("the filter has {segments} bytes, {:.2} for each block", segments as f64 / f64::from(blocks));
}
