//! What the runs of a job have done in all, from the first run that the state folder knows of.

use offsite::runner::{CopyRun, RunStatus};
use serde::{Deserialize, Serialize};

/// Counts that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    pub(crate) runs: u64,
    /// Runs with warnings.
    pub(crate) warnings: u64,
    pub(crate) failed: u64,
    /// The bytes that were read from the sources.
    pub(crate) carried_bytes: u64,
    /// The bytes that were not read from the sources, because the target had them.
    pub(crate) saved_bytes: u64,
    /// The bytes that were written to the target.
    pub(crate) written_bytes: u64,
}

impl Totals {
    /// Returns the counts with one more run.
    #[must_use]
    pub(crate) fn with(mut self, run: &CopyRun) -> Self {
        self.runs += 1;
        match run.status() {
            RunStatus::Success => {}
            RunStatus::Warning => self.warnings += 1,
            RunStatus::Failed => self.failed += 1,
        }
        for sync in &run.syncs {
            let add = |sum: &mut u64, bytes: u64| *sum = sum.saturating_add(bytes);
            add(&mut self.carried_bytes, sync.tally.source.bytes_read);
            add(&mut self.saved_bytes, sync.tally.target.bytes_read);
            add(&mut self.written_bytes, sync.tally.target.bytes_written);
        }
        self
    }

    /// Returns what has come since `before`. If the counts have begun anew meanwhile, it returns all of them.
    #[must_use]
    pub(crate) fn since(self, before: Self) -> Self {
        let less = |now: u64, before: u64| now.checked_sub(before);
        let difference = (|| {
            Some(Self {
                runs: less(self.runs, before.runs)?,
                warnings: less(self.warnings, before.warnings)?,
                failed: less(self.failed, before.failed)?,
                carried_bytes: less(self.carried_bytes, before.carried_bytes)?,
                saved_bytes: less(self.saved_bytes, before.saved_bytes)?,
                written_bytes: less(self.written_bytes, before.written_bytes)?,
            })
        })();
        difference.unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_have_begun_anew_count_from_nothing() {
        let before = Totals { runs: 5, carried_bytes: 100, ..Totals::default() };
        let now = Totals { runs: 7, carried_bytes: 130, failed: 1, ..Totals::default() };
        assert_eq!(now.since(before), Totals { runs: 2, carried_bytes: 30, failed: 1, ..Totals::default() });
        assert_eq!(before.since(now), before);
        assert_eq!(now.since(now), Totals::default());
    }
}
