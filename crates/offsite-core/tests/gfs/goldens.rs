//! Lives of chains under many policies, as they were told when the rules were checked. A change of one line is a change of
//! what users keep. `OFFSITE_UPDATE_GOLDENS=1` writes them anew.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "goldens are files, asked for by the environment"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use offsite_core::retention::{
    Anchors, ArchiveMethod, Days, Flags, Gfs, Marking, MonthDay, Policy, QuarterMonth, Simulation, Weekday,
};
use offsite_core::{PointKind, Timestamp};

use crate::{daily, policy, time, zone};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/gfs/golden")
}

fn gfs(counts: [u32; 4]) -> Gfs {
    let [weekly, monthly, quarterly, yearly] = counts;
    Gfs::new(weekly, monthly, quarterly, yearly).expect("it is valid")
}

fn day(number: u32) -> MonthDay {
    MonthDay::day(number).expect("it is valid")
}

fn nth(number: u32, weekday: Weekday) -> MonthDay {
    MonthDay::nth(number, weekday).expect("it is valid")
}

fn keep_days(days: u32, gfs: Option<Gfs>) -> Policy {
    policy(2, gfs).with_regular(Days::new(days).expect("it is valid"))
}

fn within(name: &str, policy: Policy) -> Policy {
    policy.with_zone(zone(name))
}

fn every(first: &str, step_secs: i64, count: i64) -> Vec<Timestamp> {
    (0..count).map(|step| time(first).saturating_add_secs(step * step_secs)).collect()
}

/// Daily points with an outage: those from `from` to `to` are missing.
fn with_outage(points: Vec<Timestamp>, from: usize, to: usize) -> Vec<Timestamp> {
    [&points[..from], &points[to..]].concat()
}

const EVENING: &str = "2026-01-01T22:00:00Z";
const HOUR: i64 = 3600;

fn cases() -> Vec<(&'static str, Policy, Vec<Timestamp>)> {
    let on = Anchors::default;
    let year = || daily(EVENING, 400);
    let month = || daily(EVENING, 45);
    let all = [4, 12, 4, 3];
    let quarter_end = on().in_quarter(QuarterMonth::Last, MonthDay::last_day());
    let long = |method| policy(7, Some(gfs(all).with_method(method)));
    vec![
        ("simple_2", policy(2, None), daily(EVENING, 10)),
        ("simple_3", policy(3, None), daily(EVENING, 10)),
        ("simple_7", policy(7, None), month()),
        ("simple_31", policy(31, None), month()),
        ("simple_hourly", policy(24, None), every(EVENING, HOUR, 60)),
        ("days_1", keep_days(1, None), daily(EVENING, 10)),
        ("days_7", keep_days(7, None), month()),
        ("days_7_hourly", keep_days(7, None), every(EVENING, 5 * HOUR, 50)),
        ("days_7_outage", keep_days(7, None), with_outage(month(), 10, 30)),
        ("days_7_berlin", within("Europe/Berlin", keep_days(7, None)), daily("2026-03-20T01:30:00Z", 20)),
        ("weekly_4", policy(7, Some(gfs([4, 0, 0, 0]))), daily("2015-02-01T22:00:00Z", 60)),
        ("weekly_1", policy(2, Some(gfs([1, 0, 0, 0]))), month()),
        ("weekly_weekly_points", policy(3, Some(gfs([3, 0, 0, 0]))), every("2026-01-04T22:00:00Z", 7 * 24 * HOUR, 20)),
        ("weekly_morning", policy(7, Some(gfs([4, 0, 0, 0]))), daily("2026-01-01T09:00:00Z", 45)),
        ("weekly_noon", policy(7, Some(gfs([4, 0, 0, 0]))), daily("2026-01-01T12:00:00Z", 45)),
        (
            "weekly_noon_in_interval",
            policy(7, Some(gfs([4, 0, 0, 0]).with_marking(Marking::InInterval))),
            daily("2026-01-01T12:00:00Z", 45),
        ),
        (
            "weekly_wednesday_03",
            policy(
                5,
                Some(
                    gfs([2, 0, 0, 0])
                        .with_anchors(on().on_weekday(Weekday::Wednesday).at_hour(3).expect("it is valid")),
                ),
            ),
            month(),
        ),
        ("weekly_outage", policy(7, Some(gfs([4, 0, 0, 0]))), with_outage(daily(EVENING, 80), 20, 45)),
        ("weekly_days_10", keep_days(10, Some(gfs([4, 0, 0, 0]))), daily(EVENING, 60)),
        ("weekly_active", policy(7, Some(gfs([4, 0, 0, 0]).with_method(ArchiveMethod::Active))), daily(EVENING, 60)),
        ("weekly_active_3", policy(3, Some(gfs([2, 0, 0, 0]).with_method(ArchiveMethod::Active))), month()),
        (
            "weekly_active_14",
            policy(14, Some(gfs([4, 0, 0, 0]).with_method(ArchiveMethod::Active))),
            daily(EVENING, 80),
        ),
        (
            "weekly_active_noon",
            policy(7, Some(gfs([2, 0, 0, 0]).with_method(ArchiveMethod::Active))),
            daily("2026-01-01T12:00:00Z", 45),
        ),
        ("weekly_independent", policy(7, Some(gfs([4, 0, 0, 0]).with_method(ArchiveMethod::Independent))), month()),
        ("weekly_active_days", keep_days(5, Some(gfs([2, 0, 0, 0]).with_method(ArchiveMethod::Active))), month()),
        ("monthly_12", policy(7, Some(gfs([0, 12, 0, 0]))), year()),
        ("monthly_day_31", policy(7, Some(gfs([0, 6, 0, 0]).with_anchors(on().on_month_day(day(31))))), year()),
        (
            "monthly_last_day_leap",
            policy(7, Some(gfs([0, 3, 0, 0]).with_anchors(on().on_month_day(MonthDay::last_day())))),
            daily("2024-01-15T22:00:00Z", 120),
        ),
        (
            "monthly_third_friday",
            policy(7, Some(gfs([0, 6, 0, 0]).with_anchors(on().on_month_day(nth(3, Weekday::Friday))))),
            year(),
        ),
        (
            "monthly_last_saturday",
            policy(7, Some(gfs([0, 6, 0, 0]).with_anchors(on().on_month_day(MonthDay::last(Weekday::Saturday))))),
            year(),
        ),
        ("quarterly_4", policy(7, Some(gfs([0, 0, 4, 0]))), daily(EVENING, 600)),
        ("quarterly_end", policy(7, Some(gfs([0, 0, 2, 0]).with_anchors(quarter_end))), daily(EVENING, 600)),
        ("yearly_3", policy(7, Some(gfs([0, 0, 0, 3]))), daily(EVENING, 2200)),
        (
            "yearly_leap_day",
            policy(7, Some(gfs([0, 0, 0, 2]).with_anchors(on().in_year(2, day(29)).expect("it is valid")))),
            daily("2023-01-01T22:00:00Z", 1300),
        ),
        ("all_tiers", long(ArchiveMethod::Shared), daily(EVENING, 1500)),
        ("all_tiers_active", long(ArchiveMethod::Active), daily(EVENING, 1500)),
        ("all_tiers_monthly_points", long(ArchiveMethod::Shared), every(EVENING, 30 * 24 * HOUR, 60)),
        ("week_53", policy(3, Some(gfs([3, 0, 0, 1]))), daily("2020-12-01T22:00:00Z", 50)),
        (
            "berlin_spring",
            within(
                "Europe/Berlin",
                policy(3, Some(gfs([3, 0, 0, 0]).with_anchors(on().at_hour(2).expect("it is valid")))),
            ),
            every("2026-03-26T00:30:00Z", 8 * HOUR, 60),
        ),
        (
            "new_york_autumn",
            within(
                "America/New_York",
                policy(3, Some(gfs([3, 0, 0, 0]).with_anchors(on().at_hour(1).expect("it is valid")))),
            ),
            every("2026-10-28T00:30:00Z", 8 * HOUR, 60),
        ),
        (
            "apia_2011",
            within("Pacific/Apia", policy(3, Some(gfs([3, 0, 0, 0]).with_anchors(on().on_weekday(Weekday::Friday))))),
            daily("2011-12-20T22:00:00Z", 25),
        ),
    ]
}

