//! The decorators keep the contract, and do what they say, on a clock that stands still until all wait.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offsite_repository::testing::conformance::Options;
use offsite_repository::testing::{Fault, Faulty, Memory};
use offsite_repository::{
    ErrorKind, Extent, Key, Prefix, Recording, Repository, RepositoryExt, Retry, RetryOptions, Throttle, ThrottleRates,
    Verb, conformance_tests,
};
use tokio::time::Instant;

fn options() -> Options {
    Options::default().with_retain_secs(3_600)
}

mod throttle {
    use super::*;
    // Fast enough that the largest object waits for a moment only.
    fn rates() -> ThrottleRates {
        ThrottleRates::default().with_bytes_per_sec(1 << 30).with_requests_per_sec(1_000_000)
    }
    conformance_tests!(async || (Arc::new(Throttle::new(Memory::new(), rates())), options()));
}

mod retry {
    use super::*;
    conformance_tests!(async || (Arc::new(Retry::new(Memory::new(), RetryOptions::default())), options()));
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn content(length: usize) -> Bytes {
    (0..=250).cycle().take(length).collect::<Vec<u8>>().into()
}

fn bytes_per_sec(rate: u64) -> ThrottleRates {
    ThrottleRates::default().with_bytes_per_sec(rate)
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_at_their_rate_whichever_way_they_go() {
    let place = Throttle::new(Memory::new(), bytes_per_sec(1_000));
    let begun = Instant::now();
    place.put(&key("a"), content(1_000)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "a second's worth may come at once");
    place.put(&key("b"), content(500)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(500));
    place.get_range(&key("a"), 0..250).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(750));
    let extent = Extent::new(0, vec![content(250)]);
    place.patch().unwrap().write_extents(&key("a"), vec![extent]).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    // Paid for afterwards: by the next call.
    place.get(&key("a"), 1_000).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    place.get_range(&key("b"), 0..1).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(2_001));
}

