//! How much a restore point has stored.

use crate::{BlockMap, StoredBlock};

/// How many frames a restore point refers to, and how long they are.
///
/// It is for people to read. It counts each block of the machines that the point has whole once, and no spare block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stored {
    /// Frames.
    pub blocks: u64,
    /// Their length in bytes, headers included.
    pub bytes: u64,
}

impl Stored {
    /// So many frames of so many bytes in all.
    #[must_use]
    pub const fn new(blocks: u64, bytes: u64) -> Self {
        Self { blocks, bytes }
    }

    /// The sum over all blocks of `map`.
    #[must_use]
    pub fn of(map: &BlockMap) -> Self {
        map.stored().fold(Self::default(), |sum, (_, _, _, at)| sum.with(at))
    }

    /// The sum after the blocks of `before` have become those of `after`.
    ///
    /// Both are parts of what a point says, and both have every block that changed. So an operation need not look at the rest.
    #[must_use]
    pub fn exchanged(self, before: &BlockMap, after: &BlockMap) -> Self {
        let (gone, new) = (Self::of(before), Self::of(after));
        Self {
            blocks: self.blocks.saturating_add(new.blocks).saturating_sub(gone.blocks),
            bytes: self.bytes.saturating_add(new.bytes).saturating_sub(gone.bytes),
        }
    }

    fn with(self, at: StoredBlock) -> Self {
        Self { blocks: self.blocks + 1, bytes: self.bytes.saturating_add(at.length.into()) }
    }
}
