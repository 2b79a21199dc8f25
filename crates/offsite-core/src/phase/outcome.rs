//! The result of an interval.

use std::collections::BTreeMap;
use std::fmt;

use crate::schedule::Span;
use crate::{MachineName, Timestamp};

/// What the restore point of an interval has of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Outcome {
    /// The complete machine.
    Complete {
        /// The time at which the machine was in the copied state.
        captured: Timestamp,
    },
    /// The complete machine, copied in an earlier interval. Only a job that waits for nothing new reports this.
    Unchanged {
        /// The time at which the machine was in the copied state.
        captured: Timestamp,
    },
    /// A part of the machine. The next interval takes the newest point, and transfers only the blocks that are missing.
    Incomplete {
        /// Bytes that have arrived.
        done_bytes: u64,
        /// Bytes that have not arrived.
        left_bytes: u64,
    },
    /// Nothing of the machine, for this reason.
    Absent(Absence),
}

/// Why a restore point has nothing of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Absence {
    /// No new restore point appeared.
    NoNewPoint,
    /// The backup of the machine was still running at the end.
    Locked,
    /// There was a restore point, but its transfer had not begun.
    NotStarted,
    /// Another run of the job, perhaps on another host, was copying the machine at the end.
    AtWorkElsewhere,
    /// The machine had only restore points with a date after the present.
    FutureDated,
    /// No restore point had the machine complete.
    NoWholePoint,
    /// Only the target repository had restore points of the machine.
    InTarget,
    /// The selection names the machine, and no source has it.
    Missing,
    /// The machine left the selection or its sources during the interval.
    NotSelected,
    /// The job copied the machine, but the commit failed.
    NotCommitted,
}

/// The result of the transforms.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TransformResult {
    /// The transforms are done, or there was nothing to do.
    Done,
    /// A transform failed. The next run has to repeat them.
    Failed {
        /// The failure in words.
        why: String,
    },
}

impl TransformResult {
    /// The failure in words.
    ///
    /// `None` if the transforms are done.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::Failed { why } => Some(why),
        }
    }
}

/// A remark of a report, besides the outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Note {
    /// Something failed. The outcomes tell whether a retry succeeded.
    Failed {
        /// The time of the failure.
        at: Timestamp,
        /// The failure in words.
        why: String,
    },
    /// The job stopped retrying until the end of the interval.
    GaveUp {
        /// The time at which it stopped.
        at: Timestamp,
    },
    /// The clock went back.
    ClockRanBack {
        /// The time before.
        from: Timestamp,
        /// The time after.
        to: Timestamp,
    },
}

/// The result of an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RunResult {
    /// The interval, or the joined intervals. Without a schedule, it lasts from the opening of the restore point to its closing.
    pub span: Span,
    /// The outcome of every selected machine.
    pub machines: BTreeMap<MachineName, Outcome>,
    /// The result of the transforms.
    pub transform: TransformResult,
    /// Further remarks, in the order in which they occurred.
    pub notes: Vec<Note>,
}

impl RunResult {
    /// The result of `span` with these machines.
    ///
    /// The transforms are done, and there are no notes.
    #[must_use]
    pub const fn new(span: Span, machines: BTreeMap<MachineName, Outcome>) -> Self {
        Self { span, machines, transform: TransformResult::Done, notes: Vec::new() }
    }

    /// Returns `true` if every machine is complete or unchanged, and the transforms are done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.transform == TransformResult::Done && self.machines.values().all(|outcome| outcome.is_whole())
    }
}

impl Outcome {
    /// Returns `true` if the restore point has all that there was to copy.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Unchanged { .. })
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoNewPoint => "no new restore point came",
            Self::Locked => "its backup was still at work at the end",
            Self::NotStarted => "its copy had not begun to transfer",
            Self::AtWorkElsewhere => "another run of the job was at work at the end",
            Self::FutureDated => "its restore points are dated in the future",
            Self::NoWholePoint => "no restore point has it complete",
            Self::InTarget => "its restore points are in the target only",
            Self::Missing => "no source has it",
            Self::NotSelected => "it left the selection",
            Self::NotCommitted => "what was copied could not be committed",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete { captured } => write!(formatter, "complete, as of {captured}"),
            Self::Unchanged { captured } => write!(formatter, "unchanged since {captured}"),
            Self::Incomplete { done_bytes, left_bytes } => {
                write!(formatter, "incomplete, {done_bytes} bytes done and {left_bytes} left")
            }
            Self::Absent(absence) => write!(formatter, "not copied: {absence}"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { at, why } => write!(formatter, "{at}: {why}"),
            Self::GaveUp { at } => write!(formatter, "{at}: gave up until the next interval"),
            Self::ClockRanBack { from, to } => write!(formatter, "the clock was set back from {from} to {to}"),
        }
    }
}
