//! How much a restore point stores.

use crate::{BlockMap, StoredBlock};

/// The number of frames that a restore point refers to, and their length.
///
/// It is for people to read. It counts each block of complete and carried machines once. It counts no spare blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stored {
    /// The number of frames.
    pub blocks: u64,
    /// The length of these frames in bytes, headers included.
    pub bytes: u64,
}

impl Stored {
    /// `blocks` frames with `bytes` bytes altogether.
    #[must_use]
    pub const fn new(blocks: u64, bytes: u64) -> Self {
        Self { blocks, bytes }
    }

    /// The sum over all stored blocks of `map`.
    #[must_use]
    pub fn of(map: &BlockMap) -> Self {
        map.stored().fold(Self::default(), |sum, (_, _, _, at)| sum.with(at))
    }

    /// The sum after the blocks of `before` have been replaced by those of `after`.
    ///
    /// Both maps may be parts of what a point says, as long as both contain every block that changed. So an operation need not
    /// read the rest.
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
