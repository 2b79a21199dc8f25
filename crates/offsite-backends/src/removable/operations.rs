//! What a repository is asked for, on a medium.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{
    CloneRange, Error, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Piece, Prefix, Read,
    Reclaim, Repository, Result, Retain, RootFolder,
};

use super::Removable;
use super::guard::{Guard, Look};
use crate::Local;
use crate::local::blocking;

impl Removable {
    async fn enter(&self, action: &'static str, place: impl Display) -> Result<Local> {
        let guard = Arc::clone(&self.guard);
        blocking(action, place.to_string(), move || guard.enter(action, Look::Cheap)).await
    }

    /// Explains an error, which may take a look at the medium.
    async fn told<T>(&self, action: &'static str, place: impl Display, answer: Result<T>) -> Result<T> {
        told(&self.guard, action, place, answer).await
    }
}

async fn told<T>(guard: &Arc<Guard>, action: &'static str, place: impl Display, answer: Result<T>) -> Result<T> {
    let Err(error) = answer else { return answer };
    let (guard, place) = (Arc::clone(guard), place.to_string());
    let explain = move || Ok(guard.explain(action, &place, error));
    Err(blocking(action, String::new(), explain).await.unwrap_or_else(|error| error))
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Repository for Removable {
    fn location(&self) -> String {
        format!("medium {} at {}", self.guard.medium, self.guard.path.display())
    }

    fn limits(&self) -> Limits {
        self.can.limits
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let local = self.enter("create", key).await?;
        let writer = self.told("create", key, local.create(key).await).await?;
        Ok(Box::new(MediumWriter { inner: Some(writer), key: key.clone(), open: OpenWriter::new(&self.guard) }))
    }

    async fn read(&self, key: &Key, what: Read<'_>) -> Result<Vec<Bytes>> {
        let local = self.enter("read", key).await?;
        self.told("read", key, local.read(key, what).await).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let local = self.enter("list", prefix).await?;
        self.told("list", prefix, local.list(prefix, after, limit).await).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let local = self.enter("delete", key).await?;
        self.told("delete", key, local.delete(key).await).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        let local = self.enter("list", "").await?;
        self.told("list", self.guard.path.display(), local.root_folders().await).await
    }

    async fn sweep(&self) -> Result<()> {
        let local = self.enter("sweep", "").await?;
        self.told("sweep", self.guard.path.display(), local.sweep().await).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        let local = self.enter("measure", "").await?;
        self.told("measure", self.guard.path.display(), local.free_bytes().await).await
    }

    fn links(&self) -> Option<&dyn Links> {
        Some(self)
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.can.beyond.punch_granularity_bytes.map(|_| self as &dyn Reclaim)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.can.beyond.clone_granularity_bytes.map(|_| self as &dyn CloneRange)
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.can.beyond.patches.then_some(self)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        None
    }
}

fn lacking(action: &'static str, key: &Key) -> Error {
    Error::new(ErrorKind::Unsupported, action).with_key(key)
}

#[async_trait]
impl Links for Removable {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        let local = self.enter("look for links of", key).await?;
        let links = local.links().ok_or_else(|| lacking("look for links of", key))?;
        self.told("look for links of", key, links.is_linked(key).await).await
    }
}

#[async_trait]
impl Reclaim for Removable {
    fn granularity_bytes(&self) -> u64 {
        self.can.beyond.punch_granularity_bytes.unwrap_or(1)
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let local = self.enter("punch", key).await?;
        let reclaim = local.reclaim().ok_or_else(|| lacking("punch", key))?;
        self.told("punch", key, reclaim.punch(key, ranges).await).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        let local = self.enter("measure", key).await?;
        let reclaim = local.reclaim().ok_or_else(|| lacking("measure", key))?;
        self.told("measure", key, reclaim.allocated_bytes(key).await).await
    }
}

#[async_trait]
impl CloneRange for Removable {
    fn granularity_bytes(&self) -> u64 {
        self.can.beyond.clone_granularity_bytes.unwrap_or(1)
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        let local = self.enter("clone", key).await?;
        let cloner = local.clone_range().ok_or_else(|| lacking("clone", key))?;
        self.told("clone", key, cloner.create_from(key, pieces).await).await
    }
}

#[async_trait]
impl Patch for Removable {
    async fn patch(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let local = self.enter("patch", key).await?;
        let patch = Repository::patch(&local).ok_or_else(|| lacking("patch", key))?;
        self.told("patch", key, patch.patch(key, extents).await).await
    }
}

/// Counts as a writer of its medium until dropped.
struct OpenWriter(Arc<Guard>);

impl OpenWriter {
    fn new(guard: &Arc<Guard>) -> Self {
        guard.count_writer();
        Self(Arc::clone(guard))
    }
}

impl Drop for OpenWriter {
    fn drop(&mut self) {
        self.0.discount_writer();
    }
}

struct MediumWriter {
    /// None once the medium was seen to be away. Before `open`, as its file must be closed when the count goes down.
    inner: Option<Box<dyn ObjectWriter>>,
    key: Key,
    open: OpenWriter,
}

impl MediumWriter {
    fn lost(&self, action: &'static str) -> Error {
        let error = self.open.0.held(action).err();
        error.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, action).with_key(&self.key))
    }
}

#[async_trait]
impl ObjectWriter for MediumWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        // What the kernel knows is asked for at the end; what is written goes to the folder that was opened in any case.
        if let Err(error) = self.open.0.held("write") {
            self.inner = None;
            return Err(error);
        }
        let Some(inner) = &mut self.inner else { return Err(self.lost("write")) };
        let answer = inner.write(chunks).await;
        told(&self.open.0, "write", &self.key, answer).await
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let Some(inner) = self.inner.take() else { return Err(self.lost("finish")) };
        let (guard, key) = (Arc::clone(&self.open.0), self.key.to_string());
        if let Err(error) = blocking("finish", key, move || guard.enter("finish", Look::Fresh)).await {
            // There is nothing to give back to a medium that is away; one that is there gets its space by a sweep.
            let _ = inner.abort().await;
            return Err(error);
        }
        told(&self.open.0, "finish", &self.key, inner.finish().await).await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(inner) = self.inner.take() else { return Err(self.lost("abort")) };
        told(&self.open.0, "abort", &self.key, inner.abort().await).await
    }
}
