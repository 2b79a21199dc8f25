//! Primary chains of every method, in random histories: each point restores to the byte, and so does each copy of a copy; what is
//! stored is exactly what some point refers to.

use offsite_core::format::WireFormat;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use offsite::model::BlockMap;
use offsite::model::FileState;
use offsite::model::Head;
use offsite::model::ObjectId;
use offsite::model::PointKind;
use offsite::model::RestorePoint;
use offsite::model::RetiredObject;
use offsite::model::Status;
use offsite::report::BackupReport;
use offsite::{BackupMethod, CopyJob, Error, FullKind, OpenRepository, Verify};
use offsite_core::Index;
use offsite_repository::Reclaim;
use offsite_repository::testing::Memory;

use crate::support::objects::{bytes_of, key, keys, newest_head};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, copy_job, day, job, keep, memory_repository, open_memory, seed};

const PRIMARY: &str = "nightly";
const COPY: &str = "Offsite Copy";
const METHODS: [BackupMethod; 3] = [BackupMethod::ForeverForward, BackupMethod::Forward, BackupMethod::Reverse];

/// What a point says, read behind the engine's back.
fn step(memory: &Memory, folder: &str, point: &RestorePoint) -> BlockMap {
    let indexes = point.indexes().map(|index| bytes_of(memory, &key(&format!("{folder}/index/{}", index.id))));
    let rows = indexes.fold(BlockMap::empty(), |map, bytes| map.overlay(&Index::decode(&bytes).unwrap().map));
    rows.project(|name| point.machine(name).is_some_and(|machine| machine.status != Status::Incomplete))
}

/// The frames that any point refers to, by place, with their lengths.
fn referenced(memory: &Memory, folder: &str, head: &Head) -> BTreeMap<(ObjectId, u64), u64> {
    let maps = head.chain.all().map(|point| step(memory, folder, point));
    let frames = maps.flat_map(|map| map.stored().map(|(_, _, _, at)| at).collect::<Vec<_>>());
    frames
        .map(|at| ((at.file, at.offset), u64::from(at.length).next_multiple_of(head.alignment_bytes.into())))
        .collect()
}

/// Holds that a folder has what its points need, and nothing else.
async fn assert_exact(memory: &Memory, folder: &str) {
    let head = newest_head(memory, folder);
    let frames = referenced(memory, folder, &head);
    let mut live: BTreeMap<ObjectId, u64> = BTreeMap::new();
    frames.iter().for_each(|((file, _), bytes)| *live.entry(*file).or_default() += bytes);
    let known = head.files.iter().filter(|(_, file)| file.live_bytes > 0);
    let known: BTreeMap<_, _> = known.map(|(id, FileState { live_bytes, .. })| (*id, *live_bytes)).collect();
    assert_eq!(known, live, "live bytes of {folder}");
    for (id, bytes) in &live {
        let name = key(&format!("{folder}/blocks/{id}"));
        let allocated = Reclaim::allocated_bytes(memory.reclaim_of(), &name).await.unwrap();
        let first = frames.keys().find(|(file, _)| file == id).map_or(0, |(_, offset)| *offset);
        // The header takes what lies before the first place of a frame, which is one alignment here.
        assert!(first >= u64::from(head.alignment_bytes));
        assert_eq!(allocated, bytes + u64::from(head.alignment_bytes), "{name}");
    }
    let named = |part: &str| -> BTreeSet<String> {
        let keys = keys(memory, &format!("{folder}/{part}"));
        keys.iter().map(|key| key.name().to_owned()).collect()
    };
    let mut indexes: BTreeSet<String> = head.chain.indexes().map(|index| index.id.to_string()).collect();
    let mut files: BTreeSet<String> = head.files.keys().map(ToString::to_string).collect();
    for retirement in &head.retired {
        match retirement.what {
            RetiredObject::File(id) => drop(files.insert(id.to_string())),
            RetiredObject::Index(id) => drop(indexes.insert(id.to_string())),
            RetiredObject::Ranges { .. } => {}
        }
    }
    assert_eq!(named("index"), indexes, "indexes of {folder}");
    assert_eq!(named("blocks"), files, "files of {folder}");
}

/// Holds that points say of themselves what they have stored.
fn assert_totals(memory: &Memory, folder: &str) {
    for point in newest_head(memory, folder).chain.all() {
        let map = step(memory, folder, point);
        assert_eq!(point.stored.blocks, map.stored().count() as u64, "point {}", point.sequence);
        let bytes: u64 = map.stored().map(|(_, _, _, at)| u64::from(at.length)).sum();
        assert_eq!(point.stored.bytes, bytes, "point {}", point.sequence);
    }
}

trait Punching {
    fn reclaim_of(&self) -> &dyn Reclaim;
}

impl Punching for Memory {
    fn reclaim_of(&self) -> &dyn Reclaim {
        use offsite_repository::Repository;
        self.reclaim().unwrap()
    }
}

