//! Why something could not be done, and whether it may work later.

use offsite_repository::ErrorKind;

use crate::Error;
use crate::error::causes;

/// Why a job cannot be opened. Errors of the engine and of repositories become one by `?`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct OpenFailure {
    /// In words, with the way out.
    pub why: String,
    /// Whether it may be opened later, without anybody changing its settings.
    pub is_retryable: bool,
}

impl From<Error> for OpenFailure {
    fn from(error: Error) -> Self {
        Self { why: causes(&error), is_retryable: is_retryable(&error) }
    }
}

impl From<offsite_repository::Error> for OpenFailure {
    fn from(error: offsite_repository::Error) -> Self {
        Self { why: causes(&error), is_retryable: !is_lasting(error.kind()) }
    }
}

/// Why an activity failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) is_retryable: bool,
    /// Whether another run of the job is at work.
    pub(super) is_busy: bool,
}

impl From<OpenFailure> for Failure {
    fn from(failure: OpenFailure) -> Self {
        Self { why: failure.why, is_retryable: failure.is_retryable, is_busy: false }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { why: causes(&error), is_retryable: is_retryable(&error), is_busy: matches!(error, Error::Busy { .. }) }
    }
}

/// Whether what failed may work later, without anybody doing something about it.
fn is_retryable(error: &Error) -> bool {
    let is_fixed = matches!(
        error,
        Error::Settings(_)
            | Error::SameRepository { .. }
            | Error::NotARepository { .. }
            | Error::Damaged { .. }
            | Error::Defect(_)
    );
    !is_fixed && !error.repository_kind().is_some_and(is_lasting)
}

fn is_lasting(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}
