//! Failures of activities, and whether a retry may succeed.

use crate::Error;
use crate::report::ErrorSummary;

/// Why a job cannot be opened.
///
/// Errors of the engine and of repositories convert into it with `?`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("{why}")]
pub struct OpenFailure {
    /// In words, with the way out, and whether it may be opened later, without anybody changing its settings.
    pub why: ErrorSummary,
}

impl OpenFailure {
    /// A failure of this text, which may pass by itself or not.
    #[must_use]
    pub fn new(text: impl Into<String>, is_retryable: bool) -> Self {
        Self { why: ErrorSummary::new(text, is_retryable) }
    }
}

impl From<Error> for OpenFailure {
    fn from(error: Error) -> Self {
        Self { why: (&error).into() }
    }
}

impl From<offsite_repository::Error> for OpenFailure {
    fn from(error: offsite_repository::Error) -> Self {
        Self { why: ErrorSummary::of_repository(&error) }
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
        Self { why: failure.why, is_busy: false }
    }
}
