//! Checkpoints: a copy that is killed loses what came after the last one, and the chain has nothing that a stopped copy would not leave.

use std::time::Duration;

use offsite::model::{Sequence, Status};
use offsite::{Checkpoints, CopyJob, SyncRequest, Verify};
use offsite_repository::testing::Memory;

use crate::support::drive::poll_times;
use crate::support::objects::{fork, keys, newest_head, space, spare, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, memory_repository, open_memory, restored, seed};

const COPY: &str = "Offsite Copy";
/// The bytes of a block that do not shrink, with its header and padding, at most.
const FRAME: u64 = BLOCK as u64 + 8192;

/// A checkpoint after each so many bytes, whatever the time.
pub(crate) fn every(bytes: u64) -> Checkpoints {
    let checkpoints = Checkpoints::default().with_parts(u32::MAX).with_bytes_min(bytes);
    checkpoints.with_pauses(Duration::ZERO, Duration::ZERO)
}

/// Two machines of noise that were backed up twice.
struct Scene {
    source: Memory,
    machines: Machines,
    truth: Truth,
}

impl Scene {
    async fn new() -> Self {
        let (source, primary) = memory_repository().await;
        let (mut machines, mut truth) = (Machines::new(seed(311)), Truth::default());
        machines.add("db01", &[3 * BLOCK]);
        machines.add("web01", &[9 * BLOCK + 777]);
        for name in ["db01", "web01"] {
            machines.fill_with_noise(name);
        }
        truth.record(&machines, &["db01", "web01"], day(0));
        machines.backup(&primary, &["db01", "web01"]).run(day(0)).await.unwrap();
        Self { source: (*source).clone(), machines, truth }
    }

    async fn next_day(&mut self, number: i64) {
        let primary = open_memory(&self.source).await;
        for name in ["db01", "web01"] {
            self.machines.fill_with_noise(name);
        }
        self.truth.record(&self.machines, &["db01", "web01"], day(number));
        self.machines.backup(&primary, &["db01", "web01"]).run(day(number)).await.unwrap();
    }

    /// A copy whose every call returns to the scheduler once, with a checkpoint after each block.
    async fn copy(&self, target: &Memory) -> CopyJob {
        let primary = open_memory(&fork(&self.source).await).await;
        copy_job(&primary, &open_memory(target).await).transforms(keep(3)).checkpoints(every(1))
    }

    async fn is_right(&self, target: &Memory) {
        let second = open_memory(target).await;
        assert!(!self.truth.check(&second, COPY).await.is_empty());
        assert_eq!(Verify::new(&second, job(COPY)).read_data(true).run().await.unwrap().damage, []);
    }
}

async fn is_tidy(target: &Memory) {
    assert_eq!(stray(target, COPY), [""; 0]);
    let (taken, needed) = space(target, COPY).await;
    assert_eq!(taken, needed);
}

async fn empty() -> Memory {
    let (target, _) = memory_repository().await;
    fork(&target).await
}

/// The end of a copy is one restore point, and what it cost is what was planned.
#[tokio::test]
async fn a_copy_with_checkpoints_makes_one_point() {
    let mut scene = Scene::new().await;
    let target = empty().await;
    for number in 0..5 {
        if number > 0 {
            scene.next_day(number).await;
        }
        let copy = scene.copy(&target).await;
        let report = copy.run(day(number)).await.unwrap();
        let sync = report.sync.unwrap();
        assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
        assert_eq!((sync.sequence.0, sync.joined), (number as u64 + 1, false));
        assert_eq!(sync.tally.planned.blocks, 13);
        assert_eq!(sync.machines.len(), 2);
        let head = newest_head(&target, COPY);
        let point = head.chain.latest().unwrap();
        assert!(point.machines.iter().all(|machine| machine.status == Status::Complete));
        assert_eq!(head.next_sequence.0, sync.sequence.0 + 1);
        let files = head.files.len();
        assert!(files > 6, "{files} files: each checkpoint ends one");
        scene.is_right(&target).await;
        is_tidy(&target).await;
    }
}

/// Wherever a copy is killed, no more than two legs and what was on its way is sent again, and no state is lost.
#[tokio::test]
async fn a_copy_that_is_killed_anywhere_goes_on_from_its_checkpoint() {
    let mut scene = Scene::new().await;
    let first = empty().await;
    scene.copy(&first).await.run(day(0)).await.unwrap();
    scene.next_day(1).await;
    let (mut polls, mut saved) = (0, 0);
    loop {
        let target = fork(&first).await;
        let copy = scene.copy(&target).await;
        let sent = |target: &Memory| {
            let files = keys(target, &format!("{COPY}/blocks")).into_iter();
            files.map(|key| crate::support::objects::bytes_of(target, &key).len() as u64).sum::<u64>()
        };
        let before = sent(&target);
        let request = SyncRequest::at(day(1));
        let mut running = Box::pin(copy.sync(&request));
        let is_done = poll_times(&mut running, polls).await.is_some();
        drop(running);
        let committed = newest_head(&target, COPY);
        let point = committed.chain.latest().unwrap().clone();
        assert!(committed.chain.points().len() <= 2);
        let committed_blocks = match point.sequence {
            Sequence(1) => 0,
            _ if is_done => 13,
            _ => {
                let whole = point.machines.iter().filter(|machine| machine.is_whole());
                let whole: u64 = whole.map(|machine| if machine.name.as_str() == "db01" { 3 } else { 10 }).sum();
                whole + spare(&target, COPY, &committed).stored().count() as u64
            }
        };
        scene.truth.check(&open_memory(&target).await, COPY).await;
        let on_the_way = (sent(&target) - before).saturating_sub(committed_blocks * FRAME);
        assert!(on_the_way <= 2 * FRAME, "{polls}: {on_the_way}");
        // The same interval goes on in the same point, another one in a point of its own.
        let joins = (point.sequence == Sequence(2)).then_some(Sequence(2)).filter(|_| polls % 2 == 0);
        let synced = scene.copy(&target).await.sync(&SyncRequest::at(day(1)).joins(joins)).await.unwrap();
        let blocks = synced.sync.as_ref().map_or(0, |sync| sync.tally.planned.blocks);
        // The next writer finishes a commit that was cut off, which may be that of the first checkpoint.
        let arrived = 13 - blocks;
        assert!(arrived == committed_blocks || arrived == committed_blocks + 1, "after {polls} polls: {arrived}");
        assert!(synced.sync.as_ref().is_none_or(|sync| sync.tally.kept_to_plan()));
        let is_whole = |report: &offsite::report::MachineReport| report.outcome.is_whole();
        assert!(synced.machines.iter().all(is_whole), "{synced:?}");
        let chain = newest_head(&target, COPY).chain;
        let expected = if arrived > 0 && arrived < 13 && joins.is_none() { 3 } else { 2 };
        assert_eq!(chain.points().len(), expected, "after {polls} polls, {arrived} blocks");
        scene.copy(&target).await.transform(day(1), 1).await.unwrap();
        scene.is_right(&target).await;
        is_tidy(&target).await;
        assert_eq!(restored(&open_memory(&target).await, COPY, "web01", None).await, scene.machines.content("web01"));
        saved = saved.max(committed_blocks);
        if is_done {
            break;
        }
        polls += 1 + polls / 40;
    }
    assert!(polls > 60 && saved >= 11, "{polls} polls, {saved} blocks");
}
