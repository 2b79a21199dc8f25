//! Jobs on their schedules: days of them in a test of seconds, as tokio's clock is paused and the wall clock follows it.

mod daemons;
mod handles;
mod recurrent;
mod restarts;
mod stores;
mod world;

use std::sync::Arc;
use std::time::Duration;

use offsite::model::Lease;
use offsite::report::{MachineOutcome, Note, Reason};
use offsite::runner::{CopyRun, Incident, Phase, RunEnd, RunStatus, Settings};
use offsite::schedule::Lookup;
use offsite::{Error, OpenRepository};
use offsite_repository::testing::Fault;
use offsite_repository::{ErrorKind, Prefix, Verb};

use self::world::{Backup, COPY, Said, World, settings, time, window};
use crate::support::gates::StopAfter;
use crate::support::objects::{Living, put_successor};
use crate::support::{BLOCK, machine};

const BOTH: &[&str] = &["db01", "web01"];
const BLOCKS: &str = "nightly/blocks";

/// The spans of reports follow each other, and each interval has had its post-job activities once.
fn assert_each_interval_once(world: &World, reports: &[CopyRun]) {
    for pair in reports.windows(2) {
        assert_eq!(pair[0].result.span.end, pair[1].result.span.start);
    }
    let spans: Vec<_> = reports.iter().map(|report| report.result.span).collect();
    assert_eq!(*world.after.lock().unwrap(), spans);
}

fn outcome(report: &CopyRun, name: &str) -> MachineOutcome {
    report.result.machines[&machine(name)].clone()
}

#[tokio::test(start_paused = true)]
async fn each_evening_is_copied_once() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let at = |day: u32| time(&format!("2026-11-{day:02}T22:20:00Z"));
    let backups: Vec<Backup> = (1..=6).map(|day| (at(day), BOTH)).collect();
    world.kept = 3;
    world.live(&settings("1 day", "22:00", "UTC"), time("2026-11-07T21:00:00Z"), &backups).await;
    let reports = world.heard.reports();
    assert_each_interval_once(&world, &reports);
    assert_eq!(reports.len(), 6);
    for (report, day) in reports.iter().zip(1..) {
        assert_eq!(report.status(), RunStatus::Success, "{report:#?}");
        assert_eq!(report.result.span.start, time(&format!("2026-11-{day:02}T22:00:00Z")));
        assert_eq!(report.result.span.intervals, 1);
        for name in BOTH {
            assert_eq!(outcome(report, name), MachineOutcome::Complete { captured: at(day) });
        }
        // The source is looked at every five minutes.
        assert!(report.ended <= at(day).saturating_add_secs(300), "{}", report.ended);
        assert_eq!(report.transform.as_ref().unwrap().operations.is_empty(), day <= 3);
    }
    assert_eq!(world.check().await, [4, 5, 6]);
}

