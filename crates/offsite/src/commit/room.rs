//! Whether what an operation brings fits into its target.

use offsite_core::plan::Cost;

use crate::error::Context;
use crate::{Error, ErrorPlace, OpenRepository, Result};

/// What an index takes for each block, at the most, in both of its copies; and what heads and headers take beside.
const INDEX_BYTES: u64 = 2 * 64;
const ROOT_BYTES: u64 = 64 << 10;

/// The room that an operation needs, and that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Room {
    /// What is taken at the peak, before anything comes back.
    pub needed_bytes: u64,
    /// What is free in the target, if it tells.
    pub free_bytes: Option<u64>,
    /// What is to stay free.
    pub min_free_bytes: u64,
}

impl Room {
    /// Whether it is enough, as far as that can be told.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.free_bytes.is_none_or(|free| self.needed_bytes <= free.saturating_sub(self.min_free_bytes))
    }
}

impl Room {
    /// The room that an operation of this cost needs, and that `target` has.
    ///
    /// # Errors
    /// Those of the repository.
    pub(crate) async fn of(target: &OpenRepository, cost: &Cost, min_free_bytes: u64) -> Result<Self> {
        let beside = cost.blocks.saturating_mul(INDEX_BYTES).saturating_add(ROOT_BYTES);
        let free = target.free_bytes().await;
        let free_bytes = free.while_doing(|| format!("looking how much is free in {}", target.location()))?;
        let needed_bytes = cost.peak_extra_bytes.saturating_add(beside);
        Ok(Self { needed_bytes, free_bytes, min_free_bytes })
    }

    /// Holds that it is enough. What would fill its target is not begun: it would be cut off, and leave no room for what gives space back.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn require(&self, target: &OpenRepository) -> Result<()> {
        match self.free_bytes {
            Some(free_bytes) if !self.is_enough() => Err(Error::NoRoom {
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
