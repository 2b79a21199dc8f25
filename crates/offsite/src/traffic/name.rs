//! Whose a flow is, for rules to go by.

use std::num::NonZeroU32;

use crate::JobName;

/// Whose flow it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowName {
    repository: String,
    job: Option<JobName>,
    weight: NonZeroU32,
    restore: bool,
}

impl FlowName {
    /// A flow from or to the repository of this name, which is the name that rules know it by.
    #[must_use]
    pub fn new(repository: impl Into<String>) -> Self {
        Self { repository: repository.into(), job: None, weight: NonZeroU32::MIN, restore: false }
    }

    /// The job that it is for.
    #[must_use]
    pub fn in_job(mut self, job: JobName) -> Self {
        self.job = Some(job);
        self
    }

    /// Its part beside other flows of a rule: one of weight 2 gets twice what one of weight 1 gets. Without, it is 1.
    #[must_use]
    pub fn weight(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// The flow of a restore, which passes all rules but those for restores.
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