/// A backup at 21:50 and a copy at 22:00: back takes that point at once, forward waits for the next one.
#[tokio::test(start_paused = true)]
async fn back_takes_the_point_before_and_forward_waits() {
    for (lookup, taken) in [(Lookup::Back, "2026-11-01T21:50:00Z"), (Lookup::Forward, "2026-11-02T03:00:00Z")] {
        let mut world = World::new(time("2026-11-01T12:00:00Z")).await;
        let mut settings = settings("1 day", "22:00", "UTC");
        settings.lookup = lookup;
        let times = ["2026-11-01T12:10:00Z", "2026-11-01T21:50:00Z", "2026-11-02T03:00:00Z"];
        let backups: Vec<Backup> = times.into_iter().map(|at| (time(at), BOTH)).collect();
        world.live(&settings, time("2026-11-02T21:00:00Z"), &backups).await;
        let reports = world.heard.reports();
        assert_each_interval_once(&world, &reports);
        // The first run takes what is not older than an interval, and one point an interval is all there is.
        let copied: Vec<_> = reports.iter().map(|report| outcome(report, "db01")).collect();
        assert_eq!(copied, [times[0], taken].map(|at| MachineOutcome::Complete { captured: time(at) }), "{lookup}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_machine_is_waited_for_until_the_interval_ends() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let backups: [Backup; 4] = [
        (time("2026-11-01T22:20:00Z"), BOTH),
        (time("2026-11-02T22:20:00Z"), &["web01"]),
        // Five minutes before the end.
        (time("2026-11-03T21:54:00Z"), &["db01"]),
        (time("2026-11-03T22:20:00Z"), &["web01"]),
    ];
    world.live(&settings("1 day", "22:00", "UTC"), time("2026-11-04T23:00:00Z"), &backups).await;
    let reports = world.heard.reports();
    assert_each_interval_once(&world, &reports);
    assert_eq!(reports.len(), 3);
    // Both in one restore point, though one came a day after the other.
    assert_eq!(reports[1].status(), RunStatus::Success, "{:#?}", reports[1]);
    assert_eq!(reports[1].syncs.iter().map(|sync| sync.sequence.0).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(outcome(&reports[1], "db01"), MachineOutcome::Complete { captured: time("2026-11-03T21:54:00Z") });
    // And one of which nothing came is told of.
    assert_eq!(outcome(&reports[2], "db01"), MachineOutcome::Absent { why: Reason::NoNewPoint });
    assert_eq!(outcome(&reports[2], "web01"), MachineOutcome::Complete { captured: time("2026-11-03T22:20:00Z") });
    assert_eq!(reports[2].status(), RunStatus::Warning);
    assert_eq!(reports[2].ended, time("2026-11-04T22:00:00Z"));
    assert_eq!(world.check().await, [1, 2, 3]);
}

/// Each read of a block file takes five hours, and the window is open for four a night.
#[tokio::test(start_paused = true)]
async fn bytes_move_inside_the_window_only_and_none_twice() {
    let mut world = World::new(time("2026-11-01T12:00:00Z")).await;
    world.back_up_in_turn(time("2026-11-01T11:00:00Z"), time("2026-11-01T11:30:00Z")).await;
    // Of the second night, in which at most two blocks of each machine are others.
    let captured = time("2026-11-02T21:00:00Z");
    let slow = Fault::delaying(0, Duration::from_secs(5 * 3600)).for_ever().on(Verb::Read);
    world.source.inject(slow.below(Prefix::new(BLOCKS).unwrap()));
    let mut settings = settings("1 day", "22:00", "UTC");
    let open = window(&["22:00-02:00"]);
    settings.window = open.clone();
    world.live(&settings, time("2026-11-05T21:00:00Z"), &[(captured, BOTH)]).await;
    let heard = world.heard.all();
    let mut moved = 0;
    for (at, said) in &heard {
        match said {
            Said::Transferring(bytes) => {
                assert!(open.is_open(*at), "{bytes} bytes at {at}");
                moved += bytes;
            }
            Said::SyncStarted | Said::Resumed => assert!(open.is_open(*at), "at {at}"),
            _ => {}
        }
    }
    assert!(heard.iter().any(|(_, said)| matches!(said, Said::Paused)), "{heard:#?}");
    let reports = world.heard.reports();
    assert_each_interval_once(&world, &reports);
    let is_incomplete = |outcome: &MachineOutcome| matches!(outcome, MachineOutcome::Incomplete { transferred, .. } if transferred.left_bytes > 0);
    let mut outcomes = reports.iter().map(|report| (outcome(report, "db01"), outcome(report, "web01")));
    assert!(outcomes.any(|(_, web)| is_incomplete(&web)), "{reports:#?}");
    for name in BOTH {
        let complete = MachineOutcome::Complete { captured };
        assert_eq!(
            reports.iter().filter(|report| outcome(report, name) == complete).count(),
            1,
            "{name}: {reports:#?}"
        );
    }
    let read: u64 = reports.iter().flat_map(|report| &report.syncs).map(|sync| sync.tally.source.bytes_read).sum();
    let stored = 7 * BLOCK as u64 + 777;
    assert!(reports.iter().flat_map(|report| &report.syncs).all(|sync| sync.tally.kept_to_plan()));
    assert!((stored..stored + 5 * BLOCK as u64).contains(&read), "{read} of {stored}");
    assert_eq!(moved, read);
    assert!(!world.check().await.is_empty());
}

/// Without a moment at which the window is open, several intervals become one, and are reported as such.
#[tokio::test(start_paused = true)]
async fn intervals_of_closed_hours_become_one() {
    let mut world = World::new(time("2026-11-02T00:00:00Z")).await;
    let mut settings = settings("1 hour", "00:00", "UTC");
    settings.window = window(&["20:00-21:00"]);
    let backups: Vec<Backup> = (0..20).map(|hour| (time(&format!("2026-11-02T{hour:02}:10:00Z")), BOTH)).collect();
    world.live(&settings, time("2026-11-02T20:59:00Z"), &backups).await;
    let reports = world.heard.reports();
    assert_each_interval_once(&world, &reports);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!(reports[0].result.span.intervals, 21);
    assert_eq!(outcome(&reports[0], "db01"), MachineOutcome::Complete { captured: time("2026-11-02T19:10:00Z") });
    assert_eq!(world.check().await, [1]);
}

/// The target fails for two intervals: the sync is tried six times in each, then the end is waited for.
#[tokio::test(start_paused = true)]
async fn an_outage_is_tried_again_five_times_and_then_waited_out() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    let backups: [Backup; 4] = [1, 2, 3, 4].map(|day| (time(&format!("2026-11-0{day}T22:01:00Z")), BOTH));
    world.live(&settings, time("2026-11-02T21:59:00Z"), &backups[..1]).await;
    // Commits fail; what is there can be read.
    let heads = Prefix::new("Offsite Copy/head").unwrap();
    world.target.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::Finish).below(heads).for_ever());
    let before = world.heard.failures().len();
    world.live(&settings, time("2026-11-04T21:59:00Z"), &backups[1..3]).await;
    let failures = world.heard.failures().split_off(before);
    let of_sync = |day: &str| {
        let (from, until) = (time(&format!("2026-11-{day}T22:00:00Z")), time(&format!("2026-11-{day}T23:59:00Z")));
        failures.iter().filter(|(at, _)| (from..until).contains(at)).map(|(at, _)| at.unix_secs()).collect::<Vec<_>>()
    };
    // The transforms of the second day's evening end in the third's.
    let times = of_sync("02");
    let pauses: Vec<i64> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 60).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16], "{failures:#?}");
    world.target.heal();
    world.live(&settings, time("2026-11-05T21:59:00Z"), &backups[3..]).await;
    let reports = world.heard.reports();
    assert_eq!(reports[1].status(), RunStatus::Failed, "{:#?}", reports[1]);
    assert!(reports[1].result.incidents.iter().any(|incident| matches!(incident, Incident::GaveUp { .. })));
    assert_eq!(reports.last().unwrap().status(), RunStatus::Success, "{:#?}", reports.last());
    assert_eq!(world.check().await, [1, 2, 3]);
}

