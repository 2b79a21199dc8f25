//! Runners that are stopped or killed at any step, and those that follow them.

use std::collections::BTreeMap;
use std::time::Duration;

use offsite::report::MachineOutcome;
use offsite::runner::RunStatus;
use offsite::schedule::Span;
use offsite_repository::testing::Fault;
use offsite_repository::{Prefix, Verb};

use super::world::{Backup, Said, World, settings, time};
use super::{BLOCKS, BOTH};
use crate::support::{BLOCK, seed};

/// How a runner ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is asked to.
    Stop,
    /// As by a power cut, but for what is in memory.
    Kill,
}

/// Three evenings, in which the runner ends after a number of events that `every` tells and is started again at once.
async fn world_of_ends(end: End, every: usize) -> World {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    let backups: [Backup; 3] = [1, 2, 3].map(|day| (time(&format!("2026-11-0{day}T22:20:00Z")), BOTH));
    let until = time("2026-11-04T21:00:00Z");
    for (at, names) in backups {
        let before = at.saturating_add_secs(-60);
        run(&world, &settings, before, end, every).await;
        world.reached(at).await;
        world.back_up(at, names).await;
    }
    run(&world, &settings, until, end, every).await;
    world
}

async fn run(
    world: &World,
    settings: &offsite::runner::Settings,
    until: offsite::model::Timestamp,
    end: End,
    every: usize,
) {
    use offsite::runner::Clock;
    for start in 0.. {
        if world.clock.now() >= until {
            break;
        }
        // Sooner and later, so that it gets somewhere.
        world.heard.knock_after(2 + (every + 7 * start) % 40);
        match end {
            End::Stop => {
                let stop = async {
                    tokio::select! {
                        () = world.heard.knock.notified() => {}
                        () = world.reached(until) => {}
                    }
                };
                world.runner(settings).run(stop).await;
            }
            End::Kill => tokio::select! {
                biased;
                () = world.heard.knock.notified() => {}
                () = world.runner(settings).run(world.reached(until)) => {}
            },
        }
        // A process takes a moment to start.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_ends_at_any_step_loses_nothing_and_copies_nothing_twice() {
    for end in [End::Stop, End::Kill] {
        for every in 0..40 {
            let world = world_of_ends(end, every).await;
            let context = format!("{end:?} every {every} events");
            assert_eq!(world.check().await, [1, 2, 3], "{context}");
            // Each interval has ended well, with both machines. One whose end was not remembered may have ended twice.
            let mut ends: BTreeMap<i64, u32> = BTreeMap::new();
            for report in world.heard.reports() {
                *ends.entry(report.result.span.start.unix_secs()).or_default() += 1;
                assert_eq!(report.status(), RunStatus::Success, "{context}: {report:#?}");
                assert!(
                    report.result.machines.values().all(|outcome| matches!(outcome, MachineOutcome::Complete { .. }))
                );
            }
            assert_eq!(ends.len(), 3, "{context}: {ends:?}");
            if end == End::Stop {
                assert!(ends.values().all(|count| *count == 1), "{context}: {ends:?}");
            }
        }
    }
}

/// A stop in the middle of a file keeps what has arrived; the next runner reads only the rest, into the same restore point.
#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_file_keeps_what_has_arrived() {
    let seed = seed(11);
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    world.back_up_in_turn(time("2026-11-01T21:50:00Z"), time("2026-11-01T21:55:00Z")).await;
    let slow = Fault::delaying(0, Duration::from_secs(40)).for_ever().on(Verb::Read);
    world.source.inject(slow.below(Prefix::new(BLOCKS).unwrap()));
    let settings = settings("1 day", "22:00", "UTC");
    let secs = 5 + i64::try_from(seed % 30).unwrap();
    world.live(&settings, time("2026-11-01T22:00:00Z").saturating_add_secs(secs), &[]).await;
    assert_eq!(world.heard.reports(), []);
    world.source.heal();
    world.live(&settings, time("2026-11-02T21:00:00Z"), &[]).await;
    let reports = world.heard.reports();
    assert_eq!(reports.len(), 1, "{:#?}", world.heard.all());
    assert_eq!(reports[0].status(), RunStatus::Success);
    let bytes = |(_, said): &(_, Said)| if let Said::Transferring(bytes) = said { *bytes } else { 0 };
    let asked: u64 = world.heard.all().iter().map(bytes).sum();
    let last: u64 = reports[0].syncs.iter().map(|sync| sync.tally.source.bytes_read).sum();
    let stored = 7 * BLOCK as u64 + 777;
    assert!((stored..stored + stored / 8).contains(&asked), "{asked} of {stored}");
    assert!((1..asked).contains(&last), "{last} of {asked}");
    assert_eq!(world.check().await, [1]);
}

/// Without a memory, as on another host: the chain tells which interval was the last.
#[tokio::test(start_paused = true)]
async fn a_runner_without_a_memory_goes_by_the_chain() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    let backups: [Backup; 2] = [1, 2].map(|day| (time(&format!("2026-11-0{day}T22:20:00Z")), BOTH));
    world.live(&settings, time("2026-11-02T12:00:00Z"), &backups[..1]).await;
    *world.heard.memory.lock().unwrap() = Default::default();
    world.live(&settings, time("2026-11-03T12:00:00Z"), &backups[1..]).await;
    let spans: Vec<Span> = world.heard.reports().iter().map(|report| report.result.span).collect();
    assert_eq!(spans.len(), 2, "{:#?}", world.heard.all());
    assert_eq!(spans[0].end, spans[1].start);
    assert_eq!(world.check().await, [1, 2]);
}
