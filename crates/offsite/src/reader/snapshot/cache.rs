//! A cache of decoded blocks.
//!
//! Each block is loaded once, however many readers ask for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use offsite_core::ObjectId;

use crate::error::causes;
use crate::{Error, Result};

/// The place of a stored block: its file and its position there. A frame belongs to one block of one disk.
type Place = (ObjectId, u64);
/// The answer that all who ask for a block get.
type Answer = Result<Bytes, Arc<Error>>;
type Load = Shared<BoxFuture<'static, Answer>>;

/// The blocks that the readers of a snapshot share.
#[derive(Debug)]
pub(super) struct Cache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes_max: u64,
    blocks: HashMap<Place, Block>,
    /// The blocks by when they were last asked for.
    by_use: BTreeMap<u64, Place>,
    uses: u64,
    bytes: u64,
    /// What is being loaded, as long as somebody waits for it.
    loads: HashMap<Place, WeakShared<BoxFuture<'static, Answer>>>,
}

#[derive(Debug)]
struct Block {
    plain: Bytes,
    last_use: u64,
}

impl Cache {
    /// Keeps blocks of at most `bytes_max` bytes altogether.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { state: Mutex::new(State { bytes_max, ..State::default() }) }
    }

    /// Changes the number of bytes to keep.
    pub(super) fn resize(&self, bytes_max: u64) {
        let mut state = self.state();
        state.bytes_max = bytes_max;
        state.shrink();
    }

    /// The block at `place`: the kept one, or what `load` returns.
    ///
    /// Whoever asks during a load waits for that load, and drives it. The load ends when nobody waits for it any more. A failed
    /// load is not kept.
    pub(super) async fn get<F>(self: &Arc<Self>, place: Place, load: impl FnOnce() -> F) -> Result<Bytes>
    where
        F: Future<Output = Result<Bytes>> + Send + 'static,
    {
        let answer = match self.known_or_loading(place, load) {
            Ok(plain) => return Ok(plain),
            Err(load) => load.await,
        };
        answer.map_err(told_to_all)
    }

    fn known_or_loading<F>(self: &Arc<Self>, place: Place, load: impl FnOnce() -> F) -> Result<Bytes, Load>
    where
        F: Future<Output = Result<Bytes>> + Send + 'static,
    {
        let mut state = self.state();
        if let Some(plain) = state.used(place) {
            return Ok(plain);
        }
        if let Some(load) = state.loads.get(&place).and_then(WeakShared::upgrade) {
            return Err(load);
        }
        let (cache, load) = (Arc::clone(self), load());
        let load = async move {
            let answer = load.await.map_err(Arc::new);
            let mut state = cache.state();
            state.loads.remove(&place);
            if let Ok(plain) = &answer {
                state.keep(place, plain.clone());
            }
            answer
        };
        let load = load.boxed().shared();
        // Loads that nobody awaited to their end leave their entries.
        state.loads.retain(|_, load| load.upgrade().is_some());
        state.loads.extend(load.downgrade().map(|weak| (place, weak)));
        Err(load)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The kept block.
    ///
    /// It becomes the last one to be dropped.
    fn used(&mut self, place: Place) -> Option<Bytes> {
        let block = self.blocks.get_mut(&place)?;
        self.uses += 1;
        self.by_use.remove(&block.last_use);
        self.by_use.insert(self.uses, place);
        block.last_use = self.uses;
        Some(block.plain.clone())
    }

    fn keep(&mut self, place: Place, plain: Bytes) {
        self.drop_block(place);
        self.uses += 1;
        self.bytes += plain.len() as u64;
        self.by_use.insert(self.uses, place);
        self.blocks.insert(place, Block { plain, last_use: self.uses });
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            self.drop_block(*oldest);
        }
    }

    fn drop_block(&mut self, place: Place) {
        if let Some(block) = self.blocks.remove(&place) {
            self.by_use.remove(&block.last_use);
            self.bytes -= block.plain.len() as u64;
        }
    }
}