/// Clocks go forward at 02:00 on March 29 and back at 03:00 on October 25 in Berlin.
#[tokio::test(start_paused = true)]
async fn days_of_23_and_of_25_hours_have_one_interval_each() {
    let days = [
        ("2026-03-27T12:00:00Z", ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]),
        ("2026-10-23T12:00:00Z", ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
    ];
    for (base, starts) in days {
        let mut world = World::new(time(base)).await;
        world.back_up(time(base), BOTH).await;
        let backups: Vec<Backup> = starts.iter().map(|at| (time(at).saturating_add_secs(600), BOTH)).collect();
        let until = backups[2].0.saturating_add_secs(1200);
        world.live(&settings("1 day", "02:30", "Europe/Berlin"), until, &backups).await;
        let reports = world.heard.reports();
        assert_each_interval_once(&world, &reports);
        let begun: Vec<_> = reports[1..].iter().map(|report| report.result.span.start).collect();
        assert_eq!(begun, starts.map(time), "{base}");
        assert!(reports.iter().all(|report| report.status() == RunStatus::Success));
        assert_eq!(world.check().await, [1, 2, 3, 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_immediate_job_copies_each_point_as_it_appears() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let backups: [Backup; 3] = ["22:07", "22:31", "22:33"].map(|at| (time(&format!("2026-11-01T{at}:00Z")), BOTH));
    world.live(&settings("immediate", "00:00", "UTC"), time("2026-11-01T23:00:00Z"), &backups).await;
    let reports = world.heard.reports();
    assert_eq!(reports.len(), 3, "{reports:#?}");
    for (report, (at, _)) in reports.iter().zip(&backups) {
        assert_eq!(report.status(), RunStatus::Success);
        assert_eq!(outcome(report, "web01"), MachineOutcome::Complete { captured: *at });
    }
    assert_eq!(world.after.lock().unwrap().len(), 3);
    assert_eq!(world.check().await, [1, 2, 3]);
}

/// What goes wrong in post-job activities is a warning of the report; they are done too where there was nothing to do.
#[tokio::test(start_paused = true)]
async fn post_job_activities_follow_an_interval_without_work_and_may_fail() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    world.warning = Some("the script failed".to_owned());
    let backups: [Backup; 1] = [(time("2026-11-01T22:20:00Z"), BOTH)];
    world.live(&settings("1 day", "22:00", "UTC"), time("2026-11-03T23:00:00Z"), &backups).await;
    let reports = world.heard.reports();
    assert_each_interval_once(&world, &reports);
    assert_eq!(reports.len(), 2);
    let told = [Note::PostJob { text: "the script failed".to_owned() }];
    assert!(reports.iter().all(|report| report.status() == RunStatus::Warning && report.notes == told));
    assert_eq!(reports[1].point, None);
    assert_eq!(outcome(&reports[1], "db01"), MachineOutcome::Absent { why: Reason::NoNewPoint });
}

/// A sync that waits for its window lets other jobs work.
#[tokio::test(start_paused = true)]
async fn a_paused_job_gives_its_slot_back() {
    let mut world = World::new(time("2026-11-01T21:00:00Z")).await;
    world.back_up_in_turn(time("2026-11-01T20:50:00Z"), time("2026-11-01T20:55:00Z")).await;
    let mut other = World::new(time("2026-11-01T21:00:00Z")).await;
    other.slots = world.slots.clone();
    other.back_up(time("2026-11-01T21:00:00Z"), BOTH).await;
    let slow = Fault::delaying(0, Duration::from_secs(4 * 3600)).for_ever().on(Verb::Read);
    world.source.inject(slow.below(Prefix::new(BLOCKS).unwrap()));
    let mut paused = settings("1 day", "21:00", "UTC");
    paused.window = window(&["21:00-22:00"]);
    let free = settings("1 day", "21:00", "UTC");
    let until = time("2026-11-02T20:00:00Z");
    let first = world.runner(&paused).run(world.reached(until));
    let second = async {
        // The first has the slot by then.
        other.reached(time("2026-11-01T21:10:00Z")).await;
        other.runner(&free).run(other.reached(until)).await;
    };
    tokio::join!(first, second);
    let is_working = |(_, said): &(_, Said)| matches!(said, Said::Phase(Phase::Sync));
    assert!(world.heard.all().iter().any(is_working));
    assert_eq!(other.heard.reports().len(), 1, "{:#?}", other.heard.all());
    assert_eq!(other.check().await, [1]);
}

/// A clock that is set forward by three days is as an outage of three days; nothing is copied twice.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_is_as_an_outage() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    world.live(&settings, time("2026-11-02T10:00:00Z"), &[(time("2026-11-01T22:20:00Z"), BOTH)]).await;
    world.clock.set_forward(3 * 86_400);
    world.live(&settings, time("2026-11-05T22:30:00Z"), &[(time("2026-11-05T22:20:00Z"), BOTH)]).await;
    let reports = world.heard.reports();
    assert_each_interval_once(&world, &reports);
    let intervals: Vec<u32> = reports.iter().map(|report| report.result.span.intervals).collect();
    assert_eq!(intervals, [1, 3, 1], "{reports:#?}");
    assert_eq!(outcome(&reports[1], "db01"), MachineOutcome::Absent { why: Reason::NoNewPoint });
    assert_eq!(world.check().await, [1, 2]);
}

/// db01 is not backed up any more: from 26 hours after its last state on it is overdue, which is told once while the interval is
/// open and with each report; nobody else is.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_not_copied_any_more_becomes_overdue() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let at = |day: u32| time(&format!("2026-11-{day:02}T22:20:00Z"));
    let backups: [Backup; 3] = [(at(1), BOTH), (at(2), &["web01"]), (at(3), &["web01"])];
    world.max_age = Some(Duration::from_secs(26 * 3600));
    world.live(&settings("1 day", "22:00", "UTC"), time("2026-11-04T22:00:00Z"), &backups).await;
    let reports = world.heard.reports();
    let overdue: Vec<_> = reports.iter().map(CopyRun::overdue).collect();
    assert_eq!(overdue[0], []);
    for (report, overdue) in reports.iter().zip(&overdue).skip(1) {
        assert_eq!((overdue.len(), &overdue[0].machine, overdue[0].captured), (1, &machine("db01"), Some(at(1))));
        assert_eq!(overdue[0].age_secs(report.ended), Some(report.ended.unix_secs() - at(1).unix_secs()));
        assert_eq!(report.status(), RunStatus::Warning);
    }
    let told: Vec<_> = world.heard.all().into_iter().filter(|(_, said)| matches!(said, Said::Overdue(_))).collect();
    assert!(
        told.iter().all(|(_, said)| matches!(said, Said::Overdue(names) if *names == [machine("db01")])),
        "{told:?}"
    );
    assert_eq!(told.len(), 1, "{told:?}");
    let due = at(1).saturating_add_secs(26 * 3600);
    assert!(told[0].0 > due && told[0].0 <= due.saturating_add_secs(301), "at the first look after that: {told:?}");
}