async fn assert_whole(memory: &Memory, folder: &str, truth: &Truth) {
    let repository = open_memory(memory).await;
    assert!(!truth.check(&repository, folder).await.is_empty());
    let report = Verify::new(&repository, job(folder)).read_data(true).run().await.unwrap();
    assert_eq!(report.damage, [], "{folder}");
    assert_exact(memory, folder).await;
    assert_totals(memory, folder);
}

fn assert_as_counted(report: &BackupReport) {
    assert!(report.tally.kept_to_plan(), "{report:?}");
    assert_eq!(report.tally.target.bytes_read, 0, "a backup reads no backup file");
    report.transform.operations.iter().for_each(|operation| assert!(operation.tally.kept_to_plan(), "{operation:?}"));
}

fn disk_bytes(random: &mut Random) -> usize {
    BLOCK * random.below(4) + 1 + random.below(BLOCK)
}

/// A day of three machines that change, resize, come and go; the names of those that are there.
fn day_of_work(machines: &mut Machines, random: &mut Random) -> Vec<String> {
    for name in machines.names() {
        match random.below(6) {
            0 => machines.resize(&name, 0, disk_bytes(random)),
            1 if machines.sizes(&name).len() < 3 => machines.add_disk(&name, disk_bytes(random)),
            2 if machines.sizes(&name).len() > 1 => machines.remove_disk(&name),
            3 => {}
            _ => machines.change(&name, 1 + random.below(3)),
        }
    }
    let mut names = machines.names();
    names.retain(|_| random.below(4) > 0);
    if names.is_empty() { machines.names() } else { names }
}

async fn history(seed: u64, runs: i64, mut next: impl FnMut(&mut Random) -> (BackupMethod, Option<FullKind>)) {
    println!("OFFSITE_SEED={seed}");
    let mut random = Random::new(seed);
    let (source, primary) = memory_repository().await;
    let (target, second) = memory_repository().await;
    let (last, third) = memory_repository().await;
    let mut machines = Machines::new(seed);
    for name in ["vm0", "vm1", "vm2"] {
        machines.add(name, &[disk_bytes(&mut random), disk_bytes(&mut random)]);
    }
    let mut truth = Truth::default();
    let kept = 2 + u32::try_from(random.below(5)).unwrap();
    for number in 0..runs {
        let names = day_of_work(&mut machines, &mut random);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (method, full) = next(&mut random);
        let was_increment = newest_kind(&source, number) == Some(PointKind::Increment);
        let backup = |full: Option<FullKind>| {
            let backup = machines.backup(&primary, &names).keep(keep(kept)).method(method);
            full.map_or(backup.clone(), |full| backup.full(full))
        };
        truth.record(&machines, &names, day(number));
        let report = match backup(full).run(day(number)).await {
            Err(Error::InvalidSetting { setting: "method", why: text, .. }) => {
                assert!(was_increment && method == BackupMethod::Reverse && full.is_none(), "{text}");
                assert!(text.contains("full once"), "{text}");
                backup(Some(FullKind::Synthetic)).run(day(number)).await.unwrap()
            }
            answer => answer.unwrap(),
        };
        assert_as_counted(&report);
        assert_eq!(report.rolled_back.is_some(), report.full && number > 0 && full.is_none() && !was_increment);
        assert_whole(&source, PRIMARY, &truth).await;
        if random.below(2) == 0 {
            copy(copy_job(&primary, &second), number).await;
            assert_whole(&target, COPY, &truth).await;
            copy(CopyJob::new(job("third"), &second, job(COPY), &third).unwrap(), number).await;
            assert_whole(&last, "third", &truth).await;
        }
    }
}

async fn copy(job: CopyJob, number: i64) {
    let report = job.transforms(keep(3)).run(day(number)).await.unwrap();
    assert!(report.sync.is_none_or(|sync| sync.tally.kept_to_plan()));
}

fn newest_kind(memory: &Arc<Memory>, number: i64) -> Option<PointKind> {
    (number > 0).then(|| newest_head(memory, PRIMARY).chain.latest().unwrap().kind)
}

#[tokio::test]
async fn forward_chains_with_periodic_fulls_go_as_wholes() {
    for seed in seed(100)..seed(100) + 2 {
        let mut run = 0;
        history(seed, 22, |random| {
            run += 1;
            let full = if random.below(2) == 0 { FullKind::Active } else { FullKind::Synthetic };
            (BackupMethod::Forward, (run % 4 == 0).then_some(full))
        })
        .await;
    }
}

#[tokio::test]
async fn reverse_chains_keep_every_point() {
    for seed in seed(200)..seed(200) + 2 {
        history(seed, 22, |_| (BackupMethod::Reverse, None)).await;
    }
}

#[tokio::test]
async fn a_job_may_change_its_method_from_run_to_run() {
    for seed in seed(300)..seed(300) + 3 {
        history(seed, 24, |random| {
            let full = [None, None, None, Some(FullKind::Active), Some(FullKind::Synthetic)][random.below(5)];
            (METHODS[random.below(3)], full)
        })
        .await;
    }
}

