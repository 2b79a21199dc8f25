//! Known-bad variants of the engine. Lives that do not find them are blind.

use offsite::simulation::Variant;
use offsite_lives::life::Lives;
use offsite_simulation::count;

/// The law that broke, and after how many steps; none: nothing did.
fn hunt(variant: Variant, steps: u64) -> Option<(String, u64)> {
    let mut lives = Lives::broken(variant);
    let mut seed = 1;
    while lives.coverage.steps < steps {
        if let Err(failure) = lives.draw(seed, 60) {
            return Some((failure.violation.to_string(), lives.coverage.steps));
        }
        seed += 1;
    }
    None
}

#[test]
fn variants_of_what_heads_carry_on_are_found() {
    let steps = count("OFFSITE_LIFE_STEPS", 20_000);
    for variant in
        [Variant::CarriedCountOff, Variant::SpareTakenForLive, Variant::StaleBelow, Variant::EarlierLegsForgotten]
    {
        let found = hunt(variant, steps);
        println!("{variant:?}: {found:?}");
        assert!(found.is_some(), "{variant:?} was not found in {steps} steps");
    }
}
