//! Whether a copy fits into its target.

use offsite_core::plan::Plan;

use super::CopyJob;
use crate::error::Context;
use crate::{Error, ErrorPlace, Result};

/// What an index takes for each block, at the most, in both of its copies; and what heads and headers take beside.
const INDEX_BYTES: u64 = 2 * 64;
const ROOT_BYTES: u64 = 64 << 10;

/// The room that a copy needs, and that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

impl CopyJob {
    /// The room that `plan` needs, and that the target has.
    pub(super) async fn room(&self, plan: &Plan) -> Result<Room> {
        let cost = plan.cost();
        let beside = cost.blocks.saturating_mul(INDEX_BYTES).saturating_add(ROOT_BYTES);
        let free_bytes = self.target.free_bytes().await?;
        let needed_bytes = cost.peak_extra_bytes.saturating_add(beside);
        Ok(Room { needed_bytes, free_bytes, min_free_bytes: self.min_free_bytes })
    }

    /// Holds that what `plan` brings fits. A copy that would fill its target is not begun: it would be cut off, and leave no room for what
    /// gives space back.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(super) async fn check_room(&self, plan: &Plan) -> Result<()> {
        let room = self.room(plan).await?;
        match room.free_bytes {
            Some(free_bytes) if !room.is_enough() => Err(Error::NoRoom {
                location: self.target.location(),
                needed_bytes: room.needed_bytes,
                free_bytes,
                min_free_bytes: room.min_free_bytes,
                at: ErrorPlace::default(),
            }),
            _ => Ok(()),
        }
    }
}
