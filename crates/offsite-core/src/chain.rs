//! Restore points, and the chain that they form.

use crate::retention::Flags;
use crate::{BlockSize, Digest, FolderId, MachineName, ObjectId, Sequence, Stored, Timestamp};

/// What a restore point needs besides its own indexes.
// Exhaustive: what a chain can do with a point follows from these three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum PointKind {
    /// Nothing. It stands alone.
    Full,
    /// Its predecessor. The increment is the step forward from it.
    Increment,
    /// Its successor. The rollback is the step back from it (in reverse-incremental chains).
    Rollback,
}

/// How much of a machine a restore point has.
// Exhaustive: every decision about a machine asks which of the three it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Status {
    /// The whole machine, as it was at this restore point.
    Complete,
    /// A part, as the copy was cut off. The blocks that arrived are spare blocks. No restore from this point can have the
    /// machine.
    Incomplete,
    /// The last state of the machine, taken over from an earlier point. This point has nothing newer of it.
    Carried,
}

/// How much of an incomplete machine has been copied, in bytes of stored blocks.
///
/// Both numbers are zero for a machine that is not incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Transferred {
    /// Bytes that have arrived.
    pub done_bytes: u64,
    /// Bytes that have not arrived.
    pub left_bytes: u64,
}

impl Transferred {
    /// `done_bytes` have arrived, and `left_bytes` have not.
    #[must_use]
    pub const fn new(done_bytes: u64, left_bytes: u64) -> Self {
        Self { done_bytes, left_bytes }
    }
}

/// The state of one machine in a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MachineState {
    /// The name of the machine.
    pub name: MachineName,
    /// How much of the machine the point has.
    pub status: Status,
    /// The time at which the machine was in this state.
    pub captured: Timestamp,
    /// The restore point of which this state is a copy. `None` if it is no copy, or if its source is unknown.
    pub origin: Option<Origin>,
    /// How much has been copied, if the machine is incomplete.
    pub transferred: Transferred,
}

impl MachineState {
    /// The state of a machine that is no copy of another restore point.
    #[must_use]
    pub fn new(name: MachineName, status: Status, captured: Timestamp) -> Self {
        Self { name, status, captured, origin: None, transferred: Transferred::default() }
    }

    /// Sets the status.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// Sets the restore point of which this state is a copy.
    ///
    /// `None` means no copy.
    #[must_use]
    pub fn with_origin(self, origin: impl Into<Option<Origin>>) -> Self {
        Self { origin: origin.into(), ..self }
    }

    /// Sets how much has been copied.
    #[must_use]
    pub fn with_transferred(self, transferred: Transferred) -> Self {
        Self { transferred, ..self }
    }

    /// Returns `true` if a restore can use this state.
    ///
    /// This is the case for complete and carried machines.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.status != Status::Incomplete
    }
}

/// A reference to an index object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IndexReference {
    /// The id of the index object.
    pub id: ObjectId,
    /// The length of the object in bytes.
    pub length: u64,
    /// The digest of the index's directory, which has the digests of all its pages. Nothing else passes for this index.
    pub digest: Digest,
}

impl IndexReference {
    /// A reference to the index `id`, which has `length` bytes and this digest of its directory.
    #[must_use]
    pub const fn new(id: ObjectId, length: u64, digest: Digest) -> Self {
        Self { id, length, digest }
    }
}

/// A restore point: the state of one or more machines at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RestorePoint {
    /// The number of the point in its job folder.
    pub sequence: Sequence,
    /// The time that the point stands for.
    pub time: Timestamp,
    /// What the point needs besides its own indexes.
    pub kind: PointKind,
    /// The machines in the point, sorted by name.
    pub machines: Vec<MachineState>,
    /// The index that says where the blocks lie. For a full it lists all blocks, for any other point the changed ones.
    pub index: IndexReference,
    /// The indexes below `index`, lowest first. A later one overrides an earlier one.
    pub below: Vec<IndexReference>,
    /// How much the point stores. It is for people to read.
    pub stored: Stored,
    /// The tiers of long-term retention that have flagged the point.
    pub flags: Flags,
    /// `true` for an archive that was made later, from an older point of the source. Its number tells when it was made, and its
    /// time how old it is.
    pub is_back_filled: bool,
}

/// The restore point from which a machine was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Origin {
    /// The job folder from which the machine was read.
    pub folder: FolderId,
    /// The number of the restore point in that folder.
    pub sequence: Sequence,
}

impl Origin {
    /// The restore point number `sequence` in the job folder `folder`.
    #[must_use]
    pub const fn new(folder: FolderId, sequence: Sequence) -> Self {
        Self { folder, sequence }
    }
}

