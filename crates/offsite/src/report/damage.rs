//! Damage: found by a verification, or known from earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use offsite_core::{DiskNumber, MachineName, Sequence};
use offsite_repository::Key;

use crate::report::ErrorSummary;

/// An object, or a part of one, that differs from what was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Damage {
    /// The key of the object.
    pub object: Key,
    /// What is wrong with it.
    pub what: DamageKind,
    /// The machines and restore points that cannot be restored because of it. Empty if no restore point needs what is damaged.
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

/// A restore point that cannot be restored because of damage, or one machine of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Touched {
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The machine. `None` means all machines of the point.
    pub machine: Option<MachineName>,
}

/// Damage that verifications have found, and that nothing has repaired yet.
///
/// It counts blocks that were missing, short or wrong, for each machine and restore point. A later run that finds the same bytes
/// intact somewhere puts the blocks back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct KnownDamage {
    /// The number of damaged blocks, by restore point and machine.
    pub points: BTreeMap<Sequence, BTreeMap<MachineName, u64>>,
    /// Restore points with a damaged index, so that it is unknown where their blocks lie. [`Repair`](crate::Repair) restores the
    /// index from its second copy, or rebuilds it from the backup files.
    pub unreadable: BTreeSet<Sequence>,
}

impl KnownDamage {
    /// Returns `true` if no damage is known.
    ///
    /// It may be that nobody has verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.unreadable.is_empty()
    }

    /// The number of damaged blocks of a machine in a restore point.
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
            "{} in {} is damaged; readers use the head before it, if that one is intact",
            self.key, self.location
        )
    }
}
