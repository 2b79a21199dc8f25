//! What came of an interval.

use std::collections::BTreeMap;
use std::fmt;

use crate::schedule::Span;
use crate::{MachineName, Timestamp};

/// What there is of a machine in the restore point of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Outcome {
    /// All of it.
    Complete {
        /// When the machine was in the copied state.
        captured: Timestamp,
    },
    /// All of it, since an earlier interval. Only a job that waits for nothing new says so.
    Unchanged {
        /// When the machine was in the copied state.
        captured: Timestamp,
    },
    /// A part. The next interval takes the newer point, and transfers only the missing blocks.
    Incomplete {
        /// Bytes that arrived.
        done_bytes: u64,
        /// Bytes that did not.
        left_bytes: u64,
    },
    /// Nothing.
    Absent(Absence),
}

/// Why a restore point has nothing of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Absence {
    /// No new restore point came.
    NoNewPoint,
    /// Its backup was still at work at the end.
    Locked,
    /// There was a restore point, and its transfer had not begun.
    NotStarted,
    /// Another run of the job, perhaps on another host, was copying it at the end.
    AtWorkElsewhere,
    /// It had only restore points with a date after the present.
    FutureDated,
    /// No restore point had it whole.
    NoWholePoint,
    /// It had restore points in the target repository only.
    InTarget,
    /// The selection names it, and no source has it.
    Missing,
    /// It left the selection, or its sources, during the interval.
    NotSelected,
    /// It was copied, and the commit failed.
    NotCommitted,
}

/// What came of the transforms.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TransformResult {
    /// They are done, or there was nothing to do.
    Done,
    /// The next run has to do them.
    Failed {
        /// In words.
        why: String,
    },
}

impl TransformResult {
    /// Why the next run has to do them. `None` if they are done.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::Failed { why } => Some(why),
        }
    }
}

/// What a report has to say beside the outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Note {
    /// Something failed. The outcomes tell whether a retry made it good.
    Failed {
        /// When.
        at: Timestamp,
        /// In words.
        why: String,
    },
    /// The job gave up until the end of the interval.
    GaveUp {
        /// When.
        at: Timestamp,
    },
    /// The clock went back.
    ClockRanBack {
        /// What it had said before.
        from: Timestamp,
        /// What it said then.
        to: Timestamp,
    },
}

/// What came of an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RunResult {
    /// The interval, or the several that became one. Without a schedule: from the restore point's opening to its closing.
    pub span: Span,
    /// Every machine of the selection.
    pub machines: BTreeMap<MachineName, Outcome>,
    /// What came of the transforms.
    pub transform: TransformResult,
    /// What else there is to say, in order.
    pub notes: Vec<Note>,
}

impl RunResult {
    /// The result of `span` with these machines. The transforms are done, and there is no note.
    #[must_use]
    pub const fn new(span: Span, machines: BTreeMap<MachineName, Outcome>) -> Self {
        Self { span, machines, transform: TransformResult::Done, notes: Vec::new() }
    }

    /// Whether every machine is there whole, and the transforms are done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.transform == TransformResult::Done && self.machines.values().all(|outcome| outcome.is_whole())
    }
}

impl Outcome {
    /// Whether the restore point has all that was to be had.
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
            Self::NoWholePoint => "no restore point has it whole",
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
