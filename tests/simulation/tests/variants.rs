//! Every known-bad variant is found, and the same seed always gives the same world.

use std::process::Command;

use offsite_simulation::crash::{CrashPlan, crash_everywhere};
use offsite_simulation::interleaving::{Broken, interleave};
use offsite_simulation::job::Setting;
use offsite_simulation::variants::{ALL, UNPROVEN};
use offsite_simulation::{count, seed};

#[test]
fn every_known_bad_variant_is_found() {
    let seed = seed(1);
    let mut missed = Vec::new();
    for known in ALL {
        match known.hunt(seed, 2_000) {
            Some((violation, after)) => println!("| {} | {} | {after} |", known.name, violation.invariant),
            None => missed.push(known.name),
        }
    }
    assert_eq!(missed, [""; 0], "the harness is blind to these");
}

/// For whoever extends the harness: what it does not see, it must not claim to.
#[test]
fn variants_that_are_not_claimed_are_looked_for_too() {
    let interleavings = count("OFFSITE_HUNT", 0);
    if interleavings == 0 {
        println!("left out: set OFFSITE_HUNT to the number of interleavings for each");
        return;
    }
    for known in UNPROVEN {
        println!("{}: {:?}", known.name, known.hunt(seed(1), interleavings));
    }
}

#[test]
fn the_page_on_reliability_lists_them_all() {
    let page = include_str!("../../../docs/reliability.md");
    for known in ALL.iter().chain(&UNPROVEN) {
        assert!(page.contains(&format!("| {} |", known.name)), "{} is not in docs/reliability.md", known.name);
    }
    assert!(page.contains(&format!("{} of {}", ALL.len(), ALL.len() + UNPROVEN.len())));
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let setting = &Setting::all()[0];
    let seed = seed(5);
    let crashes = |seed| {
        let plan = CrashPlan { seed, days: 4, images_per_call: 1, broken: None };
        crash_everywhere(setting, &plan).unwrap_or_else(|failure| panic!("{failure}"))
    };
    assert_eq!(crashes(seed), crashes(seed));
    assert_ne!(crashes(seed).trace, crashes(seed + 1).trace);
    let play = |seed| interleave(setting, seed, 10, Broken::default()).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(play(seed), play(seed));
    assert_ne!(play(seed).trace, play(seed + 1).trace);
}

/// The engine for the simulation has them, and their names in its program: a program without the names is without them.
#[test]
fn a_program_with_variants_has_their_names() {
    let program = std::env::current_exe().expect("this program");
    for variant in ["ReleaseBeforeCommit", "NotReadBack"] {
        let found = Command::new("grep").args(["--quiet", "--text", "--fixed-strings", variant]).arg(&program).status();
        assert!(found.expect("grep runs").success(), "{variant}");
    }
}
