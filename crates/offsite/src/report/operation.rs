//! What transforms do to a chain.

use std::fmt;

use offsite_core::retention::Tier;
use offsite_core::{MachineName, Sequence};

/// What a transform does to a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Operation {
    /// Blocks that were known to be damaged are put back, for every point that needs them.
    Heal {
        /// How many.
        blocks: u64,
        /// The points that need them.
        points: Vec<Sequence>,
        /// Where the same bytes were found intact.
        from: HealedFrom,
    },
    /// The oldest increments go into the full.
    Merge {
        /// The points that are no more, the full's old state first; the last increment's state lives on in the full.
        absorbed: Vec<Sequence>,
        /// The number of the full now.
        full: Sequence,
        /// How its blocks were taken over: [`MergeMethod::Adopt`] or [`MergeMethod::Fold`].
        method: MergeMethod,
        /// Why in that way.
        why: MergeReason,
        /// The old full, where it stays beside the chain as an archive.
        archived: Option<Sequence>,
    },
    /// An archive goes.
    RemoveArchive {
        /// Its number.
        sequence: Sequence,
    },
    /// Archives get flags again that were lost with the heads, and so do the points that are to become archives.
    MarkAgain {
        /// The numbers of those that got some.
        points: Vec<Sequence>,
    },
    /// A point takes over the flag of a damaged one, to be the archive of that tier in its place.
    StandIn {
        /// The tier.
        tier: Tier,
        /// The damaged point.
        damaged: Sequence,
        /// The intact point.
        sequence: Sequence,
    },
    /// An archive gets blocks of its own, so that it shares no stored byte with any other point.
    MakeIndependent {
        /// Its number.
        sequence: Sequence,
        /// How the blocks get there.
        carriage: Carriage,
    },
    /// An increment becomes a full, with blocks of its own.
    MakeFull {
        /// Its number.
        sequence: Sequence,
        /// Where the blocks come from.
        from: FullFrom,
    },
    /// Machines go from all points, archives included.
    RemoveMachines {
        /// Which.
        machines: Vec<MachineName>,
        /// Points that held no other machine; they are no more.
        points: Vec<Sequence>,
        /// Points that stood on one of these, and are fulls now.
        fulls: Vec<Sequence>,
    },
    /// A piece of compaction: live blocks leave files that are mostly superseded.
    Compact {
        /// How many files they leave, in whole or in part.
        files: u64,
        /// How the blocks get to their new file.
        carriage: Carriage,
    },
    /// The oldest points go: rollbacks, or a full with all that stands on it.
    RemovePoints {
        /// Their numbers.
        points: Vec<Sequence>,
        /// Those of them that stay beside the chain as archives.
        archived: Vec<Sequence>,
    },
}

/// How blocks get from one backup file of a repository to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Carriage {
    /// Each is read, checked and written.
    Moved {
        /// Why the repository does not clone them.
        why: MoveReason,
    },
    /// The repository makes the new file of parts of the old ones; no block passes through the network.
    Cloned,
}

/// Where blocks were found that are damaged elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum HealedFrom {
    /// In another block of the chain itself.
    Chain,
    /// In a restore point of a source.
    Source,
}

/// Where the blocks of a point come from that becomes a full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum FullFrom {
    /// They are read whole from the source.
    Source,
    /// The source has the point no more, so they come from the chain itself.
    Chain(Carriage),
}

/// How the oldest increments go into the full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum MergeMethod {
    /// As the repository can: adopting where holes can be punched, folding where files can be written into, and else
    /// adopting.
    #[default]
    Auto,
    /// The full takes over the increments' files; no block moves.
    Adopt,
    /// The increments' blocks are written into the full's own file, so that it stays one file.
    Fold,
}

/// Why a merge was done by one method and not by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MergeReason {
    /// The job asks for that method.
    AsAsked,
    /// Adopting, as the repository punches holes, which give the space back.
    HolesGiveBack,
    /// Folding, as the repository cannot punch holes, and can write into files.
    CannotPunch,
    /// Adopting, though folding was asked for: the repository cannot write into files that are there.
    CannotPatch,
    /// Adopting: the repository can neither punch holes nor write into files.
    CannotPunchOrPatch,
    /// Adopting: a block of the increments is damaged and cannot be moved.
    DamagedBlock,
    /// Adopting: others share the full's file by a hard link.
    Linked,
    /// Adopting: the full's file is lost or cut off.
    FileCutOff,
    /// Adopting: the full's file would become longer than is allowed.
    FileTooLong,
    /// Adopting: the full has no file that can be written into.
    NoFile,
}

/// Why a repository does not clone blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MoveReason {
    /// It cannot clone.
    CannotClone,
    /// It clones in larger pieces than blocks are aligned to.
    LargerPieces,
    /// A backup file ends inside a block's padding.
    EndsInPadding,
}

impl fmt::Display for MergeReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AsAsked => "as the job asks",
            Self::HolesGiveBack => "holes give the space back",
            Self::CannotPunch => "the repository cannot punch holes, and can write into files",
            Self::CannotPatch => "the repository cannot write into files that are there",
            Self::CannotPunchOrPatch => "the repository can neither punch holes nor write into files",
            Self::DamagedBlock => "a block of the increments is damaged and cannot be moved",
            Self::Linked => "others share the full's file by a hard link",
            Self::FileCutOff => "the full's file is lost or cut off",
            Self::FileTooLong => "the full's file would become longer than is allowed",
            Self::NoFile => "the full has no file that can be written into",
        })
    }
}

impl fmt::Display for MoveReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::CannotClone => "the repository cannot clone",
            Self::LargerPieces => "the repository clones in larger pieces than blocks are aligned to",
            Self::EndsInPadding => "a backup file ends inside a block's padding",
        })
    }
}
