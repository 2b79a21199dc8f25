//! What is damaged: found by a verification, or known from earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offsite_core::{MachineName, Sequence};

use crate::report::Note;

/// Something that is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The object's key.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The machines and restore points that cannot be restored because of it. Empty if it touches no restore point.
    pub touches: Vec<Touched>,
}

/// A restore point that damage touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Touched {
    /// The point.
    pub sequence: Sequence,
    /// The machine. `None` stands for all of the point's.
    pub machine: Option<MachineName>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Restore points looked at.
    pub points: u64,
    /// Backup files looked at.
    pub files: u64,
    /// Blocks that the points refer to.
    pub blocks: u64,
    /// Bytes of them that were read and compared.
    pub bytes_read: u64,
    /// What is damaged. Empty if everything restores.
    pub damage: Vec<Damage>,
    /// Bytes of blocks that the budget left for the next verification; 0: the pass over all of them has come to its end.
    pub bytes_left: u64,
    /// Whether the gate has ended it. The next one goes on from there.
    pub is_stopped: bool,
    /// What else should be known.
    pub notes: Vec<Note>,
    /// How long it took.
    pub duration: Duration,
}

/// The machines of restore points that have blocks which a verification found missing, short or wrong, and how many blocks of each. A
/// run that finds the same bytes intact somewhere puts them back; until then they are told here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KnownDamage {
    /// By restore point, and by machine.
    pub points: BTreeMap<Sequence, BTreeMap<MachineName, u64>>,
    /// Restore points of which nothing tells where their blocks lie: an index that they stand on was found damaged, and still is.
    /// [`Repair`](crate::Repair) puts it back from its second copy, or makes it again of the backup files.
    pub unreadable: BTreeSet<Sequence>,
}

impl KnownDamage {
    /// Whether nothing is known to be damaged. It may be that nobody has verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.unreadable.is_empty()
    }

    /// How many blocks of a machine in a restore point are damaged.
    #[must_use]
    pub fn blocks(&self, point: Sequence, machine: &MachineName) -> u64 {
        self.points.get(&point).and_then(|machines| machines.get(machine)).copied().unwrap_or(0)
    }
}
