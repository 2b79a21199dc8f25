//! Actors at once, in every order that the seeds say.

use std::time::Instant;

use offsite_simulation::interleaving::{Broken, interleave};
use offsite_simulation::job::Setting;
use offsite_simulation::{count, seed};

fn holds(position: usize) {
    let setting = Setting::all().remove(position);
    let start = Instant::now();
    let interleavings = count("OFFSITE_INTERLEAVINGS", 20_000) / 4;
    match interleave(&setting, seed(1 + position as u64 * 10_000_000), interleavings, Broken::default()) {
        Ok(counts) => println!("{}: {counts:?} in {:?}", setting.name, start.elapsed()),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn adopting_and_punching() {
    holds(0);
}

#[test]
fn folding_and_compacting() {
    holds(1);
}

#[test]
fn moving_whole_archives() {
    holds(2);
}

#[test]
fn cloning_and_folding_into_holes() {
    holds(3);
}
