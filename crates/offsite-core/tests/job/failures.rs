//! What a job says of failures, and what it makes of answers that it does not wait for.

use std::collections::BTreeMap;

use offsite_core::Timestamp;
use offsite_core::phase::{
    Absence, Action, Event, Job, LastRun, Outcome, Past, Phase, RunResult, Seen, Settings, Sighting,
};
use offsite_core::schedule::{Schedule, Span, Window};

use crate::{machine, schedule, time, zone};

fn at(text: &str) -> Timestamp {
    time(&format!("2026-11-{text}Z"))
}

fn daily() -> Settings {
    Settings::new(schedule("1 day", "22:00", "UTC"))
}

fn first(settings: Settings) -> Job {
    Job::resume(settings, Past::default(), at("22T22:00:00")).0
}

fn seen(all: &[(&str, Seen)]) -> Event {
    let sighting = |(name, seen): &(&str, Seen)| Sighting::new(machine(name), *seen);
    Event::SourcesSeen(all.iter().map(sighting).collect())
}

fn copied(name: &str) -> Event {
    Event::MachineCopied { machine: machine(name), captured: at("22T21:00:00") }
}

/// What the job reports once its transforms are done.
fn reported(mut job: Job, now: Timestamp) -> RunResult {
    reported_in(&mut job, now)
}

fn reported_in(job: &mut Job, now: Timestamp) -> RunResult {
    let actions = job.step(Event::TransformDone, now);
    let Some(Action::RunPostJob { result }) = actions.into_iter().next() else { panic!("it reports nothing") };
    result
}

#[test]
fn a_failure_that_lasts_is_noted_once() {
    let mut job = first(daily());
    let mut now = at("22T22:00:00");
    for why in ["no route", "no route", "no route", "wrong key", "no route"] {
        job.step(seen(&[("a", Seen::Ready)]), now);
        job.step(Event::SyncFailed { is_retryable: true, why: why.to_owned() }, now);
        now = now.saturating_add_secs(3600);
        job.step(Event::Tick, now);
    }
    job.step(Event::Tick, at("23T22:00:00"));
    job.step(Event::PointClosed, at("23T22:00:00"));
    let notes: Vec<String> = reported(job, at("23T22:00:00")).notes.iter().map(ToString::to_string).collect();
    let expected =
        ["2026-11-22T22:00:00Z: no route", "2026-11-23T01:00:00Z: wrong key", "2026-11-23T02:00:00Z: no route"];
    assert_eq!(notes, expected);
}

#[test]
fn a_sync_that_ends_without_a_machine_says_so() {
    let mut job = first(daily());
    job.step(seen(&[("a", Seen::Ready), ("b", Seen::Ready), ("c", Seen::NoNewPoint)]), at("22T22:00:00"));
    job.step(copied("a"), at("22T22:10:00"));
    // It is tried again a minute later.
    assert_eq!(job.step(Event::SyncEnded, at("22T22:20:00")), [Action::WakeAt(at("22T22:21:00"))]);
    job.step(Event::Tick, at("23T22:00:00"));
    job.step(Event::PointClosed, at("23T22:00:00"));
    let notes = reported(job, at("23T22:00:00")).notes;
    assert_eq!(notes[0].to_string(), "2026-11-22T22:20:00Z: the sync ended without b");
}

/// What could not be committed is not there; why others are absent stays what it was.
#[test]
fn a_point_that_cannot_be_closed_has_no_machine() {
    let mut job = first(daily());
    job.step(seen(&[("a", Seen::Ready), ("b", Seen::NoNewPoint), ("c", Seen::Missing)]), at("22T22:00:00"));
    job.step(copied("a"), at("22T22:10:00"));
    job.step(Event::SyncEnded, at("22T22:10:00"));
    job.step(Event::Tick, at("23T22:00:00"));
    assert_eq!(job.phase(), Phase::Closing);
    let failed = Event::CloseFailed { is_retryable: false, why: "the disk is full".to_owned() };
    assert_eq!(job.step(failed, at("23T22:00:00")), [Action::StartTransform]);
    let result = reported(job, at("23T22:10:00"));
    let absent = |absence| Outcome::Absent(absence);
    let expected: BTreeMap<_, _> = [
        (machine("a"), absent(Absence::NotCommitted)),
        (machine("b"), absent(Absence::NoNewPoint)),
        (machine("c"), absent(Absence::Missing)),
    ]
    .into();
    assert_eq!(result.machines, expected);
    assert!(!result.is_success());
}

#[test]
fn failures_of_another_phase_change_nothing() {
    let why = || "it is late".to_owned();
    let late = [
        Event::CloseFailed { is_retryable: false, why: why() },
        Event::TransformFailed { is_retryable: false, why: why() },
    ];
    let mut job = first(daily());
    for event in late.clone() {
        assert_eq!(job.step(event, at("22T22:00:05")), [Action::WakeAt(at("23T22:00:00"))]);
        assert_eq!(job.phase(), Phase::Sync);
    }
    job.step(Event::Tick, at("23T22:00:00"));
    job.step(Event::TransformFailed { is_retryable: false, why: why() }, at("23T22:00:00"));
    assert_eq!(job.phase(), Phase::Closing);
    job.step(Event::PointClosed, at("23T22:00:00"));
    job.step(Event::CloseFailed { is_retryable: false, why: why() }, at("23T22:00:00"));
    assert_eq!(job.phase(), Phase::Transform);
    assert_eq!(reported(job, at("23T22:00:00")).notes, []);
}

