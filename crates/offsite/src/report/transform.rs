//! What came of a transform phase.

use std::time::Duration;

use crate::report::{KnownDamage, Note, Operation, Tally, VerifyReport};

/// A transform, with its plan and count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct OperationReport {
    /// What it did.
    pub operation: Operation,
    /// Plan and count.
    pub tally: Tally,
}

/// What retention, transforms and release did to a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TransformReport {
    /// What was done to the chain, in that order.
    pub operations: Vec<OperationReport>,
    /// The space that came back.
    pub released: Released,
    /// How long the release took.
    pub release_duration: Duration,
    /// What the verification at the end of the phase found, if one was asked for.
    pub verification: Option<VerifyReport>,
    /// Whether the gate has ended the phase. The next run does what is left.
    pub is_stopped: bool,
    /// What is known to be damaged in the chain after all that.
    pub damage: KnownDamage,
    /// Why less was pruned than the policy asks for, if so, and what could not be put back.
    pub notes: Vec<Note>,
}

impl TransformReport {
    /// Whether nothing needs a look.
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
    /// Bytes of storage that came back, as the indexes tell.
    pub bytes: u64,
    /// Holes punched.
    pub ranges: u64,
    /// Objects deleted.
    pub objects: u64,
    /// Bytes that wait for readers to end.
    pub held_bytes: u64,
    /// Bytes that were not given back, as others share their files. They come back with the files, once nobody does.
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
