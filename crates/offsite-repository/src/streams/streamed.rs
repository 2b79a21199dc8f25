//! A decorator that bounds the requests of a repository that does not do so itself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::pool::{StreamDirection, StreamShare};
use crate::recording::bytes_of;
use crate::{
    CloneRange, Endpoint, Error, ErrorKind, Key, Limits, Links, ListPage, ObjectWriter, Patch, Prefix, ReadRequest,
    Reclaim, Repository, Result, Retain, RootFolder,
};

/// A repository whose requests for block data wait for permits of a [`StreamShare`].
///
/// - Reads of ranges and writes wait for a permit. Whole reads pass at once.
/// - A read runs in a task of its own. So it ends and gives its permit back also while its caller stands still. If the caller drops it,
///   it ends.
///
/// It needs a tokio runtime. A repository that sends several requests at once for one call should take permits itself.
#[derive(Clone)]
pub struct Streamed {
    place: Arc<dyn Repository>,
    share: StreamShare,
}

impl Streamed {
    /// Bounds the requests of `place` by `share`.
    #[must_use]
    pub fn new(place: Arc<dyn Repository>, share: StreamShare) -> Self {
        Self { place, share }
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Streamed").field("place", &self.place).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Repository for Streamed {
    fn location(&self) -> String {
        self.place.location()
    }

    fn limits(&self) -> Limits {
        self.place.limits().with_streams_max(self.share.range().most())
    }

    fn endpoint(&self) -> Endpoint {
        self.place.endpoint()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let writer = self.place.create(key).await?;
        Ok(Box::new(StreamedWriter { writer, share: self.share.clone() }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let ReadRequest::Ranges(ranges) = what else { return self.place.read(key, what).await };
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).fold(0, u64::saturating_add);
        let Self { place, share } = self.clone();
        let (key_of_task, ranges): (_, Vec<Range<u64>>) = (key.clone(), ranges.to_vec());
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            let permit = share.begin(StreamDirection::Reading, bytes).await;
            let answer = place.read(&key_of_task, ReadRequest::Ranges(&ranges)).await;
            if answer.is_ok() {
                permit.done();
            }
            answer
        });
        match task.join_next().await {
            Some(Ok(answer)) => answer,
            ended => {
                let error = Error::new(ErrorKind::Unavailable, "read").with_key(key).with_location(self.location());
                Err(match ended {
                    Some(Err(why)) => error.with_source(why),
                    _ => error,
                })
            }
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.place.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.place.delete(key).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        self.place.root_folders().await
    }

    async fn sweep(&self) -> Result<()> {
        self.place.sweep().await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.place.free_bytes().await
    }

    fn links(&self) -> Option<&dyn Links> {
        self.place.links()
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.place.reclaim()
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.place.clone_range()
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.place.patch()
    }

    fn retain(&self) -> Option<&dyn Retain> {
        self.place.retain()
    }
}

struct StreamedWriter {
    writer: Box<dyn ObjectWriter>,
    share: StreamShare,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectWriter for StreamedWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let permit = self.share.begin(StreamDirection::Writing, bytes_of(&chunks)).await;
        self.writer.write(chunks).await?;
        permit.done();
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.writer.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.writer.abort().await
    }
}