impl RestorePoint {
    /// A restore point with one index, and without stored sizes and flags.
    ///
    /// `machines` must be sorted by name.
    #[must_use]
    pub fn new(
        sequence: Sequence,
        time: Timestamp,
        kind: PointKind,
        machines: Vec<MachineState>,
        index: IndexReference,
    ) -> Self {
        let (below, stored, flags) = (Vec::new(), Stored::default(), Flags::NONE);
        Self { sequence, time, kind, machines, index, below, stored, flags, is_back_filled: false }
    }

    /// Sets the kind.
    #[must_use]
    pub fn with_kind(self, kind: PointKind) -> Self {
        Self { kind, ..self }
    }

    /// Replaces the machines.
    ///
    /// They must be sorted by name.
    #[must_use]
    pub fn with_machines(self, machines: Vec<MachineState>) -> Self {
        Self { machines, ..self }
    }

    /// Sets the indexes below the point's index, lowest first.
    #[must_use]
    pub fn with_below(self, below: Vec<IndexReference>) -> Self {
        Self { below, ..self }
    }

    /// Sets how much the point stores.
    #[must_use]
    pub fn with_stored(self, stored: Stored) -> Self {
        Self { stored, ..self }
    }

    /// Replaces the flags.
    #[must_use]
    pub fn with_flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    /// Sets whether the point is an archive that was made later.
    #[must_use]
    pub fn with_back_filled(self, is_back_filled: bool) -> Self {
        Self { is_back_filled, ..self }
    }

    /// The state of the machine `name`.
    ///
    /// `None` if the point does not have it.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> Option<&MachineState> {
        self.machines.iter().find(|machine| machine.name == *name)
    }

    /// The indexes of the point, lowest first.
    ///
    /// The last is [`index`](Self::index).
    pub fn indexes(&self) -> impl Iterator<Item = &IndexReference> + Clone {
        self.below.iter().chain(std::iter::once(&self.index))
    }
}

/// The restore points of a job folder: a chain, oldest first, and the archives beside it.
///
/// A chain has the shape `(rollback* full increment*)*`:
///
/// - Rollbacks stand before the full from which they lead back. Increments stand after the full from which they go on.
/// - A forever-forward chain is `full increment*`.
/// - A forward chain with periodic fulls is `(full increment*)*`.
/// - A reverse-incremental chain is `rollback* full`.
///
/// Archives are fulls that have left the old end of the chain. Back-filled archives were made later, from older points of the source.
/// Their numbers are those of their making. So they are ordered by their times, and none of them is ever the newest point.
///
/// A `Chain` is always valid, as its constructors refuse any other shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    block_size: BlockSize,
    archives: Vec<RestorePoint>,
    points: Vec<RestorePoint>,
}

/// The error for restore points that form no [`Chain`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// This increment has no predecessor that leads back to a full.
    #[error("restore point {0} is an increment without a full before it")]
    NoFullBefore(Sequence),
    /// This rollback has no successor that leads on to a full.
    #[error("restore point {0} is a rollback without a full after it")]
    NoFullAfter(Sequence),
    /// This archive is not a full.
    #[error("archive {0} is no full")]
    ArchiveNotFull(Sequence),
    /// This point of the chain claims to be an archive that was made later.
    #[error("restore point {0} is back-filled and is no archive")]
    BackFilledInChain(Sequence),
    /// Two points have this number.
    #[error("two restore points have the number {0}")]
    Twice(Sequence),
    /// The numbers do not ascend.
    #[error("restore point {later} follows {earlier}")]
    Order {
        /// The number of the earlier point.
        earlier: Sequence,
        /// The number of the point after it, which is not greater.
        later: Sequence,
    },
    /// This point has no machine, so there is nothing to restore from it.
    #[error("restore point {0} has no machine, or has one twice")]
    Machines(Sequence),
}

impl Chain {
    /// Builds a chain from these points, oldest first, without archives.
    ///
    /// # Errors
    /// [`ChainError`] with the number of the point that does not fit.
    pub fn new(block_size: BlockSize, points: Vec<RestorePoint>) -> Result<Self, ChainError> {
        Self::with_archives(block_size, Vec::new(), points)
    }

