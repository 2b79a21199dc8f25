//! Policy files: whatever they ask for, a chain can live by it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offsite_core::Timestamp;
use offsite_core::retention::Simulation;

/// Pauses between restore points, in seconds: minutes, days, years, and on to the last time there is.
const PAUSES: [i64; 9] = [1, 60, 3_600, 86_399, 86_400, 2_678_400, 31_622_400, 3_155_760_000, 240_000_000_000];

fuzz_target!(|text: &str| {
    let Some(policy) = offsite_cli::fuzzing::policy(text) else { return };
    assert_eq!(policy.fingerprint(), policy.clone().fingerprint());
    for first in [Timestamp::MIN, Timestamp::from_unix_secs(1_793_570_400).expect("a time in range")] {
        let Ok(mut simulation) = Simulation::new(policy.clone()) else { return };
        let mut time = first;
        for pause in PAUSES.iter().flat_map(|pause| [*pause; 3]) {
            // At the last time there is, points are refused.
            let _ = simulation.add(time);
            assert!(simulation.points().len() > 0);
            time = time.saturating_add_secs(pause);
        }
    }
});
