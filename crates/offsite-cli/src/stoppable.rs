//! A repository that returns no more blocks once the command is told to stop. So a reading operation ends as after any other
//! failure: it discards what it has made, and gives its pin back.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite::repository::{
    CloneRange, Error, ErrorKind, Key, Limits, Links, ListPage, ObjectWriter, Patch, Prefix, ReadRequest, Reclaim,
    Repository, Result, Retain, RootFolder,
};

use crate::signals::Stop;

#[derive(Debug)]
pub(crate) struct Stoppable {
    pub(crate) repository: Arc<dyn Repository>,
    pub(crate) stop: Stop,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Repository for Stoppable {
    fn location(&self) -> String {
        self.repository.location()
    }

    fn limits(&self) -> Limits {
        self.repository.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        self.repository.create(key).await
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        // Heads and pins are still read completely, so that the operation ends in order.
        match what {
            ReadRequest::Ranges(_) if self.stop.is_set() => {
                Err(Error::new(ErrorKind::Unavailable, "read").with_key(key).with_detail("the command was stopped"))
            }
            what => self.repository.read(key, what).await,
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.repository.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.repository.delete(key).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        self.repository.root_folders().await
    }

    async fn sweep(&self) -> Result<()> {
        self.repository.sweep().await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.repository.free_bytes().await
    }

    fn links(&self) -> Option<&dyn Links> {
        self.repository.links()
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.repository.reclaim()
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.repository.clone_range()
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.repository.patch()
    }

    fn retain(&self) -> Option<&dyn Retain> {
        self.repository.retain()
    }
}
