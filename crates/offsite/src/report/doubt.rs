//! Doubts: settings that probably do not do what they were meant to.

use std::fmt;

use offsite_core::{MachineName, Sequence, Timestamp};

use crate::JobName;

/// A setting that probably does not do what it was meant to.
///
/// Nothing has failed. `Display` explains the doubt in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Doubt {
    /// A pattern matches nothing in the sources.
    IdlePattern {
        /// The setting that has the pattern.
        place: PatternPlace,
        /// The text of the pattern.
        pattern: String,
    },
    /// The newer restore points of a job lack a machine that earlier ones have.
    LeftBehind {
        /// The name of the machine.
        machine: MachineName,
        /// The job that has lost the machine.
        job: JobName,
        /// The repository of the job, in words.
        location: String,
        /// The number and the time of the last restore point that was made with the machine. `None` if no such point is left.
        last: Option<(Sequence, Timestamp)>,
    },
    /// The copy has the machine, and no source has it any more.
    Vanished {
        /// The name of the machine.
        machine: MachineName,
    },
    /// The sources have machines, but the selection leaves out all of them.
    NothingSelected,
}

/// The setting that has a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PatternPlace {
    /// The filter of included machines.
    Include(PatternKind),
    /// The filter of excluded machines.
    Exclude(PatternKind),
    /// The machines of a source.
    Source,
}

/// What a pattern is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PatternKind {
    /// The names of machines.
    Machines,
    /// The containers that machines are in.
    Containers,
    /// The tags of machines.
    Tags,
}

impl PatternKind {
    /// The word for it: `machines`, `containers` or `tags`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::Containers => "containers",
            Self::Tags => "tags",
        }
    }
}

impl fmt::Display for PatternPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Include(kind) => write!(formatter, "the included {}", kind.word()),
            Self::Exclude(kind) => write!(formatter, "the excluded {}", kind.word()),
            Self::Source => formatter.write_str("the machines of a source"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdlePattern { place, pattern } => {
                write!(formatter, "{pattern:?}, among {place}, matches nothing in the sources")
            }
            Self::LeftBehind { machine, job, location, last } => {
                write!(formatter, "{machine} is no longer in the restore points of job {job} in {location}: ")?;
                match last {
                    Some((sequence, time)) => write!(formatter, "#{sequence} of {time} was the last that had it"),
                    None => formatter.write_str("none that is still there was made with it"),
                }
            }
            Self::Vanished { machine } => {
                write!(formatter, "{machine} was copied before, and no source has it any more")
            }
            Self::NothingSelected => {
                formatter.write_str("nothing is copied, as the selection leaves out all machines of the sources")
            }
        }
    }
}
