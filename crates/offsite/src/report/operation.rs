//! Operations: what transforms do to a chain.

use std::fmt;

use offsite_core::retention::Tier;
use offsite_core::{MachineName, Sequence, Timestamp};

/// One operation of a transform phase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Operation {
    /// Damaged blocks are put back, for every restore point that needs them.
    Heal {
        /// The number of blocks.
        blocks: u64,
        /// The restore points that need them.
        points: Vec<Sequence>,
        /// Where intact copies of the same bytes were found.
        from: HealedFrom,
    },
    /// The oldest increments are merged into the full.
    Merge {
        /// The restore points that no longer exist, beginning with the full's old state. The state of the last increment is that
        /// of the full now.
        absorbed: Vec<Sequence>,
        /// The number of the full after the merge.
        full: Sequence,
        /// How the blocks were merged: [`MergeMethod::Adopt`] or [`MergeMethod::Fold`].
        method: MergeMethod,
        /// Why this method was used.
        why: MergeReason,
        /// The old full, if it stays beside the chain as an archive.
        archived: Option<Sequence>,
    },
    /// An archive is removed.
    RemoveArchive {
        /// The number of the archive.
        sequence: Sequence,
    },
    /// Archives get back flags that were lost with the heads. So do the points that are to become archives.
    MarkAgain {
        /// The numbers of the points that got flags.
        points: Vec<Sequence>,
    },
    /// An intact point takes over the flag of a damaged one. It becomes the archive of that tier instead.
    StandIn {
        /// The tier of the flag.
        tier: Tier,
        /// The number of the damaged point.
        damaged: Sequence,
        /// The number of the intact point.
        sequence: Sequence,
    },
    /// A slot of long-term retention that the job missed gets its archive, from an older point of a source.
    BackFill {
        /// The number of the archive.
        sequence: Sequence,
        /// The time that the archive stands for.
        time: Timestamp,
        /// The tiers whose slots it fills.
        tiers: Vec<Tier>,
        /// The points that stood for these slots instead, and no longer do.
        moved: Vec<Sequence>,
    },
    /// An archive gets its own blocks, so that it shares no stored byte with any other point.
    MakeIndependent {
        /// The number of the archive.
        sequence: Sequence,
        /// How the blocks get into its files.
        carriage: Carriage,
    },
    /// An increment becomes a full with its own blocks.
    MakeFull {
        /// The number of the point.
        sequence: Sequence,
        /// Where the blocks come from.
        from: FullFrom,
    },
    /// Machines are removed from all points, archives included.
    RemoveMachines {
        /// The names of the machines.
        machines: Vec<MachineName>,
        /// Points that had no other machine. They no longer exist.
        points: Vec<Sequence>,
        /// Points that needed one of those, and are fulls now.
        fulls: Vec<Sequence>,
    },
    /// A piece of compaction: live blocks are moved out of files that are mostly superseded.
    Compact {
        /// The number of files that they leave, in whole or in part.
        files: u64,
        /// How the blocks get into their new file.
        carriage: Carriage,
    },
    /// The oldest points are removed: rollbacks, or a full with all points that need it.
    RemovePoints {
        /// The numbers of the points.
        points: Vec<Sequence>,
        /// The points among them that stay beside the chain as archives.
        archived: Vec<Sequence>,
    },
}

/// How blocks get from one backup file of a repository to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Carriage {
    /// The engine reads, checks and writes each block.
    Moved {
        /// Why the repository did not clone them.
        why: MoveReason,
    },
    /// The repository made the new file from parts of the old ones. No block data passed through the engine.
    Cloned,
}

/// Where intact copies of damaged blocks were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum HealedFrom {
    /// In other blocks of the chain itself.
    Chain,
    /// In a restore point of a source.
    Source,
}

/// Where the blocks of a point come from that becomes a full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum FullFrom {
    /// The job read them whole from the source.
    Source,
    /// The source no longer has the point, so they come from the chain itself.
    Chain(Carriage),
}

/// How the oldest increments are merged into the full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum MergeMethod {
    /// The method that suits the repository: adopt if it can punch holes, else fold if it can write into files, else adopt.
    #[default]
    Auto,
    /// The full takes over the files of the increments. No block moves.
    Adopt,
    /// The blocks of the increments are written into the full's own file. So the full stays one file.
    Fold,
}

/// Why a merge used its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MergeReason {
    /// The job asks for this method.
    AsAsked,
    /// Adopt, as the repository can punch holes, which give the space back.
    HolesGiveBack,
    /// Fold, as the repository cannot punch holes, but can write into files.
    CannotPunch,
    /// Adopt instead of the requested fold, as the repository cannot write into existing files.
    CannotPatch,
    /// Adopt, as the repository can neither punch holes nor write into files.
    CannotPunchOrPatch,
    /// Adopt, as a block of the increments is damaged and cannot be moved.
    DamagedBlock,
    /// Adopt, as hard links share the full's file.
    Linked,
    /// Adopt, as the full's file is lost or cut off.
    FileCutOff,
    /// Adopt, as the full's file would become longer than is allowed.
    FileTooLong,
    /// Adopt, as the full has no file that can be written into.
    NoFile,
}

/// Why a repository did not clone blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MoveReason {
    /// The repository cannot clone.
    CannotClone,
    /// The granularity of clones is larger than the alignment of blocks.
    LargerPieces,
    /// A backup file ends inside the padding of a block.
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
