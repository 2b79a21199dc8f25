//! Stores of what runners remember.

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

/// Keeps what runners remember of their jobs.
///
/// [`FolderStore`] keeps it in a folder. [`MemoryStore`] keeps it as long as the process lives.
#[async_trait]
pub trait Store: Send + Sync {
    /// The memory of the job that was stored last.
    ///
    /// If nothing was stored, it is the default.
    ///
    /// # Errors
    /// [`StoreError`] if the memory exists and cannot be read. The runner reports it, and continues from what the chain says.
    async fn load(&self, job: &JobName) -> Result<Memory, StoreError>;

    /// Stores the memory of the job in place of the one before.
    ///
    /// When the call returns, the memory must survive a power cut.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be stored. The runner reports it, and continues.
    async fn store(&self, job: &JobName, memory: &Memory) -> Result<(), StoreError>;

    /// Called when an interval is done, with its post-job activities.
    ///
    /// The default does nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the report cannot be stored. The runner reports it, and continues.
    async fn report(&self, report: &RunReport) -> Result<(), StoreError> {
        let _ = report;
        Ok(())
    }

    /// Called with each change of a job's status, and about once a second during progress.
    ///
    /// The default does nothing.
    ///
    /// A store can show the status to other processes.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be shown. The runner reports it, and continues.
    async fn show(&self, status: &JobStatus) -> Result<(), StoreError> {
        let _ = status;
        Ok(())
    }

    /// The status of a job that was shown last.
    ///
    /// The next runner shows its last result and last failure from its start on.
    async fn shown(&self, job: &JobName) -> Option<JobStatus> {
        let _ = job;
        None
    }

    /// Renames a job: what is known of `old` is known of `new` afterwards, unless something is known of `new` already.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be renamed.
    async fn rename(&self, old: &JobName, new: &JobName) -> Result<(), StoreError> {
        let _ = (old, new);
        Ok(())
    }

    /// Forgets a job that is no longer scheduled.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be forgotten.
    async fn forget(&self, job: &JobName) -> Result<(), StoreError> {
        let _ = job;
        Ok(())
    }
}

/// The error of a [`Store`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another daemon has the folder.
    #[error("another daemon{} has the state folder {}", .holder.as_ref().map(|holder| format!(", {holder},")).unwrap_or_default(), .folder.display())]
    InUse {
        /// The path of the folder.
        folder: PathBuf,
        /// The daemon that has it. `None` if it is unknown.
        holder: Option<Holder>,
    },
    /// The folder cannot be created, or its lock cannot be taken.
    #[error("the state folder {} cannot be used: {what}", .folder.display())]
    Unusable {
        /// The path of the folder.
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
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it, in words.
        why: String,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", .path.display())]
    Unwritable {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The error of another kind of store.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// Keeps what runners remember as long as the process lives.
///
/// Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<JobName, Memory>>>);

impl MemoryStore {
    /// A store that knows no job.
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
