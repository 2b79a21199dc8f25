//! A decorator that retries failed calls.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::recording::{bytes_of, lost};
use crate::{
    CloneRange, Error, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Piece, Prefix,
    ReadRequest, Reclaim, Repository, Result, Retain, RootFolder,
};

/// How often a [`Retry`] tries a call, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// The largest number of tries of a call, the first included. Zero counts as one.
    pub tries: u32,
    /// The pause before the second try. Each further pause is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// The largest object, in bytes, that is kept in memory while it is written, so that it can be written again.
    pub replay_bytes_max: u64,
}

impl Default for RetryOptions {
    /// Five tries within about three seconds, and objects of up to 8 MiB.
    fn default() -> Self {
        Self {
            tries: 5,
            first_pause: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
            replay_bytes_max: 8 << 20,
        }
    }
}

impl RetryOptions {
    /// Sets [`RetryOptions::tries`].
    #[must_use]
    pub fn with_tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    /// Sets [`RetryOptions::first_pause`].
    #[must_use]
    pub fn with_first_pause(mut self, first_pause: Duration) -> Self {
        self.first_pause = first_pause;
        self
    }

    /// Sets [`RetryOptions::pause_max`].
    #[must_use]
    pub fn with_pause_max(mut self, pause_max: Duration) -> Self {
        self.pause_max = pause_max;
        self
    }

    /// Sets [`RetryOptions::replay_bytes_max`].
    #[must_use]
    pub fn with_replay_bytes_max(mut self, replay_bytes_max: u64) -> Self {
        self.replay_bytes_max = replay_bytes_max;
        self
    }
}

/// A repository that retries calls.
///
/// It repeats a call if its error [is retryable](crate::Error::is_retryable). It returns all other errors at once.
///
/// - It repeats reads, listings, deletions, sweeps, and all other calls that are harmless to repeat.
/// - It writes a small object ([`RetryOptions::replay_bytes_max`]) again from its beginning, as long as `finish` was not called.
///   Nothing can be stored before that.
/// - It calls `finish` and [`CloneRange::create_from`] once. If they fail, they may have stored something, so the caller reads
///   back.
///
/// The pauses grow up to [`RetryOptions::pause_max`]. It needs a tokio runtime with its clock enabled.
///
/// ```
/// use offsite_repository::testing::{Fault, Faulty, Memory};
/// use offsite_repository::{ErrorKind, Prefix, RepositoryExt, Retry, RetryOptions};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let faulty = Faulty::new(Memory::new());
/// faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable));
/// let retry = Retry::new(faulty, RetryOptions::default());
/// assert!(retry.list_all(&Prefix::root()).await.unwrap().is_empty());
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Retry<R> {
    inner: Arc<Inner<R>>,
}

#[derive(Debug)]
struct Inner<R> {
    repository: R,
    options: RetryOptions,
}

impl<R: Repository> Retry<R> {
    /// Retries calls of `repository`.
    pub fn new(repository: R, options: RetryOptions) -> Self {
        Self { inner: Arc::new(Inner { repository, options }) }
    }
}

impl<R> Inner<R> {
    /// Makes a call until it does not fail with a retryable error, or until the tries are used up.
    async fn again<T, F: Future<Output = Result<T>>>(&self, mut call: impl FnMut() -> F) -> Result<T> {
        let mut pauses = Pauses::new(self.options);
        loop {
            match call().await {
                Err(error) if error.is_retryable() && pauses.pause().await => {}
                answer => return answer,
            }
        }
    }
}

