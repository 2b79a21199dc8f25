//! The power is cut in every call of a month that changes something.

use std::time::Instant;

use offsite_simulation::crash::{CrashPlan, crash_everywhere};
use offsite_simulation::job::Setting;
use offsite_simulation::{count, seed};

fn survives(position: usize) {
    let images_per_call = count("OFFSITE_IMAGES", 2);
    let setting = Setting::all().remove(position);
    let days = i64::try_from(count("OFFSITE_DAYS", 30)).unwrap_or(30);
    let plan = CrashPlan { seed: seed(1 + position as u64), days, images_per_call, broken: None };
    let start = Instant::now();
    match crash_everywhere(&setting, &plan) {
        Ok(counts) => println!("{}: {counts:?} in {:?}", setting.name, start.elapsed()),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn adopting_and_punching() {
    survives(0);
}

#[test]
fn folding_and_compacting() {
    survives(1);
}

#[test]
fn moving_whole_archives() {
    survives(2);
}

#[test]
fn cloning_and_folding_into_holes() {
    survives(3);
}
