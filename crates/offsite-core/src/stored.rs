//! How much a restore point has stored.

use crate::{BlockMap, StoredBlock};

/// How many frames a restore point refers to, and how long they are.
///
/// People read it; nothing is decided by it. It counts the blocks of the machines that the point has whole, each once, and of
/// blocks that a copy left spare none.
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

    /// That of all blocks of `map`.
    #[must_use]
    pub fn of(map: &BlockMap) -> Self {
        map.stored().fold(Self::default(), |sum, (_, _, _, at)| sum.with(at))
    }

    /// What is stored once the blocks of `before` have become those of `after`.
    ///
    /// Both are parts of what a point says, with every block that changed in both: so the sum follows an operation without a look
    /// at all the rest.
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
