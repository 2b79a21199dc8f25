//! Copies that need not carry what the side of the target already has.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use offsite::model::ObjectId;
use offsite::report::{LookUp, Note, Savings};
use offsite::{Checkpoints, CopyJob, Lend, Lending, OpenRepository, SyncRequest, Verify};
use offsite_repository::testing::{Memory, MemoryOptions};
use offsite_repository::{Endpoint, Key, RepositoryExt};

use crate::support::gates::StopAfter;
use crate::support::objects::{bytes_of, keys, space, stray};
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, day, job, keep, memory_repository_with, open_memory, scratch, seed};

const COPY: &str = "Offsite Copy";

/// A repository across the network.
async fn away() -> (Arc<Memory>, OpenRepository) {
    let endpoint = Endpoint::Address(Ipv4Addr::new(192, 0, 2, 7).into());
    memory_repository_with(MemoryOptions::default().with_endpoint(endpoint)).await
}

/// A repository on this host.
async fn here() -> (Arc<Memory>, OpenRepository) {
    memory_repository_with(MemoryOptions::default().with_endpoint(Endpoint::ThisHost)).await
}

fn named(name: &str, source: &OpenRepository, target: &OpenRepository) -> CopyJob {
    CopyJob::new(job(name), source, job("nightly"), target).unwrap().transforms(keep(7))
}

/// Damages a stored object in the middle of a frame.
fn damage(memory: &Memory, key: &Key, random: &mut Random) {
    let length = bytes_of(memory, key).len();
    for _ in 0..3 {
        assert!(memory.corrupt(key, random.below(length) as u64, 0x55));
    }
}

async fn replace(memory: &Memory, key: &Key, bytes: impl Into<Bytes>) {
    assert!(memory.remove(key));
    memory.put(key, bytes.into()).await.unwrap();
}

fn blocks(memory: &Memory, job: &str) -> Vec<Key> {
    let files = keys(memory, &format!("{job}/blocks"));
    files.into_iter().filter(|key| ObjectId::parse(key.name()).is_some()).collect()
}

fn pins(memory: &Memory, job: &str) -> Vec<Key> {
    keys(memory, &format!("{job}/pin"))
}

/// No block of two frames lies in one place, whoever has them.
async fn check(memory: &Memory, repository: &OpenRepository, truth: &Truth, name: &str) {
    truth.check(repository, name).await;
    assert!(Verify::new(repository, job(name)).read_data(true).run().await.unwrap().damage.is_empty());
    assert_eq!(stray(memory, name), [""; 0]);
    let (taken, needed) = space(memory, name).await;
    assert_eq!(taken, needed, "every owner has frames of its own");
}

fn accounted(savings: &Savings) -> bool {
    let Savings { asked, sent, unchanged, zero, left, .. } = savings;
    let detoured = savings.detoured();
    let blocks = sent.blocks + unchanged.blocks + zero.blocks + left.blocks + detoured.blocks;
    let bytes = sent.bytes + unchanged.bytes + zero.bytes + left.bytes + detoured.bytes;
    blocks == asked.blocks && bytes == asked.bytes
}

