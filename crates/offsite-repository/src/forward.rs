//! An `Arc` of a repository is a repository.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    CloneRange, Key, Limits, Links, ListPage, ObjectWriter, Patch, Prefix, ReadRequest, Reclaim, Repository, Result,
    Retain, RootFolder,
};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository + ?Sized> Repository for Arc<R> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        (**self).create(key).await
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<bytes::Bytes>> {
        (**self).read(key, what).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        (**self).list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        (**self).delete(key).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        (**self).root_folders().await
    }

    async fn sweep(&self) -> Result<()> {
        (**self).sweep().await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        (**self).free_bytes().await
    }

    fn links(&self) -> Option<&dyn Links> {
        (**self).links()
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        (**self).reclaim()
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        (**self).clone_range()
    }

    fn patch(&self) -> Option<&dyn Patch> {
        (**self).patch()
    }

    fn retain(&self) -> Option<&dyn Retain> {
        (**self).retain()
    }
}
