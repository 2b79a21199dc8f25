//! The state machine, step by step.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::phase::{
    Absence, Action, Event, Job, LastRun, Note, Outcome, Past, Phase, RunResult, Seen, Settings, Sighting,
};
use offsite_core::schedule::{Span, Window};
use offsite_core::{MachineName, Timestamp};

use crate::{machine, schedule, time, zone};

fn settings() -> Settings {
    Settings::new(schedule("1 day", "22:00", "UTC"))
}

fn at(text: &str) -> Timestamp {
    time(&format!("2026-11-{text}Z"))
}

fn seen(all: &[(&str, Seen)]) -> Event {
    let sighting = |(name, seen): &(&str, Seen)| Sighting::new(machine(name), *seen);
    Event::SourcesSeen(all.iter().map(sighting).collect())
}

fn copied(name: &str, captured: &str) -> Event {
    Event::MachineCopied { machine: machine(name), captured: at(captured) }
}

fn failed() -> Event {
    Event::SyncFailed { is_retryable: true, why: "the network is down".to_owned() }
}

/// The job in its first interval, which ends on the 23rd at 22:00.
fn first(settings: Settings) -> Job {
    let (job, actions) = Job::resume(settings, Past::default(), at("22T22:00:00"));
    assert!(
        matches!(actions[..], [Action::LookAtSources { .. }, Action::WakeAt(end)] if end == at("23T22:00:00")),
        "{actions:?}"
    );
    job
}

fn starts(actions: &[Action]) -> Option<Vec<&str>> {
    actions.iter().find_map(|action| match action {
        Action::StartSync { machines, .. } => Some(machines.iter().map(MachineName::as_str).collect()),
        _ => None,
    })
}

fn wake(actions: &[Action]) -> Option<Timestamp> {
    match actions.last() {
        Some(Action::WakeAt(time)) => Some(*time),
        _ => None,
    }
}

fn result(actions: &[Action]) -> RunResult {
    let [Action::RunPostJob { result }, ..] = actions else { panic!("{actions:?}") };
    result.clone()
}

#[test]
fn an_interval_from_start_to_end() {
    let mut job = first(settings());
    let now = at("22T22:00:05");
    let actions = job.step(seen(&[("a", Seen::Ready), ("b", Seen::Locked)]), now);
    assert_eq!(starts(&actions), Some(vec!["a"]));
    job.step(copied("a", "22T21:00:00"), at("22T22:30:00"));
    // The other is looked for again.
    let actions = job.step(Event::SyncEnded, at("22T22:30:00"));
    assert!(matches!(actions[0], Action::LookAtSources { .. }));
    let actions = job.step(seen(&[("a", Seen::NoNewPoint), ("b", Seen::Locked)]), at("22T22:30:01"));
    assert_eq!(actions, [Action::WakeAt(at("22T22:35:01"))]);
    let actions = job.step(Event::SourceChanged, at("22T22:31:00"));
    assert!(matches!(actions[0], Action::LookAtSources { .. }));
    let actions = job.step(seen(&[("a", Seen::Ready), ("b", Seen::Ready)]), at("22T22:31:00"));
    assert_eq!(starts(&actions), Some(vec!["b"]), "one point per machine and interval");
    job.step(copied("b", "22T22:10:00"), at("22T23:00:00"));
    let actions = job.step(Event::SyncEnded, at("22T23:00:00"));
    let span = Span::new(at("22T22:00:00"), at("23T22:00:00"));
    let machines: BTreeMap<MachineName, Outcome> = [
        (machine("a"), Outcome::Complete { captured: at("22T21:00:00") }),
        (machine("b"), Outcome::Complete { captured: at("22T22:10:00") }),
    ]
    .into();
    assert_eq!(actions, [Action::ClosePoint { span, machines: machines.clone() }]);
    assert_eq!(job.step(Event::PointClosed, at("22T23:00:10")), [Action::StartTransform]);
    let actions = job.step(Event::TransformDone, at("22T23:10:00"));
    let expected = RunResult::new(span, machines);
    assert_eq!(actions, [Action::RunPostJob { result: expected }]);
    assert_eq!(job.step(Event::PostJobDone, at("22T23:11:00")), [Action::WakeAt(at("23T22:00:00"))]);
    assert_eq!(job.phase(), Phase::Idle);
    let actions = job.step(Event::Tick, at("23T22:00:00"));
    assert!(
        matches!(actions[0], Action::LookAtSources { range } if range.not_before == at("22T22:00:00")),
        "{actions:?}"
    );
}

