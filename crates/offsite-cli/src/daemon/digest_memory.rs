//! What the daemon remembers of the digest before.

use std::collections::BTreeMap;

use offsite::model::Timestamp;
use offsite::runner::StateFolder;
use serde::{Deserialize, Serialize};

use crate::state::StateDir;
use crate::totals::Totals;

/// The version that is written. A file of another version is not read.
const VERSION: u32 = 1;
/// The file in the state folder.
const FILE: &str = "digest.json";

/// What is remembered of the digest before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    version: u32,
    /// The time of the digest, or the time at which the daemon began to count, in RFC 3339.
    written: String,
    /// What the runs of each job had done in all by then.
    pub(super) totals: BTreeMap<String, Totals>,
}

impl Remembered {
    pub(super) fn at(written: Timestamp, totals: BTreeMap<String, Totals>) -> Self {
        Self { version: VERSION, written: written.to_string(), totals }
    }

    pub(super) fn written(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.written).ok()
    }

    pub(super) fn load(state: &StateDir) -> Option<Self> {
        let bytes = StateFolder::new(state.path()).read(FILE).ok().flatten()?;
        let remembered: Self = serde_json::from_slice(&bytes).ok()?;
        (remembered.version == VERSION && remembered.written().is_some()).then_some(remembered)
    }

    pub(super) fn keep(&self, state: &StateDir) -> Result<(), String> {
        let bytes = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        let kept = bytes.and_then(|bytes| StateFolder::new(state.path()).replace(FILE, &bytes, true));
        kept.map_err(|error| format!("{} cannot be written: {error}", state.path().join(FILE).display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn what_is_remembered_outlives_the_process_and_damage_is_passed_over() {
        let folder = offsite_tests::folder();
        let state = StateDir::new(folder.path().join("state"));
        assert_eq!(Remembered::load(&state), None);
        let totals = BTreeMap::from([("job".to_owned(), Totals { runs: 3, ..Totals::default() })]);
        let remembered = Remembered::at(time("2026-11-23T06:00:00Z"), totals);
        remembered.keep(&state).unwrap();
        assert_eq!(Remembered::load(&state), Some(remembered));
        std::fs::write(state.path().join(FILE), "{").unwrap();
        assert_eq!(Remembered::load(&state), None);
    }
}
