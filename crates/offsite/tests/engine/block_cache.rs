//! The block cache: what came over a link once need not come again, and nothing depends on it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use offsite::report::{LookUp, Note, Savings};
use offsite::{BlockCache, BlockCacheError, CopyJob, Lend, Lending, OpenRepository, Populate};
use offsite_repository::testing::{Memory, MemoryOptions};
use offsite_repository::{Endpoint, Key, RepositoryExt};

use crate::support::gates::StopAfter;
use crate::support::objects::keys;
use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, day, job, keep, memory_repository_with};

const COPY: &str = "Offsite Copy";
const SIZE: u64 = 16 << 20;

async fn away() -> OpenRepository {
    let endpoint = Endpoint::Address(Ipv4Addr::new(192, 0, 2, 7).into());
    memory_repository_with(MemoryOptions::default().with_endpoint(endpoint)).await.1
}

async fn here() -> OpenRepository {
    memory_repository_with(MemoryOptions::default().with_endpoint(Endpoint::ThisHost)).await.1
}

async fn cache_in(place: &Memory) -> BlockCache {
    BlockCache::open(Arc::new(place.clone()), SIZE).await.unwrap()
}

/// Machines of noise with so many blocks each, and their backup across the link.
async fn scene(seed: u64, sizes: &[(&str, usize)]) -> (Machines, OpenRepository, Truth) {
    let (mut machines, source, mut truth) = (Machines::new(seed), away().await, Truth::default());
    let names: Vec<&str> = sizes.iter().map(|(name, _)| *name).collect();
    for (name, blocks) in sizes {
        machines.add(name, &[blocks * BLOCK]);
        machines.fill_with_noise(name);
    }
    machines.backup(&source, &names).run(day(0)).await.unwrap();
    truth.record(&machines, &names, day(0));
    (machines, source, truth)
}

fn copy(source: &OpenRepository, target: &OpenRepository, cache: &BlockCache) -> CopyJob {
    let copy = CopyJob::new(job(COPY), source, job("nightly"), target).unwrap().transforms(keep(7));
    copy.lending(Lending::new(Lend::Auto).cache(cache.clone()))
}

async fn copied(source: &OpenRepository, cache: &BlockCache, truth: &Truth) -> (Savings, Vec<Note>) {
    let target = here().await;
    let report = copy(source, &target, cache).run(day(0)).await.unwrap();
    let sync = report.sync.unwrap();
    assert!(sync.tally.kept_to_plan(), "{:?}", sync.tally);
    truth.check(&target, COPY).await;
    (sync.savings, report.notes)
}

fn used(place: &Memory) -> u64 {
    place.used_bytes()
}

/// The first copy fills the cache. A copy to another target takes everything from there, also through a handle of a later process.
#[tokio::test]
async fn what_came_over_the_link_does_not_come_again() {
    let (_machines, source, truth) = scene(31, &[("a", 20)]).await;
    let place = Memory::new();
    let (first, _) = copied(&source, &cache_in(&place).await, &truth).await;
    assert_eq!((first.sent.blocks, first.cache.blocks), (20, 0));
    let before = source.block_counts().bytes_read;
    let (second, notes) = copied(&source, &cache_in(&place).await, &truth).await;
    assert_eq!((second.sent.blocks, second.cache.blocks), (0, 20));
    assert_eq!((source.block_counts().bytes_read, notes), (before, Vec::new()));
}

/// The cache saves the link of the source also where the target is across another one.
#[tokio::test]
async fn the_cache_alone_is_looked_up_for_a_target_across_a_link() {
    let (_machines, source, truth) = scene(32, &[("a", 6)]).await;
    let place = Memory::new();
    let cache = cache_in(&place).await;
    for (sent, number) in [(6, 0), (0, 1)] {
        let target = away().await;
        let sync = copy(&source, &target, &cache).run(day(0)).await.unwrap().sync.unwrap();
        assert_eq!((sync.look_up, sync.savings.sent.blocks), (LookUp::CacheOnly, sent), "{number}");
        assert_eq!(sync.cached.blocks, sent);
        truth.check(&target, COPY).await;
    }
}

/// Whatever is done to the cache, the copy is right.
#[tokio::test]
async fn a_cache_that_is_damaged_or_deleted_is_no_harm() {
    let (_machines, source, truth) = scene(33, &[("a", 12)]).await;
    let full = Memory::new();
    copied(&source, &cache_in(&full).await, &truth).await;
    for harm in ["payload", "cut", "pack", "list", "damaged list", "usage", "all", "all while it is open"] {
        let place = full.fork();
        let opened = cache_in(&place).await;
        let (packs, lists) = (keys(&place, "cache/blocks"), keys(&place, "cache/index"));
        assert!(!packs.is_empty() && packs.len() == lists.len());
        match harm {
            "payload" => packs.iter().for_each(|key| assert!(place.corrupt(key, 300_000, 9))),
            "cut" => packs.iter().for_each(|key| assert!(place.truncate(key, 600_000))),
            "pack" => packs.iter().for_each(|key| assert!(place.remove(key))),
            "list" => lists.iter().for_each(|key| assert!(place.remove(key))),
            "damaged list" => lists.iter().for_each(|key| assert!(place.corrupt(key, 40, 9))),
            "usage" => keys(&place, "cache/usage").iter().for_each(|key| assert!(place.corrupt(key, 9, 9))),
            _ => place.contents().iter().for_each(|(key, _)| assert!(place.remove(key))),
        }
        let cache = if harm.ends_with("open") { opened } else { cache_in(&place).await };
        let (savings, notes) = copied(&source, &cache, &truth).await;
        assert_eq!(savings.sent.blocks + savings.cache.blocks, 12, "{harm}");
        assert_eq!(savings.sent.blocks == 0, harm == "usage", "{harm}: {savings:?}");
        let is_told = notes.iter().any(|note| matches!(note, Note::ReadElsewhere { is_lent: true, .. }));
        assert_eq!(is_told, ["payload", "cut"].contains(&harm), "{harm}: {notes:?}");
        // What came over the link is there again.
        let (again, _) = copied(&source, &cache_in(&place).await, &truth).await;
        assert!(again.cache.blocks >= savings.cache.blocks, "{harm}");
    }
}

