//! How far a way reads ahead of what it writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, Either, select};
use futures::{Stream, StreamExt};
use offsite_core::plan::Batch;
use offsite_repository::Repository;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::{FrameSource, IN_FLIGHT};
use crate::Result;

/// All ways of a process together have asked for at most this many KiB that were not taken yet, beside one batch for each way.
const AHEAD_UNITS: usize = 48 << 10;
/// The unit in which these bytes are counted.
const UNIT_BYTES: u64 = 1 << 10;
/// The same in bytes.
pub(super) const AHEAD_BYTES_MAX: u64 = AHEAD_UNITS as u64 * UNIT_BYTES;

static ROOM: Semaphore = Semaphore::const_new(AHEAD_UNITS);

/// What a way asks for at once.
///
/// It asks for as many batches as the repositories that it reads can have under way, while there is room in memory. Its first batch
/// needs no room. So a way whose reader stands still holds up no other.
pub(super) struct Ahead<'g> {
    at_once: usize,
    precedence: Option<&'g dyn GivesWay>,
    /// The batches that were asked for and not taken yet.
    asked: AtomicUsize,
    none_asked: Notify,
}

impl<'g> Ahead<'g> {
    /// Of a way that reads from these folders.
    pub(super) fn of(sources: &[FrameSource]) -> Self {
        let streams = |source: &FrameSource| source.repository.backend().limits().streams_max;
        let at_once = sources.iter().map(|source| streams(source).unwrap_or(IN_FLIGHT)).max().unwrap_or(IN_FLIGHT);
        Self { at_once: at_once.max(1), precedence: None, asked: AtomicUsize::new(0), none_asked: Notify::new() }
    }

    /// It asks for one batch at a time while it is to give way.
    pub(super) fn giving_way(self, precedence: &'g dyn GivesWay) -> Self {
        Self { precedence: Some(precedence), ..self }
    }

    /// Reads batches, several at once, and returns the answers in the order of the batches.
    pub(super) fn ordered<'a, I, R>(
        &'a self,
        batches: impl Stream<Item = I> + Send + 'a,
        read: impl Fn(I) -> R + Send + 'a,
    ) -> impl Stream<Item = R::Output> + Send + 'a
    where
        I: TakesRoom + Send + 'a,
        R: Future<Output: Send> + Send + 'a,
    {
        self.begun(batches, read).buffered(self.at_once).map(|(answer, _)| answer)
    }

    /// Reads batches, several at once, and returns the answers as they come.
    pub(super) fn unordered<'a, I, R>(
        &'a self,
        batches: impl Stream<Item = I> + Send + 'a,
        read: impl Fn(I) -> R + Send + 'a,
    ) -> impl Stream<Item = R::Output> + Send + 'a
    where
        I: TakesRoom + Send + 'a,
        R: Future<Output: Send> + Send + 'a,
    {
        self.begun(batches, read).buffer_unordered(self.at_once).map(|(answer, _)| answer)
    }

    fn begun<'a, I, R>(
        &'a self,
        batches: impl Stream<Item = I> + Send + 'a,
        read: impl Fn(I) -> R + Send + 'a,
    ) -> impl Stream<Item = impl Future<Output = (R::Output, Room<'a>)> + Send + 'a> + Send + 'a
    where
        I: TakesRoom + Send + 'a,
        R: Future<Output: Send> + Send + 'a,
    {
        let with_room = batches.then(move |batch| async move {
            let room = self.room(batch.bytes()).await;
            (batch, room)
        });
        with_room.map(move |(batch, room)| {
            let answer = read(batch);
            async move { (answer.await, room) }
        })
    }

    async fn room(&self, bytes: u64) -> Room<'_> {
        let units = u32::try_from(bytes.min(AHEAD_BYTES_MAX).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        if let Some(precedence) = self.precedence
            && precedence.gives_way().await
        {
            while self.asked.load(Ordering::Relaxed) > 0 {
                self.none_asked.notified().await;
            }
        }
        let held = loop {
            if self.asked.load(Ordering::Relaxed) == 0 {
                break ROOM.try_acquire_many(units).ok();
            }
            let (acquired, none_asked) =
                (std::pin::pin!(ROOM.acquire_many(units)), std::pin::pin!(self.none_asked.notified()));
            if let Either::Left((acquired, _)) = select(acquired, none_asked).await {
                break acquired.ok();
            }
        };
        self.asked.fetch_add(1, Ordering::Relaxed);
        Room { ahead: self, _held: held }
    }
}