/// What is told of a transfer that does not run changes nothing, while the sources are looked at and while the point is closed.
#[test]
fn answers_without_a_transfer_change_nothing() {
    let stray = || {
        let why = || "it is late".to_owned();
        [
            Event::SyncEnded,
            Event::SyncFailed { is_retryable: true, why: why() },
            Event::SyncFailed { is_retryable: false, why: why() },
            Event::AtWorkElsewhere { why: why() },
        ]
    };
    let mut job = first(daily());
    job.step(seen(&[("a", Seen::NoNewPoint)]), at("22T22:00:05"));
    let waits = job.step(Event::Tick, at("22T22:00:06"));
    for event in stray() {
        assert_eq!(job.step(event, at("22T22:00:06")), waits);
    }
    let mut closing = first(daily());
    closing.step(seen(&[("a", Seen::Ready)]), at("22T22:00:05"));
    closing.step(Event::Tick, at("23T22:00:00"));
    assert_eq!(closing.phase(), Phase::Closing);
    for event in stray() {
        assert_eq!(closing.step(event, at("23T22:00:01")), []);
    }
    job.step(Event::Tick, at("23T22:00:00"));
    for mut job in [job, closing] {
        job.step(Event::PointClosed, at("23T22:00:02"));
        assert_eq!(reported(job, at("23T22:00:03")).notes, []);
    }
}

/// A transform is tried again until the next interval begins.
#[test]
fn a_transform_that_fails_is_tried_again_in_its_time() {
    let transforming = || {
        let mut job = first(daily());
        job.step(seen(&[("a", Seen::NoNewPoint)]), at("22T22:00:05"));
        job.step(Event::Tick, at("23T22:00:00"));
        assert_eq!(job.step(Event::PointClosed, at("23T22:00:00")), [Action::StartTransform]);
        job
    };
    let failed = || Event::TransformFailed { is_retryable: true, why: "the network is down".to_owned() };
    let mut job = transforming();
    let actions = job.step(failed(), at("23T22:10:00"));
    let [Action::WakeAt(again)] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(job.step(Event::Tick, again), [Action::StartTransform]);
    let actions = transforming().step(failed(), at("24T22:00:00"));
    assert!(matches!(actions[..], [Action::RunPostJob { .. }, ..]), "{actions:?}");
}

/// A sync is tried again, however late it is.
#[test]
fn a_sync_that_fails_is_tried_again_until_its_interval_ends() {
    let mut job = first(daily());
    job.step(seen(&[("a", Seen::Ready)]), at("22T22:00:05"));
    let failed = Event::SyncFailed { is_retryable: true, why: "the network is down".to_owned() };
    assert_eq!(job.step(failed, at("23T21:50:00")), [Action::WakeAt(at("23T21:51:00"))]);
    let actions = job.step(Event::Tick, at("23T21:51:00"));
    assert!(matches!(actions[..], [Action::LookAtSources { .. }, ..]), "{actions:?}");
}

/// So is closing a restore point, however late it is.
#[test]
fn closing_that_fails_is_tried_again() {
    let mut job = first(daily());
    job.step(seen(&[("a", Seen::NoNewPoint)]), at("22T22:00:05"));
    job.step(Event::Tick, at("23T22:00:00"));
    assert_eq!(job.phase(), Phase::Closing);
    let failed = Event::CloseFailed { is_retryable: true, why: "the network is down".to_owned() };
    assert_eq!(job.step(failed, at("25T12:00:00")), [Action::WakeAt(at("25T12:01:00"))]);
    let actions = job.step(Event::Tick, at("25T12:01:00"));
    assert!(matches!(actions[..], [Action::ClosePoint { .. }]), "{actions:?}");
}

/// A job that has copied a machine once looks back to where its last interval ended, and not only one interval.
#[test]
fn only_a_job_that_has_nothing_yet_begins_anew() {
    for has_machine in [false, true] {
        let mut job = first(daily());
        if has_machine {
            job.step(seen(&[("a", Seen::Ready)]), at("22T22:00:05"));
            job.step(copied("a"), at("22T22:00:06"));
            job.step(Event::SyncEnded, at("22T22:00:06"));
            job.step(seen(&[("a", Seen::NoNewPoint)]), at("22T22:00:07"));
        } else {
            job.step(seen(&[("a", Seen::NoNewPoint)]), at("22T22:00:05"));
        }
        job.step(Event::Tick, at("23T22:00:00"));
        job.step(Event::PointClosed, at("23T22:00:01"));
        reported_in(&mut job, at("23T22:00:02"));
        let actions = job.step(Event::PostJobDone, at("27T12:00:00"));
        let look = actions.iter().find_map(|action| match action {
            Action::LookAtSources { range } => Some(range.not_before),
            _ => None,
        });
        assert_eq!(look.unwrap() < at("25T00:00:00"), has_machine, "{actions:?}");
    }
}

