//! Restore points and the chain that they form.

use crate::retention::Flags;
use crate::{BlockSize, FolderId, MachineName, ObjectId, Sequence, Stored, Timestamp};

/// What a restore point needs beside its own index.
// Exhaustive: what a chain can do with a point follows from these three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum PointKind {
    /// Nothing: it stands alone.
    Full,
    /// Its predecessor, to which it is the step forward.
    Increment,
    /// Its successor, from which it is the step back (reverse-incremental chains).
    Rollback,
}

/// How much of a machine a restore point has.
// Exhaustive: every decision about a machine asks which of the three it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Status {
    /// All of it.
    Complete,
    /// A part: the copy was cut off. What arrived is spare, and no restore from this point can have the machine.
    Incomplete,
    /// Nothing new: the state of an earlier point, as it is the machine's last.
    Carried,
}

/// How far the copy of an incomplete machine came, in bytes of stored blocks. It is zero for any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Transferred {
    /// Bytes that arrived.
    pub done_bytes: u64,
    /// Bytes that did not arrive.
    pub left_bytes: u64,
}

impl Transferred {
    /// So many bytes that arrived, and so many that did not.
    #[must_use]
    pub const fn new(done_bytes: u64, left_bytes: u64) -> Self {
        Self { done_bytes, left_bytes }
    }
}

/// One machine in a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineState {
    /// Which.
    pub name: MachineName,
    /// How much of it.
    pub status: Status,
    /// When the machine was in this state.
    pub captured: Timestamp,
    /// The restore point that it is a copy of. `None` means a copy of nothing, or of an unknown point.
    pub origin: Option<Origin>,
    /// How far it came, if it is incomplete.
    pub transferred: Transferred,
}

impl MachineState {
    /// A machine that is a copy of nothing.
    #[must_use]
    pub fn new(name: MachineName, status: Status, captured: Timestamp) -> Self {
        Self { name, status, captured, origin: None, transferred: Transferred::default() }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// The same as a copy of `origin`. `None` means a copy of nothing.
    #[must_use]
    pub fn with_origin(self, origin: impl Into<Option<Origin>>) -> Self {
        Self { origin: origin.into(), ..self }
    }

    /// The same, having come so far.
    #[must_use]
    pub fn with_transferred(self, transferred: Transferred) -> Self {
        Self { transferred, ..self }
    }

    /// Whether a restore can use it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.status != Status::Incomplete
    }
}

/// Which index describes a restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IndexReference {
    /// The index object.
    pub id: ObjectId,
    /// Its length in bytes.
    pub length: u64,
    /// The checksum of its directory. It tells the index from any other of that name.
    pub directory_checksum: u64,
}

impl IndexReference {
    /// The index `id` of `length` bytes whose directory has this checksum.
    #[must_use]
    pub const fn new(id: ObjectId, length: u64, directory_checksum: u64) -> Self {
        Self { id, length, directory_checksum }
    }
}

/// The state of one or more machines at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RestorePoint {
    /// Its number.
    pub sequence: Sequence,
    /// The time that it stands for.
    pub time: Timestamp,
    /// What it needs beside its index.
    pub kind: PointKind,
    /// The machines in it, by name.
    pub machines: Vec<MachineState>,
    /// The index that says where its blocks lie: all blocks of a full, the changed ones of any other.
    pub index: IndexReference,
    /// The indexes that `index` stands on, lowest first. A later one overrides the earlier.
    pub below: Vec<IndexReference>,
    /// What it has stored, for people to read.
    pub stored: Stored,
    /// The tiers of long-term retention that have flagged it.
    pub flags: Flags,
}

/// Where a copied machine came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Origin {
    /// The job folder it was read from.
    pub folder: FolderId,
    /// The number of the restore point there.
    pub sequence: Sequence,
}

impl Origin {
    /// The restore point `sequence` of the job folder `folder`.
    #[must_use]
    pub const fn new(folder: FolderId, sequence: Sequence) -> Self {
        Self { folder, sequence }
    }
}

