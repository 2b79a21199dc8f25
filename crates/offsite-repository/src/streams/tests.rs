//! The laws of streams: against simulated links, and on the paused clock.
#![allow(clippy::cast_possible_truncation, reason = "a simulated time is a number of nanoseconds")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;

use super::controller::{Controller, Sample};
use super::{StreamDirection, StreamRange, StreamShare, Streams};

const MIB: u64 = 1 << 20;

/// A link with a way to go, a bottleneck that sends one request after the other, and a bound for each request alone.
#[derive(Debug, Clone, Copy)]
struct Link {
    latency: Duration,
    bytes_per_sec: f64,
    /// A single request is no faster than this.
    alone_bytes_per_sec: f64,
    /// The latency varies by this share.
    jitter: f64,
}

/// Requests through a link, one after the other as they end.
struct Simulation {
    link: Link,
    now: f64,
    free: f64,
    under_way: BinaryHeap<Reverse<(u64, u64, u64)>>,
    seed: u64,
}

impl Simulation {
    fn new(link: Link) -> Self {
        Self { link, now: 0.0, free: 0.0, under_way: BinaryHeap::new(), seed: 1 }
    }

    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn begin(&mut self, bytes: u64) {
        let Link { latency, bytes_per_sec, alone_bytes_per_sec, jitter } = self.link;
        let latency = latency.as_secs_f64() * (1.0 + jitter * (2.0 * self.random() - 1.0));
        let size = bytes as f64;
        let arrives = self.now + latency + size / alone_bytes_per_sec;
        self.free = arrives.max(self.free) + size / bytes_per_sec;
        let nanos = |secs: f64| (secs * 1e9) as u64;
        self.under_way.push(Reverse((nanos(self.free), nanos(self.now), bytes)));
    }

    /// The next request that ends: its length and its time.
    fn end(&mut self) -> (u64, Duration) {
        let Reverse((ended, begun, bytes)) = self.under_way.pop().unwrap();
        self.now = ended as f64 / 1e9;
        (bytes, Duration::from_nanos(ended - begun))
    }

    /// Sends as many requests at once as the controller says, for so long. Returns bytes per second.
    fn run(&mut self, controller: &mut Controller, secs: f64, wanted: usize) -> f64 {
        let begun = self.now;
        let mut sent = 0;
        while self.now < begun + secs {
            while self.under_way.len() < controller.limit().min(wanted) {
                // Most are long; some are what is left of a file.
                let bytes = if self.random() < 0.8 { 4 * MIB } else { 1 + (self.random() * 4.0 * MIB as f64) as u64 };
                self.begin(bytes);
            }
            let in_flight = self.under_way.len();
            let (bytes, duration) = self.end();
            sent += bytes;
            controller.take(Sample { bytes, duration, in_flight });
        }
        sent as f64 / (self.now - begun)
    }
}

fn best_fixed(link: Link, most: usize, secs: f64) -> f64 {
    let rate = |number| Simulation::new(link).run(&mut Controller::new(StreamRange::fixed(number)), secs, usize::MAX);
    (1..=most).map(rate).fold(0.0, f64::max)
}

fn link(latency_millis: u64, mib_per_sec: f64, alone_mib_per_sec: f64) -> Link {
    let mib = MIB as f64;
    Link {
        latency: Duration::from_millis(latency_millis),
        bytes_per_sec: mib_per_sec * mib,
        alone_bytes_per_sec: alone_mib_per_sec * mib,
        jitter: 0.2,
    }
}

/// Whatever the latency, and whether the link or the latency is the bound.
#[test]
fn the_number_found_is_as_good_as_the_best_fixed_one() {
    for latency in [0, 20, 80, 200] {
        for mib_per_sec in [10.0, 100.0, 400.0, 10_000.0] {
            for alone in [5.0, 50.0, 1_000.0] {
                for most in [4, 16, 64] {
                    let link = link(latency, mib_per_sec, alone);
                    // Long enough for the search to be small beside the run.
                    let secs = 1_000.0 * link.latency.as_secs_f64().max(4.0 / alone).max(0.05);
                    let mut controller = Controller::new(StreamRange::up_to(most));
                    let found = Simulation::new(link).run(&mut controller, secs, usize::MAX);
                    let best = best_fixed(link, most, secs);
                    assert!(
                        found >= 0.9 * best,
                        "{link:?}, up to {most}: {:.1} of {:.1} MiB/s with {}",
                        found / MIB as f64,
                        best / MIB as f64,
                        controller.limit()
                    );
                }
            }
        }
    }
}

/// A number that is far too large costs memory, and holds others up.
#[test]
fn no_more_are_under_way_than_the_link_can_use() {
    // Two requests of 4 MiB fill this link.
    let link = link(200, 20.0, 10_000.0);
    let mut controller = Controller::new(StreamRange::up_to(64));
    Simulation::new(link).run(&mut controller, 300.0, usize::MAX);
    assert!(controller.limit() <= 6, "{}", controller.limit());
}

#[test]
fn it_finds_the_new_number_after_a_change_of_the_link() {
    let (slow, fast) = (link(20, 20.0, 1_000.0), link(200, 400.0, 50.0));
    for (first, second) in [(slow, fast), (fast, slow)] {
        let mut controller = Controller::new(StreamRange::up_to(32));
        let mut simulation = Simulation::new(first);
        simulation.run(&mut controller, 100.0, usize::MAX);
        simulation.link = second;
        // Twenty seconds to see it, and then it is as good as on a link that was always like that.
        simulation.run(&mut controller, 20.0, usize::MAX);
        let after = simulation.run(&mut controller, 100.0, usize::MAX);
        let best = best_fixed(second, 32, 100.0);
        assert!(after >= 0.9 * best, "{second:?}: {after:.0} of {best:.0} with {}", controller.limit());
    }
}