fn flags(flags: Flags) -> String {
    let names: Vec<String> = flags.names().map(|name| format!("\"{name}\"")).collect();
    format!("[{}]", names.join(", "))
}

fn json(after: Timestamp, simulation: &Simulation) -> String {
    let chain: Vec<String> = simulation
        .points()
        .map(|member| {
            let kind = if member.kind == PointKind::Full { "full" } else { "increment" };
            format!(r#"{{"time": "{}", "kind": "{kind}", "flags": {}}}"#, member.time, flags(member.flags))
        })
        .collect();
    let archive: Vec<String> = simulation
        .archives()
        .map(|archived| format!(r#"{{"time": "{}", "flags": {}}}"#, archived.time, flags(archived.flags)))
        .collect();
    format!(r#"{{"after": "{after}", "chain": [{}], "archive": [{}]}}"#, chain.join(", "), archive.join(", "))
}

/// The state after each point of a short life; of a long one, those after which the archive is another, and the last; of a
/// very long one a tenth of these.
fn life(policy: &Policy, points: &[Timestamp]) -> String {
    let mut simulation = Simulation::new(policy.clone()).expect("it is valid");
    let mut text = String::new();
    let mut before: Vec<Timestamp> = Vec::new();
    let mut changes = 0_usize;
    for (position, point) in points.iter().enumerate() {
        simulation.add(*point).expect("it is valid");
        let archive: Vec<Timestamp> = simulation.archives().map(|archived| archived.time).collect();
        changes += usize::from(archive != before);
        let is_told = archive != before && (points.len() <= 1000 || changes.is_multiple_of(10));
        if points.len() <= 20 || is_told || position + 1 == points.len() {
            writeln!(text, "{}", json(*point, &simulation)).expect("it is valid");
        }
        before = archive;
    }
    text
}

#[test]
fn lives_are_as_they_were() {
    let update = std::env::var("OFFSITE_UPDATE_GOLDENS").is_ok();
    let mut different = Vec::new();
    for (name, policy, points) in cases() {
        let path = folder().join(format!("{name}.jsonl"));
        let told = life(&policy, &points);
        if update {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &told).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != told {
            different.push(name);
        }
    }
    assert!(different.is_empty(), "other than their goldens: {different:?}");
}

#[test]
fn each_golden_is_listed() {
    let cases = cases();
    assert!(cases.len() >= 30, "only {} policies", cases.len());
    let listed: BTreeSet<String> = cases.iter().map(|(name, ..)| format!("{name}.jsonl")).collect();
    assert_eq!(listed.len(), cases.len(), "a name twice");
    let found: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, listed);
}