/// The error of a load, for one of several that may have waited for it.
fn told_to_all(error: Arc<Error>) -> Error {
    let shared = match Arc::try_unwrap(error) {
        Ok(error) => return error,
        Err(shared) => shared,
    };
    match &*shared {
        Error::Damaged { part, object, at, source } => Error::Damaged {
            part: part.clone(),
            object: object.clone(),
            at: at.clone(),
            source: source.as_ref().map(|source| causes(source.as_ref()).into()),
        },
        Error::SnapshotExpired { job, at } => Error::SnapshotExpired { job: job.clone(), at: at.clone() },
        Error::Repository { while_doing, at, source } => Error::Repository {
            while_doing: while_doing.clone(),
            at: at.clone(),
            source: Box::new(offsite_repository::Error::new(source.kind(), "read").with_source(source.to_string())),
        },
        Error::Stopped { task, job, at } => Error::Stopped { task: *task, job: job.clone(), at: at.clone() },
        other => Error::defect(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::{join_all, pending, ready};
    use tokio::sync::Semaphore;

    use crate::DamagedPart;

    use super::*;

    fn place(number: u64) -> Place {
        (ObjectId::new(1, 1), number)
    }

    fn cache(bytes_max: u64) -> Arc<Cache> {
        Arc::new(Cache::new(bytes_max))
    }

    async fn get(cache: &Arc<Cache>, number: u64, loads: &AtomicUsize) -> usize {
        let load = || {
            loads.fetch_add(1, Ordering::Relaxed);
            ready(Ok(Bytes::from(vec![1; 10])))
        };
        cache.get(place(number), load).await.unwrap().len()
    }

    fn damaged() -> Error {
        Error::damaged(DamagedPart::File, "block 3", String::new())
    }

    #[tokio::test]
    async fn the_block_that_was_longest_not_asked_for_goes_first() {
        let (cache, loads) = (cache(20), AtomicUsize::new(0));
        for (number, loaded) in [(1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4), (2, 4), (3, 5)] {
            get(&cache, number, &loads).await;
            assert_eq!(loads.load(Ordering::Relaxed), loaded, "{number}");
            let state = cache.state();
            assert!(state.bytes <= 20 && state.blocks.len() == state.by_use.len() && state.loads.is_empty());
        }
    }

    #[tokio::test]
    async fn a_cache_of_no_bytes_keeps_nothing() {
        let (cache, loads) = (cache(9), AtomicUsize::new(0));
        assert_eq!((get(&cache, 1, &loads).await, get(&cache, 1, &loads).await), (10, 10));
        assert_eq!((loads.load(Ordering::Relaxed), cache.state().bytes), (2, 0));
    }

    #[tokio::test]
    async fn what_failed_is_told_to_all_and_tried_again() {
        let (cache, loads) = (cache(100), AtomicUsize::new(0));
        let (gate, loads_of_it) = (Arc::new(Semaphore::new(0)), AtomicUsize::new(0));
        let load = || {
            loads_of_it.fetch_add(1, Ordering::Relaxed);
            let gate = Arc::clone(&gate);
            async move {
                let _ = gate.acquire().await;
                Err(damaged())
            }
        };
        let mut all = Box::pin(join_all((0..8).map(|_| cache.get(place(1), load))));
        assert!((&mut all).now_or_never().is_none());
        gate.add_permits(1);
        for answer in all.await {
            assert!(matches!(&answer, Err(Error::Damaged { object, .. }) if object == "block 3"), "{answer:?}");
        }
        assert_eq!(loads_of_it.load(Ordering::Relaxed), 1);
        assert_eq!(get(&cache, 1, &loads).await, 10);
    }

    /// The one who asked first goes, or is polled no more: the others get the block from the same load.
    #[tokio::test]
    async fn who_asked_first_may_go() {
        for is_dropped in [true, false] {
            let (cache, loads) = (cache(100), AtomicUsize::new(0));
            let (let_go, held) = tokio::sync::oneshot::channel::<()>();
            let load = move || async move {
                let _ = held.await;
                Ok(Bytes::from_static(b"block"))
            };
            let mut first = Box::pin(cache.get(place(1), load));
            assert!((&mut first).now_or_never().is_none());
            let others = join_all((0..3).map(|_| get(&cache, 1, &loads)));
            let mut others = Box::pin(others);
            assert!((&mut others).now_or_never().is_none());
            if is_dropped {
                drop(first);
            }
            let_go.send(()).unwrap();
            assert_eq!(others.await, [5; 3]);
            assert_eq!(loads.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn a_load_that_all_have_left_is_begun_anew() {
        let (cache, loads) = (cache(100), AtomicUsize::new(0));
        let mut first = Box::pin(cache.get(place(1), pending));
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        assert_eq!(get(&cache, 1, &loads).await, 10);
    }
}
