//! The report of the filling of a block cache.

use offsite_core::plan::Amount;

use crate::JobName;
use crate::report::ErrorSummary;

/// What was put into a block cache before the first copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PopulateReport {
    /// The blocks that were put there.
    pub kept: Amount,
    /// The blocks that were there already.
    pub had: Amount,
    /// The number of blocks that cannot be read or are damaged.
    pub damaged_blocks: u64,
    /// `true` if the cache is full of what this run has put there or found there.
    pub is_full: bool,
    /// `true` if the run was stopped. A later run goes on from there.
    pub is_stopped: bool,
    /// Why the cache took no more. `None` if it took all.
    pub failure: Option<ErrorSummary>,
    /// What could not be looked into.
    pub unfilled: Vec<Unfilled>,
}

/// A job of which not everything could be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Unfilled {
    /// The name of the job.
    pub job: JobName,
    /// The reason.
    pub why: ErrorSummary,
}
