//! Bytes and requests, planned and counted.

use std::time::Duration;

use offsite_core::plan::Cost;
use offsite_repository::Counts;

/// Counted accesses to backup files: bytes and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BlockTraffic {
    /// Bytes read from backup files.
    pub bytes_read: u64,
    /// The number of requests that read them.
    pub read_requests: u64,
    /// Bytes written to backup files.
    pub bytes_written: u64,
}

impl BlockTraffic {
    /// The traffic between two counts.
    pub(crate) fn between(before: Counts, after: Counts) -> Self {
        let counts = after - before;
        Self { bytes_read: counts.bytes_read, read_requests: counts.reads, bytes_written: counts.bytes_written }
    }

    /// This traffic, and what was read beside it.
    pub(crate) fn with_reads(self, other: Self) -> Self {
        let bytes_read = self.bytes_read + other.bytes_read;
        Self { bytes_read, read_requests: self.read_requests + other.read_requests, ..self }
    }
}

/// The planned cost of an operation beside the counted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Tally {
    /// The cost according to the plan.
    pub planned: Cost,
    /// What was read from the source's backup files.
    pub source: BlockTraffic,
    /// What was read from and written to the target's backup files, and what was read from the block cache.
    pub target: BlockTraffic,
    /// How long the operation took, up to the commit.
    pub duration: Duration,
}

impl Tally {
    /// Returns `true` if exactly the planned bytes were read and written.
    ///
    /// Anything else is a defect of this library.
    #[must_use]
    pub fn kept_to_plan(&self) -> bool {
        self.source.bytes_read + self.target.bytes_read == self.planned.bytes_read
            && self.target.bytes_written == self.planned.bytes_written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_more_or_less_than_planned_is_told() {
        let traffic = |bytes_read, bytes_written| BlockTraffic { bytes_read, bytes_written, read_requests: 1 };
        let tally = |source, target| {
            let mut planned = Cost::default();
            (planned.bytes_read, planned.bytes_written) = (5, 7);
            Tally { planned, source, target, duration: Duration::ZERO }
        };
        assert!(tally(traffic(2, 0), traffic(3, 7)).kept_to_plan());
        for target in [traffic(4, 7), traffic(2, 7), traffic(3, 6), traffic(3, 8)] {
            assert!(!tally(traffic(2, 0), target).kept_to_plan(), "{target:?}");
        }
    }
}
