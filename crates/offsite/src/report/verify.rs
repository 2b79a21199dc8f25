//! The report of a verification.

use std::time::Duration;

use crate::report::{Damage, Note};

/// The report of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct VerifyReport {
    /// The number of restore points that were checked.
    pub points: u64,
    /// The number of backup files that were checked.
    pub files: u64,
    /// The number of blocks that the restore points refer to.
    pub blocks: u64,
    /// The bytes of these blocks that were read and compared with their digests.
    pub bytes_read: u64,
    /// The damage that was found. Empty if everything restores.
    pub damage: Vec<Damage>,
    /// The bytes of blocks that the budget left for the next verification. 0 means that a pass over all blocks is complete.
    pub bytes_left: u64,
    /// `true` if the gate ended the verification. The next one continues from there.
    pub is_stopped: bool,
    /// Further remarks.
    pub notes: Vec<Note>,
    /// How long the verification took.
    pub duration: Duration,
}