/// Ten machines from one template, of which four fifths of the blocks are equal: the link carries what is unique, and a second job next
/// to nothing.
#[tokio::test]
async fn ten_machines_from_one_template_cross_once() {
    const BLOCKS: usize = 40;
    let mut machines = Machines::new(11);
    let names: Vec<String> = (0..10).map(|number| format!("web{number:02}")).collect();
    let mut template = vec![0; BLOCKS * BLOCK];
    let mut random = Random::new(1);
    template.iter_mut().for_each(|byte| *byte = random.next() as u8);
    for name in &names {
        machines.add(name, &[BLOCKS * BLOCK]);
        machines.overwrite(name, |disk| {
            disk.copy_from_slice(&template);
            for block in disk.chunks_mut(BLOCK).step_by(5) {
                block.iter_mut().for_each(|byte| *byte = random.next() as u8);
            }
        });
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ((_, source), (memory, target)) = (away().await, here().await);
    machines.backup(&source, &names).run(day(0)).await.unwrap();
    let mut truth = Truth::default();
    truth.record(&machines, &names, day(0));
    let unique = ((BLOCKS * 4 / 5 + 10 * BLOCKS / 5) * BLOCK) as u64;

    let before = source.block_counts().bytes_read;
    let sync = named(COPY, &source, &target).run(day(0)).await.unwrap().sync.unwrap();
    let crossed = source.block_counts().bytes_read - before;
    assert!(crossed * 100 <= unique * 105, "{crossed} of {unique}");
    assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
    assert_eq!(sync.savings.asked.blocks, 400);
    assert_eq!((sync.savings.sent.blocks, sync.savings.twice.blocks), (112, 288));
    check(&memory, &target, &truth, COPY).await;

    let before = source.block_counts().bytes_read;
    // A checkpoint begins another file, which has a header that no plan can know of.
    let second = named("Second Copy", &source, &target);
    let second = second.checkpoints(Checkpoints::default().with_bytes_min(u64::MAX));
    let planned = second.plan(day(0)).await.unwrap().sync.unwrap();
    let sync = second.run(day(0)).await.unwrap().sync.unwrap();
    let crossed = source.block_counts().bytes_read - before;
    assert!(crossed * 50 < unique, "{crossed} of {unique}");
    assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
    assert_eq!((planned.cost, planned.savings, planned.look_up), (sync.tally.planned, sync.savings, sync.look_up));
    assert_eq!((sync.savings.job.blocks, sync.savings.sent.blocks), (400, 0));
    assert_eq!(sync.look_up, LookUp::Made);
    check(&memory, &target, &truth, "Second Copy").await;
    assert_eq!(pins(&memory, COPY), []);
}

/// Where no link is saved, nothing is looked up, and the report says why.
#[tokio::test]
async fn nothing_is_looked_up_where_no_link_is_saved() {
    let mut machines = Machines::new(12);
    machines.add("a", &[4 * BLOCK]);
    machines.fill_with_noise("a");
    for (source, target, lend, expected) in [
        (here().await, here().await, Lend::Auto, LookUp::SourceIsHere),
        (away().await, away().await, Lend::Auto, LookUp::TargetIsAway),
        (away().await, here().await, Lend::Never, LookUp::Off),
        (here().await, here().await, Lend::Always, LookUp::Made),
        (away().await, here().await, Lend::Auto, LookUp::Made),
    ] {
        let ((_, source), (_, target)) = (source, target);
        machines.backup(&source, &["a"]).run(day(0)).await.unwrap();
        let first = named("First", &source, &target).lending(Lending::new(lend));
        assert_eq!(first.run(day(0)).await.unwrap().sync.unwrap().look_up, expected);
        let second = named("Second", &source, &target).lending(Lending::new(lend));
        let sync = second.run(day(0)).await.unwrap().sync.unwrap();
        assert_eq!(sync.look_up, expected);
        assert_eq!(sync.savings.job.blocks, if expected == LookUp::Made { 4 } else { 0 });
        assert_eq!(sync.savings.sent.blocks, if expected == LookUp::Made { 0 } else { 4 });
    }
}

/// What the chain itself has counts: a block that moved within its disk, one of another machine, and one of a state that is kept and
/// no longer the newest.
#[tokio::test]
async fn the_own_chain_lends_blocks_of_any_point_and_machine() {
    let mut machines = Machines::new(13);
    for name in ["a", "b"] {
        machines.add(name, &[6 * BLOCK]);
        machines.fill_with_noise(name);
    }
    let ((_, source), (memory, target)) = (away().await, here().await);
    let copy = named(COPY, &source, &target);
    let (first_a, b) = (machines.content("a")[0].clone(), machines.content("b")[0].clone());
    let mut truth = Truth::default();
    type Overwrite<'a> = &'a dyn Fn(&mut [u8]);
    let overwrites: [Overwrite<'_>; 3] = [
        &|_| {},
        // Two blocks change places, and one is that of the other machine.
        &|disk| {
            disk[..BLOCK].copy_from_slice(&first_a[BLOCK..2 * BLOCK]);
            disk[BLOCK..2 * BLOCK].copy_from_slice(&first_a[..BLOCK]);
            disk[2 * BLOCK..3 * BLOCK].copy_from_slice(&b[..BLOCK]);
        },
        // One block is as it was the day before yesterday.
        &|disk| disk[2 * BLOCK..3 * BLOCK].copy_from_slice(&first_a[2 * BLOCK..3 * BLOCK]),
    ];
    let mut found = Vec::new();
    for (write, number) in overwrites.iter().zip(0..) {
        machines.overwrite("a", |disk| write(disk));
        machines.backup(&source, &["a", "b"]).run(day(number)).await.unwrap();
        truth.record(&machines, &["a", "b"], day(number));
        let sync = copy.run(day(number)).await.unwrap().sync.unwrap();
        assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
        found.push((sync.savings.sent.blocks, sync.savings.chain.blocks, sync.savings.machine.blocks));
        check(&memory, &target, &truth, COPY).await;
    }
    assert_eq!(found, [(12, 0, 0), (0, 2, 1), (0, 1, 0)]);
}

/// The lending folder is damaged in many ways. The copy has everything all the same, and says what could not be lent.
#[tokio::test]
async fn what_cannot_be_lent_comes_from_the_source() {
    let mut machines = Machines::new(14);
    machines.add("a", &[12 * BLOCK]);
    machines.fill_with_noise("a");
    let (_, source) = away().await;
    machines.backup(&source, &["a"]).run(day(0)).await.unwrap();
    let mut truth = Truth::default();
    truth.record(&machines, &["a"], day(0));
    for harm in ["payload", "gone", "cut", "swapped", "index", "head"] {
        let (memory, target) = here().await;
        named("Lender", &source, &target).run(day(0)).await.unwrap();
        let file = blocks(&memory, "Lender").remove(0);
        let bytes = bytes_of(&memory, &file);
        let half = bytes.len() / 2;
        match harm {
            "payload" => damage(&memory, &file, &mut Random::new(3)),
            "gone" => assert!(memory.remove(&file)),
            "cut" => assert!(memory.truncate(&file, half as u64)),
            "swapped" => replace(&memory, &file, [&bytes[half..], &bytes[..half]].concat()).await,
            "index" => keys(&memory, "Lender/index").iter().for_each(|key| assert!(memory.remove(key))),
            _ => {
                for key in keys(&memory, "Lender/head") {
                    replace(&memory, &key, b"nothing".to_vec()).await;
                }
            }
        }
        let target = open_memory(&memory).await;
        let report = named(COPY, &source, &target).run(day(0)).await.unwrap();
        let sync = report.sync.unwrap();
        assert!(sync.tally.kept_to_plan(), "{harm}: {:?}", sync.tally);
        assert!(sync.savings.sent.blocks > 0 && sync.savings.left.blocks == 0, "{harm}: {:?}", sync.savings);
        assert_eq!(sync.savings.sent.blocks + sync.savings.job.blocks, 12, "{harm}");
        let told = |note: &Note| match note {
            Note::ReadElsewhere { is_lent, blocks, .. } => *is_lent && *blocks == sync.savings.sent.blocks,
            Note::LenderNotSearched { .. } => harm == "head",
            _ => false,
        };
        // Nobody knows what an index that is gone would have lent.
        assert!(harm == "index" || report.notes.iter().any(told), "{harm}: {:?}", report.notes);
        check(&memory, &target, &truth, COPY).await;
        assert_eq!(pins(&memory, "Lender"), [], "{harm}");
    }
}

/// A frame at the source is damaged, and another block of the copy has the same bytes: both are copied.
#[tokio::test]
async fn a_damaged_frame_is_read_from_its_twin() {
    let mut machines = Machines::new(15);
    machines.add("a", &[8 * BLOCK]);
    machines.fill_with_noise("a");
    let content = machines.content("a");
    machines.add("b", &[8 * BLOCK]);
    machines.overwrite("b", |disk| disk.copy_from_slice(&content[0]));
    let ((memory, source), (copied, target)) = (away().await, here().await);
    machines.backup(&source, &["a", "b"]).run(day(0)).await.unwrap();
    let file = blocks(&memory, "nightly").remove(0);
    // Somewhere in the first frames, which are those of a.
    let third = bytes_of(&memory, &file).len() as u64 / 3;
    assert!(memory.corrupt(&file, third, 1));
    let source = open_memory(&memory).await;
    let report = named(COPY, &source, &target).run(day(0)).await.unwrap();
    let sync = report.sync.unwrap();
    assert!(sync.tally.kept_to_plan());
    assert_eq!((sync.savings.sent.blocks, sync.savings.twice.blocks), (8, 8));
    assert!(
        report.notes.iter().any(|note| matches!(note, Note::ReadElsewhere { is_lent: false, blocks: 2, .. })),
        "{:?}",
        report.notes
    );
    let mut truth = Truth::default();
    truth.record(&machines, &["a", "b"], day(0));
    check(&copied, &target, &truth, COPY).await;
}

/// A copy that borrows is stopped after each number of requests, and the next one goes on from there.
#[tokio::test]
async fn a_copy_that_borrows_goes_on_where_it_was_cut_off() {
    let mut machines = Machines::new(16);
    for name in ["a", "b", "c"] {
        machines.add(name, &[5 * BLOCK]);
        machines.fill_with_noise(name);
    }
    let content = machines.content("a");
    machines.overwrite("c", |disk| disk[..2 * BLOCK].copy_from_slice(&content[0][..2 * BLOCK]));
    let (_, source) = away().await;
    machines.backup(&source, &["a"]).run(day(0)).await.unwrap();
    let (before, lender) = here().await;
    named("Lender", &source, &lender).run(day(0)).await.unwrap();
    machines.backup(&source, &["a", "b", "c"]).run(day(1)).await.unwrap();
    let mut truth = Truth::default();
    truth.record(&machines, &["a", "b", "c"], day(1));
    for requests in 0..5 {
        let memory = before.fork();
        let target = open_memory(&memory).await;
        let copy = named(COPY, &source, &target);
        let request = SyncRequest::at(day(1)).gate(StopAfter::new(requests));
        let first = copy.sync(&request).await.unwrap();
        if let Some(sync) = &first.sync {
            assert!(sync.tally.kept_to_plan(), "{requests}: {:?}", sync.tally);
        }
        assert_eq!(pins(&memory, "Lender"), []);
        let second = copy.sync(&SyncRequest::at(day(1))).await.unwrap();
        let sent =
            |sync: &Option<offsite::report::SyncReport>| sync.as_ref().map_or(0, |sync| sync.savings.sent.blocks);
        assert!(second.sync.as_ref().is_none_or(|sync| sync.tally.kept_to_plan()));
        assert_eq!(sent(&first.sync) + sent(&second.sync), 8, "{requests}");
        check(&memory, &target, &truth, COPY).await;
    }
}

/// The filter finds the same as a search through all indexes, reads less, and is made anew if it is damaged or foreign.
#[tokio::test]
async fn the_filter_finds_what_the_indexes_have() {
    let mut machines = Machines::new(17);
    machines.add("a", &[30 * BLOCK]);
    machines.fill_with_noise("a");
    let ((_, source), (before, target)) = (away().await, here().await);
    machines.backup(&source, &["a"]).run(day(0)).await.unwrap();
    named("Lender", &source, &target).run(day(0)).await.unwrap();
    machines.add("b", &[30 * BLOCK]);
    let content = machines.content("a");
    machines.overwrite("b", |disk| disk[..9 * BLOCK].copy_from_slice(&content[0][..9 * BLOCK]));
    machines.backup(&source, &["b"]).run(day(1)).await.unwrap();
    let folder = scratch();
    let filtered = Lending::new(Lend::Auto).filter(folder.path());
    let segments = || {
        let of_repository = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
        let mut paths: Vec<_> =
            std::fs::read_dir(of_repository.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut found = Vec::new();
    for round in ["plain", "made", "used", "damaged", "foreign", "gone"] {
        let memory = before.fork();
        let target = open_memory(&memory).await;
        match round {
            "damaged" => segments().iter().for_each(|path| {
                let mut bytes = std::fs::read(path).unwrap();
                let last = bytes.len() - 20;
                bytes[last] ^= 1;
                std::fs::write(path, bytes).unwrap();
            }),
            "foreign" => segments().iter().for_each(|path| std::fs::write(path, "not a segment").unwrap()),
            "gone" => segments().iter().for_each(|path| std::fs::remove_file(path).unwrap()),
            _ => {}
        }
        let copy = named(COPY, &source, &target);
        let copy = if round == "plain" { copy } else { copy.lending(filtered.clone()) };
        let sync = copy.run(day(1)).await.unwrap().sync.unwrap();
        assert!(sync.tally.kept_to_plan());
        found.push(sync.savings);
        if round != "plain" {
            assert_eq!(segments().len(), 1, "{round}");
        }
    }
    assert!(found.iter().all(|savings| *savings == found[0] && savings.job.blocks >= 9), "{found:?}");
}

/// Whatever the history, whoever lends, and whatever is damaged there: the copy is the source's, every owner has its own frames, and
/// what was planned was done.
#[tokio::test]
async fn random_histories_with_random_lenders_are_copied_right() {
    let mut random = Random::new(seed(4));
    for history in 0..12 {
        let mut machines = Machines::new(random.next());
        let names = ["a", "b", "c"];
        for name in names {
            machines.add(name, &[(4 + random.below(6)) * BLOCK + random.below(2) * 777]);
        }
        let ((_, source), (memory, _)) = (away().await, here().await);
        let (mut truth, folder) = (Truth::default(), scratch());
        for number in 0..6 {
            let from = machines.content(names[random.below(3)])[0].clone();
            let name = names[random.below(3)];
            machines.change(name, 2);
            // Some bytes are those of another place.
            let count = random.below(4);
            machines.overwrite(name, |disk| {
                let end = disk.len().min(from.len()).min(count * BLOCK);
                disk[..end].copy_from_slice(&from[..end]);
            });
            machines.backup(&source, &names).run(day(number)).await.unwrap();
            truth.record(&machines, &names, day(number));
            for copy in ["First", "Second", "Third"] {
                if random.below(3) == 0 {
                    continue;
                }
                if random.below(3) == 0 && copy != "First" {
                    // Whoever lends is damaged.
                    let lent = blocks(&memory, "First");
                    if !lent.is_empty() {
                        damage(&memory, &lent[random.below(lent.len())], &mut random);
                    }
                }
                let target = open_memory(&memory).await;
                let lending = if random.below(2) == 0 {
                    Lending::new(Lend::Always)
                } else {
                    Lending::new(Lend::Auto).filter(folder.path())
                };
                let job = named(copy, &source, &target).lending(lending).transforms(keep(3));
                let request = match random.below(3) {
                    0 => SyncRequest::at(day(number)).gate(StopAfter::new(random.below(6))),
                    _ => SyncRequest::at(day(number)),
                };
                let synced = job.sync(&request).await.unwrap_or_else(|error| panic!("{history} {copy}: {error}"));
                if let Some(sync) = &synced.sync {
                    assert!(sync.tally.kept_to_plan(), "{history} {copy}: {:?}", sync.tally);
                    assert!(accounted(&sync.savings), "{:?}", sync.savings);
                }
                if copy != "First" {
                    job.transform(day(number), synced.added()).await.unwrap();
                }
                assert!(["First", "Second", "Third"].iter().all(|copy| pins(&memory, copy).is_empty()));
            }
        }
        let target = open_memory(&memory).await;
        for copy in ["Second", "Third"] {
            let job = named(copy, &source, &target);
            job.run(day(6)).await.unwrap();
            check(&memory, &target, &truth, copy).await;
        }
    }
}