impl<R: Repository> Inner<R> {
    /// Starts the object again, and writes all that was written so far.
    async fn replay(&self, key: &Key, written: &[Bytes]) -> Result<Box<dyn ObjectWriter>> {
        let mut writer = self.repository.create(key).await?;
        match writer.write(written.to_vec()).await {
            Ok(()) => Ok(writer),
            Err(error) => {
                // The error of the write is the one to act on.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }
}

/// The pauses between the tries of one call.
struct Pauses {
    left: u32,
    next: Duration,
    max: Duration,
}

impl Pauses {
    fn new(options: RetryOptions) -> Self {
        Self { left: options.tries.saturating_sub(1), next: options.first_pause, max: options.pause_max }
    }

    /// Waits before the next try.
    ///
    /// Returns `false` if there is none left.
    async fn pause(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        tokio::time::sleep(self.next.min(self.max)).await;
        self.next = self.next.saturating_mul(2);
        true
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository + 'static> Repository for Retry<R> {
    fn location(&self) -> String {
        self.inner.repository.location()
    }

    fn limits(&self) -> Limits {
        self.inner.repository.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let writer = self.inner.again(|| self.inner.repository.create(key)).await?;
        Ok(Box::new(RetryWriter {
            inner: Arc::clone(&self.inner),
            key: key.clone(),
            writer: Some(writer),
            written: Some(Vec::new()),
        }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        self.inner.again(|| self.inner.repository.read(key, what)).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.inner.again(|| self.inner.repository.list(prefix, after, limit)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.again(|| self.inner.repository.delete(key)).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        self.inner.again(|| self.inner.repository.root_folders()).await
    }

    async fn sweep(&self) -> Result<()> {
        self.inner.again(|| self.inner.repository.sweep()).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.again(|| self.inner.repository.free_bytes()).await
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

struct RetryWriter<R> {
    inner: Arc<Inner<R>>,
    key: Key,
    /// `None` during a call, and after a failed one.
    writer: Option<Box<dyn ObjectWriter>>,
    /// The content so far. `None` if it is too long to be kept.
    written: Option<Vec<Bytes>>,
}

impl<R> fmt::Debug for RetryWriter<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RetryWriter").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<R: Repository> RetryWriter<R> {
    fn dead(&self, action: &'static str) -> Error {
        Error::new(ErrorKind::Unavailable, action)
            .with_key(&self.key)
            .with_location(self.inner.repository.location())
            .with_detail("an earlier call of this writer failed")
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository + 'static> ObjectWriter for RetryWriter<R> {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        // Until it is put back this writer is dead: a call that is dropped halfway may have written.
        let mut writer = self.writer.take().ok_or_else(|| self.dead("write"))?;
        if let Some(written) = &mut self.written {
            written.extend_from_slice(&chunks);
        }
        let limit_bytes = self.inner.options.replay_bytes_max;
        self.written = self.written.take().filter(|written| bytes_of(written) <= limit_bytes);
        let mut error = match writer.write(chunks).await {
            Ok(()) => {
                self.writer = Some(writer);
                return Ok(());
            }
            Err(error) => error,
        };
        let _ = writer.abort().await;
        let Some(written) = self.written.take() else { return Err(error) };
        let mut pauses = Pauses::new(self.inner.options);
        while error.is_retryable() && pauses.pause().await {
            match self.inner.replay(&self.key, &written).await {
                Ok(writer) => {
                    (self.writer, self.written) = (Some(writer), Some(written));
                    return Ok(());
                }
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.take().ok_or_else(|| self.dead("finish"))?.finish().await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        match self.writer.take() {
            Some(writer) => writer.abort().await,
            None => Ok(()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Links for Inner<R> {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        let links = self.repository.links().ok_or_else(|| lost("look for links of", key, &self.repository))?;
        self.again(|| links.is_linked(key)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Reclaim for Inner<R> {
    fn punch_granularity_bytes(&self) -> u64 {
        self.repository.reclaim().map_or(1, Reclaim::punch_granularity_bytes)
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let reclaim = self.repository.reclaim().ok_or_else(|| lost("punch", key, &self.repository))?;
        self.again(|| reclaim.punch(key, ranges)).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        let reclaim = self.repository.reclaim().ok_or_else(|| lost("measure", key, &self.repository))?;
        self.again(|| reclaim.allocated_bytes(key)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> CloneRange for Inner<R> {
    fn clone_granularity_bytes(&self) -> u64 {
        self.repository.clone_range().map_or(1, CloneRange::clone_granularity_bytes)
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
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
    /// It writes the same bytes to the same places, so a repetition changes nothing.
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let patch = self.repository.patch().ok_or_else(|| lost("patch", key, &self.repository))?;
        self.again(|| patch.write_extents(key, extents.clone())).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Retain for Inner<R> {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        let retain = self.repository.retain().ok_or_else(|| lost("retain", key, &self.repository))?;
        self.again(|| retain.retain_until(key, until_unix_secs)).await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        let retain = self.repository.retain().ok_or_else(|| lost("read the retention of", key, &self.repository))?;
        self.again(|| retain.retained_until(key)).await
    }
}