#[test]
fn the_end_of_an_interval_closes_what_there_is() {
    let mut job = first(settings());
    job.step(seen(&[("a", Seen::Ready), ("b", Seen::NoNewPoint), ("c", Seen::Missing)]), at("22T22:00:05"));
    job.step(Event::Progress { machine: machine("a"), done_bytes: 5, left_bytes: 7 }, at("23T21:00:00"));
    let actions = job.step(Event::Tick, at("23T22:00:00"));
    let expected: BTreeMap<MachineName, Outcome> = [
        (machine("a"), Outcome::Incomplete { done_bytes: 5, left_bytes: 7 }),
        (machine("b"), Outcome::Absent(Absence::NoNewPoint)),
        (machine("c"), Outcome::Absent(Absence::Missing)),
    ]
    .into();
    assert!(matches!(&actions[..], [Action::ClosePoint { machines, .. }] if *machines == expected), "{actions:?}");
    // What arrives before the restore point is closed counts.
    job.step(copied("a", "22T21:00:00"), at("23T22:00:01"));
    job.step(Event::PointClosed, at("23T22:00:02"));
    let actions = job.step(Event::TransformDone, at("23T22:00:03"));
    assert_eq!(result(&actions).machines[&machine("a")], Outcome::Complete { captured: at("22T21:00:00") });
    // The next interval has begun.
    let actions = job.step(Event::PostJobDone, at("23T22:01:00"));
    assert!(matches!(actions[0], Action::LookAtSources { .. }));
    assert_eq!(*job.span(), Span::new(at("23T22:00:00"), at("24T22:00:00")));
}

#[test]
fn five_retries_then_the_end_of_the_interval() {
    let mut job = first(settings());
    let mut now = at("22T22:00:05");
    for minutes in [1, 2, 4, 8, 16] {
        assert_eq!(starts(&job.step(seen(&[("a", Seen::Ready)]), now)), Some(vec!["a"]));
        let actions = job.step(failed(), now);
        now = now.saturating_add_secs(minutes * 60);
        assert_eq!(actions, [Action::WakeAt(now)], "after {minutes} minutes");
        assert!(matches!(job.step(Event::Tick, now)[0], Action::LookAtSources { .. }));
    }
    job.step(seen(&[("a", Seen::Ready)]), now);
    assert_eq!(job.step(failed(), now), [Action::WakeAt(at("23T22:00:00"))]);
    assert_eq!(job.step(Event::SourceChanged, now), [Action::WakeAt(at("23T22:00:00"))]);
    job.step(Event::Tick, at("23T22:00:00"));
    job.step(Event::PointClosed, at("23T22:00:00"));
    let actions = job.step(Event::TransformDone, at("23T22:00:00"));
    let result = result(&actions);
    assert_eq!(result.machines[&machine("a")], Outcome::Absent(Absence::NotStarted));
    assert!(!result.is_success());
    let notes: Vec<String> = result.notes.iter().map(ToString::to_string).collect();
    assert!(notes.last().unwrap().contains("gave up"), "{notes:?}");
    // A reason that will not pass is not tried again.
    let mut job = first(settings());
    job.step(seen(&[("a", Seen::Ready)]), at("22T22:00:05"));
    let event = Event::SyncFailed { is_retryable: false, why: "wrong password".to_owned() };
    assert_eq!(job.step(event, at("22T22:00:06")), [Action::WakeAt(at("23T22:00:00"))]);
}

#[test]
fn the_window_pauses_transfers_and_no_transforms() {
    let window = Window::parse(&["22:00-23:00"], zone("UTC")).unwrap();
    let mut job = Job::resume(settings().with_window(window), Past::default(), at("22T22:30:00")).0;
    let actions = job.step(seen(&[("a", Seen::Ready)]), at("22T22:30:00"));
    assert_eq!(wake(&actions), Some(at("22T23:00:00")));
    assert_eq!(job.step(Event::Tick, at("22T23:00:00")), [Action::Pause, Action::WakeAt(at("23T22:00:00"))]);
    // The interval ends in the moment the window opens again: the point is closed, and its transforms begin.
    let actions = job.step(Event::Tick, at("23T22:00:00"));
    assert!(matches!(actions[..], [Action::ClosePoint { .. }]), "{actions:?}");
    assert_eq!(job.step(Event::PointClosed, at("23T23:30:00")), [Action::StartTransform]);
    job.step(Event::TransformDone, at("23T23:40:00"));
    // Closed until tomorrow: nothing to look for before.
    assert_eq!(job.step(Event::PostJobDone, at("23T23:40:00")), [Action::WakeAt(at("24T22:00:00"))]);
    let mut job = Job::resume(
        settings().with_window(Window::parse(&["12:00-13:00"], zone("UTC")).unwrap()),
        Past::default(),
        at("22T12:30:00"),
    )
    .0;
    job.step(seen(&[("a", Seen::Ready)]), at("22T12:30:00"));
    assert_eq!(job.step(Event::Tick, at("22T13:00:00"))[0], Action::Pause);
    assert_eq!(job.step(Event::Tick, at("22T20:00:00")), [Action::WakeAt(at("22T22:00:00"))]);
}