/// The cache never gets larger than its size, and what was used last stays.
#[tokio::test]
async fn what_was_not_used_for_the_longest_time_goes() {
    let place = Memory::new();
    let cache = cache_in(&place).await;
    let scenes = [scene(41, &[("a", 22)]).await, scene(42, &[("b", 22)]).await, scene(43, &[("c", 22)]).await];
    let run = async |number: usize| {
        let (_, source, truth) = &scenes[number];
        let (savings, _) = copied(source, &cache, truth).await;
        assert!(used(&place) <= SIZE + 4096, "{}", used(&place));
        savings.cache.blocks
    };
    assert_eq!([run(0).await, run(1).await, run(0).await], [0, 0, 22]);
    // Two fit: the second goes for the third.
    assert_eq!(run(2).await, 0);
    assert_eq!(run(0).await, 22);
    assert!(run(1).await < 22);
    assert_eq!(cache.size_bytes(), SIZE);
    assert!(cache.used_bytes().await <= SIZE);
    // It is as full after a restart, and shrinks to a smaller size.
    let again = cache_in(&place).await;
    assert_eq!(again.used_bytes().await, cache.used_bytes().await);
}

#[tokio::test]
async fn a_cache_that_cannot_be_one_is_refused() {
    let open = |place: &Memory, size| BlockCache::open(Arc::new(place.clone()), size);
    let place = Memory::new();
    for size in [0, 1 << 20] {
        assert!(matches!(open(&place, size).await, Err(BlockCacheError::TooSmall { .. })));
    }
    place.put(&Key::new("lock").unwrap(), "".into()).await.unwrap();
    open(&place, SIZE).await.unwrap();
    place.put(&Key::new("photos/cat").unwrap(), "miaow".into()).await.unwrap();
    let refused = open(&place, SIZE).await.unwrap_err();
    assert!(refused.to_string().contains("photos/cat"), "{refused}");
    assert_eq!(place.get(&Key::new("photos/cat").unwrap(), 99).await.unwrap(), "miaow");
}

/// Before the first copy, the cache is filled from a repository near the target that has some of the blocks.
#[tokio::test]
async fn a_cache_is_filled_from_a_repository_before_the_first_copy() {
    let (mut machines, source, _) = scene(51, &[("a", 20)]).await;
    // The repository near the target has the machine as it was before.
    let near = here().await;
    machines.backup(&near, &["a"]).run(day(0)).await.unwrap();
    machines.overwrite("a", |disk| disk[..2 * BLOCK].fill(7));
    machines.backup(&source, &["a"]).run(day(1)).await.unwrap();
    let mut truth = Truth::default();
    truth.record(&machines, &["a"], day(1));
    let place = Memory::new();
    let cache = cache_in(&place).await;
    let stopped = Populate::new(&cache, &near).gate(StopAfter::new(1)).run().await.unwrap();
    assert!(stopped.is_stopped && stopped.kept.blocks > 0 && stopped.kept.blocks < 20, "{stopped:?}");
    let filled = Populate::new(&cache, &near).run().await.unwrap();
    assert_eq!((filled.kept.blocks, filled.had.blocks), (20 - stopped.kept.blocks, stopped.kept.blocks));
    assert!(!filled.is_full && !filled.is_stopped && filled.damaged_blocks == 0);
    let again = Populate::new(&cache, &near).run().await.unwrap();
    assert_eq!((again.kept.blocks, again.had.blocks), (0, 20));
    let target = here().await;
    let sync = copy(&source, &target, &cache).run(day(1)).await.unwrap().sync.unwrap();
    assert_eq!((sync.savings.cache.blocks, sync.savings.sent.blocks + sync.savings.twice.blocks), (18, 2));
    truth.check(&target, COPY).await;
}

/// A repository that is larger than the cache fills it with its newest points.
#[tokio::test]
async fn a_full_cache_has_the_newest_points() {
    let (mut machines, near, _) = scene(52, &[("a", 40)]).await;
    for number in 1..3 {
        machines.fill_with_noise("a");
        machines.backup(&near, &["a"]).run(day(number)).await.unwrap();
    }
    let place = Memory::new();
    let cache = cache_in(&place).await;
    let filled = Populate::new(&cache, &near).run().await.unwrap();
    assert!(filled.is_full && used(&place) <= SIZE + 4096, "{filled:?}");
    let mut truth = Truth::default();
    truth.record(&machines, &["a"], day(2));
    let target = here().await;
    let sync = copy(&near, &target, &cache).run(day(2)).await.unwrap().sync.unwrap();
    assert!(sync.savings.cache.blocks >= 38, "{:?}", sync.savings);
    truth.check(&target, COPY).await;
}
