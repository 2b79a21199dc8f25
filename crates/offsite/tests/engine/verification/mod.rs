//! Verification that goes on where it ended, and what the next copy does about what it found.

mod going_on;
mod healing;
mod memory;

use std::collections::{BTreeMap, BTreeSet};

use offsite::model::{BlockMap, StoredBlock};
use offsite::retention::Policy;
use offsite::{CopyJob, MergeMethod, OpenRepository, Transforms, Verify, VerifyReport};
use offsite_core::format::records::VerificationRecord;
use offsite_core::format::{Kind, decode_record};
use offsite_repository::Key;
use offsite_repository::testing::Memory;

use crate::support::objects::{bytes_of, key, keys, newest_head, step};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, copy_job, day, job, keep, memory_repository, seed};

const JOB: &str = "nightly";
const COPY: &str = "Offsite Copy";
const FRAME_HEADER_BYTES: u64 = 96;

/// Where a frame lies: its file, and its offset there.
type Place = (u64, u64);

fn place(at: &StoredBlock) -> Place {
    (at.file.stored(), at.offset)
}

fn file(folder: &str, at: &StoredBlock) -> Key {
    key(&format!("{folder}/blocks/{}", at.file))
}

/// What is remembered of a job.
fn remembered(memory: &Memory, folder: &str) -> Option<VerificationRecord> {
    let found = keys(memory, &format!("{folder}/verify"));
    assert!(found.len() <= 1, "{found:?}");
    found.first().map(|key| decode_record(Kind::VerificationNotes, &bytes_of(memory, key)).unwrap())
}

/// The frames that are known to be damaged, those among them that a lost or cut file had.
fn damaged(memory: &Memory, folder: &str) -> BTreeSet<Place> {
    let Some(found) = remembered(memory, folder) else { return BTreeSet::new() };
    let frames = found.damaged.into_iter().map(|(file, offset, _)| (file, offset));
    let cut: BTreeMap<u64, u64> = found.cut.into_iter().collect();
    let is_lost =
        |at: &&StoredBlock| cut.get(&at.file.stored()).is_some_and(|end| at.offset + u64::from(at.length) > *end);
    frames.chain(live(memory, folder).values().filter(is_lost).map(place)).collect()
}

/// Every block that a restore point of a job has.
fn live(memory: &Memory, folder: &str) -> BTreeMap<Place, StoredBlock> {
    let chain = newest_head(memory, folder).chain;
    let steps: Vec<BlockMap> = chain.all().map(|point| step(memory, folder, point)).collect();
    steps.iter().flat_map(BlockMap::stored).map(|(_, _, _, at)| (place(&at), at)).collect()
}

/// The state of the newest point.
fn newest(memory: &Memory, folder: &str) -> BlockMap {
    let chain = newest_head(memory, folder).chain;
    let steps = chain.steps_to(chain.latest().unwrap().sequence).unwrap();
    steps.into_iter().fold(BlockMap::empty(), |state, point| state.overlay(&step(memory, folder, point)))
}

fn flip(memory: &Memory, folder: &str, at: &StoredBlock) {
    assert!(memory.corrupt(&file(folder, at), at.offset + FRAME_HEADER_BYTES, 1));
}

async fn verify(repository: &OpenRepository, folder: &str) -> VerifyReport {
    Verify::new(repository, job(folder)).read_data(true).run().await.unwrap()
}

fn lengths<'a>(blocks: impl Iterator<Item = &'a StoredBlock>) -> u64 {
    blocks.map(|at| u64::from(at.length)).sum()
}

/// Two machines of noise, their backups of some days and a copy of these, which nothing has been merged in yet.
struct Scene {
    source: Memory,
    target: Memory,
    machines: Machines,
    truth: Truth,
    merge: MergeMethod,
}

impl Scene {
    async fn new(merge: MergeMethod) -> Self {
        let (source, primary) = memory_repository().await;
        let (target, second) = memory_repository().await;
        let mut scene = Self {
            source: (*source).clone(),
            target: (*target).clone(),
            machines: Machines::new(seed(82)),
            truth: Truth::default(),
            merge,
        };
        scene.machines.add("web01", &[6 * BLOCK + 777]);
        scene.machines.add("db01", &[5 * BLOCK]);
        scene.machines.fill_with_noise("web01");
        scene.machines.fill_with_noise("db01");
        for number in 0..3 {
            scene.back_up(&primary, number, number as usize).await;
            scene.copy(&primary, &second).run(day(number)).await.unwrap();
        }
        scene
    }

    /// A day on which one block of each machine changes.
    async fn back_up(&mut self, primary: &OpenRepository, number: i64, block: usize) {
        for name in ["web01", "db01"] {
            let mut random = Random::new(seed(83) + number as u64);
            self.machines.overwrite(name, |disk| {
                disk[block * BLOCK..(block + 1) * BLOCK].iter_mut().for_each(|byte| *byte = random.next() as u8);
            });
        }
        self.truth.record(&self.machines, &["web01", "db01"], day(number));
        self.machines.backup(primary, &["web01", "db01"]).keep(keep(99)).run(day(number)).await.unwrap();
    }

    fn copy(&self, primary: &OpenRepository, second: &OpenRepository) -> CopyJob {
        let policy = Policy::new(keep(4));
        copy_job(primary, second).transforms(Transforms::keeping(policy).merge(self.merge))
    }
}
