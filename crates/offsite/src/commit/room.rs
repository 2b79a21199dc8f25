//! Checks whether the data of an operation fits into its target.

use offsite_core::plan::Cost;

use crate::progress::Task;
use crate::{Error, ErrorPlace, OpenRepository, Result};

/// The largest number of bytes that an index takes for each block, in both copies together, and the bytes of heads and headers.
const INDEX_BYTES: u64 = 2 * 64;
const ROOT_BYTES: u64 = 64 << 10;

/// The space that an operation needs, and the space that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Room {
    /// The bytes that the operation takes at its peak, before anything is given back.
    pub needed_bytes: u64,
    /// The free bytes in the target. `None` if the target does not tell.
    pub free_bytes: Option<u64>,
    /// The bytes that must stay free.
    pub min_free_bytes: u64,
}

impl Room {
    /// Returns `true` if there is enough space, or if that is unknown.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.free_bytes.is_none_or(|free| self.needed_bytes <= free.saturating_sub(self.min_free_bytes))
    }
}

impl Room {
    /// Returns the space that an operation of this cost needs, and the free space of `target`.
    ///
    /// # Errors
    /// Errors of the repository.
    pub(crate) async fn of(target: &OpenRepository, cost: &Cost, min_free_bytes: u64) -> Result<Self> {
        let beside = cost.blocks.saturating_mul(INDEX_BYTES).saturating_add(ROOT_BYTES);
        let free_bytes = target.free_bytes().await?;
        let needed_bytes = cost.peak_extra_bytes.saturating_add(beside);
        Ok(Self { needed_bytes, free_bytes, min_free_bytes })
    }

    /// Checks that there is enough space.
    ///
    /// An operation that would fill its target does not begin. It would be cut off, and would leave no space for the release. `task`
    /// is what does not begin.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if there is not enough.
    pub(crate) fn require(&self, target: &OpenRepository, task: Task) -> Result<()> {
        match self.free_bytes {
            Some(free_bytes) if !self.is_enough() => Err(Error::NoRoom {
                task,
                location: target.location(),
                needed_bytes: self.needed_bytes,
                free_bytes,
                min_free_bytes: self.min_free_bytes,
                at: ErrorPlace::default(),
            }),
            _ => Ok(()),
        }
    }
}