#[test]
fn after_a_restart() {
    let outcome = Outcome::Complete { captured: at("22T21:00:00") };
    let last = |interval: &str, is_finished| {
        LastRun::new(settings().schedule.interval().unwrap().at(at(interval)), [(machine("a"), outcome)].into())
            .with_finished(is_finished)
    };
    let resume = |last, now: &str| Job::resume(settings(), Past::default().with_last(last), at(now));
    // The interval of now is done.
    let (job, actions) = resume(last("22T22:00:00", true), "23T12:00:00");
    assert_eq!((job.phase(), &actions[..]), (Phase::Idle, &[Action::WakeAt(at("23T22:00:00"))][..]));
    // Its transforms are not.
    let (mut job, actions) = resume(last("22T22:00:00", false), "23T12:00:00");
    assert_eq!(actions, [Action::StartTransform]);
    let actions = job.step(Event::TransformDone, at("23T12:00:00"));
    assert_eq!(result(&actions).machines[&machine("a")], outcome);
    // Three intervals passed: they are one.
    let (job, _) = resume(last("22T22:00:00", true), "26T12:00:00");
    assert_eq!(*job.span(), Span::new(at("23T22:00:00"), at("26T22:00:00")).with_intervals(3));
    // What the interval has is not copied again.
    let past =
        Past::default().with_last(last("21T22:00:00", true)).with_copied([(machine("a"), at("22T23:00:00"))].into());
    let (mut job, _) = Job::resume(settings(), past, at("23T12:00:00"));
    let actions = job.step(seen(&[("a", Seen::Ready), ("b", Seen::Ready)]), at("23T12:00:00"));
    assert_eq!(starts(&actions), Some(vec!["b"]));
    assert_eq!(job.outcomes().keys().cloned().collect::<BTreeSet<_>>(), [machine("a"), machine("b")].into());
}

#[test]
fn late_answers_change_nothing() {
    let mut job = first(settings());
    let now = at("22T22:00:05");
    for event in [Event::PointClosed, Event::TransformDone, Event::PostJobDone, Event::SyncEnded, failed()] {
        assert_eq!(job.step(event, now), [Action::WakeAt(at("23T22:00:00"))]);
        assert_eq!(job.phase(), Phase::Sync);
    }
}

#[test]
fn a_clock_that_is_set_back() {
    let mut job = first(settings());
    job.step(seen(&[("a", Seen::Ready)]), at("22T22:00:05"));
    job.step(copied("a", "22T21:00:00"), at("22T22:00:05"));
    job.step(Event::SyncEnded, at("22T22:00:05"));
    job.step(Event::PointClosed, at("22T22:00:05"));
    job.step(Event::TransformDone, at("22T22:00:05"));
    job.step(Event::PostJobDone, at("22T22:00:05"));
    // By an hour: the interval is done, and the next is waited for.
    assert_eq!(job.step(Event::Tick, at("22T21:00:05")), [Action::WakeAt(at("23T22:00:00"))]);
    // By a week: the job works by the new clock, and says so.
    let actions = job.step(Event::Tick, at("15T22:00:05"));
    assert!(matches!(actions[0], Action::LookAtSources { .. }), "{actions:?}");
    assert_eq!(*job.span(), Span::new(at("15T22:00:00"), at("16T22:00:00")));
    job.step(Event::Tick, at("16T22:00:00"));
    job.step(Event::PointClosed, at("16T22:00:00"));
    let notes = result(&job.step(Event::TransformDone, at("16T22:00:00"))).notes;
    assert_eq!(notes[0].to_string(), "the clock was set back from 2026-11-22T22:00:05Z to 2026-11-15T22:00:05Z");
}