impl RestorePoint {
    /// The point `sequence` of this time and kind, with these machines (by name), and with one index.
    #[must_use]
    pub fn new(
        sequence: Sequence,
        time: Timestamp,
        kind: PointKind,
        machines: Vec<MachineState>,
        index: IndexReference,
    ) -> Self {
        let (below, stored, flags) = (Vec::new(), Stored::default(), Flags::NONE);
        Self { sequence, time, kind, machines, index, below, stored, flags }
    }

    /// The same of another kind.
    #[must_use]
    pub fn with_kind(self, kind: PointKind) -> Self {
        Self { kind, ..self }
    }

    /// The same with these machines, by name.
    #[must_use]
    pub fn with_machines(self, machines: Vec<MachineState>) -> Self {
        Self { machines, ..self }
    }

    /// The same, its index standing on these, lowest first.
    #[must_use]
    pub fn with_below(self, below: Vec<IndexReference>) -> Self {
        Self { below, ..self }
    }

    /// The same, having stored so much.
    #[must_use]
    pub fn with_stored(self, stored: Stored) -> Self {
        Self { stored, ..self }
    }

    /// The same with these flags in place of its own.
    #[must_use]
    pub fn with_flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    /// The state of a machine, if it is in this point.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> Option<&MachineState> {
        self.machines.iter().find(|machine| machine.name == *name)
    }

    /// Its indexes, lowest first.
    pub fn indexes(&self) -> impl Iterator<Item = &IndexReference> + Clone {
        self.below.iter().chain(std::iter::once(&self.index))
    }
}

/// The restore points of a job folder: those that stand on each other, oldest first, and archives beside them.
///
/// Rollbacks stand before the full from which they lead back, and increments after the full from which they go on:
/// `(rollback* full increment*)*`. A forever-forward chain is `full increment*`. A forward one with periodic fulls is
/// `(full increment*)*`, and a reverse-incremental one `rollback* full`. Archives are fulls that left the chain at its old end.
/// Each `Chain` is valid: its constructors refuse any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    block_size: BlockSize,
    archives: Vec<RestorePoint>,
    points: Vec<RestorePoint>,
}

/// Why restore points make no chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// An increment whose predecessor is missing, or leads nowhere.
    #[error("restore point {0} is an increment without a full before it")]
    NoFullBefore(Sequence),
    /// A rollback whose successor is missing, or leads nowhere.
    #[error("restore point {0} is a rollback without a full after it")]
    NoFullAfter(Sequence),
    /// An archive that does not stand alone.
    #[error("archive {0} is no full")]
    ArchiveNotFull(Sequence),
    /// Numbers must ascend.
    #[error("restore point {later} follows {earlier}")]
    Order {
        /// The point before.
        earlier: Sequence,
        /// The point after it, whose number is not greater.
        later: Sequence,
    },
    /// A point without machines restores nothing.
    #[error("restore point {0} has no machine, or has one twice")]
    Machines(Sequence),
}

impl Chain {
    /// The chain of these points, oldest first, without archives.
    ///
    /// # Errors
    /// [`ChainError`] names the point that does not fit.
    pub fn new(block_size: BlockSize, points: Vec<RestorePoint>) -> Result<Self, ChainError> {
        Self::with_archives(block_size, Vec::new(), points)
    }

    /// The chain of these archives and points, each oldest first; every archive is older than every point.
    ///
    /// # Errors
    /// [`ChainError`] names the point that does not fit.
    pub fn with_archives(
        block_size: BlockSize,
        archives: Vec<RestorePoint>,
        points: Vec<RestorePoint>,
    ) -> Result<Self, ChainError> {
        if let Some(archive) = archives.iter().find(|archive| archive.kind != PointKind::Full) {
            return Err(ChainError::ArchiveNotFull(archive.sequence));
        }
        for (position, point) in points.iter().enumerate() {
            let before = position.checked_sub(1).and_then(|before| points.get(before)).map(|before| before.kind);
            let after = points.get(position + 1).map(|after| after.kind);
            match point.kind {
                PointKind::Increment if matches!(before, None | Some(PointKind::Rollback)) => {
                    return Err(ChainError::NoFullBefore(point.sequence));
                }
                PointKind::Rollback if matches!(after, None | Some(PointKind::Increment)) => {
                    return Err(ChainError::NoFullAfter(point.sequence));
                }
                _ => {}
            }
        }
        let mut last: Option<Sequence> = None;
        for point in archives.iter().chain(&points) {
            if point.machines.is_empty() || !point.machines.is_sorted_by(|left, right| left.name < right.name) {
                return Err(ChainError::Machines(point.sequence));
            }
            if let Some(earlier) = last.replace(point.sequence).filter(|earlier| *earlier >= point.sequence) {
                return Err(ChainError::Order { earlier, later: point.sequence });
            }
        }
        Ok(Self { block_size, archives, points })
    }

