//! The report of a transform phase.

use std::time::Duration;

use crate::report::{KnownDamage, Note, Operation, Tally, VerifyReport};

/// The report of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct OperationReport {
    /// What the operation did.
    pub operation: Operation,
    /// The planned and the counted cost.
    pub tally: Tally,
}

/// The report of a transform phase: what retention, transforms and release did to a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TransformReport {
    /// The operations on the chain, in the order in which they were done.
    pub operations: Vec<OperationReport>,
    /// The space that came back.
    pub released: Released,
    /// How long the release took.
    pub release_duration: Duration,
    /// The report of the verification at the end of the phase. `None` if none was asked for.
    pub verification: Option<VerifyReport>,
    /// `true` if the gate ended the phase. The next run does what is left.
    pub is_stopped: bool,
    /// The damage that is known in the chain at the end of the phase.
    pub damage: KnownDamage,
    /// Why less was deleted than the policy asks for, and which damage could not be repaired.
    pub notes: Vec<Note>,
}

impl TransformReport {
    /// Returns `true` if nothing needs attention.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.notes.is_empty() && self.damage.is_empty()
    }
}

/// What a release gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Released {
    /// The bytes of storage that came back, according to the indexes.
    pub bytes: u64,
    /// The number of holes that were punched.
    pub ranges: u64,
    /// The number of objects that were deleted.
    pub objects: u64,
    /// The bytes that are held until readers end.
    pub held_bytes: u64,
    /// The bytes that did not come back, as others share their files. They come back with the files, when nobody shares them any
    /// more.
    pub linked_bytes: u64,
}

impl Released {
    /// Adds what a later release gave back. What readers hold after it is all that they hold.
    pub(crate) fn add(&mut self, later: Self) {
        let Self { bytes, ranges, objects, held_bytes, linked_bytes } = later;
        self.bytes += bytes;
        self.ranges += ranges;
        self.objects += objects;
        self.held_bytes = held_bytes;
        self.linked_bytes += linked_bytes;
    }
}
