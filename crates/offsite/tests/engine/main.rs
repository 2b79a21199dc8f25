//! The tests of the engine, in one binary: each more would compile what they share anew, and wait for the one before it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod support;

mod attach;
mod carrying;
mod counts;
mod damage;
mod deselected;
mod disk_names;
mod doubts;
mod failed_flush;
mod faults;
mod file_headers;
mod flat;
mod fold;
mod gates;
mod history;
mod identity;
mod images;
mod linked;
mod main_job;
mod methods;
mod names_and_input;
mod own_images;
mod partial;
mod pins;
mod plans;
mod power_cuts;
mod release;
mod remove_job;
mod repair;
mod restores;
mod rotation;
mod runner;
mod salvage;
mod schedule;
mod snapshots;
mod sources;
mod spare;
mod stopped;
mod transform_job;
mod transforms;
mod verification;
mod week;
mod whole;
mod writers;