/// Does one interval's work, as somebody asks for it by hand.
async fn run_once(world: &World, settings: &Settings) -> CopyRun {
    match world.runner(settings).run_once(std::future::pending()).await {
        RunEnd::Done(report) => report.into_copy().unwrap(),
        stopped @ RunEnd::Stopped(_) => panic!("{stopped:?}"),
    }
}

/// Another run holds the job, and nothing new is there to be copied, so that only the transforms meet it. Who asked for a run is told that
/// its transforms were not done; a runner on a schedule leaves them to the other.
#[tokio::test(start_paused = true)]
async fn transforms_that_find_the_job_busy_fail_a_single_run_and_no_scheduled_one() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    world.back_up(time("2026-11-01T22:00:00Z"), BOTH).await;
    let first = run_once(&world, &settings).await;
    assert_eq!(first.status(), RunStatus::Success, "{first:#?}");
    let other = Living::new();
    let lease = Lease::new(other.holder.clone(), 60);
    put_successor(&world.held, COPY, |head| head.lease = Some(lease)).await;
    let single = run_once(&world, &settings).await;
    assert_eq!(single.status(), RunStatus::Failed, "{single:#?}");
    assert!(single.result.transform_failure.is_some() && single.is_refused, "{single:#?}");
    assert!(!first.is_refused);
    world.live(&settings, time("2026-11-03T22:30:00Z"), &[]).await;
    let reports = world.heard.reports();
    let [_, _, scheduled] = &reports[..] else { panic!("{reports:#?}") };
    assert_eq!((scheduled.status(), &scheduled.result.transform_failure), (RunStatus::Warning, &None));
    assert_eq!(
        (outcome(scheduled, "db01"), &scheduled.transform),
        (MachineOutcome::Absent { why: Reason::NoNewPoint }, &None)
    );
}

