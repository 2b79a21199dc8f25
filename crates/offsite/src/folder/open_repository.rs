//! Repositories that Offsite has made its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use offsite_core::RepositoryId;
use offsite_repository::{Counts, Key, Prefix, Reclaim, Recording, Repository, RepositoryExt};

use crate::Result;
use crate::error::{Context, Located, Within};
use crate::folder::layout::{BLOCKS, class_of};

/// A repository that is open: a place that stores objects, with Offsite's marker in it.
///
/// Cloning is cheap, and clones share their counts.
#[derive(Debug, Clone)]
pub struct OpenRepository {
    id: RepositoryId,
    backend: Recording<Arc<dyn Repository>>,
}

impl OpenRepository {
    pub(crate) fn new(id: RepositoryId, backend: Arc<dyn Repository>) -> Self {
        Self { id, backend: Recording::classified(backend, class_of) }
    }

    /// The repository's identity, which no other has.
    #[must_use]
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// The place in words.
    #[must_use]
    pub fn location(&self) -> String {
        self.backend.location()
    }

    /// The repository, as errors know it.
    pub(crate) fn located(&self) -> Located {
        Located { location: self.location(), id: Some(self.id) }
    }

    /// How many bytes can still be stored. `None` says that the place does not tell, or has no known end.
    ///
    /// # Errors
    /// [`Error::Repository`](crate::Error::Repository) if the place cannot be asked.
    pub fn free_bytes(&self) -> BoxFuture<'_, Result<Option<u64>>> {
        Box::pin(async move {
            let free = self.backend.free_bytes().await;
            free.while_doing(|| format!("looking how much is free in {}", self.location())).at(|| self.located())
        })
    }

    /// The objects below a folder, and their lengths.
    pub(crate) async fn list(&self, folder: &Prefix) -> Result<BTreeMap<Key, u64>> {
        let objects = self.backend.list_all(folder).await;
        let objects = objects.while_doing(|| format!("listing {}", self.location())).at(|| self.located())?;
        Ok(objects.into_iter().map(|object| (object.key, object.length)).collect())
    }

    pub(crate) fn backend(&self) -> &Recording<Arc<dyn Repository>> {
        &self.backend
    }

    /// Punching holes, if the repository can.
    pub(crate) fn backend_reclaim(&self) -> Option<&dyn Reclaim> {
        self.backend.reclaim()
    }

    /// The granularity of punched holes, if the repository can punch.
    pub(crate) fn backend_granularity(&self) -> Option<u32> {
        let reclaim = self.backend.reclaim()?;
        u32::try_from(reclaim.punch_granularity_bytes()).ok().filter(|bytes| bytes.is_power_of_two())
    }

    /// What was read from and written to backup files so far.
    #[must_use]
    pub fn block_counts(&self) -> Counts {
        self.backend.counts_of(BLOCKS)
    }

    /// All calls so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.backend.counts()
    }
}

/// 16 random bytes.
pub(crate) fn random_bytes() -> Result<[u8; 16]> {
    crate::seams::random_bytes()
}
