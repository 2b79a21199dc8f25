//! Open repositories.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use offsite_core::RepositoryId;
use offsite_repository::{Counts, Key, Prefix, Reclaim, Recording, Repository, RepositoryExt};

use crate::Result;
use crate::error::{Context, Located, Within};
use crate::folder::layout::{BLOCKS, class_of, may_be_long};
use crate::traffic::metered::Metered;
use crate::{FlowName, Traffic};

/// An open repository: a place that stores objects and has the marker of Offsite.
///
/// Cloning is cheap. All clones share the same counts.
#[derive(Debug, Clone)]
pub struct OpenRepository {
    id: RepositoryId,
    /// The place itself, under no rules about traffic.
    place: Arc<dyn Repository>,
    backend: Recording<Arc<dyn Repository>>,
    rules: Option<(Traffic, FlowName)>,
}

impl OpenRepository {
    pub(crate) fn new(id: RepositoryId, place: Arc<dyn Repository>) -> Self {
        let backend = Recording::classified(Arc::clone(&place), class_of);
        Self { id, place, backend, rules: None }
    }

    /// The repository under the rules of `traffic`.
    ///
    /// What is read from it and written to it through the result, and through clones of the result, is a flow of the name `name` in
    /// each direction. Operations that restore ([`Restore`](crate::Restore), [`Snapshot`](crate::Snapshot)) have flows of their own,
    /// which pass rules that are not for restores.
    ///
    /// - Backup files and indexes are read and written in pieces as large as the grants.
    /// - All other objects are small, and pass at once: a lease does not wait for block data. Later requests make up for them.
    /// - Requests wait before they begin. So the repository's time-outs do not count the wait.
    ///
    /// The counts are those of this repository.
    #[must_use]
    pub fn with_traffic(&self, traffic: &Traffic, name: FlowName) -> Self {
        let metered = Metered::new(Arc::clone(&self.place), traffic, name.clone(), may_be_long);
        let (id, place) = (self.id, Arc::clone(&self.place));
        let backend = self.backend.over(Arc::new(metered) as Arc<dyn Repository>);
        Self { id, place, backend, rules: Some((traffic.clone(), name)) }
    }

    /// The same repository, to restore from.
    pub(crate) fn for_restores(&self) -> Self {
        match &self.rules {
            Some((traffic, name)) => self.with_traffic(traffic, name.clone().restoring()),
            None => self.clone(),
        }
    }

    /// Returns the id of the repository. No other repository has the same id.
    #[must_use]
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// Returns the place in words.
    #[must_use]
    pub fn location(&self) -> String {
        self.backend.location()
    }

    /// Returns the place of the repository for errors.
    pub(crate) fn located(&self) -> Located {
        Located { location: self.location(), id: Some(self.id) }
    }

    /// Returns how many bytes can still be stored. `None` if the place does not tell.
    ///
    /// # Errors
    /// [`Error::Repository`](crate::Error::Repository) if the place cannot be asked.
    pub fn free_bytes(&self) -> BoxFuture<'_, Result<Option<u64>>> {
        Box::pin(async move {
            let free = self.backend.free_bytes().await;
            free.while_doing(|| format!("looking how much is free in {}", self.location())).at(|| self.located())
        })
    }

    /// Returns the objects below a folder with their lengths in bytes.
    pub(crate) async fn list(&self, folder: &Prefix) -> Result<BTreeMap<Key, u64>> {
        let objects = self.backend.list_all(folder).await;
        let objects = objects.while_doing(|| format!("listing {}", self.location())).at(|| self.located())?;
        Ok(objects.into_iter().map(|object| (object.key, object.length)).collect())
    }

    pub(crate) fn backend(&self) -> &Recording<Arc<dyn Repository>> {
        &self.backend
    }

    /// Returns the punching of holes. `None` if the repository cannot punch.
    pub(crate) fn backend_reclaim(&self) -> Option<&dyn Reclaim> {
        self.backend.reclaim()
    }

    /// Returns the granularity of punched holes in bytes. `None` if the repository cannot punch.
    pub(crate) fn backend_granularity(&self) -> Option<u32> {
        let reclaim = self.backend.reclaim()?;
        u32::try_from(reclaim.punch_granularity_bytes()).ok().filter(|bytes| bytes.is_power_of_two())
    }

    /// Returns what was read from and written to backup files so far.
    #[must_use]
    pub fn block_counts(&self) -> Counts {
        self.backend.counts_of(BLOCKS)
    }

    /// Returns the counts of all calls so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.backend.counts()
    }
}

/// Returns 16 random bytes.
pub(crate) fn random_bytes() -> Result<[u8; 16]> {
    crate::seams::random_bytes()
}