    /// The size of the blocks of all its points.
    #[must_use]
    pub const fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// The points of the chain itself, oldest first.
    #[must_use]
    pub fn points(&self) -> &[RestorePoint] {
        &self.points
    }

    /// The fulls beside the chain, oldest first.
    #[must_use]
    pub fn archives(&self) -> &[RestorePoint] {
        &self.archives
    }

    /// Archives and points, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &RestorePoint> + Clone {
        self.archives.iter().chain(&self.points)
    }

    /// The newest point. `None` if the chain has none.
    #[must_use]
    pub fn latest(&self) -> Option<&RestorePoint> {
        self.points.last()
    }

    /// The point or archive of that number.
    #[must_use]
    pub fn get(&self, sequence: Sequence) -> Option<&RestorePoint> {
        self.all().find(|point| point.sequence == sequence)
    }

    /// The point whose state a point of this number and kind changes: the one before an increment, the one after a rollback.
    /// A full changes none. The chain need not have the point itself.
    #[must_use]
    pub fn base_of(&self, sequence: Sequence, kind: PointKind) -> Option<Sequence> {
        let mut numbers = self.points.iter().map(|point| point.sequence);
        match kind {
            PointKind::Full => None,
            PointKind::Increment => numbers.rfind(|number| *number < sequence),
            PointKind::Rollback => numbers.find(|number| *number > sequence),
        }
    }

    /// The points that make up the state at `sequence`, in the order of their overlays: a full, then the increments up to that
    /// point, or the rollbacks down to it. `None` if the chain has no such point.
    #[must_use]
    pub fn steps_to(&self, sequence: Sequence) -> Option<Vec<&RestorePoint>> {
        if let Some(archive) = self.archives.iter().find(|archive| archive.sequence == sequence) {
            return Some(vec![archive]);
        }
        let position = self.points.iter().position(|point| point.sequence == sequence)?;
        let is_full = |point: &RestorePoint| point.kind == PointKind::Full;
        if self.points[position].kind == PointKind::Rollback {
            let full = position + self.points[position..].iter().position(is_full)?;
            return Some(self.points[position..=full].iter().rev().collect());
        }
        let full = self.points[..=position].iter().rposition(is_full)?;
        Some(self.points[full..=position].iter().collect())
    }

    /// The chain with one more point.
    ///
    /// # Errors
    /// As for [`Chain::new`].
    pub fn appended(&self, point: RestorePoint) -> Result<Self, ChainError> {
        let points = self.points.iter().cloned().chain(std::iter::once(point)).collect();
        Self::with_archives(self.block_size, self.archives.clone(), points)
    }

    /// The chain whose newest point has these flags too.
    ///
    /// # Errors
    /// As for [`Chain::new`].
    pub fn flagged_latest(&self, flags: Flags) -> Result<Self, ChainError> {
        let mut points = self.points.clone();
        if let Some(point) = points.last_mut() {
            point.flags = point.flags.union(flags);
        }
        Self::with_archives(self.block_size, self.archives.clone(), points)
    }

    /// The indexes of all its points, each once.
    pub fn indexes(&self) -> impl Iterator<Item = &IndexReference> {
        let mut seen = std::collections::BTreeSet::new();
        self.all().flat_map(RestorePoint::indexes).filter(move |index| seen.insert(index.id))
    }
}
