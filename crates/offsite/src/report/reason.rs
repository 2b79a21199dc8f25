//! Reasons: why a machine is not whole in a restore point.

use std::fmt;

use offsite_core::{BlockSize, FolderId, Timestamp};

use crate::error::causes;
use crate::{Error, JobName};

/// What a report keeps of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ErrorSummary {
    /// The error with its causes, on one line.
    pub text: String,
    /// `true` if the same may succeed later, without anybody doing something about it.
    pub is_retryable: bool,
}

impl ErrorSummary {
    /// A summary for an error that is not the engine's.
    #[must_use]
    pub fn new(text: impl Into<String>, is_retryable: bool) -> Self {
        Self { text: text.into(), is_retryable }
    }

    /// The summary of an error of a repository, where nothing more is known of what was being done.
    pub(crate) fn of_repository(error: &offsite_repository::Error) -> Self {
        Self { text: causes(error), is_retryable: error.is_retryable() }
    }
}

impl From<&Error> for ErrorSummary {
    fn from(error: &Error) -> Self {
        Self { text: causes(error), is_retryable: error.is_retryable() }
    }
}

impl fmt::Display for ErrorSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Why a machine is not whole in a restore point, or not in it at all.
///
/// `Display` prints it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// No new restore point of the machine appeared.
    NoNewPoint,
    /// The newest restore point is too old to count.
    TooOld {
        /// The time at which the machine was in that state.
        captured: Timestamp,
    },
    /// All restore points of the machine have a date after the present.
    FutureDated {
        /// The earliest of these dates. `None` if it is unknown.
        earliest: Option<Timestamp>,
    },
    /// A backup was still at work that may have brought the newest state.
    BackupAtWork {
        /// The job of that backup. `None` if it is unknown.
        job: Option<JobName>,
    },
    /// Another run of the job, perhaps on another host, was copying the machine.
    RunAtWork,
    /// There was a restore point, but its transfer had not begun.
    NotStarted,
    /// The transfer ended early: it was stopped, or its window closed.
    TransferEnded,
    /// The machine was copied, but the commit failed.
    NotCommitted,
    /// No restore point has the machine complete.
    NoWholePoint,
    /// Only the target repository has restore points of the machine.
    InTarget,
    /// No source has the machine.
    Missing,
    /// The machine left the selection or its sources.
    NotSelected,
    /// The block size of the source differs from that of the copy.
    OtherBlockSize {
        /// The job that has the machine in the source.
        job: JobName,
        /// The block size of the source.
        source: BlockSize,
        /// The block size of the copy.
        copy: BlockSize,
    },
    /// The copy of the machine came from a job folder that is none of the sources, so this may be another machine of the same
    /// name. [`CopyJob::adopt`](crate::CopyJob::adopt) takes the machine over.
    OtherOrigin {
        /// The job that has the machine in the source.
        job: JobName,
        /// The job folder that the copy came from.
        known: FolderId,
        /// The folder of that job.
        found: FolderId,
    },
    /// Something failed. The summary says what.
    Failed(ErrorSummary),
}

impl From<&Error> for Reason {
    fn from(error: &Error) -> Self {
        Self::Failed(error.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNewPoint => formatter.write_str("no new restore point came"),
            Self::TooOld { captured } => write!(formatter, "its newest restore point, of {captured}, is too old"),
            Self::FutureDated { earliest: None } => formatter.write_str("its restore points are dated in the future"),
            Self::FutureDated { earliest: Some(earliest) } => {
                write!(formatter, "its restore points are dated in the future, from {earliest} on")
            }
            Self::BackupAtWork { job: None } => formatter.write_str("its backup was still at work at the end"),
            Self::BackupAtWork { job: Some(job) } => {
                write!(formatter, "its backup by job {job} was still at work at the end")
            }
            Self::RunAtWork => formatter.write_str("another run of the job was at work at the end"),
            Self::NotStarted => formatter.write_str("its copy had not begun to transfer"),
            Self::TransferEnded => formatter.write_str("the transfer was ended"),
            Self::NotCommitted => formatter.write_str("what was copied could not be committed"),
            Self::NoWholePoint => formatter.write_str("no restore point has it complete"),
            Self::InTarget => formatter.write_str("its restore points are in the target only"),
            Self::Missing => formatter.write_str("no source has it"),
            Self::NotSelected => formatter.write_str("it left the selection"),
            Self::OtherBlockSize { job, source, copy } => {
                write!(formatter, "the copy has blocks of {copy}, and its source {job} has blocks of {source}")
            }
            Self::OtherOrigin { job, known, found } => write!(
                formatter,
                "its copy came from a job folder with the id {known}, which is none of the job's sources; the machine of that name in \
                 job {job} is in the folder {found} and may be another one"
            ),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}
