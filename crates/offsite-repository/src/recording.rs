//! A decorator that counts calls.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::counts::{Call, Counts, Verb};
use crate::{
    CloneRange, Error, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Piece, Prefix,
    ReadRequest, Reclaim, Repository, Result, Retain, RootFolder,
};

/// A repository that counts its calls.
///
/// With it, a test can assert "each block is read once". A call counts when it begins, whether it fails or not. A `read` counts
/// when it returns, with the bytes that it returned.
///
/// Besides the sum over all calls, there are counts for each class of keys. [`Recording::classified`] takes the function that
/// returns the class of a key. Calls without a key (`list`, `sweep`) count only in the sum.
///
/// Clones share their counts. So a caller can keep one, and pass another one on as `Arc<dyn Repository>`.
///
/// ```
/// # #[cfg(feature = "testing")]
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use offsite_repository::testing::Memory;
/// use offsite_repository::{Key, Recording, RepositoryExt};
///
/// let recording = Recording::new(Memory::new());
/// recording.put(&Key::new("object").unwrap(), "content".into()).await.unwrap();
/// assert_eq!(recording.counts().creates, 1);
/// assert_eq!(recording.counts().bytes_written, 7);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Recording<R> {
    inner: Arc<Inner<R>>,
}

impl<R: Repository> Recording<R> {
    /// Counts the calls of `repository`, without classes.
    pub fn new(repository: R) -> Self {
        Self::classified(repository, |_| "")
    }

    /// Counts the calls of `repository`, altogether and by class.
    ///
    /// `class_of` returns the class of a key.
    pub fn classified(repository: R, class_of: impl Fn(&Key) -> &'static str + Send + Sync + 'static) -> Self {
        let ledger = Arc::new(Ledger { class_of: Box::new(class_of), pages: Mutex::default() });
        Self { inner: Arc::new(Inner { repository, ledger }) }
    }

    /// The counts so far, over all calls.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.ledger.lock().sum
    }

    /// The counts so far of calls for keys of this class.
    #[must_use]
    pub fn counts_of(&self, class: &str) -> Counts {
        self.inner.ledger.lock().by_class.get(class).copied().unwrap_or_default()
    }

    /// Starts an empty log of calls.
    ///
    /// It replaces an earlier one.
    ///
    /// The log grows with every call, so it is for tests.
    pub fn start_log(&self) {
        self.inner.ledger.lock().log = Some(Vec::new());
    }

    /// The calls since [`Recording::start_log`], in the order in which they counted.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.inner.ledger.lock().log.clone().unwrap_or_default()
    }
}

/// Holds the counts, and implements the capabilities. It is private, as `repository` decides which capabilities there are.
#[derive(Debug)]
struct Inner<R> {
    repository: R,
    ledger: Arc<Ledger>,
}

struct Ledger {
    class_of: Box<dyn Fn(&Key) -> &'static str + Send + Sync>,
    // One lock instead of an atomic for each number: a snapshot is of one moment, and a call costs far more.
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    sum: Counts,
    by_class: BTreeMap<&'static str, Counts>,
    log: Option<Vec<Call>>,
}

