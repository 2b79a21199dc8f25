//! Whose a flow is, for rules to go by.

use std::num::NonZeroU32;

use crate::JobName;

/// Says whose a flow is. Rules go by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowName {
    repository: String,
    job: Option<JobName>,
    weight: NonZeroU32,
    restore: bool,
}

impl FlowName {
    /// A flow from or to the repository that rules know as `repository`.
    #[must_use]
    pub fn new(repository: impl Into<String>) -> Self {
        Self { repository: repository.into(), job: None, weight: NonZeroU32::MIN, restore: false }
    }

    /// Sets the job of the flow (default: none).
    #[must_use]
    pub fn in_job(mut self, job: JobName) -> Self {
        self.job = Some(job);
        self
    }

    /// Sets the weight of the flow (default: 1). A flow of weight 2 gets twice what a flow of weight 1 gets.
    #[must_use]
    pub fn weight(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// Says that the flow is that of a restore. Only rules for restores apply to it.
    #[must_use]
    pub fn restoring(mut self) -> Self {
        self.restore = true;
        self
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn job(&self) -> Option<&JobName> {
        self.job.as_ref()
    }

    pub(super) fn is_restore(&self) -> bool {
        self.restore
    }

    pub(super) fn share(&self) -> f64 {
        self.weight.get().into()
    }
}