/// A job without intervals takes a clock that goes back a little for what it is, and tells of one that goes back far.
#[test]
fn an_immediate_job_tells_of_a_clock_that_is_set_back_far() {
    for (back_secs, is_told) in [(60, false), (3_600, false), (3_601, true), (86_400, true)] {
        let now = at("22T12:00:00");
        let (mut job, _) = Job::resume(Settings::new(Schedule::Immediate), Past::default(), now);
        job.step(seen(&[("a", Seen::NoNewPoint)]), now);
        let back = now.saturating_add_secs(-back_secs);
        let actions = job.step(Event::Tick, back);
        let Some(Action::WakeAt(look)) = actions.last() else { panic!("{actions:?}") };
        let look = *look;
        job.step(Event::Tick, look);
        job.step(seen(&[("a", Seen::Ready)]), look);
        job.step(copied("a"), look);
        job.step(Event::SyncEnded, look);
        job.step(seen(&[("a", Seen::NoNewPoint)]), look);
        job.step(Event::PointClosed, look);
        let notes = reported(job, look).notes;
        assert_eq!(!notes.is_empty(), is_told, "{back_secs}: {notes:?}");
    }
}

/// In an open window an interval ends, whether or not there was anything to copy.
#[test]
fn an_interval_without_anything_new_ends_as_well() {
    let mut job = first(daily());
    job.step(seen(&[("a", Seen::NoNewPoint)]), at("22T22:00:05"));
    let actions = job.step(Event::Tick, at("23T22:00:00"));
    assert!(matches!(&actions[..], [Action::ClosePoint { span, .. }] if span.intervals == 1), "{actions:?}");
}

/// With its window closed from its beginning to its end, an interval becomes one with the next, unless it has a machine already.
#[test]
fn an_interval_that_could_not_begin_is_joined_to_the_next() {
    let window = Window::parse(&["12:00-13:00"], zone("UTC")).unwrap();
    let settings = daily().with_window(window);
    let last =
        LastRun::new(daily().schedule.interval().unwrap().at(at("21T22:00:00")), BTreeMap::new()).with_finished(true);
    for copied in [BTreeMap::new(), BTreeMap::from([(machine("a"), at("22T23:00:00"))])] {
        let has_machine = !copied.is_empty();
        let past = Past::default().with_last(last.clone()).with_copied(copied);
        let (mut job, _) = Job::resume(settings.clone(), past, at("23T14:00:00"));
        let actions = job.step(Event::Tick, at("23T22:00:00"));
        let closes = actions.iter().any(|action| matches!(action, Action::ClosePoint { .. }));
        assert_eq!(closes, has_machine, "{actions:?}");
        let joined = Span::new(at("22T22:00:00"), at("24T22:00:00")).with_intervals(2);
        assert_eq!(*job.span() == joined, !has_machine, "{:?}", job.span());
    }
}

/// A job without intervals looks once at a time, and only while its window is open.
#[test]
fn one_look_at_a_time_and_in_the_window() {
    let looks = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::LookAtSources { .. }));
    let window = Window::parse(&["12:00-13:00"], zone("UTC")).unwrap();
    let settings = Settings::new(Schedule::Immediate).with_window(window);
    let (mut job, actions) = Job::resume(settings, Past::default(), at("22T11:00:00"));
    assert!(!looks(&actions), "{actions:?}");
    assert!(!looks(&job.step(Event::Tick, at("22T11:30:00"))));
    assert!(looks(&job.step(Event::Tick, at("22T12:00:00"))));
    assert!(!looks(&job.step(Event::Tick, at("22T12:10:00"))), "one is under way");
    job.step(seen(&[("a", Seen::NoNewPoint)]), at("22T12:10:01"));
    assert!(!looks(&job.step(Event::Tick, at("22T12:10:02"))), "it has just looked");
    assert!(!looks(&job.step(Event::Tick, at("22T14:00:00"))));
}

#[test]
fn outcomes_are_told_in_words() {
    let absences = [
        (Absence::NoNewPoint, "no new"),
        (Absence::Locked, "backup was still at work"),
        (Absence::NotStarted, "not begun"),
        (Absence::FutureDated, "in the future"),
        (Absence::Missing, "no source"),
        (Absence::NotSelected, "left the selection"),
        (Absence::NotCommitted, "not be committed"),
    ];
    for (absence, words) in absences {
        let text = Outcome::Absent(absence).to_string();
        assert!(text.starts_with("not copied: ") && text.contains(words), "{text}");
    }
    let outcome = Outcome::Incomplete { done_bytes: 5, left_bytes: 7 };
    assert_eq!(outcome.to_string(), "incomplete, 5 bytes done and 7 left");
    let outcome = Outcome::Complete { captured: at("22T21:00:00") };
    assert_eq!(outcome.to_string(), "complete, as of 2026-11-22T21:00:00Z");
}
