//! Damage: found by a verification, or known from earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offsite_core::{MachineName, Sequence};

use crate::report::Note;

/// An object, or a part of one, that differs from what was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The key of the object.
    pub object: String,
    /// What is wrong with it, in words.
    pub what: String,
    /// The machines and restore points that cannot be restored because of it. Empty if no restore point needs what is damaged.
    pub touches: Vec<Touched>,
}

/// A restore point that cannot be restored because of damage, or one machine of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Touched {
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The machine. `None` means all machines of the point.
    pub machine: Option<MachineName>,
}

/// The report of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

/// Damage that verifications have found, and that nothing has repaired yet.
///
/// It counts blocks that were missing, short or wrong, for each machine and restore point. A later run that finds the same bytes
/// intact somewhere puts the blocks back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KnownDamage {
    /// The number of damaged blocks, by restore point and machine.
    pub points: BTreeMap<Sequence, BTreeMap<MachineName, u64>>,
    /// Restore points with a damaged index, so that it is unknown where their blocks lie. [`Repair`](crate::Repair) restores the
    /// index from its second copy, or rebuilds it from the backup files.
    pub unreadable: BTreeSet<Sequence>,
}

impl KnownDamage {
    /// Returns `true` if no damage is known.
    ///
    /// It may be that nobody has verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.unreadable.is_empty()
    }

    /// The number of damaged blocks of a machine in a restore point.
    #[must_use]
    pub fn blocks(&self, point: Sequence, machine: &MachineName) -> u64 {
        self.points.get(&point).and_then(|machines| machines.get(machine)).copied().unwrap_or(0)
    }
}