#[test]
fn a_single_interval_waits_for_nothing_and_goes_on_after_a_failure() {
    let now = at("22T22:00:00");
    let (mut job, actions) = Job::single(settings(), now);
    assert!(matches!(actions[..], [Action::LookAtSources { .. }]), "{actions:?}");
    let captured = at("21T20:00:00");
    let actions =
        job.step(seen(&[("a", Seen::Ready), ("b", Seen::AlreadyCopied { captured }), ("c", Seen::Locked)]), now);
    assert_eq!(starts(&actions), Some(vec!["a"]));
    let actions = job.step(Event::SyncFailed { is_retryable: true, why: "full".to_owned() }, now);
    assert!(matches!(actions[..], [Action::ClosePoint { .. }]), "nothing is tried twice: {actions:?}");
    let actions = job.step(Event::PointClosed, now);
    assert!(matches!(actions[..], [Action::StartTransform]), "{actions:?}");
    let actions = job.step(Event::TransformDone, now);
    let [Action::RunPostJob { result }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(result.machines[&machine("a")], Outcome::Absent(Absence::NotStarted));
    assert_eq!(result.machines[&machine("b")], Outcome::Unchanged { captured });
    assert_eq!(result.machines[&machine("c")], Outcome::Absent(Absence::Locked));
    assert!(result.notes.iter().all(|note| matches!(note, Note::Failed { why, .. } if why == "full")));
    assert!(!job.is_done());
    assert_eq!(job.step(Event::PostJobDone, now), []);
    assert!(job.is_done());
    // One that cannot even look ends as well.
    let (mut job, _) = Job::single(settings(), now);
    let actions = job.step(Event::LookFailed { why: "away".to_owned() }, now);
    assert!(matches!(actions[..], [Action::ClosePoint { .. }]), "{actions:?}");
}

/// Between the look and the sync, the next backup of a machine has begun.
#[test]
fn a_machine_whose_backup_begins_meanwhile_is_waited_for() {
    let now = at("22T22:00:00");
    let locked = || Event::MachineLocked { machine: machine("a") };
    let (mut job, _) = Job::single(settings(), now);
    job.step(seen(&[("a", Seen::Ready), ("b", Seen::Ready)]), now);
    job.step(copied("b", "22T21:00:00"), now);
    job.step(locked(), now);
    job.step(Event::SyncEnded, now);
    job.step(Event::PointClosed, now);
    let result = result(&job.step(Event::TransformDone, now));
    assert_eq!(result.machines[&machine("a")], Outcome::Absent(Absence::Locked));
    assert_eq!(result.notes, []);
    // One that stays at work looks again at once, and goes on looking.
    let mut job = first(settings());
    job.step(seen(&[("a", Seen::Ready)]), now);
    job.step(locked(), now);
    assert!(matches!(job.step(Event::SyncEnded, now)[..], [Action::LookAtSources { .. }, ..]));
    assert_eq!(job.step(seen(&[("a", Seen::Locked)]), now), [Action::WakeAt(at("22T22:05:00"))]);
    // What was copied before it was said to be locked stays so.
    job.step(copied("a", "22T21:00:00"), now);
    job.step(locked(), now);
    assert_eq!(job.outcomes()[&machine("a")], Outcome::Complete { captured: at("22T21:00:00") });
}

#[test]
fn what_another_run_has_copied_counts_once_it_is_newer() {
    let (mut job, _) = Job::resume(settings(), Past::default(), at("21T22:00:00"));
    let copied = at("21T20:00:00");
    job.step(seen(&[("a", Seen::Ready)]), at("21T22:00:01"));
    job.step(Event::MachineCopied { machine: machine("a"), captured: copied }, at("21T22:10:00"));
    for event in [Event::SyncEnded, Event::PointClosed, Event::TransformDone, Event::PostJobDone] {
        job.step(event, at("21T22:10:00"));
    }
    job.step(Event::Tick, at("22T22:00:00"));
    // The state of the evening before is nothing new.
    job.step(seen(&[("a", Seen::AlreadyCopied { captured: copied })]), at("22T22:00:01"));
    assert_eq!(job.outcomes()[&machine("a")], Outcome::Absent(Absence::NoNewPoint));
    job.step(Event::Tick, at("22T22:10:00"));
    assert_eq!(starts(&job.step(seen(&[("a", Seen::Ready)]), at("22T22:10:01"))), Some(vec!["a"]));
    // Another run is at work: that is no failure, and is looked at again.
    let actions = job.step(Event::AtWorkElsewhere { why: "busy".to_owned() }, at("22T22:10:02"));
    assert_eq!(actions, [Action::WakeAt(at("22T22:11:02"))]);
    assert_eq!(job.outcomes()[&machine("a")], Outcome::Absent(Absence::AtWorkElsewhere));
    job.step(Event::Tick, at("22T22:11:02"));
    let captured = at("22T20:00:00");
    let actions = job.step(seen(&[("a", Seen::AlreadyCopied { captured })]), at("22T22:11:03"));
    assert!(matches!(actions[..], [Action::ClosePoint { .. }]), "{actions:?}");
    assert_eq!(job.outcomes()[&machine("a")], Outcome::Complete { captured });
    assert!(job.elsewhere().contains(&machine("a")));
    assert!(job.step(Event::PointClosed, at("22T22:11:03")).contains(&Action::StartTransform));
}
