//! What a repository is asked for, on a medium.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{
    CloneRange, Endpoint, Error, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Piece, Prefix,
    ReadRequest, Reclaim, Repository, Result, Retain, RootFolder,
};

use super::guard::{Guard, Look};
use super::repository::Removable;
use crate::Local;
use crate::local::blocking;

impl Removable {
    /// The folder, if the medium is still there; `key` names the object that the call is for.
    async fn enter(&self, action: &'static str, key: Option<&Key>) -> Result<Local> {
        let guard = Arc::clone(&self.guard);
        named(blocking(action, move || guard.enter(action, Look::Cheap)).await, &self.guard, key)
    }

    /// A capability that the folder had when it was opened.
    fn lacking(&self, action: &'static str, key: &Key) -> Error {
        Error::new(ErrorKind::Unsupported, action).with_key(key).with_location(self.location())
    }

    /// Explains an error, which may take a look at the medium.
    async fn told<T>(&self, action: &'static str, key: Option<&Key>, answer: Result<T>) -> Result<T> {
        told(&self.guard, action, key, answer).await
    }
}

async fn told<T>(guard: &Arc<Guard>, action: &'static str, key: Option<&Key>, answer: Result<T>) -> Result<T> {
    let Err(error) = answer else { return answer };
    let explaining = Arc::clone(guard);
    let explain = move || Ok(explaining.explain(action, error));
    named(Err(blocking(action, explain).await.unwrap_or_else(|error| error)), guard, key)
}

/// Names the object and the medium in an error.
fn named<T>(answer: Result<T>, guard: &Guard, key: Option<&Key>) -> Result<T> {
    answer.map_err(|error| {
        let error = error.with_location(guard.location());
        match key {
            Some(key) => error.with_key(key),
            None => error,
        }
    })
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Repository for Removable {
    fn location(&self) -> String {
        self.guard.location()
    }

    fn limits(&self) -> Limits {
        self.can.limits
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::ThisHost
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let local = self.enter("create", Some(key)).await?;
        let writer = self.told("create", Some(key), local.create(key).await).await?;
        Ok(Box::new(MediumWriter { inner: Some(writer), key: key.clone(), open: OpenWriter::new(&self.guard) }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let local = self.enter("read", Some(key)).await?;
        self.told("read", Some(key), local.read(key, what).await).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let local = self.enter("list", None).await?;
        self.told("list", None, local.list(prefix, after, limit).await).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let local = self.enter("delete", Some(key)).await?;
        self.told("delete", Some(key), local.delete(key).await).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        let local = self.enter("list", None).await?;
        self.told("list", None, local.root_folders().await).await
    }

    async fn sweep(&self) -> Result<()> {
        let local = self.enter("sweep", None).await?;
        self.told("sweep", None, local.sweep().await).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        let local = self.enter("measure", None).await?;
        self.told("measure", None, local.free_bytes().await).await
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

#[async_trait]
impl Links for Removable {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        let local = self.enter("look for links of", Some(key)).await?;
        let links = local.links().ok_or_else(|| self.lacking("look for links of", key))?;
        self.told("look for links of", Some(key), links.is_linked(key).await).await
    }
}

#[async_trait]
impl Reclaim for Removable {
    fn punch_granularity_bytes(&self) -> u64 {
        self.can.beyond.punch_granularity_bytes.unwrap_or(1)
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let local = self.enter("punch", Some(key)).await?;
        let reclaim = local.reclaim().ok_or_else(|| self.lacking("punch", key))?;
        self.told("punch", Some(key), reclaim.punch(key, ranges).await).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        let local = self.enter("measure", Some(key)).await?;
        let reclaim = local.reclaim().ok_or_else(|| self.lacking("measure", key))?;
        self.told("measure", Some(key), reclaim.allocated_bytes(key).await).await
    }
}

#[async_trait]
impl CloneRange for Removable {
    fn clone_granularity_bytes(&self) -> u64 {
        self.can.beyond.clone_granularity_bytes.unwrap_or(1)
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        let local = self.enter("clone", Some(key)).await?;
        let cloner = local.clone_range().ok_or_else(|| self.lacking("clone", key))?;
        self.told("clone", Some(key), cloner.create_from(key, pieces).await).await
    }
}

#[async_trait]
impl Patch for Removable {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let local = self.enter("patch", Some(key)).await?;
        let patch = local.patch().ok_or_else(|| self.lacking("patch", key))?;
        self.told("patch", Some(key), patch.write_extents(key, extents).await).await
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
        let error = error.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, action));
        error.with_key(&self.key).with_location(self.open.0.location())
    }
}

#[async_trait]
impl ObjectWriter for MediumWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        // What the kernel knows is asked for at the end; what is written goes to the folder that was opened in any case.
        if self.open.0.held("write").is_err() {
            self.inner = None;
        }
        let Some(inner) = &mut self.inner else { return Err(self.lost("write")) };
        let answer = inner.write(chunks).await;
        told(&self.open.0, "write", Some(&self.key), answer).await
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let Some(inner) = self.inner.take() else { return Err(self.lost("finish")) };
        let guard = Arc::clone(&self.open.0);
        let entered = blocking("finish", move || guard.enter("finish", Look::Fresh)).await;
        if let Err(error) = named(entered, &self.open.0, Some(&self.key)) {
            // There is nothing to give back to a medium that is away; one that is there gets its space by a sweep.
            let _ = inner.abort().await;
            return Err(error);
        }
        told(&self.open.0, "finish", Some(&self.key), inner.finish().await).await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let Some(inner) = self.inner.take() else { return Err(self.lost("abort")) };
        told(&self.open.0, "abort", Some(&self.key), inner.abort().await).await
    }
}
