//! Failures of activities, and whether a retry may succeed.

use crate::Error;
use crate::error::causes;
use crate::report::ErrorSummary;

/// Why a job cannot be opened.
///
/// Errors of the engine and of repositories convert into it with `?`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct OpenFailure {
    /// The failure in words, with the way out.
    pub why: String,
    /// `true` if it may be opened later, without anybody changing its settings.
    pub is_retryable: bool,
}

impl From<Error> for OpenFailure {
    fn from(error: Error) -> Self {
        Self { why: causes(&error), is_retryable: error.is_retryable() }
    }
}

impl From<offsite_repository::Error> for OpenFailure {
    fn from(error: offsite_repository::Error) -> Self {
        Self { why: causes(&error), is_retryable: error.is_retryable() }
    }
}

/// Why an activity failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: ErrorSummary,
    /// `true` if another run of the job is at work.
    pub(super) is_busy: bool,
}

impl From<OpenFailure> for Failure {
    fn from(failure: OpenFailure) -> Self {
        Self { why: ErrorSummary::new(failure.why, failure.is_retryable), is_busy: false }
    }
}
