//! What of a repository can be damaged.

use offsite_core::{DiskNumber, MachineName, Sequence};

/// What is damaged. It decides what is lost by that, and what can bring it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DamagedPart {
    /// The marker of a repository. [`OpenRepository::recover`](crate::OpenRepository::recover) makes it anew.
    Marker,
    /// A head: what its commit changed. Readers use the head before it; [`Repair`](crate::Repair) makes the folder one that can be
    /// written again.
    Head,
    /// All heads of a job folder. [`Repair`](crate::Repair) brings them back from their second copies.
    Heads,
    /// An index. [`Repair`](crate::Repair) makes it again from its second copy, or from the backup files.
    #[non_exhaustive]
    Index {
        /// The restore point that needs it.
        sequence: Sequence,
    },
    /// What the indexes of a restore point say together. Another restore point may be intact.
    Point,
    /// A backup file. [`Verify`](crate::Verify) tells which restore points it touches.
    File,
    /// A block in a backup file. [`Verify`](crate::Verify) tells which restore points it touches.
    #[non_exhaustive]
    Block {
        /// The machine.
        machine: MachineName,
        /// The disk.
        disk: DiskNumber,
        /// The block's number.
        block: u32,
    },
    /// A seed that was to be taken over. It has to be carried again.
    Seed,
    /// An export that was to be imported. It has to be exported again.
    Export,
    /// All of a job folder that could prove a restore point.
    Folder,
}

impl DamagedPart {
    /// Whether it is one object, or has its place in one.
    pub(super) fn is_object(&self) -> bool {
        match self {
            Self::Marker | Self::Head | Self::Heads | Self::Index { .. } | Self::File | Self::Block { .. } => true,
            Self::Point | Self::Seed | Self::Export | Self::Folder => false,
        }
    }
}