    /// Builds a chain from archives and points, each oldest first.
    ///
    /// Every archive must be older than every point, by its number. Back-filled archives may have any number and any place in the
    /// list: the chain orders them by time.
    ///
    /// # Errors
    /// [`ChainError`] with the number of the point that does not fit.
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
        if let Some(point) = points.iter().find(|point| point.is_back_filled) {
            return Err(ChainError::BackFilledInChain(point.sequence));
        }
        let mut last: Option<Sequence> = None;
        for point in archives.iter().chain(&points) {
            if point.machines.is_empty() || !point.machines.is_sorted_by(|left, right| left.name < right.name) {
                return Err(ChainError::Machines(point.sequence));
            }
        }
        let (mut back_filled, mut archives): (Vec<_>, Vec<_>) =
            archives.into_iter().partition(|archive| archive.is_back_filled);
        for point in archives.iter().chain(&points) {
            if let Some(earlier) = last.replace(point.sequence).filter(|earlier| *earlier >= point.sequence) {
                return Err(ChainError::Order { earlier, later: point.sequence });
            }
        }
        let mut numbers: std::collections::BTreeSet<Sequence> =
            archives.iter().chain(&points).map(|point| point.sequence).collect();
        if let Some(archive) = back_filled.iter().find(|archive| !numbers.insert(archive.sequence)) {
            return Err(ChainError::Twice(archive.sequence));
        }
        back_filled.sort_by_key(|archive| (archive.time, archive.sequence));
        for archive in back_filled {
            let at = archives.iter().position(|other| other.time > archive.time).unwrap_or(archives.len());
            archives.insert(at, archive);
        }
        Ok(Self { block_size, archives, points })
    }

    /// The block size of all points.
    #[must_use]
    pub const fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// The points of the chain itself, oldest first, without archives.
    #[must_use]
    pub fn points(&self) -> &[RestorePoint] {
        &self.points
    }

    /// The archives beside the chain, oldest first.
    #[must_use]
    pub fn archives(&self) -> &[RestorePoint] {
        &self.archives
    }

    /// Archives and the points of the chain, oldest first.
    ///
    /// Archives come before points, but for back-filled archives that are newer than a point of the chain: these have the places
    /// that their times give them. The last is always a point of the chain, if there is one.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &RestorePoint> + ExactSizeIterator + Clone {
        let mut all: Vec<&RestorePoint> = Vec::with_capacity(self.archives.len() + self.points.len());
        let of_chain = |archive: &&RestorePoint| !archive.is_back_filled;
        all.extend(self.archives.iter().filter(of_chain).chain(&self.points));
        for archive in self.archives.iter().filter(|archive| archive.is_back_filled) {
            let newest = all.len().saturating_sub(usize::from(!self.points.is_empty()));
            let at = all.iter().position(|other| other.time > archive.time).unwrap_or(newest);
            all.insert(at.min(newest), archive);
        }
        all.into_iter()
    }

    /// Returns `true` if the point with this number stands beside the chain.
    #[must_use]
    pub fn is_archive(&self, sequence: Sequence) -> bool {
        self.archives.iter().any(|archive| archive.sequence == sequence)
    }

    /// The newest point of the chain.
    ///
    /// `None` if the chain has no point.
    #[must_use]
    pub fn latest(&self) -> Option<&RestorePoint> {
        self.points.last()
    }

    /// The point or archive with this number.
    ///
    /// `None` if there is none.
    #[must_use]
    pub fn get(&self, sequence: Sequence) -> Option<&RestorePoint> {
        self.archives.iter().chain(&self.points).find(|point| point.sequence == sequence)
    }

    /// The point whose state a point of this number and kind changes.
    ///
    /// For an increment it is the point before it, for a rollback the point after it. For a full it is `None`. The chain need not
    /// contain the point itself.
    #[must_use]
    pub fn base_of(&self, sequence: Sequence, kind: PointKind) -> Option<Sequence> {
        let mut numbers = self.points.iter().map(|point| point.sequence);
        match kind {
            PointKind::Full => None,
            PointKind::Increment => numbers.rfind(|number| *number < sequence),
            PointKind::Rollback => numbers.find(|number| *number > sequence),
        }
    }

    /// The points that make up the state at `sequence`, in the order in which their maps are overlaid.
    ///
    /// The first is a full. The increments up to the point follow, or the rollbacks down to it. `None` if the chain has no such
    /// point.
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

    /// Returns the chain with one more point at its new end.
    ///
    /// # Errors
    /// The same as [`Chain::new`].
    pub fn appended(&self, point: RestorePoint) -> Result<Self, ChainError> {
        let points = self.points.iter().cloned().chain(std::iter::once(point)).collect();
        Self::with_archives(self.block_size, self.archives.clone(), points)
    }

    /// Adds flags to the newest point.
    ///
    /// # Errors
    /// The same as [`Chain::new`].
    pub fn flagged_latest(&self, flags: Flags) -> Result<Self, ChainError> {
        let mut points = self.points.clone();
        if let Some(point) = points.last_mut() {
            point.flags = point.flags.union(flags);
        }
        Self::with_archives(self.block_size, self.archives.clone(), points)
    }

    /// The indexes of all points and archives, each once.
    pub fn indexes(&self) -> impl Iterator<Item = &IndexReference> {
        let mut seen = std::collections::BTreeSet::new();
        self.all().flat_map(RestorePoint::indexes).filter(move |index| seen.insert(index.id))
    }
}
