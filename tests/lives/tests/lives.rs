//! Lives that are drawn from seeds, and lived: `OFFSITE_LIFE_STEPS` steps, and in these every pair of operations.

use std::time::Instant;

use offsite_lives::many::{live, relive};
use offsite_simulation::{count, seed};

/// Less than this leaves pairs that did not occur, and that is no failure then.
const STEPS_MIN: u64 = 20_000;

#[test]
fn lives_keep_all_laws() {
    let (steps, start) = (count("OFFSITE_LIFE_STEPS", STEPS_MIN), Instant::now());
    let coverage = live(seed(1), steps).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{}", coverage.table());
    println!("{} steps in {:.1} s", coverage.steps, start.elapsed().as_secs_f64());
    let missing = coverage.missing();
    assert!(missing.is_empty() || steps < STEPS_MIN, "these never occurred: {missing:?}");
}

/// Lives the life of `OFFSITE_LIFE`.
#[test]
fn replay() {
    let Ok(text) = std::env::var("OFFSITE_LIFE") else { return };
    relive(&text).unwrap_or_else(|failure| panic!("{failure}"));
}
