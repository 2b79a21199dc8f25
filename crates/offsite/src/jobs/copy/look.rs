//! What a sync would do now with each selected machine.

use offsite_core::BlockMap;

use super::request::SyncRequest;
use super::source::Sources;
use super::{CopyJob, Look, latest_state, selection};
use crate::reader::job_folder::JobFolder;
use crate::{Error, Result};

impl CopyJob {
    pub(super) async fn look_once(&self, request: &SyncRequest) -> Result<Look> {
        let sources = Sources::opened(self).await?;
        let result = self.look_at(&sources, request).await;
        sources.unpin(result).await
    }

    pub(super) async fn look_at(&self, sources: &Sources, request: &SyncRequest) -> Result<Look> {
        let notes = sources.notes().chain(self.notes.iter().cloned()).collect();
        let target = match JobFolder::open(&self.target, &self.name).await {
            Err(Error::UnknownJob { .. }) => None,
            folder => Some(folder?),
        };
        let latest = match &target {
            None => BlockMap::empty(),
            Some(folder) => latest_state(folder.head(), &mut folder.indexes()).await?,
        };
        let had = target.as_ref().map(|folder| selection::copied(folder.head(), &latest)).unwrap_or_default();
        if let Some(error) = selection::no_points(sources) {
            return Err(error);
        }
        let known = target.as_ref().map(|folder| (folder.head(), &latest));
        let past = self.past(sources, known, request.now)?.unwrap_or_default();
        let request = if past.is_empty() { request.clone() } else { Self::of_any_age(request) };
        let asked = self.selection_input(&request);
        let choices: Vec<_> = asked.decide(sources, &had, &had).into_iter().map(|(choice, _)| choice).collect();
        let doubts = asked.doubts(sources, target.as_ref().map(JobFolder::head), choices.iter());
        Ok(Look { choices, notes, doubts })
    }
}
