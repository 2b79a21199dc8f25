//! The request for a look or a sync.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite_core::schedule::PointRange;
use offsite_core::selection::Take;
use offsite_core::{MachineName, Sequence, Timestamp};

use super::moment::Moment;
use crate::{Gate, OpenGate};

/// What a look or a sync is to take.
///
/// A runner makes such requests. [`SyncRequest::at`] is for a run at once.
#[derive(Clone)]
#[non_exhaustive]
pub struct SyncRequest {
    /// The present.
    pub now: Timestamp,
    /// The range of states that count, by the time at which a machine was in them.
    pub range: PointRange,
    /// Which state to take if several states of a machine count.
    pub take: Take,
    /// Restricts the request to these of the selected machines. `None` means all.
    pub machines: Option<BTreeSet<MachineName>>,
    /// The restore point that this interval has already made. What is copied joins it, if it is still the newest and has none of
    /// the machines complete. Otherwise the sync makes a new point.
    pub joins: Option<Sequence>,
    /// The gate that block data passes.
    pub gate: Arc<dyn Gate>,
    /// The moment of the sources' past to copy. `None` means the present.
    pub(crate) moment: Option<Moment>,
}

impl SyncRequest {
    /// A request for the newest state of each machine that is not after `now`.
    ///
    /// The sync makes a restore point of its own, and does not wait.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            range: PointRange { not_before: Timestamp::MIN, not_after: now },
            take: Take::Newest,
            machines: None,
            joins: None,
            gate: Arc::new(OpenGate),
            moment: None,
        }
    }

    /// Sets the range of states that count, by the time at which a machine was in them.
    #[must_use]
    pub fn range(mut self, range: PointRange) -> Self {
        self.range = range;
        self
    }

    /// Sets which state to take if several states of a machine count.
    #[must_use]
    pub fn take(mut self, take: Take) -> Self {
        self.take = take;
        self
    }

    /// Restricts the request to these of the selected machines.
    ///
    /// `None` means all.
    #[must_use]
    pub fn machines(mut self, machines: impl Into<Option<BTreeSet<MachineName>>>) -> Self {
        self.machines = machines.into();
        self
    }

    /// Sets the restore point to join, if it is still the newest and has none of the machines complete.
    #[must_use]
    pub fn joins(mut self, sequence: impl Into<Option<Sequence>>) -> Self {
        self.joins = sequence.into();
        self
    }

    /// Sets the gate that block data passes.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }
}

impl std::fmt::Debug for SyncRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SyncRequest")
            .field("now", &self.now)
            .field("range", &self.range)
            .field("take", &self.take)
            .field("machines", &self.machines)
            .field("joins", &self.joins)
            .finish_non_exhaustive()
    }
}
