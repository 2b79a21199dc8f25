//! The parts of a repository that can be damaged.

use offsite_core::{DiskNumber, MachineName, Sequence};

/// The damaged part of a repository.
///
/// It decides what is lost, and what can repair it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DamagedPart {
    /// The marker of a repository. [`OpenRepository::recover`](crate::OpenRepository::recover) writes it again.
    Marker,
    /// A head, and so what its commit changed. Readers use the head before it. [`Repair`](crate::Repair) makes the folder
    /// writable again.
    Head,
    /// All heads of a job folder. [`Repair`](crate::Repair) restores them from their second copies.
    Heads,
    /// An index. [`Repair`](crate::Repair) restores it from its second copy, or rebuilds it from the backup files.
    #[non_exhaustive]
    Index {
        /// The number of a restore point that needs it.
        sequence: Sequence,
    },
    /// The state that the indexes of a restore point give together. Another restore point may be intact.
    Point,
    /// A backup file. [`Verify`](crate::Verify) lists the restore points that need it.
    File,
    /// A block in a backup file. [`Verify`](crate::Verify) lists the restore points that need it.
    #[non_exhaustive]
    Block {
        /// The machine of the block.
        machine: MachineName,
        /// The disk of the block.
        disk: DiskNumber,
        /// The number of the block on the disk.
        block: u32,
    },
    /// A seed that should be taken over. It must be carried again.
    Seed,
    /// An export that should be imported. It must be exported again.
    Export,
    /// Everything in a job folder that could prove a restore point.
    Folder,
}

impl DamagedPart {
    /// Returns `true` if the part is an object, or lies in one.
    pub(super) fn is_object(&self) -> bool {
        match self {
            Self::Marker | Self::Head | Self::Heads | Self::Index { .. } | Self::File | Self::Block { .. } => true,
            Self::Point | Self::Seed | Self::Export | Self::Folder => false,
        }
    }
}
