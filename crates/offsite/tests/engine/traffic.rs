//! Operations under rules about traffic, on the paused clock of tokio.

use std::net::Ipv4Addr;
use std::sync::Arc;

use offsite::{Error, FlowName, MergeMethod, OpenRepository, Restore, Traffic, TrafficRule, Transforms, Verify};
use offsite_repository::Endpoint;
use offsite_repository::testing::{Memory, MemoryOptions};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, copy_job, day, job, keep, machine, memory_repository_with, restored, scratch};

const MIB: u64 = 1 << 20;

/// Some 20 MiB that nothing can compress.
fn machines() -> Machines {
    let mut machines = Machines::new(5);
    machines.add("a", &[80 * BLOCK]);
    machines.fill_with_noise("a");
    machines
}

async fn at(endpoint: Endpoint) -> (Arc<Memory>, OpenRepository) {
    memory_repository_with(MemoryOptions::default().with_endpoint(endpoint)).await
}

/// A repository behind a network, under the rules of `traffic` by the name `dr`.
async fn remote(traffic: &Traffic) -> OpenRepository {
    let (_, repository) = at(Endpoint::Address(Ipv4Addr::LOCALHOST.into())).await;
    repository.with_traffic(traffic, FlowName::new("dr"))
}

fn limited(bytes_per_sec: u64) -> Traffic {
    let traffic = Traffic::new();
    traffic.set_rules(vec![rule(bytes_per_sec)]).unwrap();
    traffic
}

fn rule(bytes_per_sec: u64) -> TrafficRule {
    let any = "127.0.0.0/8".parse().unwrap();
    TrafficRule::between(Some(any), Some(any), bytes_per_sec).unwrap()
}

/// How long what is read from and written to backup files takes at this rate, but for what a rule has saved up.
#[track_caller]
fn assert_takes(begun: Instant, bytes: u64, rate: u64) {
    let (took, least) = (begun.elapsed().as_secs_f64(), (bytes.saturating_sub(2 * MIB)) as f64 / rate as f64);
    // Heads and indexes come on top.
    let most = (bytes + MIB) as f64 / rate as f64;
    assert!(took >= least && took <= most, "{bytes} bytes took {took} s, not {least} to {most}");
}

#[tokio::test(start_paused = true)]
async fn backups_copies_transforms_and_verifications_keep_to_the_rule_and_to_their_plans() {
    let traffic = limited(2 * MIB);
    let (mut machines, mut truth) = (machines(), Truth::default());
    let (source, target) = (remote(&traffic).await, remote(&traffic).await);
    for number in 0..3 {
        machines.change("a", 20);
        truth.record(&machines, &["a"], day(number));
        let (begun, before) = (Instant::now(), source.block_counts().bytes_written);
        let report = machines.backup(&source, &["a"]).run(day(number)).await.unwrap();
        assert!(report.tally.kept_to_plan(), "{:?}", report.tally);
        assert_takes(begun, source.block_counts().bytes_written - before, 2 * MIB);
        // Both sides are behind the network: what is read counts, and what is written.
        let carried = |target: &OpenRepository| source.block_counts().bytes_read + target.block_counts().bytes_written;
        let (begun, before) = (Instant::now(), carried(&target));
        let report = copy_job(&source, &target).transforms(keep(7)).run(day(number)).await.unwrap();
        assert!(report.sync.is_some_and(|sync| sync.tally.kept_to_plan()));
        assert_takes(begun, carried(&target) - before, 2 * MIB);
    }
    let (begun, before) = (Instant::now(), target.block_counts());
    let report = Verify::new(&target, job("Offsite Copy")).read_data(true).run().await.unwrap();
    assert!(report.damage.is_empty());
    assert_takes(begun, target.block_counts().bytes_read - before.bytes_read, 2 * MIB);
    let fold = Transforms::keeping(keep(2)).merge(MergeMethod::Fold).apply_changes_at_once(true);
    let (begun, before) = (Instant::now(), target.block_counts());
    let report = copy_job(&source, &target).transforms(fold).transform(day(3), 0).await.unwrap();
    assert!(!report.operations.is_empty() && report.operations.iter().all(|done| done.tally.kept_to_plan()));
    let after = target.block_counts();
    let moved = after.bytes_read - before.bytes_read + after.bytes_written - before.bytes_written;
    assert!(moved > 2 * MIB, "a fold moves blocks");
    assert_takes(begun, moved, 2 * MIB);
    truth.check(&target, "Offsite Copy").await;
}

#[tokio::test(start_paused = true)]
async fn restores_pass_unless_the_rule_is_for_them() {
    let traffic = Traffic::new();
    let (machines, repository) = (machines(), remote(&traffic).await);
    machines.backup(&repository, &["a"]).run(day(0)).await.unwrap();
    traffic.set_rules(vec![rule(MIB)]).unwrap();
    let begun = Instant::now();
    assert_eq!(restored(&repository, "nightly", "a", None).await, machines.content("a"));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    traffic.set_rules(vec![rule(MIB).restores(true)]).unwrap();
    let begun = Instant::now();
    assert_eq!(restored(&repository, "nightly", "a", None).await, machines.content("a"));
    assert!(begun.elapsed() > Duration::from_secs(17), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_this_host_is_under_no_rule() {
    let traffic = limited(1);
    traffic.set_rules(vec![TrafficRule::of_repository("dr", 1).unwrap()]).unwrap();
    let (_, repository) = at(Endpoint::ThisHost).await;
    let repository = repository.with_traffic(&traffic, FlowName::new("dr"));
    let begun = Instant::now();
    machines().backup(&repository, &["a"]).run(day(0)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// At 64 kbit/s the copy takes most of an hour. It holds its lease all the while, and ends at once when the rule goes.
#[tokio::test(start_paused = true)]
async fn a_rule_that_goes_lets_a_copy_go_on_in_the_middle_of_a_file() {
    let traffic = Traffic::new();
    let machines = machines();
    let (source, target) = (at(Endpoint::ThisHost).await.1, remote(&traffic).await);
    machines.backup(&source, &["a"]).run(day(0)).await.unwrap();
    traffic.set_rules(vec![rule(8_000)]).unwrap();
    let copying = tokio::spawn({
        let (source, target) = (source.clone(), target.clone());
        async move { copy_job(&source, &target).run(day(0)).await }
    });
    for _ in 0..10 {
        // Longer than a lease without a sign of life.
        sleep(Duration::from_secs(100)).await;
        assert!(!copying.is_finished());
        let second = copy_job(&source, &target).run(day(0)).await;
        assert!(matches!(second, Err(Error::Busy { .. })), "{second:?}");
    }
    let written = target.block_counts().bytes_written;
    traffic.set_rules(Vec::new()).unwrap();
    let report = timeout(Duration::from_secs(1), copying).await.unwrap().unwrap().unwrap();
    assert!(report.sync.is_some_and(|sync| sync.tally.kept_to_plan()));
    assert!(target.block_counts().bytes_written > written);
    let folder = scratch();
    let restore = Restore::new(&target, job("Offsite Copy"), machine("a"));
    restore.run(folder.path()).await.unwrap();
}
