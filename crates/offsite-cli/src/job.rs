//! From a job of the config to a copy job of the library.

use std::collections::BTreeMap;
use std::sync::Arc;

use offsite::{CopyJob, JobName, OpenRepository, Progress, Source, Transforms};
use offsite_backends::Medium;

use crate::config::{Config, JobConfig};
use crate::place;
use crate::status::Failure;

/// The job's sources, in repositories that are open.
pub(crate) fn sources(job: &JobConfig, open: &BTreeMap<&str, OpenRepository>) -> Result<Vec<Source>, Failure> {
    let source = |source: &crate::config::SourceConfig| {
        let repository = open.get(source.repository.as_str());
        let repository = repository.ok_or_else(|| format!("repository {} is not open", source.repository))?;
        source.source(repository).map_err(Failure::WrongUse)
    };
    job.sources().iter().map(source).collect()
}

/// A job that is about to be opened.
pub(crate) struct Opening<'a> {
    pub(crate) name: &'a str,
    pub(crate) job: &'a JobConfig,
    pub(crate) config: &'a Config,
    pub(crate) apply_changes_at_once: bool,
    pub(crate) progress: Arc<dyn Progress>,
}

impl Opening<'_> {
    /// The job, and what of retention cannot be counted now. `medium` is the drive that `target` is on, if it is on one.
    pub(crate) async fn copy(
        self,
        sources: &[Source],
        target: &OpenRepository,
        medium: Option<&Medium>,
    ) -> Result<(CopyJob, Vec<String>), Failure> {
        let name = JobName::new(self.name).map_err(|error| Failure::WrongUse(error.to_string()))?;
        let (mut elsewhere, mut untold) = (Vec::new(), Vec::new());
        if let (Some(medium), Some(set)) = (medium, place::media(&self.job.target, self.config)?) {
            (elsewhere, untold) = set.elsewhere(medium.id, &name).await?;
        }
        let transforms = self.job.transforms().map_err(Failure::WrongUse)?;
        let transforms = Transforms { apply_changes_at_once: self.apply_changes_at_once, elsewhere, ..transforms };
        let copy = CopyJob::of(name, sources.to_vec(), target)?
            .select(self.job.selection().map_err(Failure::WrongUse)?)
            .transforms(transforms)
            .progress(self.progress);
        Ok((copy, untold))
    }
}