#[tokio::test(start_paused = true)]
async fn a_call_larger_than_a_seconds_worth_is_owed() {
    let place = Throttle::new(Memory::new(), bytes_per_sec(1_000));
    let begun = Instant::now();
    place.put(&key("a"), content(5_000)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    place.put(&key("b"), content(1)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(4_001));
}

#[tokio::test(start_paused = true)]
async fn a_read_far_past_the_end_holds_up_nobody() {
    let place = Throttle::new(Memory::new(), bytes_per_sec(1_000));
    place.put(&key("a"), content(1)).await.unwrap();
    let begun = Instant::now();
    let answer = place.get_range(&key("a"), 0..u64::MAX).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Corrupt);
    let next = tokio::time::timeout(Duration::from_secs(1), place.get_range(&key("a"), 0..1)).await;
    assert!(next.is_ok(), "waits since {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_pass_at_their_rate() {
    let place = Throttle::new(Memory::new(), ThrottleRates::default().with_requests_per_sec(10));
    let begun = Instant::now();
    for _ in 0..30 {
        place.list(&Prefix::root(), None, 1).await.unwrap();
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_changed_rate_counts_for_calls_that_wait() {
    let place = Throttle::new(Memory::new(), bytes_per_sec(0));
    let begun = Instant::now();
    let waiting = tokio::spawn({
        let place = place.clone();
        async move { place.put(&key("a"), content(3_000)).await }
    });
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(!waiting.is_finished(), "a rate of zero lets nothing through");
    place.set_rates(bytes_per_sec(1_000));
    let ended = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    ended.expect("the change is noticed").unwrap().unwrap();
    assert_eq!(place.rates(), bytes_per_sec(1_000));
    assert_eq!(begun.elapsed(), Duration::from_secs(3_601));
    // Owes two seconds; at ten times the rate what is owed is paid in a tenth of the time.
    place.set_rates(bytes_per_sec(10_000));
    place.get_range(&key("a"), 0..1_000).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(3_601_300));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_has_taken_nothing_and_the_next_has_its_turn() {
    let place = Throttle::new(Memory::new(), bytes_per_sec(1_000));
    place.put(&key("a"), content(1_000)).await.unwrap();
    let begun = Instant::now();
    let dropped = tokio::time::timeout(Duration::from_millis(100), place.put(&key("b"), content(1_000))).await;
    assert!(dropped.is_err());
    place.get_range(&key("a"), 0..500).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(500));
}

type Counted = Recording<Faulty<Memory>>;

/// A place that fails, under one that tries again, and the count of what reached it.
fn retrying(options: RetryOptions) -> (Retry<Counted>, Counted, Faulty<Memory>) {
    let faulty = Faulty::new(Memory::new());
    let recording = Recording::new(faulty.clone());
    (Retry::new(recording.clone(), options), recording, faulty)
}

fn unavailable() -> Fault {
    Fault::after_calls(0, ErrorKind::Unavailable)
}

#[tokio::test(start_paused = true)]
async fn reads_are_repeated_with_growing_pauses_and_not_for_ever() {
    let options = RetryOptions::default()
        .with_tries(4)
        .with_first_pause(Duration::from_secs(1))
        .with_pause_max(Duration::from_secs(3));
    let (place, _, faulty) = retrying(options);
    place.put(&key("a"), content(9)).await.unwrap();
    for _ in 0..3 {
        faulty.inject(unavailable().on(Verb::Read));
    }
    let begun = Instant::now();
    assert_eq!(place.get(&key("a"), 9).await.unwrap(), content(9));
    assert_eq!(begun.elapsed(), Duration::from_secs(1 + 2 + 3));
    faulty.inject(unavailable().for_ever());
    let before = faulty.failures();
    assert_eq!(place.get(&key("a"), 9).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(faulty.failures() - before, 4);
}

#[tokio::test(start_paused = true)]
async fn lists_and_deletes_are_repeated_even_when_the_answer_was_lost() {
    let (place, _, faulty) = retrying(RetryOptions::default());
    place.put(&key("a"), content(9)).await.unwrap();
    for verb in [Verb::List, Verb::Delete] {
        faulty.inject(unavailable().on(verb).losing_the_answer());
    }
    assert_eq!(place.list_all(&Prefix::root()).await.unwrap().len(), 1);
    place.delete(&key("a")).await.unwrap();
    assert_eq!(faulty.failures(), 2);
}

#[tokio::test(start_paused = true)]
async fn other_errors_come_through_at_once() {
    let (place, recording, faulty) = retrying(RetryOptions::default());
    let begun = Instant::now();
    for kind in [ErrorKind::Indeterminate, ErrorKind::NoSpace, ErrorKind::PermissionDenied, ErrorKind::MediaAbsent] {
        faulty.inject(Fault::after_calls(0, kind).on(Verb::Write));
        assert_eq!(place.put(&key("a"), content(9)).await.unwrap_err().kind(), kind);
        faulty.inject(Fault::after_calls(0, kind).on(Verb::Read));
        assert_eq!(place.get(&key("a"), 9).await.unwrap_err().kind(), kind);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(recording.counts().creates, 4);
}

#[tokio::test(start_paused = true)]
async fn a_small_object_is_written_anew_from_its_beginning() {
    let (place, recording, faulty) = retrying(RetryOptions::default());
    let whole = content(300);
    let mut writer = place.create(&key("a")).await.unwrap();
    writer.write(vec![whole.slice(..100)]).await.unwrap();
    // The second write, and then the start of the object anew.
    faulty.inject(unavailable().on(Verb::Write));
    faulty.inject(unavailable().on(Verb::Create));
    writer.write(vec![whole.slice(100..200)]).await.unwrap();
    writer.write(vec![whole.slice(200..)]).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(place.get(&key("a"), 300).await.unwrap(), whole);
    assert_eq!((recording.counts().creates, faulty.failures()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_large_object_and_a_finish_are_not_repeated() {
    let (place, recording, faulty) = retrying(RetryOptions::default().with_replay_bytes_max(100));
    faulty.inject(unavailable().on(Verb::Write));
    let mut writer = place.create(&key("large")).await.unwrap();
    assert_eq!(writer.write(vec![content(101)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(writer.write(vec![content(1)]).await.is_err() && writer.finish().await.is_err());
    assert_eq!(recording.counts().creates, 1);

    faulty.inject(unavailable().on(Verb::Finish).losing_the_answer());
    assert_eq!(place.put(&key("small"), content(9)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(recording.counts().finishes, 1);
    assert_eq!(
        place.get(&key("small"), 9).await.unwrap(),
        content(9),
        "it was stored: trying again would say otherwise"
    );
}
