//! What the fakes and the counting decorator do beyond the contract.
#![allow(
    clippy::unwrap_used,
    clippy::single_range_in_vec_init,
    reason = "what cannot go on has failed; ranges are of objects"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offsite_repository::testing::{Fault, Faulty, Gate, Memory, MemoryOptions};
use offsite_repository::{
    Counts, ErrorKind, Extent, Key, Prefix, ReadRequest, Recording, Repository, RepositoryExt, Verb,
};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn class(key: &Key) -> &'static str {
    if key.as_str().split('/').nth(1) == Some("blocks") { "blocks" } else { "other" }
}

#[tokio::test]
async fn recording_counts_calls_and_bytes_by_class() {
    let recording = Recording::classified(Memory::new(), class);
    let handed_on: Arc<dyn Repository> = Arc::new(recording.clone());
    let (block, head) = (key("job/blocks/1"), key("job/head/1"));
    handed_on.put(&block, Bytes::from(vec![7; 10_000])).await.unwrap();
    handed_on.put(&head, Bytes::from_static(b"head")).await.unwrap();
    let written = recording.counts();
    assert_eq!((written.creates, written.writes, written.finishes, written.bytes_written), (2, 2, 2, 10_004));
    assert_eq!(recording.counts_of("blocks").bytes_written, 10_000);

    handed_on.read(&block, ReadRequest::Ranges(&[0..10, 5..20])).await.unwrap();
    handed_on.get(&key("job/head/2"), 10).await.unwrap_err();
    handed_on.list_all(&Prefix::root()).await.unwrap();
    handed_on.reclaim().unwrap().punch(&block, &[0..4_096, 8_192..9_000]).await.unwrap();
    handed_on
        .patch()
        .unwrap()
        .write_extents(&head, vec![Extent::new(4, vec![Bytes::from_static(b"er")])])
        .await
        .unwrap();
    handed_on.delete(&head).await.unwrap();
    let later = recording.counts() - written;
    assert_eq!((later.reads, later.bytes_read, later.lists, later.deletes), (2, 25, 1, 1));
    assert_eq!((later.punches, later.bytes_punched, later.patches, later.bytes_written), (1, 4_904, 1, 2));
    assert_eq!(later.calls(), 6);
    assert_eq!(recording.counts_of("blocks").bytes_read, 25);
    assert_eq!(recording.counts_of("other").reads, 1);
    assert_eq!(recording.counts_of("unheard of"), Counts::default());
}

