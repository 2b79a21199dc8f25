//! Merges cost what their increments cost, however large the full is; and where too much would have to be read to know all free
//! space, a fold still writes only where nothing lies, and its file does not grow with every fold.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use offsite::model::{
    Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, MachineMap, MachineNumber, MachineState,
    ObjectId, Run, Status, StoredBlock,
};
use offsite::retention::Policy;
use offsite::{JobFolder, MergeMethod, OpenRepository, TransformJob, Transforms};
use offsite_core::Index;
use offsite_core::format::WireFormat;
use offsite_repository::testing::Memory;
use offsite_repository::{Recording, Repository, RepositoryExt};

use crate::support::objects::{bytes_of, key, newest_head, put_successor, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, day, job, keep, machine, memory_repository, open_memory, scratch};

const JOB: &str = "nightly";
const KEPT: u32 = 3;
const BLOCKS: usize = 40;
/// What is in the file where the blocks of the other machine lie.
const MARK: u8 = 0xa5;
const FRAME_BYTES: u32 = 64;

/// A backup of a disk of noise, so that all of its stored blocks have one length.
async fn backed_up(machines: &mut Machines, random: &mut Random, truth: &mut Truth, memory: &Memory, today: i64) {
    machines.overwrite("web01", |disk| {
        for _ in 0..4 {
            let start = random.below(BLOCKS) * BLOCK;
            disk[start..start + BLOCK].iter_mut().for_each(|byte| *byte = random.next() as u8);
        }
    });
    truth.record(machines, &["web01"], day(today));
    let repository = open_memory(memory).await;
    machines.backup(&repository, &["web01"]).keep(keep(99)).run(day(today)).await.unwrap();
}

/// Gives the full a machine with so many blocks, which nobody ever reads, in the full's own file.
async fn enlarge(memory: &Memory, blocks: u32) -> (ObjectId, (u64, u64)) {
    let head = newest_head(memory, JOB);
    let full = head.chain.points()[0].clone();
    // Ids sort by age, and the full came first.
    let (file, state) = head.files.first_key_value().map(|(id, state)| (*id, *state)).unwrap();
    let start = state.length.next_multiple_of(head.alignment_bytes.into());
    let at = |block: u32| StoredBlock {
        file,
        offset: start + u64::from(block) * u64::from(FRAME_BYTES),
        length: FRAME_BYTES,
        digest: Digest([block as u8; 32]),
    };
    let runs = (0..blocks).map(|block| Run::Stored { block, at: at(block) }).collect();
    let identity = DiskIdentity::new(DiskName::nearest("bulk"), ImageFormat::Raw);
    let disk = DiskMap::new(identity, u64::from(blocks) * BLOCK as u64, blocks.into(), 0, runs).unwrap();
    let mut index = Index::decode(&bytes_of(memory, &key(&format!("{JOB}/index/{}", full.index.id)))).unwrap();
    let state_of = MachineState::new(machine("bulk"), Status::Complete, full.time);
    index.id = ObjectId::new(head.epoch, 1_000_000);
    index.map.insert(machine("bulk"), MachineMap::new(full.time, BTreeMap::from([(DiskNumber(0), disk)])));
    index.machines.insert(0, (state_of, MachineNumber(1)));
    let end = start + u64::from(blocks) * u64::from(FRAME_BYTES);
    index.files.insert(file, end);
    let bytes = index.encode().unwrap();
    let point = offsite_core::format::index::point(&index, &bytes).unwrap();
    let bytes = bytes::Bytes::from(bytes);
    memory.put(&key(&format!("{JOB}/blocks/{}.index", index.id)), bytes.clone()).await.unwrap();
    memory.put(&key(&format!("{JOB}/index/{}", index.id)), bytes).await.unwrap();
    let name = key(&format!("{JOB}/blocks/{file}"));
    let mut frames = bytes_of(memory, &name).to_vec();
    frames.resize(start as usize, 0);
    frames.resize(end as usize, MARK);
    memory.delete(&name).await.unwrap();
    memory.put(&name, Bytes::from(frames)).await.unwrap();
    put_successor(memory, JOB, |head| {
        let mut points = head.chain.points().to_vec();
        points[0] = point;
        head.chain = offsite::model::Chain::new(head.chain.block_size(), points).unwrap();
        head.machines.push(machine("bulk"));
        let state = head.files.get_mut(&file).unwrap();
        state.length = end;
        state.live_bytes += u64::from(blocks) * u64::from(FRAME_BYTES);
    })
    .await;
    (file, (start, end))
}

/// Whether the other machine's blocks are as they were.
fn is_intact(memory: &Memory, file: ObjectId, (start, end): (u64, u64)) -> bool {
    let bytes = bytes_of(memory, &key(&format!("{JOB}/blocks/{file}")));
    bytes[start as usize..end as usize].iter().all(|byte| *byte == MARK)
}

/// The merge that is due, and what was read for it beside blocks: bytes and calls.
async fn merged(memory: &Memory, method: MergeMethod, today: i64) -> (u64, u64) {
    let policy = Policy::new(keep(KEPT));
    let transforms = Transforms::keeping(policy).merge(method).apply_changes_at_once(true);
    let repository: OpenRepository = open_memory(memory).await;
    let (all, blocks) = (repository.counts(), repository.block_counts());
    let report = TransformJob::new(&repository, job(JOB)).transforms(transforms).run(day(today)).await.unwrap();
    assert!(report.operations.iter().all(|operation| operation.tally.kept_to_plan()));
    assert_eq!(report.operations.len(), 1);
    let (all, blocks) = (repository.counts() - all, repository.block_counts() - blocks);
    (all.bytes_read - blocks.bytes_read, all.calls() - blocks.calls())
}

