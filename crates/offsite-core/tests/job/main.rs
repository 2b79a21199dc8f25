//! When a copy job works, what it takes, and what follows what.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_macros, reason = "a test prints its seed")]

mod clock;
mod failures;
mod interval;
mod life;
mod phases;
mod selection;
mod window;
mod world;

use offsite_core::retention::Zone;
use offsite_core::schedule::{Every, Interval, Schedule, TimeOfDay};
use offsite_core::{MachineName, Timestamp};

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"];

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap_or_else(|error| panic!("{error}"))
}

fn schedule(every: &str, at: &str, zone_name: &str) -> Schedule {
    Schedule::new(Every::parse(every).unwrap(), TimeOfDay::parse(at).unwrap(), zone(zone_name))
}

fn interval(every: &str, at: &str, zone_name: &str) -> Interval {
    schedule(every, at, zone_name).interval().expect("it has one").clone()
}

fn machine(name: &str) -> MachineName {
    MachineName::new(name).unwrap()
}
