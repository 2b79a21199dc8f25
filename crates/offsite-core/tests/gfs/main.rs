//! Retention over years: the worked examples, a brute-force model, goldens, calendars, and the rules for all policies.

mod back_fill;
mod calendar;
mod due;
mod examples;
mod forecast;
mod goldens;
mod history;
mod model;
mod properties;
mod rules;

use offsite_core::retention::{Gfs, Policy, Simple, Simulation, Zone};
use offsite_core::{PointKind, Timestamp};

pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap_or_else(|error| panic!("{error}"))
}

/// The newest `keep`, and long-term retention, in UTC.
pub(crate) fn policy(keep: u32, gfs: Option<Gfs>) -> Policy {
    Policy::new(Simple::new(keep).expect("it is valid")).with_gfs(gfs).with_zone(Zone::utc())
}

/// `count` points, one a day.
pub(crate) fn daily(first: &str, count: i64) -> Vec<Timestamp> {
    (0..count).map(|day| time(first).saturating_add_secs(day * 86_400)).collect()
}

/// Names a point by month and day; `F` before a full, flags behind it by their first letters.
fn short(time: Timestamp, flags: offsite_core::retention::Flags) -> String {
    let initials: String = flags.names().filter_map(|name| name.chars().next()).collect();
    let star = if initials.is_empty() { "" } else { "*" };
    format!("{}{star}{initials}", &time.to_string()[5..10])
}

/// The state as `archives | chain`.
pub(crate) fn state(simulation: &Simulation) -> String {
    let archive: Vec<String> = simulation.archives().map(|archived| short(archived.time, archived.flags)).collect();
    let chain = simulation.points().map(|member| {
        let kind = if member.kind == PointKind::Full { "F" } else { "" };
        format!("{kind}{}", short(member.time, member.flags))
    });
    format!("{} | {}", archive.join(" "), chain.collect::<Vec<_>>().join(" "))
}

/// The states after each point.
pub(crate) fn states(policy: &Policy, points: &[Timestamp]) -> Vec<String> {
    let mut simulation = Simulation::new(policy.clone()).expect("it is valid");
    let after = |point: &Timestamp| {
        simulation.add(*point).expect("it is valid");
        state(&simulation)
    };
    points.iter().map(after).collect()
}