/// Why both machines are absent from a report.
fn absences(report: &CopyRun) -> Vec<Reason> {
    let why = |name: &&str| match outcome(report, name) {
        MachineOutcome::Absent { why } => why,
        other => panic!("{name}: {other:?}"),
    };
    BOTH.iter().map(why).collect()
}

/// A sync that fails as a whole says of each machine why it was not copied, in types.
#[tokio::test(start_paused = true)]
async fn each_machine_of_a_sync_that_fails_has_the_cause() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    world.back_up(time("2026-11-01T22:00:00Z"), BOTH).await;
    let heads = Prefix::new("Offsite Copy/head").unwrap();
    world.target.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::Finish).below(heads).for_ever());
    let failed = run_once(&world, &settings).await;
    let why = Reason::Failed(failed.failure().unwrap().clone());
    assert_eq!(absences(&failed), [why.clone(), why], "{failed:#?}");
    assert!(!failed.is_refused);
    world.target.heal();
    assert_eq!(run_once(&world, &settings).await.status(), RunStatus::Success);
    // Another run is at work.
    world.reached(time("2026-11-01T22:10:00Z")).await;
    world.back_up(time("2026-11-01T22:10:00Z"), BOTH).await;
    let other = Living::new();
    let lease = Lease::new(other.holder.clone(), 60);
    put_successor(&world.held, COPY, |head| head.lease = Some(lease)).await;
    let refused = run_once(&world, &settings).await;
    assert_eq!(absences(&refused), [Reason::RunAtWork, Reason::RunAtWork], "{refused:#?}");
    assert!(refused.is_refused && refused.status() == RunStatus::Failed);
}