/// The room of a batch, until it is taken.
struct Room<'a> {
    ahead: &'a Ahead<'a>,
    _held: Option<SemaphorePermit<'static>>,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.ahead.asked.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.ahead.none_asked.notify_one();
        }
    }
}

/// Who says whether a way is to ask for one batch at a time, as somebody else needs the place more.
pub(crate) trait GivesWay: Send + Sync {
    /// Returns `true` if it is to.
    fn gives_way(&self) -> BoxFuture<'_, bool>;
}

/// What takes room in memory.
pub(super) trait TakesRoom {
    fn bytes(&self) -> u64;
}

impl TakesRoom for Batch {
    fn bytes(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

impl TakesRoom for Result<Batch> {
    fn bytes(&self) -> u64 {
        self.as_ref().map_or(0, TakesRoom::bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use offsite_core::ObjectId;

    use super::*;

    fn ahead(at_once: usize) -> Ahead<'static> {
        Ahead { at_once, precedence: None, asked: AtomicUsize::new(0), none_asked: Notify::new() }
    }

    fn batches(count: u64, bytes: u64) -> impl Stream<Item = Batch> + Send {
        let batch = move |number: u64| Batch {
            file: ObjectId::new(1, 1),
            range: number * bytes..(number + 1) * bytes,
            items: 0..1,
        };
        stream::iter((0..count).map(batch))
    }

    struct Always;

    impl GivesWay for Always {
        fn gives_way(&self) -> BoxFuture<'_, bool> {
            Box::pin(std::future::ready(true))
        }
    }

    /// One test for all, as the room is that of the process.
    #[tokio::test]
    async fn ways_read_ahead_as_far_as_there_is_room_and_none_holds_up_another() {
        let asked = AtomicUsize::new(0);
        let read = |batch: Batch| {
            asked.fetch_add(1, Ordering::Relaxed);
            async move { batch.range.start }
        };
        // Small batches: as many as the place can have under way, and one that was taken.
        let few = ahead(3);
        let mut stream = Box::pin(few.ordered(batches(10, 1), read));
        assert_eq!(stream.next().await, Some(0));
        assert_eq!(asked.swap(0, Ordering::Relaxed), 3);
        drop(stream);
        assert_eq!(few.asked.load(Ordering::Relaxed), 0, "what is dropped gives its room back");
        // One at a time, for whoever is to give way.
        let polite = few.giving_way(&Always);
        let mut stream = Box::pin(polite.ordered(batches(10, 1), read));
        for taken in 1..10 {
            assert_eq!(stream.next().await, Some(taken - 1));
            assert_eq!(asked.load(Ordering::Relaxed) as u64, taken, "the next is asked for when this one was taken");
        }
        drop(stream);
        asked.store(0, Ordering::Relaxed);
        // Large ones: as many as there is room for. This reader stands still then.
        let still = ahead(64);
        let mut standing = Box::pin(still.ordered(batches(100, 4 << 20), read));
        assert_eq!(standing.next().await, Some(0));
        assert_eq!(asked.swap(0, Ordering::Relaxed), 12);
        // Another one goes on, one batch after the other, and gets all in order.
        let other = ahead(64);
        let all: Vec<u64> = other.ordered(batches(50, 4 << 20), read).collect().await;
        assert_eq!(all, (0..50).map(|number| number * (4 << 20)).collect::<Vec<_>>());
        // A batch that is longer than all room goes alone.
        let all: Vec<u64> = ahead(64).unordered(batches(3, 1 << 40), read).collect().await;
        assert_eq!(all.len(), 3);
        let rest: Vec<u64> = standing.collect().await;
        assert_eq!(rest.len(), 99);
        assert_eq!(ROOM.available_permits() as u64, AHEAD_BYTES_MAX / UNIT_BYTES);
    }
}
