//! Runners that somebody asks for something: to run now, to wait, to stop.

use std::time::Duration;

use offsite::report::{MachineOutcome, Note};
use offsite::runner::{CopyRun, Phase, RunEnd, RunReport, RunStatus, Wait};
use offsite_repository::testing::Fault;
use offsite_repository::{ErrorKind, Prefix, Verb};

use super::world::{Backup, Said, World, settings, time, window};
use super::{BLOCKS, BOTH, outcome};
use crate::support::machine;

fn done(end: Option<RunEnd>) -> CopyRun {
    match end {
        Some(RunEnd::Done(report)) => report.into_copy().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// At noon, between two evenings: what is there is copied, and the evening's interval is done as ever.
#[tokio::test(start_paused = true)]
async fn a_run_in_between_copies_what_is_there_and_the_schedule_goes_on() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let (handle, life) =
        world.runner(&settings("1 day", "22:00", "UTC")).start(world.reached(time("2026-11-03T12:00:00Z")));
    let backups: [Backup; 3] =
        ["2026-11-01T22:20:00Z", "2026-11-02T12:00:00Z", "2026-11-02T22:20:00Z"].map(|at| (time(at), BOTH));
    let noon = world.reached(time("2026-11-02T12:10:00Z"));
    let asked = async {
        noon.await;
        let idle = handle.status();
        assert_eq!((idle.phase, idle.waits_for), (Phase::Idle, Some(Wait::Interval)));
        assert_eq!(idle.next, Some(time("2026-11-02T22:00:00Z")));
        done(handle.run_now().await)
    };
    let (open, asked, ()) = tokio::join!(life, asked, world.back_up_all(&backups));
    assert_eq!(open, None);
    assert_eq!(asked.status(), RunStatus::Success, "{asked:#?}");
    assert_eq!(outcome(&asked, "db01"), MachineOutcome::Complete { captured: time("2026-11-02T12:00:00Z") });
    let reports = world.heard.reports();
    let points: Vec<_> = reports.iter().map(|report| report.point.unwrap().0).collect();
    assert_eq!(points, [1, 2, 3]);
    let starts: Vec<_> = reports.iter().map(|report| report.result.span.start).collect();
    let evenings = ["2026-11-01T22:00:00Z", "2026-11-01T22:00:00Z", "2026-11-02T22:00:00Z"];
    assert_eq!(starts, evenings.map(time));
    assert!(reports[2].elsewhere.is_empty(), "{:#?}", reports[2]);
    assert_eq!(world.check().await, [1, 2, 3]);
    assert!(handle.is_over());
    assert_eq!(handle.run_now().await, None);
}

/// One whose interval is open ends that interval; one that fails leaves it as it was.
#[tokio::test(start_paused = true)]
async fn a_run_that_fails_leaves_the_open_interval_as_it_was() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let (handle, life) =
        world.runner(&settings("1 day", "22:00", "UTC")).start(world.reached(time("2026-11-02T21:00:00Z")));
    let failing = world.reached(time("2026-11-01T22:07:00Z"));
    let mended = world.reached(time("2026-11-01T22:33:00Z"));
    let (source, target) = (world.source.clone(), world.target.clone());
    let asked = async {
        failing.await;
        let waiting = handle.status();
        // The source has no job yet.
        assert_eq!((waiting.phase, waiting.waits_for), (Phase::Sync, Some(Wait::Retry)));
        source.inject(Fault::after_calls(0, ErrorKind::Unavailable).for_ever());
        target.inject(Fault::after_calls(0, ErrorKind::Unavailable).for_ever());
        let failed = done(handle.run_now().await);
        source.heal();
        target.heal();
        mended.await;
        failed
    };
    let backups: [Backup; 1] = [(time("2026-11-01T22:20:00Z"), BOTH)];
    let (_, failed, ()) = tokio::join!(life, asked, world.back_up_all(&backups));
    assert_eq!(failed.status(), RunStatus::Failed, "{failed:#?}");
    let reports = world.heard.reports();
    assert_eq!(reports.len(), 2, "{reports:#?}");
    assert_eq!((reports[1].status(), reports[1].result.span), (RunStatus::Success, reports[0].result.span));
    assert_eq!(world.check().await, [1]);
}

