//! What a look or a copy is asked to take.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite_core::schedule::PointRange;
use offsite_core::selection::Take;
use offsite_core::{MachineName, Sequence, Timestamp};

use crate::{Gate, OpenGate};

/// What a sync is to do.
#[derive(Clone)]
#[non_exhaustive]
pub struct SyncRequest {
    /// The present.
    pub now: Timestamp,
    /// Which states count, by the time at which a machine was in them.
    pub range: PointRange,
    /// Which of several states of a machine is taken.
    pub take: Take,
    /// Only these of the selected machines. `None` stands for all.
    pub machines: Option<BTreeSet<MachineName>>,
    /// The restore point that this interval has made already: what is copied joins it, as long as it is the newest and has
    /// none of the machines whole. Else a new one is made.
    pub joins: Option<Sequence>,
    /// What transfers pass through.
    pub gate: Arc<dyn Gate>,
}

impl SyncRequest {
    /// The newest state of each machine, not newer than `now`, into a restore point of its own, without waiting.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            range: PointRange { not_before: Timestamp::MIN, not_after: now },
            take: Take::Newest,
            machines: None,
            joins: None,
            gate: Arc::new(OpenGate),
        }
    }

    /// Which states count, by the time at which a machine was in them.
    #[must_use]
    pub fn range(mut self, range: PointRange) -> Self {
        self.range = range;
        self
    }

    /// Which of several states of a machine is taken.
    #[must_use]
    pub fn take(mut self, take: Take) -> Self {
        self.take = take;
        self
    }

    /// Only these of the selected machines. `None` stands for all.
    #[must_use]
    pub fn machines(mut self, machines: impl Into<Option<BTreeSet<MachineName>>>) -> Self {
        self.machines = machines.into();
        self
    }

    /// The restore point that what is copied joins, as long as it is the newest and has none of the machines whole.
    #[must_use]
    pub fn joins(mut self, sequence: impl Into<Option<Sequence>>) -> Self {
        self.joins = sequence.into();
        self
    }

    /// What transfers pass through.
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