#[tokio::test]
async fn recording_logs_when_asked() {
    let recording = Recording::new(Memory::new());
    recording.put(&key("a"), Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(recording.log(), []);
    recording.start_log();
    recording.get(&key("a"), 5).await.unwrap();
    recording.create(&key("b")).await.unwrap().abort().await.unwrap();
    recording.sweep().await.unwrap();
    let log: Vec<_> = recording.log().into_iter().map(|call| (call.verb, call.key, call.bytes)).collect();
    let b = Some(key("b"));
    let wanted =
        [(Verb::Read, Some(key("a")), 1), (Verb::Create, b.clone(), 0), (Verb::Abort, b, 0), (Verb::Sweep, None, 0)];
    assert_eq!(log, wanted);
}

#[test]
fn decorators_claim_only_what_is_beneath() {
    let nothing =
        MemoryOptions::default().with_reclaim(false).with_clone_range(false).with_patch(false).with_retain(false);
    let recording = Recording::new(Faulty::new(Memory::with_options(nothing)));
    assert!(recording.reclaim().is_none() && recording.clone_range().is_none());
    assert!(recording.patch().is_none() && recording.retain().is_none());
    let recording = Recording::new(Faulty::new(Memory::new()));
    assert!(recording.reclaim().is_some() && recording.clone_range().is_some());
    assert!(recording.patch().is_some() && recording.retain().is_some());
}

#[tokio::test]
async fn a_fault_strikes_its_call_once() {
    let faulty = Faulty::new(Memory::new());
    faulty.inject(Fault::after_calls(1, ErrorKind::Unavailable).on(Verb::Finish).below(Prefix::new("a").unwrap()));
    let content = Bytes::from_static(b"x");
    for name in ["b/1", "a/1", "b/2"] {
        faulty.put(&key(name), content.clone()).await.unwrap();
    }
    assert_eq!(faulty.put(&key("a/2"), content.clone()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(faulty.get(&key("a/2"), 9).await.unwrap_err().kind(), ErrorKind::NotFound);
    faulty.put(&key("a/2"), content).await.unwrap();
    assert_eq!((faulty.failures(), faulty.calls()), (1, 5 * 3 + 1));
}

#[tokio::test]
async fn a_lost_answer_leaves_the_object() {
    let faulty = Faulty::new(Memory::new());
    faulty.inject(Fault::after_calls(0, ErrorKind::Indeterminate).on(Verb::Finish).losing_the_answer());
    let put = faulty.put(&key("a"), Bytes::from_static(b"x")).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Indeterminate);
    assert_eq!(faulty.get(&key("a"), 9).await.unwrap(), "x");
}

#[tokio::test]
async fn a_fault_for_ever_lasts_until_healed_and_kills_writers() {
    let faulty = Faulty::new(Memory::new());
    let mut writer = faulty.create(&key("a")).await.unwrap();
    faulty.inject(Fault::after_calls(0, ErrorKind::MediaAbsent).for_ever());
    for _ in 0..3 {
        assert_eq!(faulty.list(&Prefix::root(), None, 1).await.unwrap_err().kind(), ErrorKind::MediaAbsent);
    }
    writer.write(vec![]).await.unwrap_err();
    faulty.heal();
    faulty.list(&Prefix::root(), None, 1).await.unwrap();
    writer.finish().await.unwrap_err();
    assert_eq!(faulty.list(&Prefix::root(), None, 1).await.unwrap().objects, []);
}

#[tokio::test]
async fn memory_is_full_at_its_capacity_and_punching_helps() {
    let memory = Memory::with_options(MemoryOptions::default().with_capacity_bytes(10_000));
    memory.put(&key("a"), Bytes::from(vec![1; 9_000])).await.unwrap();
    let mut writer = memory.create(&key("b")).await.unwrap();
    writer.write(vec![Bytes::from(vec![2; 1_000])]).await.unwrap();
    assert_eq!(writer.write(vec![Bytes::from(vec![2; 1])]).await.unwrap_err().kind(), ErrorKind::NoSpace);
    drop(writer);
    assert_eq!(memory.used_bytes(), 9_000);
    memory.reclaim().unwrap().punch(&key("a"), &[0..8_192]).await.unwrap();
    assert_eq!(memory.used_bytes(), 808);
    memory.put(&key("b"), Bytes::from(vec![2; 9_000])).await.unwrap();
    let patch = memory.patch().unwrap();
    let extent = || vec![Extent::new(100, vec![Bytes::from_static(b"x")])];
    let into_hole = patch.write_extents(&key("a"), extent()).await;
    assert_eq!(into_hole.unwrap_err().kind(), ErrorKind::NoSpace);
    memory.set_capacity_bytes(u64::MAX);
    patch.write_extents(&key("a"), extent()).await.unwrap();
    assert_eq!(memory.used_bytes(), 9_808 + 4_096);
}

#[tokio::test]
async fn memory_can_be_damaged() {
    let memory = Memory::new();
    memory.put(&key("a"), Bytes::from_static(b"abc")).await.unwrap();
    let held = memory.get(&key("a"), 3).await.unwrap();
    assert!(memory.corrupt(&key("a"), 1, 0x20) && !memory.corrupt(&key("a"), 3, 1) && !memory.corrupt(&key("b"), 0, 1));
    assert_eq!(memory.get(&key("a"), 3).await.unwrap(), "aBc");
    assert_eq!(held, "abc", "what was read before does not change");
    assert!(memory.truncate(&key("a"), 1) && !memory.truncate(&key("a"), 2));
    assert_eq!(memory.get_range(&key("a"), 0..2).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(memory.remove(&key("a")) && !memory.remove(&key("a")));
}

#[tokio::test]
async fn a_fork_is_what_a_crash_would_leave() {
    let memory = Memory::new();
    memory.put(&key("a"), Bytes::from_static(b"done")).await.unwrap();
    let mut writer = memory.create(&key("b")).await.unwrap();
    writer.write(vec![Bytes::from_static(b"half")]).await.unwrap();
    let fork = memory.fork();
    writer.finish().await.unwrap();
    memory.delete(&key("a")).await.unwrap();
    assert_eq!(fork.contents(), [(key("a"), Bytes::from_static(b"done"))]);
    assert_eq!((fork.used_bytes(), memory.used_bytes()), (4, 4));
}

#[tokio::test]
async fn memory_retains_until_its_clock_says_otherwise() {
    let memory = Memory::new();
    memory.put(&key("a"), Bytes::new()).await.unwrap();
    memory.set_clock(1_000);
    memory.retain().unwrap().retain_until(&key("a"), 2_000).await.unwrap();
    memory.set_clock(1_999);
    assert_eq!(memory.delete(&key("a")).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    memory.set_clock(2_000);
    memory.delete(&key("a")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delay_passes_on_the_paused_clock_and_succeeds() {
    let faulty = Faulty::new(Memory::new());
    faulty.inject(Fault::delaying(0, Duration::from_secs(3_600)).on(Verb::Finish));
    faulty.inject(Fault::delaying(0, Duration::from_secs(60)).on(Verb::Read).losing_the_answer().for_ever());
    let start = tokio::time::Instant::now();
    faulty.put(&key("a"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 3_600);
    assert_eq!(faulty.get(&key("a"), 9).await.unwrap(), "x");
    assert_eq!(faulty.get(&key("a"), 9).await.unwrap(), "x");
    assert_eq!((start.elapsed().as_secs(), faulty.failures()), (3_720, 0));
}

#[tokio::test]
async fn a_gate_holds_a_call_until_it_is_released() {
    let faulty = Faulty::new(Memory::new());
    let gate = Gate::new();
    faulty.inject(Fault::holding(0, &gate).on(Verb::Finish).losing_the_answer());
    let writer = faulty.clone();
    let put = tokio::spawn(async move { writer.put(&key("a"), Bytes::from_static(b"x")).await });
    gate.reached().await;
    assert!(!put.is_finished());
    assert_eq!(faulty.get(&key("a"), 9).await.unwrap(), "x", "it is carried out, and its answer is late");
    gate.release();
    put.await.unwrap().unwrap();
}

#[tokio::test]
async fn faults_at_random_are_told_by_their_seed() {
    let mut patterns = Vec::new();
    for seed in [1, 1, 2] {
        let faulty = Faulty::new(Memory::new());
        faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::List).at_random(seed, 4));
        let mut pattern = Vec::new();
        for _ in 0..200 {
            pattern.push(faulty.list(&Prefix::root(), None, 1).await.is_err());
        }
        assert!((25..80).contains(&faulty.failures()), "about one in four of 200: {}", faulty.failures());
        patterns.push(pattern);
    }
    assert!(patterns[0] == patterns[1] && patterns[0] != patterns[2]);
}