/// A reader that asks for little says nothing of the link.
#[test]
fn what_is_not_asked_for_changes_nothing() {
    let mut controller = Controller::new(StreamRange::up_to(64));
    let before = controller.limit();
    Simulation::new(link(80, 100.0, 50.0)).run(&mut controller, 100.0, 2);
    assert_eq!(controller.limit(), before);
}

#[test]
fn an_overload_halves_once_for_all_that_were_under_way() {
    let mut controller = Controller::new(StreamRange::up_to(64));
    let mut simulation = Simulation::new(link(80, 10_000.0, 50.0));
    simulation.run(&mut controller, 60.0, usize::MAX);
    let before = controller.limit();
    assert_eq!(before, 64, "nothing bounds this link");
    (0..before).for_each(|_| controller.overloaded());
    assert_eq!(controller.limit(), before / 2, "they were all under way together");
    (0..2).for_each(|_| controller.overloaded());
    assert_eq!(controller.limit(), before / 4, "also where none succeeds");
    for _ in 0..1_000 {
        controller.overloaded();
    }
    assert_eq!(controller.limit(), 1, "never less than one");
    simulation.run(&mut controller, 300.0, usize::MAX);
    assert!(controller.limit() >= 32, "it grows again: {}", controller.limit());
}

proptest! {
    /// Whatever happens, the number stays within its bounds, and the same samples give the same numbers.
    #[test]
    fn the_number_stays_within_its_bounds(
        most in 1_usize..100,
        events in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 40, 0_usize..200, 0_u8..20, 1_usize..100), 0..2_000),
    ) {
        let (mut one, mut other) = (Controller::new(StreamRange::up_to(most)), Controller::new(StreamRange::up_to(most)));
        let mut range = StreamRange::up_to(most);
        for (bytes, nanos, in_flight, kind, next) in events {
            for controller in [&mut one, &mut other] {
                match kind {
                    0 => controller.overloaded(),
                    1 => {
                        range = StreamRange::up_to(next);
                        controller.set_range(range);
                    }
                    _ => controller.take(Sample { bytes, duration: Duration::from_nanos(nanos), in_flight }),
                }
            }
            prop_assert!((1..=range.most()).contains(&one.limit()), "{}", one.limit());
            prop_assert_eq!(one.limit(), other.limit());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_jobs_share_the_permits_evenly_whatever_they_ask_for() {
    let streams = Streams::new();
    let range = StreamRange::fixed(4);
    let shares = [(streams.share("dr", range), 1), (streams.share("dr", range), 20)];
    let counts: Vec<_> = shares.iter().map(|_| std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0))).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for ((share, at_once), count) in shares.iter().zip(&counts) {
        for _ in 0..*at_once * 4 {
            let (share, count) = (share.clone(), count.clone());
            tasks.spawn(async move {
                loop {
                    let permit = share.begin(StreamDirection::Reading, MIB).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    permit.done();
                }
            });
        }
    }
    tokio::time::sleep(Duration::from_millis(10_050)).await;
    let counts: Vec<u64> = counts.iter().map(|count| count.load(std::sync::atomic::Ordering::Relaxed)).collect();
    assert_eq!(counts.iter().sum::<u64>(), 400, "four at once, ten a second each");
    assert!(counts.iter().all(|count| count.abs_diff(200) <= 4), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_request_waits_for_its_permit_does_not_count() {
    let share = StreamShare::alone(StreamRange::up_to(64));
    // Twice as many ask as may go. Each request takes as long, however many there are.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..128 {
        let share = share.clone();
        tasks.spawn(async move {
            for _ in 0..50 {
                let permit = share.begin(StreamDirection::Writing, MIB / 4).await;
                tokio::time::sleep(Duration::from_millis(80)).await;
                permit.done();
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(share.limit(StreamDirection::Writing), 64);
    assert_eq!(share.limit(StreamDirection::Reading), 8, "the other direction has numbers of its own");
}

/// Dropped as it waits, as it was granted, or with its permit in hand: nothing stays taken.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_gives_its_permit_back() {
    let share = StreamShare::alone(StreamRange::fixed(1));
    let begin = || share.begin(StreamDirection::Reading, MIB);
    let first = begin().await;
    let mut waiting = Box::pin(begin());
    assert!(futures::poll!(&mut waiting).is_pending());
    let mut dropped = Box::pin(begin());
    assert!(futures::poll!(&mut dropped).is_pending());
    drop(dropped);
    drop(first);
    // It was granted, and nobody has looked.
    drop(waiting);
    begin().await.done();
    begin().await.done();
}

/// However many streams there may be, uploads hold no more than their bound of bytes.
#[tokio::test(start_paused = true)]
async fn uploads_of_all_repositories_hold_a_bounded_number_of_bytes() {
    let streams = Streams::new();
    let shares: Vec<_> = ["one", "two"].map(|name| streams.share(name, StreamRange::fixed(64))).into();
    let mut held = Vec::new();
    for share in shares.iter().cycle() {
        let mut next = Box::pin(share.begin(StreamDirection::Writing, 8 * MIB));
        match futures::poll!(&mut next) {
            std::task::Poll::Ready(permit) => held.push(permit),
            std::task::Poll::Pending => break,
        }
    }
    assert_eq!(held.len() as u64 * 8 * MIB, 96 * MIB);
    held.clear();
    // A request that is longer than the bound goes alone.
    shares[0].begin(StreamDirection::Writing, 1 << 40).await.done();
}