/// Each block takes four hours and the window is open for one: who asks does not wait for the next night.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_waits_for_its_window_goes_on_when_it_is_asked_for() {
    let mut world = World::new(time("2026-11-01T21:00:00Z")).await;
    world.back_up_in_turn(time("2026-11-01T20:50:00Z"), time("2026-11-01T20:55:00Z")).await;
    let slow = Fault::delaying(0, Duration::from_secs(4 * 3600)).for_ever().on(Verb::Read);
    world.source.inject(slow.below(Prefix::new(BLOCKS).unwrap()));
    let mut settings = settings("7 days", "21:00", "UTC");
    settings.window = window(&["21:00-22:00"]);
    let (handle, life) = world.runner(&settings).start(world.reached(time("2026-11-05T00:00:00Z")));
    let night = world.reached(time("2026-11-02T03:00:00Z"));
    let asked = async {
        night.await;
        let status = handle.status();
        assert_eq!((status.waits_for, status.is_paused), (Some(Wait::Window), true));
        assert!(!status.is_window_open);
        done(handle.run_now().await)
    };
    let (_, asked) = tokio::join!(life, asked);
    assert_eq!(asked.status(), RunStatus::Success, "{asked:#?}");
    // By the transfer that went on, and not by a run of its own.
    assert_eq!(world.heard.reports(), [asked]);
    assert_eq!(world.check().await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_paused_moves_nothing_until_it_is_resumed() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let (handle, life) =
        world.runner(&settings("1 day", "22:00", "UTC")).start(world.reached(time("2026-11-02T21:00:00Z")));
    let (paused, still, resumed) = (
        world.reached(time("2026-11-01T22:10:00Z")),
        world.reached(time("2026-11-02T10:00:00Z")),
        world.reached(time("2026-11-02T12:00:00Z")),
    );
    let asked = async {
        paused.await;
        handle.pause();
        still.await;
        assert_eq!(handle.status().waits_for, Some(Wait::Resume));
        let run = handle.run_now();
        resumed.await;
        assert_eq!(handle.status().transferred_bytes, 0);
        handle.resume();
        done(run.await)
    };
    let backups: [Backup; 1] = [(time("2026-11-01T22:20:00Z"), BOTH)];
    let (_, asked, ()) = tokio::join!(life, asked, world.back_up_all(&backups));
    assert_eq!(asked.status(), RunStatus::Success, "{asked:#?}");
    let moved = world.heard.all().into_iter().filter(|(_, said)| matches!(said, Said::Transferring(_)));
    let moved: Vec<_> = moved.map(|(at, _)| at).collect();
    assert!(!moved.is_empty() && moved.iter().all(|at| *at >= time("2026-11-02T12:00:00Z")), "{moved:?}");
    assert_eq!(world.check().await, [1]);
}

/// In the middle of a file: the report has what arrived, and where it is.
#[tokio::test(start_paused = true)]
async fn a_stop_tells_what_has_arrived() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    world.back_up_in_turn(time("2026-11-01T21:50:00Z"), time("2026-11-01T21:55:00Z")).await;
    let slow = Fault::delaying(0, Duration::from_secs(40)).for_ever().on(Verb::Read);
    world.source.inject(slow.below(Prefix::new(BLOCKS).unwrap()));
    let (handle, life) = world.runner(&settings("1 day", "22:00", "UTC")).start(std::future::pending());
    let soon = world.reached(time("2026-11-01T22:00:20Z"));
    let asked = async {
        soon.await;
        let run = handle.run_now();
        (handle.stop().await, run.await)
    };
    let (open, (stopped, run)) = tokio::join!(life, asked);
    assert_eq!(stopped, open);
    assert_eq!(run, open.clone().map(|report| RunEnd::Stopped(Box::new(report))));
    let Some(RunReport::Copy(report)) = open else { panic!("{open:?}") };
    assert_eq!(report.status(), RunStatus::Warning);
    assert!(report.notes.contains(&Note::Stopped), "{report:#?}");
    assert_eq!((report.point.map(|point| point.0), report.syncs.len()), (Some(1), 1), "{report:#?}");
    let bytes = |name: &str| match report.result.machines[&machine(name)] {
        MachineOutcome::Incomplete { transferred, .. } => transferred.done_bytes,
        _ => 0,
    };
    assert!(bytes("db01") + bytes("web01") > 0, "{report:#?}");
}