impl Ledger {
    fn count(&self, verb: Verb, key: Option<&Key>, bytes: u64) {
        let class = key.map(|key| (self.class_of)(key));
        let counts = Counts::of(verb, bytes);
        let mut pages = self.lock();
        pages.sum += counts;
        if let Some(class) = class {
            *pages.by_class.entry(class).or_default() += counts;
        }
        if let Some(log) = &mut pages.log {
            log.push(Call { verb, key: key.cloned(), bytes });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // Each change is complete when the lock is released, even by a panic.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ledger").field("sum", &self.lock().sum).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Repository for Recording<R> {
    fn location(&self) -> String {
        self.inner.repository.location()
    }

    fn limits(&self) -> Limits {
        self.inner.repository.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let ledger = &self.inner.ledger;
        ledger.count(Verb::Create, Some(key), 0);
        let writer = self.inner.repository.create(key).await?;
        Ok(Box::new(RecordingWriter { writer, key: key.clone(), ledger: Arc::clone(ledger) }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let answer = self.inner.repository.read(key, what).await;
        let bytes = answer.as_deref().map_or(0, bytes_of);
        self.inner.ledger.count(Verb::Read, Some(key), bytes);
        answer
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.inner.ledger.count(Verb::List, None, 0);
        self.inner.repository.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.ledger.count(Verb::Delete, Some(key), 0);
        self.inner.repository.delete(key).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        let folders = self.inner.repository.root_folders().await?;
        if folders.is_some() {
            self.inner.ledger.count(Verb::List, None, 0);
        }
        Ok(folders)
    }

    async fn sweep(&self) -> Result<()> {
        self.inner.ledger.count(Verb::Sweep, None, 0);
        self.inner.repository.sweep().await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.repository.free_bytes().await
    }

    fn links(&self) -> Option<&dyn Links> {
        self.inner.repository.links().map(|_| &*self.inner as &dyn Links)
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.inner.repository.reclaim().map(|_| &*self.inner as &dyn Reclaim)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.inner.repository.clone_range().map(|_| &*self.inner as &dyn CloneRange)
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.inner.repository.patch().map(|_| &*self.inner as &dyn Patch)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        self.inner.repository.retain().map(|_| &*self.inner as &dyn Retain)
    }
}

struct RecordingWriter {
    writer: Box<dyn ObjectWriter>,
    key: Key,
    ledger: Arc<Ledger>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectWriter for RecordingWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.ledger.count(Verb::Write, Some(&self.key), bytes_of(&chunks));
        self.writer.write(chunks).await
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.ledger.count(Verb::Finish, Some(&self.key), 0);
        self.writer.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.ledger.count(Verb::Abort, Some(&self.key), 0);
        self.writer.abort().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Links for Inner<R> {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        self.ledger.count(Verb::IsLinked, Some(key), 0);
        self.repository.links().ok_or_else(|| lost("look for links of", key, &self.repository))?.is_linked(key).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Reclaim for Inner<R> {
    fn punch_granularity_bytes(&self) -> u64 {
        self.repository.reclaim().map_or(1, Reclaim::punch_granularity_bytes)
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.ledger.count(Verb::Punch, Some(key), bytes);
        self.repository.reclaim().ok_or_else(|| lost("punch", key, &self.repository))?.punch(key, ranges).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        self.ledger.count(Verb::AllocatedBytes, Some(key), 0);
        self.repository.reclaim().ok_or_else(|| lost("measure", key, &self.repository))?.allocated_bytes(key).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> CloneRange for Inner<R> {
    fn clone_granularity_bytes(&self) -> u64 {
        self.repository.clone_range().map_or(1, CloneRange::clone_granularity_bytes)
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        let bytes = pieces.iter().map(|piece| piece.range.end.saturating_sub(piece.range.start)).sum();
        self.ledger.count(Verb::CreateFrom, Some(key), bytes);
        self.repository
            .clone_range()
            .ok_or_else(|| lost("clone into", key, &self.repository))?
            .create_from(key, pieces)
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Patch for Inner<R> {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let bytes = extents.iter().map(|extent| bytes_of(&extent.chunks)).sum();
        self.ledger.count(Verb::WriteExtents, Some(key), bytes);
        self.repository.patch().ok_or_else(|| lost("patch", key, &self.repository))?.write_extents(key, extents).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Retain for Inner<R> {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        self.ledger.count(Verb::RetainUntil, Some(key), 0);
        self.repository
            .retain()
            .ok_or_else(|| lost("retain", key, &self.repository))?
            .retain_until(key, until_unix_secs)
            .await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        self.ledger.count(Verb::RetainedUntil, Some(key), 0);
        self.repository
            .retain()
            .ok_or_else(|| lost("read the retention of", key, &self.repository))?
            .retained_until(key)
            .await
    }
}

pub(crate) fn bytes_of(chunks: &[Bytes]) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

/// The error of a backend that returned a capability, and no longer does.
pub(crate) fn lost(action: &'static str, key: &Key, repository: &impl Repository) -> Error {
    let error = Error::new(ErrorKind::Unsupported, action).with_key(key).with_location(repository.location());
    error.with_detail("the repository no longer offers it")
}