async fn one_machine() -> (Arc<Memory>, OpenRepository, Machines) {
    let (memory, repository) = memory_repository().await;
    let mut machines = Machines::new(7);
    machines.add("vm", &[8 * BLOCK]);
    machines.fill_with_noise("vm");
    (memory, repository, machines)
}

fn kinds(memory: &Memory) -> Vec<PointKind> {
    newest_head(memory, PRIMARY).chain.points().iter().map(|point| point.kind).collect()
}

/// The price of a reverse-incremental run: what changed is written once, nothing is read, and the full before is not touched.
#[tokio::test]
async fn a_reverse_run_writes_what_changed_once_and_reads_nothing() {
    let (memory, repository, mut machines) = one_machine().await;
    let reverse = |machines: &Machines| machines.backup(&repository, &["vm"]).method(BackupMethod::Reverse);
    reverse(&machines).run(day(0)).await.unwrap();
    let files = keys(&memory, &format!("{PRIMARY}/blocks"));
    let old = bytes_of(&memory, &files[0]);
    for number in 1..4 {
        machines.overwrite("vm", |disk| disk[..2 * BLOCK].fill(u8::try_from(number).unwrap()));
        let report = reverse(&machines).run(day(number)).await.unwrap();
        assert_eq!((report.stored_blocks, report.rolled_back.map(|back| back.0)), (2, Some(number as u64)));
        assert_as_counted(&report);
        assert!(report.tally.target.bytes_written < 3 * 4096 + 2 * 4096, "two blocks of one byte, and a header");
    }
    assert_eq!(bytes_of(&memory, &files[0]), old, "the old full lies where it lay");
    use PointKind::{Full, Rollback};
    assert_eq!(kinds(&memory), [Rollback, Rollback, Rollback, Full]);
    machines.backup(&repository, &["vm"]).method(BackupMethod::Reverse).keep(keep(2)).run(day(4)).await.unwrap();
    assert_eq!(kinds(&memory), [Rollback, Full]);
}

#[tokio::test]
async fn a_synthetic_full_moves_no_block_and_an_active_one_all() {
    let (memory, repository, mut machines) = one_machine().await;
    let forward = |machines: &Machines| machines.backup(&repository, &["vm"]).method(BackupMethod::Forward);
    let first = forward(&machines).run(day(0)).await.unwrap();
    machines.overwrite("vm", |disk| disk[0] ^= 1);
    assert_eq!(forward(&machines).run(day(1)).await.unwrap().stored_blocks, 1);
    machines.overwrite("vm", |disk| disk[1] ^= 1);
    let synthetic = forward(&machines).full(FullKind::Synthetic).run(day(2)).await.unwrap();
    assert_eq!((synthetic.full, synthetic.stored_blocks), (true, 1));
    let unchanged = forward(&machines).full(FullKind::Synthetic).run(day(3)).await.unwrap();
    assert_eq!((unchanged.full, unchanged.stored_blocks, unchanged.tally.target.bytes_written), (true, 0, 0));
    let active = forward(&machines).full(FullKind::Active).run(day(4)).await.unwrap();
    assert_eq!((active.full, active.tally.target), (true, first.tally.target));
    let blocks: Vec<_> = newest_head(&memory, PRIMARY).chain.points().iter().map(|point| point.stored.blocks).collect();
    assert_eq!(blocks, [8, 1, 8, 8, 8]);
    use PointKind::{Full, Increment};
    assert_eq!(kinds(&memory), [Full, Increment, Full, Full, Full]);
    // Nothing of a chain goes while one of its points is wanted; then all of it goes.
    let kept = |points| forward(&machines).keep(keep(points));
    kept(5).run(day(5)).await.unwrap();
    assert_eq!(kinds(&memory).len(), 6, "the increment is the fifth newest");
    kept(4).run(day(6)).await.unwrap();
    assert_eq!(kinds(&memory), [Full, Full, Increment, Increment][..].to_vec());
    assert_exact(&memory, PRIMARY).await;
}

#[tokio::test]
async fn reverse_after_an_increment_names_the_way_out() {
    let (memory, repository, machines) = one_machine().await;
    machines.backup(&repository, &["vm"]).run(day(0)).await.unwrap();
    machines.backup(&repository, &["vm"]).run(day(1)).await.unwrap();
    let before = kinds(&memory);
    let reverse = machines.backup(&repository, &["vm"]).method(BackupMethod::Reverse);
    let Err(Error::InvalidSetting { why: text, .. }) = reverse.run(day(2)).await else {
        panic!("an increment is no full")
    };
    assert!(text.contains("is an increment") && text.contains("active or synthetic"), "{text}");
    assert_eq!(kinds(&memory), before);
    reverse.clone().full(FullKind::Active).run(day(2)).await.unwrap();
    reverse.run(day(3)).await.unwrap();
    use PointKind::{Full, Increment, Rollback};
    assert_eq!(kinds(&memory), [Full, Increment, Rollback, Full]);
}