/// What each of some merges of the same increments reads beside blocks, into a full of so many blocks.
async fn costs(blocks: u32, method: MergeMethod) -> Vec<(u64, u64)> {
    let (memory, _) = memory_repository().await;
    let mut random = Random::new(7);
    let (mut machines, mut truth) = (Machines::new(7), Truth::default());
    machines.add("web01", &[BLOCKS * BLOCK]);
    machines.fill_with_noise("web01");
    for today in 0..i64::from(KEPT) {
        backed_up(&mut machines, &mut random, &mut truth, &memory, today).await;
    }
    enlarge(&memory, blocks).await;
    let mut costs = Vec::new();
    for today in i64::from(KEPT)..i64::from(KEPT) + 4 {
        backed_up(&mut machines, &mut random, &mut truth, &memory, today).await;
        costs.push(merged(&memory, method, today).await);
    }
    costs
}

#[tokio::test]
async fn a_merge_reads_no_more_of_a_larger_full() {
    for method in [MergeMethod::Adopt, MergeMethod::Fold] {
        // Both are beyond what a fold reads whole.
        let small = costs(200_000, method).await;
        let large = costs(800_000, method).await;
        println!("{method:?}: bytes and calls beside blocks: {small:?} of 200,000 blocks, {large:?} of 800,000");
        for (small, large) in small.iter().zip(&large) {
            // The directory names each page of 4,096 blocks.
            assert!(large.0 <= small.0 + (32 << 10) && large.1 <= small.1, "{method:?}: {small:?} {large:?}");
        }
    }
}

/// What a merge leads to is opened before it is committed, and that reads nothing again: of a large full's index its envelope, its directory
/// and the pages of the increment's blocks, each once.
#[tokio::test]
async fn what_is_proven_of_a_merge_is_not_read_again() {
    let (memory, _) = memory_repository().await;
    let mut random = Random::new(9);
    let (mut machines, mut truth) = (Machines::new(9), Truth::default());
    machines.add("web01", &[BLOCKS * BLOCK]);
    machines.fill_with_noise("web01");
    for today in 0..i64::from(KEPT) {
        backed_up(&mut machines, &mut random, &mut truth, &memory, today).await;
    }
    enlarge(&memory, 200_000).await;
    for today in i64::from(KEPT)..i64::from(KEPT) + 6 {
        backed_up(&mut machines, &mut random, &mut truth, &memory, today).await;
        let head = newest_head(&memory, JOB);
        let large = head.chain.points()[0].indexes().max_by_key(|index| index.length).unwrap();
        assert!(large.length > 8 << 20);
        let recording = Arc::new(Recording::new(memory.clone()));
        let repository = OpenRepository::open(recording.clone()).await.unwrap();
        recording.start_log();
        let policy = Policy::new(keep(KEPT));
        let transforms = Transforms::keeping(policy).merge(MergeMethod::Adopt);
        let report = TransformJob::new(&repository, job(JOB)).transforms(transforms).run(day(today)).await.unwrap();
        assert_eq!(report.operations.len(), 1);
        let name = key(&format!("{JOB}/index/{}", large.id));
        let reads = recording.log().into_iter().filter(|call| call.key.as_ref() == Some(&name)).count();
        assert_eq!(reads, 3, "day {today}");
    }
}

#[tokio::test]
async fn folds_into_a_large_full_harm_nothing_and_use_space_again() {
    let seed = crate::support::seed(5);
    let (memory, _) = memory_repository().await;
    let mut random = Random::new(seed);
    let (mut machines, mut truth) = (Machines::new(seed), Truth::default());
    machines.add("web01", &[BLOCKS * BLOCK]);
    machines.fill_with_noise("web01");
    for today in 0..i64::from(KEPT) {
        backed_up(&mut machines, &mut random, &mut truth, &memory, today).await;
    }
    let (file, bulk) = enlarge(&memory, 200_000).await;
    let start = newest_head(&memory, JOB).files[&file].length;
    let folds = std::env::var("OFFSITE_FOLDS").ok().and_then(|count| count.parse().ok()).unwrap_or(27);
    for today in i64::from(KEPT)..i64::from(KEPT) + folds {
        backed_up(&mut machines, &mut random, &mut truth, &memory, today).await;
        merged(&memory, MergeMethod::Fold, today).await;
        assert!(is_intact(&memory, file, bulk), "day {today}: what another block needs was written over");
        assert_eq!(stray(&memory, JOB), [""; 0]);
        let repository = open_memory(&memory).await;
        let chain = JobFolder::open(&repository, &job(JOB)).await.unwrap().chain().clone();
        assert_eq!(chain.points().len(), KEPT as usize, "day {today}");
        let to = scratch();
        for point in chain.points() {
            truth.restore(&repository, JOB, point, "web01", to.path()).await.unwrap();
        }
    }
    let grown = (newest_head(&memory, JOB).files[&file].length - start) / (BLOCK as u64);
    println!("the file grew by {grown} blocks in {folds} folds of up to 4");
    // What one fold frees the next one takes; the first has nothing to take.
    assert!(grown <= 12, "{grown}");
}
