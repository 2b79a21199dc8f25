//! What is damaged: found by a verification, or known from earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use offsite_core::{DiskNumber, MachineName, Sequence};
use offsite_repository::Key;

use crate::report::{ErrorSummary, Note};

/// Something that is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Damage {
    /// The object's key.
    pub object: Key,
    /// What is wrong with it.
    pub what: DamageKind,
    /// The machines and restore points that cannot be restored because of it. Empty if it touches no restore point.
    pub touches: Vec<Touched>,
}

/// What is wrong with which part of a job's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DamageKind {
    /// The object is a head that cannot be read.
    Head {
        /// What is wrong with it.
        fault: Fault,
        /// Whether it is newer than the head that counts: what it committed is not seen.
        hides_commit: bool,
    },
    /// The object is an index that cannot be read.
    Index {
        /// What is wrong with it.
        fault: Fault,
    },
    /// The object is an index that can be read and does not say, with those below it, where all blocks of a machine lie.
    IndexGap {
        /// The machine.
        machine: MachineName,
    },
    /// The object is the second copy of an index. [`Repair`](crate::Repair) makes it again from the index.
    IndexCopy {
        /// What is wrong with it.
        fault: Fault,
    },
    /// The object is a backup file, and is missing or cut off.
    File {
        /// What is wrong with it.
        fault: Fault,
    },
    /// The object is a backup file whose header is damaged. Its blocks can be read all the same.
    FileHeader {
        /// What is wrong with it.
        fault: Fault,
    },
    /// The object is a backup file that has a damaged block.
    Block {
        /// The machine that the block is of.
        machine: MachineName,
        /// The disk.
        disk: DiskNumber,
        /// The block's number.
        block: u32,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with an object, or with a block in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It has another length than what refers to it says.
    OtherLength,
    /// It is not there, or has another length than what refers to it says.
    MissingOrOtherLength,
    /// It has another length, which is known.
    HasBytes {
        /// Its length.
        bytes: u64,
        /// The length that it must have.
        expected_bytes: u64,
    },
    /// It is a backup file that is too short for a header.
    TooShort,
    /// It is a backup file whose header says that it is longer than the file.
    HeaderCutOff,
    /// It is the copy of another backup file.
    OtherFile,
    /// It is another index.
    OtherIndex,
    /// A verification found it damaged before. It was not read again.
    FoundBefore,
    /// It cannot be read, or its bytes are not what was written.
    Unreadable(ErrorSummary),
}

/// A head that is newer than the one that is read, and cannot be read itself. What it committed is not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DamagedHead {
    /// Its number.
    pub number: u64,
    /// Its key.
    pub key: Key,
    /// The repository.
    pub location: String,
    /// What is wrong with it, with its place and what that means.
    pub why: ErrorSummary,
}

/// A restore point that damage touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Touched {
    /// The point.
    pub sequence: Sequence,
    /// The machine. `None` stands for all of the point's.
    pub machine: Option<MachineName>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct VerifyReport {
    /// Restore points looked at.
    pub points: u64,
    /// Backup files looked at.
    pub files: u64,
    /// Blocks that the points refer to.
    pub blocks: u64,
    /// Bytes of them that were read and compared.
    pub bytes_read: u64,
    /// What is damaged. Empty if everything restores.
    pub damage: Vec<Damage>,
    /// Bytes of blocks that the budget left for the next verification; 0: the pass over all of them has come to its end.
    pub bytes_left: u64,
    /// Whether the gate has ended it. The next one goes on from there.
    pub is_stopped: bool,
    /// What else should be known.
    pub notes: Vec<Note>,
    /// How long it took.
    pub duration: Duration,
}

/// The machines of restore points that have blocks which a verification found missing, short or wrong, and how many blocks of each. A
/// run that finds the same bytes intact somewhere puts them back; until then they are told here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct KnownDamage {
    /// By restore point, and by machine.
    pub points: BTreeMap<Sequence, BTreeMap<MachineName, u64>>,
    /// Restore points of which nothing tells where their blocks lie: an index that they stand on was found damaged, and still is.
    /// [`Repair`](crate::Repair) puts it back from its second copy, or makes it again of the backup files.
    pub unreadable: BTreeSet<Sequence>,
}

impl KnownDamage {
    /// Whether nothing is known to be damaged. It may be that nobody has verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.unreadable.is_empty()
    }

    /// How many blocks of a machine in a restore point are damaged.
    #[must_use]
    pub fn blocks(&self, point: Sequence, machine: &MachineName) -> u64 {
        self.points.get(&point).and_then(|machines| machines.get(machine)).copied().unwrap_or(0)
    }
}

impl Fault {
    /// What an error says of an object that is not what was stored.
    pub(crate) fn unreadable(error: &impl fmt::Display) -> Self {
        Self::Unreadable(ErrorSummary::new(error.to_string(), false))
    }

    /// What the source of [`Error::Damaged`](crate::Error::Damaged) says of the object; without one, the object is not as it is
    /// referred to.
    pub(crate) fn of(source: Option<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        source.map_or(Self::MissingOrOtherLength, |source| Self::unreadable(&source))
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { fault, hides_commit: true } => write!(formatter, "{fault}; what it committed is not seen"),
            Self::Head { fault, hides_commit: false }
            | Self::Index { fault }
            | Self::File { fault }
            | Self::FileHeader { fault } => fault.fmt(formatter),
            Self::IndexGap { machine } => {
                write!(formatter, "it does not say, with those below it, where all blocks of {machine} lie")
            }
            Self::IndexCopy { fault } => write!(formatter, "{fault}; a repair makes it again from the index"),
            Self::Block { machine, disk, block, fault } => {
                write!(formatter, "block {block} of disk {disk} of {machine}: {fault}")
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("it is missing"),
            Self::OtherLength => formatter.write_str("it has another length"),
            Self::MissingOrOtherLength => formatter.write_str("it is missing or has another length"),
            Self::HasBytes { bytes, expected_bytes } => {
                write!(formatter, "it has {bytes} bytes instead of {expected_bytes}")
            }
            Self::TooShort => formatter.write_str("it is too short for a header"),
            Self::HeaderCutOff => formatter.write_str("its header does not fit into it"),
            Self::OtherFile => formatter.write_str("it is another file's copy"),
            Self::OtherIndex => formatter.write_str("it is another index"),
            Self::FoundBefore => formatter.write_str("a verification found it damaged"),
            Self::Unreadable(error) => error.fmt(formatter),
        }
    }
}

impl fmt::Display for DamagedHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} in {} is damaged; the head before it may be intact, and is what is read then",
            self.key, self.location
        )
    }
}
