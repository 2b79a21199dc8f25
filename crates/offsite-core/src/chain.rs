//! Restore points and the chain that they form.

use crate::{BlockSize, MachineName, ObjectId, Sequence, Timestamp};

/// Whether a restore point stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointKind {
    /// It stands alone.
    Full,
    /// It needs its predecessor.
    Increment,
}

/// How much of a machine a restore point has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// All of it.
    Complete,
    /// The copy was cut off; what arrived is spare, and the machine cannot be restored from this point.
    Incomplete,
    /// Nothing new: the state is an earlier point's, kept because it is the machine's last.
    Carried,
}

/// One machine in a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    /// Which.
    pub name: MachineName,
    /// How much of it.
    pub status: Status,
    /// When the machine was in this state.
    pub captured: Timestamp,
}

/// Which index describes a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexReference {
    /// The index object.
    pub id: ObjectId,
    /// Its length in bytes.
    pub length: u64,
    /// The checksum of its directory, so that no other index of that name is taken for it.
    pub directory_checksum: u64,
}

/// The state of one or more machines at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePoint {
    /// Its number.
    pub sequence: Sequence,
    /// The time that it stands for.
    pub time: Timestamp,
    /// Whether it stands alone.
    pub kind: PointKind,
    /// The machines in it, by name.
    pub machines: Vec<MachineState>,
    /// The index that says where its blocks lie: a full's all, an increment's changed ones.
    pub index: IndexReference,
    /// Frames that the index refers to.
    pub stored_blocks: u64,
    /// Their length in bytes, headers included.
    pub stored_bytes: u64,
    /// The sequence number of the point that this one is a copy of, and the repository and folder that hold it.
    pub origin: Option<Origin>,
}

/// Where a copied restore point came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The job folder it was read from.
    pub folder: [u8; 16],
    /// Its number there.
    pub sequence: Sequence,
}

impl RestorePoint {
    /// The state of a machine, if it is in this point.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> Option<&MachineState> {
        self.machines.iter().find(|machine| machine.name == *name)
    }
}

/// A full and its ordered increments, or nothing yet. A chain that exists is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    block_size: BlockSize,
    points: Vec<RestorePoint>,
}

/// Why restore points are no chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The first point needs a predecessor that is not there.
    #[error("restore point {0} is the chain's first and no full")]
    NoFull(Sequence),
    /// A full where an increment must be.
    #[error("restore point {0} is a full in the middle of a forever-incremental chain")]
    SecondFull(Sequence),
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
    /// The chain of these points, oldest first.
    ///
    /// # Errors
    /// [`ChainError`] names the point that does not fit.
    pub fn new(block_size: BlockSize, points: Vec<RestorePoint>) -> Result<Self, ChainError> {
        for (position, point) in points.iter().enumerate() {
            match (position, point.kind) {
                (0, PointKind::Increment) => return Err(ChainError::NoFull(point.sequence)),
                (1.., PointKind::Full) => return Err(ChainError::SecondFull(point.sequence)),
                _ => {}
            }
            if point.machines.is_empty() || !point.machines.is_sorted_by(|left, right| left.name < right.name) {
                return Err(ChainError::Machines(point.sequence));
            }
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].sequence >= pair[1].sequence) {
            return Err(ChainError::Order { earlier: pair[0].sequence, later: pair[1].sequence });
        }
        Ok(Self { block_size, points })
    }

    /// The size of the blocks of all its points.
    #[must_use]
    pub const fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// The points, oldest first.
    #[must_use]
    pub fn points(&self) -> &[RestorePoint] {
        &self.points
    }

    /// The newest point.
    #[must_use]
    pub fn latest(&self) -> Option<&RestorePoint> {
        self.points.last()
    }

    /// The point of that number.
    #[must_use]
    pub fn get(&self, sequence: Sequence) -> Option<&RestorePoint> {
        self.points.iter().find(|point| point.sequence == sequence)
    }

    /// The points whose steps lead to the state at `sequence`: the full, then increments up to that point.
    #[must_use]
    pub fn steps_to(&self, sequence: Sequence) -> Option<&[RestorePoint]> {
        let position = self.points.iter().position(|point| point.sequence == sequence)?;
        Some(&self.points[..=position])
    }

    /// The chain with one more point.
    ///
    /// # Errors
    /// As for [`Chain::new`].
    pub fn appended(&self, point: RestorePoint) -> Result<Self, ChainError> {
        let mut points = self.points.clone();
        points.push(point);
        Self::new(self.block_size, points)
    }

    /// The chain whose oldest `absorbed + 1` points are replaced by `full`.
    ///
    /// # Errors
    /// As for [`Chain::new`].
    pub fn merged(&self, absorbed: usize, full: RestorePoint) -> Result<Self, ChainError> {
        let rest = self.points.iter().skip(absorbed + 1).cloned();
        Self::new(self.block_size, std::iter::once(full).chain(rest).collect())
    }
}
