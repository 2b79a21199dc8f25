//! The files that the daemon keeps in its state folder: those of the library, and the last result of each job, which `offsite run`
//! keeps, too.

use async_trait::async_trait;
use offsite::JobName;
use offsite::runner::{FolderStore, JobStatus, Memory, RunReport, Store, StoreError};

use crate::state::StateDir;

pub(super) struct DaemonStore {
    pub(super) files: FolderStore,
    pub(super) results: StateDir,
}

#[async_trait]
impl Store for DaemonStore {
    async fn load(&self, job: &JobName) -> Result<Memory, StoreError> {
        self.files.load(job).await
    }

    async fn store(&self, job: &JobName, memory: &Memory) -> Result<(), StoreError> {
        self.files.store(job, memory).await
    }

    async fn report(&self, report: &RunReport) -> Result<(), StoreError> {
        match report {
            RunReport::Copy(run) => self.results.keep(run).map_err(|why| StoreError::Other(why.into())),
            _ => Ok(()),
        }
    }

    async fn show(&self, status: &JobStatus) -> Result<(), StoreError> {
        self.files.show(status).await
    }

    async fn shown(&self, job: &JobName) -> Option<JobStatus> {
        self.files.shown(job).await
    }

    async fn rename(&self, old: &JobName, new: &JobName) -> Result<(), StoreError> {
        self.results.rename(old.as_str(), new.as_str());
        self.files.rename(old, new).await
    }

    async fn forget(&self, job: &JobName) -> Result<(), StoreError> {
        self.files.forget(job).await
    }
}
