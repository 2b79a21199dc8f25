//! Where runners keep what outlives them.

mod files;
mod folder;
mod lock;
mod record;
mod status_record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::memory::Memory;
use super::report::RunReport;
use super::status::JobStatus;
use crate::JobName;

pub use files::StateFolder;
pub use folder::{DaemonStatus, FolderStore};
pub use lock::Holder;

/// Keeps what runners remember of their jobs. [`FolderStore`] keeps it in a folder, [`MemoryStore`] as long as the process lives.
#[async_trait]
pub trait Store: Send + Sync {
    /// What was stored of the job last; by default, of a job of which nothing is known.
    ///
    /// # Errors
    /// What is there and cannot be read. The runner tells of it, and goes on from what the chain says.
    async fn load(&self, job: &JobName) -> Result<Memory, StoreError>;

    /// Keeps the memory of the job in place of the one before. When it returns, it must outlive a power cut.
    ///
    /// # Errors
    /// Why it cannot be kept. The runner tells of it, and goes on.
    async fn store(&self, job: &JobName, memory: &Memory) -> Result<(), StoreError>;

    /// Takes note of an interval that is done, post-job activities included.
    ///
    /// # Errors
    /// Why it cannot be kept. The runner tells of it, and goes on.
    async fn report(&self, report: &RunReport) -> Result<(), StoreError> {
        let _ = report;
        Ok(())
    }

    /// Shows how it is with a job to those who ask elsewhere. It is called with each change, and about once a second with progress.
    ///
    /// # Errors
    /// Why it cannot be shown. The runner tells of it, and goes on.
    async fn show(&self, status: &JobStatus) -> Result<(), StoreError> {
        let _ = status;
        Ok(())
    }

    /// What was shown of a job last, so that the next runner shows the last result and the last failure from its start on.
    async fn shown(&self, job: &JobName) -> Option<JobStatus> {
        let _ = job;
        None
    }

    /// What is known of the job `old` is known of the job `new` from now on, unless something is known of that already.
    ///
    /// # Errors
    /// Why it cannot be renamed.
    async fn rename(&self, old: &JobName, new: &JobName) -> Result<(), StoreError> {
        let _ = (old, new);
        Ok(())
    }

    /// Forgets a job, which is scheduled no more.
    ///
    /// # Errors
    /// Why it cannot be forgotten.
    async fn forget(&self, job: &JobName) -> Result<(), StoreError> {
        let _ = job;
        Ok(())
    }
}

/// Why something cannot be kept, or is not there as it was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another daemon has the folder.
    #[error("another daemon{} has the state folder {}", .holder.as_ref().map(|holder| format!(", {holder},")).unwrap_or_default(), .folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who has it, as far as is known.
        holder: Option<Holder>,
    },
    /// The folder cannot be made, or its lock cannot be taken.
    #[error("the state folder {} cannot be used: {what}", .folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read, or is not what was written.
    #[error("{} cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// What a store of another kind says.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// Keeps what runners remember as long as the process lives. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<JobName, Memory>>>);

impl MemoryStore {
    /// One that knows of no job.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobName, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, job: &JobName) -> Result<Memory, StoreError> {
        Ok(self.jobs().get(job).cloned().unwrap_or_default())
    }

    async fn store(&self, job: &JobName, memory: &Memory) -> Result<(), StoreError> {
        self.jobs().insert(job.clone(), memory.clone());
        Ok(())
    }

    async fn rename(&self, old: &JobName, new: &JobName) -> Result<(), StoreError> {
        let mut jobs = self.jobs();
        if !jobs.contains_key(new)
            && let Some(memory) = jobs.remove(old)
        {
            jobs.insert(new.clone(), memory);
        }
        Ok(())
    }

    async fn forget(&self, job: &JobName) -> Result<(), StoreError> {
        self.jobs().remove(job);
        Ok(())
    }
}