/// The primary was made anew: each machine has what only types can tell, though the error of the sync tells of one of them.
#[tokio::test(start_paused = true)]
async fn each_machine_of_another_origin_says_so() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    world.back_up(time("2026-11-01T22:00:00Z"), BOTH).await;
    run_once(&world, &settings).await;
    world.lose_source().await;
    world.back_up(time("2026-11-01T21:00:00Z"), BOTH).await;
    let refused = run_once(&world, &settings).await;
    assert_eq!(refused.status(), RunStatus::Failed, "{refused:#?}");
    for why in absences(&refused) {
        assert!(matches!(why, Reason::OtherOrigin { .. }), "{why}");
    }
}

/// The first backup of a job was cut off: there is a folder, and no restore point in it. A run says so, as its plan does.
#[tokio::test(start_paused = true)]
async fn a_source_without_a_restore_point_is_told() {
    let mut world = World::new(time("2026-11-01T22:00:00Z")).await;
    let settings = settings("1 day", "22:00", "UTC");
    let primary = OpenRepository::open(Arc::new(world.source.clone())).await.unwrap();
    let backup = world.machines.backup(&primary, BOTH).gate(StopAfter::new(0));
    assert!(matches!(backup.run(time("2026-11-01T22:00:00Z")).await, Err(Error::Stopped { .. })));
    let run = run_once(&world, &settings).await;
    assert_eq!(run.status(), RunStatus::Failed, "{run:#?}");
    assert!(run.failure().unwrap().text.contains("no restore point"), "{run:#?}");
    // It is there in the end.
    world.back_up(time("2026-11-01T22:00:00Z"), BOTH).await;
    assert_eq!(run_once(&world, &settings).await.status(), RunStatus::Success);
}
