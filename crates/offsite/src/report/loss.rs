//! What of restore points is lost, as data.

use std::fmt;

use offsite_core::{MachineName, ObjectId};
use offsite_repository::Key;

use crate::report::ErrorSummary;

/// Why an index does not tell what it was to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum IndexLoss {
    /// It is lost, or another is in its place.
    NotThere {
        /// The index.
        index: ObjectId,
    },
    /// It is lost, and so is its second copy.
    WithCopy {
        /// The key of the index.
        index: Key,
    },
    /// It is lost, and so is its second copy. The frames of its blocks do not prove what it said.
    NotProven {
        /// The key of the index.
        index: Key,
    },
    /// It is damaged, or contradicts itself.
    Damaged {
        /// The key of the index, or of its second copy.
        index: Key,
        /// What is wrong with it.
        why: ErrorSummary,
    },
}

/// What is lost of a restore point, or of a machine in one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Loss {
    /// An index that tells of it.
    Index(IndexLoss),
    /// The index of the restore point that it stands on. So that point is not known.
    BaseIndex,
    /// The indexes of the point do not say where all blocks of a machine lie.
    NotDescribed {
        /// The machine.
        machine: MachineName,
    },
    /// Blocks of a machine are not there.
    Blocks {
        /// How many.
        blocks: u64,
        /// The backup file that the first of them was in.
        file: Key,
        /// Whether that file is lost or cut off. If not, the blocks are lost, or were let go on purpose, which looks the same.
        is_file_lost: bool,
    },
    /// The point that it stands on, and no machine of it arrived whole.
    Base,
}

impl From<IndexLoss> for Loss {
    fn from(loss: IndexLoss) -> Self {
        Self::Index(loss)
    }
}

impl fmt::Display for IndexLoss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere { index } => write!(formatter, "index {index} is lost, or another is in its place"),
            Self::WithCopy { index } => write!(formatter, "index {index} is lost, and so is the second copy"),
            Self::NotProven { index } => {
                write!(formatter, "index {index} is lost, and so is the second copy; the frames alone do not prove it")
            }
            Self::Damaged { index, why } => write!(formatter, "index {index} is damaged, or contradicts itself: {why}"),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(loss) => loss.fmt(formatter),
            Self::BaseIndex => {
                formatter.write_str("the restore point that it stands on is not known: the index of that is lost")
            }
            Self::NotDescribed { machine } => {
                write!(formatter, "the indexes of the point do not say where all blocks of {machine} lie")
            }
            Self::Blocks { blocks, file, is_file_lost } => {
                match blocks {
                    1 => formatter.write_str("1 block of it is")?,
                    blocks => write!(formatter, "{blocks} blocks of it are")?,
                }
                match is_file_lost {
                    true => write!(formatter, " not there: backup file {file} is lost or cut off"),
                    false => write!(
                        formatter,
                        " not there, the first in {file}: lost, or let go on purpose, which looks the same"
                    ),
                }
            }
            Self::Base => formatter.write_str("it stands on a point that is lost, and no machine of it arrived whole"),
        }
    }
}
