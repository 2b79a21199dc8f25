//! A decorator that limits rates.

mod bucket;
mod rates;
mod valve;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::rates::ThrottleRates;
use self::valve::Valve;
use crate::recording::{bytes_of, lost};
use crate::{
    CloneRange, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Piece, Prefix, ReadRequest, Reclaim,
    Repository, Result, Retain, RootFolder,
};

/// A repository that limits the rate of calls and bytes.
///
/// - Calls wait for their turn in the order in which they come. What one second allows may come at once. A larger call waits
///   until one second's worth is there, and the calls after it wait for the rest.
/// - Reads of ranges, writes and extents pay before the call. A whole read pays after it, as its length is not known before. A
///   failed read pays for the call only.
/// - What the repository does by itself (clones, punched holes) pays for the call, and for no bytes.
///
/// Clones share their rates. A caller can change the rates at any time, and waiting calls continue at the new rate. It needs a
/// tokio runtime with its clock enabled.
///
/// ```
/// use bytes::Bytes;
/// use offsite_repository::testing::Memory;
/// use offsite_repository::{Key, ThrottleRates, RepositoryExt, Throttle};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let throttle = Throttle::new(Memory::new(), ThrottleRates::default().with_bytes_per_sec(1_000));
/// let begun = tokio::time::Instant::now();
/// for name in ["a", "b", "c"] {
///     throttle.put(&Key::new(name).unwrap(), Bytes::from(vec![7; 1_000])).await.unwrap();
/// }
/// // The first second's worth was there at once.
/// assert_eq!(begun.elapsed().as_secs(), 2);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Throttle<R> {
    inner: Arc<Inner<R>>,
}

#[derive(Debug)]
struct Inner<R> {
    repository: R,
    valve: Arc<Valve>,
}

impl<R: Repository> Throttle<R> {
    /// Limits the calls of `repository` to `rates`.
    pub fn new(repository: R, rates: ThrottleRates) -> Self {
        Self { inner: Arc::new(Inner { repository, valve: Arc::new(Valve::new(rates)) }) }
    }

    /// The current rates.
    #[must_use]
    pub fn rates(&self) -> ThrottleRates {
        self.inner.valve.rates()
    }

    /// Changes the rates, also for calls that wait.
    pub fn set_rates(&self, rates: ThrottleRates) {
        self.inner.valve.set_rates(rates);
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Repository for Throttle<R> {
    fn location(&self) -> String {
        self.inner.repository.location()
    }

    fn limits(&self) -> Limits {
        self.inner.repository.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let valve = &self.inner.valve;
        valve.pass(0).await;
        let writer = self.inner.repository.create(key).await?;
        Ok(Box::new(ThrottleWriter { writer, valve: Arc::clone(valve) }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let Inner { repository, valve } = &*self.inner;
        match what {
            ReadRequest::Whole { .. } => {
                valve.pass(0).await;
                let answer = repository.read(key, what).await;
                valve.owe(answer.as_deref().map_or(0, bytes_of));
                answer
            }
            ReadRequest::Ranges(ranges) => {
                let bytes = lengths(ranges);
                valve.pass(bytes).await;
                let answer = repository.read(key, what).await;
                if answer.is_err() {
                    // Nothing came; and a range far past the end would hold up all others for years.
                    valve.give_back(bytes);
                }
                answer
            }
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.inner.valve.pass(0).await;
        self.inner.repository.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.valve.pass(0).await;
        self.inner.repository.delete(key).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        self.inner.valve.pass(0).await;
        self.inner.repository.root_folders().await
    }

    async fn sweep(&self) -> Result<()> {
        self.inner.valve.pass(0).await;
        self.inner.repository.sweep().await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.valve.pass(0).await;
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

struct ThrottleWriter {
    writer: Box<dyn ObjectWriter>,
    valve: Arc<Valve>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectWriter for ThrottleWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.valve.pass(bytes_of(&chunks)).await;
        self.writer.write(chunks).await
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.valve.pass(0).await;
        self.writer.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.valve.pass(0).await;
        self.writer.abort().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Links for Inner<R> {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        self.valve.pass(0).await;
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
        self.valve.pass(0).await;
        self.repository.reclaim().ok_or_else(|| lost("punch", key, &self.repository))?.punch(key, ranges).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        self.valve.pass(0).await;
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
        self.valve.pass(0).await;
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
        self.valve.pass(extents.iter().map(|extent| bytes_of(&extent.chunks)).sum()).await;
        self.repository.patch().ok_or_else(|| lost("patch", key, &self.repository))?.write_extents(key, extents).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Retain for Inner<R> {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        self.valve.pass(0).await;
        self.repository
            .retain()
            .ok_or_else(|| lost("retain", key, &self.repository))?
            .retain_until(key, until_unix_secs)
            .await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        self.valve.pass(0).await;
        self.repository
            .retain()
            .ok_or_else(|| lost("read the retention of", key, &self.repository))?
            .retained_until(key)
            .await
    }
}

fn lengths(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().fold(0, |sum, range| sum.saturating_add(range.end.saturating_sub(range.start)))
}
