//! The deterministic simulation: a backup job and its copy in a world that is a function of a seed.
//!
//! - [`crash`]: the power is cut in every call of a month that changes something; what may be left on the disk is looked at,
//!   recovered, run again, and proven.
//! - [`interleaving`]: writers, a reader and a collector at once, in an order and a weather of the seed's.
//! - [`machines`], [`job`]: what lives there.
//! - [`proof`]: what must hold, told from the stored bytes alone.
//! - [`variants`]: known-bad variants, each of which must be found.
//!
//! All of it is for tests.

pub mod crash;
mod history;
pub mod interleaving;
pub mod job;
pub mod machines;
pub mod numbers;
pub mod proof;
pub mod schedule;
pub mod simulated;
pub mod variants;

/// How many: of this environment variable, or the number given.
#[must_use]
pub fn count(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// The seed of `OFFSITE_SEED`, to see a failure again, or the one given.
#[must_use]
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("OFFSITE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default);
    println!("OFFSITE_SEED={seed}");
    seed
}
