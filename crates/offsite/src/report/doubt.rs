//! What nobody is likely to have meant, as data.

use std::fmt;

use offsite_core::{MachineName, Sequence, Timestamp};

use crate::JobName;

/// What nobody is likely to have meant, though nothing has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Doubt {
    /// A pattern matches nothing in the sources.
    IdlePattern {
        /// Where the pattern stands.
        place: PatternPlace,
        /// The pattern.
        pattern: String,
    },
    /// The newer restore points of a job are without a machine that it had.
    LeftBehind {
        /// The machine.
        machine: MachineName,
        /// The job.
        job: JobName,
        /// Its repository.
        location: String,
        /// The number and the time of the last point that was made with the machine; none, if none of these is still there.
        last: Option<(Sequence, Timestamp)>,
    },
    /// A machine that was copied before is in no source any more.
    Vanished {
        /// The machine.
        machine: MachineName,
    },
    /// The sources have machines, and the selection leaves out all of them.
    NothingSelected,
}

/// Where a pattern stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PatternPlace {
    /// Among what the selection includes.
    Include(PatternKind),
    /// Among what the selection excludes.
    Exclude(PatternKind),
    /// Among the machines of a source.
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
    /// `machines`, `containers` or `tags`.
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
