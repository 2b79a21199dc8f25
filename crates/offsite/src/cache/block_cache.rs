//! A cache: its packs, who goes when it is full, and what it has of what a copy wants.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use offsite_core::{ObjectId, RepositoryId, StoredBlock};
use offsite_repository::{Key, Prefix, Repository, RepositoryExt};
use tokio::sync::Mutex;

use super::list::{self, Row};
use super::usage::{self, Usage};
use crate::error::Context;
use crate::folder::layout::Layout;
use crate::{Bytes, Error, JobName, OpenRepository, Result};

/// The folder of the cache in its place, and the name that stands for the machine of all its frames.
pub(crate) const MACHINE: &str = "cache";
/// The name of a file that is not the cache's own, and may lie in its place.
const LOCK: &str = "lock";
/// A cache has about so many packs. The least recently used pack goes as one.
const PACKS: u64 = 64;
/// The bounds of the length of a pack, in bytes. The longest frame fits into one.
const PACK_BYTES: std::ops::RangeInclusive<u64> = (5 << 20)..=(1 << 30);
/// The least size of a cache, in bytes.
const LEAST_BYTES: u64 = 16 << 20;

/// Why a place cannot be used as a block cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockCacheError {
    /// The cache could not hold anything.
    #[error("a cache of {} is too small: it needs at least {}", Bytes(*size_bytes), Bytes(*least_bytes))]
    TooSmall {
        /// The size that was asked for, in bytes.
        size_bytes: u64,
        /// The least size, in bytes.
        least_bytes: u64,
    },
    /// Something else lies in the place. The cache would delete it in time.
    #[error("{location} has {name}, which is not of a block cache; choose an empty folder")]
    Foreign {
        /// The place, in words.
        location: String,
        /// One of the objects there.
        name: String,
    },
    /// The place cannot be used.
    #[error(transparent)]
    Place(Box<Error>),
}

impl From<Error> for BlockCacheError {
    fn from(error: Error) -> Self {
        Self::Place(Box::new(error))
    }
}

/// A cache of blocks that came over a link, on a disk of this host.
///
/// A copy looks up there what its target does not have, and puts there what it reads from its sources. Each block is compared with its
/// digest whenever it is used. So the cache can be deleted at any time, also while it is in use. It never gets larger than its size: the
/// blocks go that no run has used for the longest time, a 64th of the cache at once.
///
/// Clones are handles of the same cache. Several jobs of a process may share one. No two processes may use the same place: the caller
/// sees to that.
#[derive(Debug, Clone)]
pub struct BlockCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    place: Arc<dyn Repository>,
    layout: Layout,
    size_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    packs: BTreeMap<ObjectId, PackState>,
    /// What packs that are being written may take, in bytes.
    reserved_bytes: u64,
    turn: u64,
    epoch: u32,
    count: u32,
    /// The records of usage that are stored.
    usage: Vec<Key>,
}

#[derive(Debug, Clone, Copy)]
struct PackState {
    /// The bytes of the pack and its list.
    bytes: u64,
    /// The length of its list, in bytes.
    list_bytes: u64,
    turn: u64,
}

impl BlockCache {
    /// Opens the cache in `place`, which may be empty, for at most `size_bytes`.
    ///
    /// If the cache is larger than that, what was not used for the longest time goes.
    ///
    /// # Errors
    /// [`BlockCacheError`] if the size is too small, if something else lies in the place, or if the place cannot be used.
    pub fn open(
        place: Arc<dyn Repository>,
        size_bytes: u64,
    ) -> BoxFuture<'static, std::result::Result<Self, BlockCacheError>> {
        Box::pin(async move {
            if size_bytes < LEAST_BYTES {
                return Err(BlockCacheError::TooSmall { size_bytes, least_bytes: LEAST_BYTES });
            }
            let layout = Layout::new(JobName::new(MACHINE).map_err(|error| Error::defect(error.to_string()))?);
            let cache = Self(Arc::new(Shared { place, layout, size_bytes, state: Mutex::default() }));
            cache.load().await?;
            let run = cache.run().await;
            let mut state = cache.0.state.lock().await;
            cache.make_room(&mut state, &run.place, 0, u64::MAX).await?;
            drop(state);
            Ok(cache)
        })
    }

    /// The size of the cache, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    /// How many bytes the cache has now.
    pub fn used_bytes(&self) -> BoxFuture<'_, u64> {
        Box::pin(async move { self.0.state.lock().await.used_bytes() })
    }

    async fn load(&self) -> std::result::Result<(), BlockCacheError> {
        let Shared { place, layout, .. } = &*self.0;
        let location = || place.location();
        let listed = place.list_all(&Prefix::root()).await;
        let listed = listed.while_doing(|| format!("looking into the cache in {}", location()))?;
        let (mut files, mut lists, mut state) = (BTreeMap::new(), BTreeMap::new(), State::default());
        for object in listed {
            let id = ObjectId::parse(object.key.name());
            let is = |key: Result<Key>| key.is_ok_and(|key| key == object.key);
            match id {
                Some(id) if is(layout.backup_file(id)) => drop(files.insert(id, object.length)),
                Some(id) if is(layout.index(id)) => drop(lists.insert(id, object.length)),
                Some(id) if is(layout.cache_usage(id)) => state.usage.push(object.key),
                // Whoever sees to it that one process uses the cache may have a lock there.
                None if object.key.as_str() == LOCK => {}
                _ => return Err(BlockCacheError::Foreign { location: location(), name: object.key.to_string() }),
            }
        }
        let mut used = Usage::new();
        for key in &state.usage {
            if let Ok(bytes) = place.get(key, 1 << 20).await {
                used.extend(usage::decode(&bytes).unwrap_or_default());
            }
        }
        let ids = files.keys().chain(lists.keys()).map(|id| id.epoch());
        let usage_ids = state.usage.iter().filter_map(|key| ObjectId::parse(key.name()));
        state.epoch = ids.chain(usage_ids.map(ObjectId::epoch)).max().unwrap_or(0).saturating_add(1);
        state.turn = used.values().copied().max().unwrap_or(0);
        for (id, length) in &files {
            match lists.remove(id) {
                Some(list_bytes) => {
                    let turn = used.get(id).copied().unwrap_or(0);
                    state.packs.insert(*id, PackState { bytes: length + list_bytes, list_bytes, turn });
                }
                // Nobody knows what is in it.
                None => drop(place.delete(&layout.backup_file(*id)?).await),
            }
        }
        for id in lists.keys() {
            let _ = place.delete(&layout.index(*id)?).await;
        }
        *self.0.state.lock().await = state;
        Ok(())
    }

    /// A run that uses the cache.
    pub(crate) async fn run(&self) -> CacheRun {
        let mut state = self.0.state.lock().await;
        state.turn += 1;
        let place = OpenRepository::new(RepositoryId::new([0; 16]), Arc::clone(&self.0.place));
        CacheRun { cache: self.clone(), place, turn: state.turn }
    }

    /// Lets packs go that no run has used since `turn`, so that `more_bytes` fit. Returns whether they do.
    async fn make_room(&self, state: &mut State, place: &OpenRepository, more_bytes: u64, turn: u64) -> Result<bool> {
        loop {
            let used = state.used_bytes().saturating_add(state.reserved_bytes).saturating_add(more_bytes);
            if used <= self.0.size_bytes {
                return Ok(true);
            }
            let oldest =
                state.packs.iter().filter(|(_, pack)| pack.turn < turn).min_by_key(|(id, pack)| (pack.turn, **id));
            let Some(id) = oldest.map(|(id, _)| *id) else { return Ok(false) };
            self.drop_pack(state, place, id).await?;
        }
    }

    async fn drop_pack(&self, state: &mut State, place: &OpenRepository, id: ObjectId) -> Result<()> {
        state.packs.remove(&id);
        let while_doing = || format!("making room in the cache in {}", place.location());
        // A pack without a list is nothing; the next process removes it.
        place.backend().delete(&self.0.layout.index(id)?).await.while_doing(while_doing)?;
        place.backend().delete(&self.0.layout.backup_file(id)?).await.while_doing(while_doing)
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        self.packs.values().map(|pack| pack.bytes).sum()
    }
}

/// A cache in the hands of one run.
#[derive(Debug, Clone)]
pub(crate) struct CacheRun {
    cache: BlockCache,
    /// Its place, with counts of this run alone.
    pub(crate) place: OpenRepository,
    turn: u64,
}

impl CacheRun {
    pub(crate) fn layout(&self) -> &Layout {
        &self.cache.0.layout
    }

    /// Shows `take` each frame with its number in its pack, the packs that were used last first. The packs of those that it takes count as
    /// used.
    ///
    /// A list that cannot be read is left out, and its pack goes.
    pub(crate) async fn find(&self, mut take: impl FnMut(&StoredBlock, u32) -> bool) {
        let mut packs: Vec<(u64, ObjectId, u64)> = {
            let state = self.cache.0.state.lock().await;
            state.packs.iter().map(|(id, pack)| (pack.turn, *id, pack.list_bytes)).collect()
        };
        packs.sort_unstable_by(|left, right| right.cmp(left));
        for (_, id, list_bytes) in packs {
            let rows: Option<Vec<Row>> = match self.layout().index(id) {
                Ok(key) => {
                    let bytes = self.place.backend().get(&key, list_bytes).await;
                    bytes.ok().and_then(|bytes| list::decode(id, &bytes))
                }
                Err(_) => None,
            };
            let mut state = self.cache.0.state.lock().await;
            let Some(rows) = rows else {
                let _ = self.cache.drop_pack(&mut state, &self.place, id).await;
                continue;
            };
            let mut is_used = false;
            for (at, number) in &rows {
                is_used |= take(at, *number);
            }
            if let Some(pack) = state.packs.get_mut(&id).filter(|_| is_used) {
                pack.turn = self.turn;
            }
        }
    }

    /// Room for one more pack: its id, and how long it may get with its list. `None` if the cache is full of what this run has used.
    pub(super) async fn reserve(&self) -> Result<Option<(ObjectId, u64)>> {
        let mut state = self.cache.0.state.lock().await;
        let bytes = (self.cache.0.size_bytes / PACKS).clamp(*PACK_BYTES.start(), *PACK_BYTES.end());
        if !self.cache.make_room(&mut state, &self.place, bytes, self.turn).await? {
            return Ok(None);
        }
        state.reserved_bytes += bytes;
        state.count += 1;
        Ok(Some((ObjectId::new(state.epoch, state.count), bytes)))
    }

    /// Gives back what was reserved for a pack.
    pub(super) async fn give_back(&self, bytes: u64) {
        let mut state = self.cache.0.state.lock().await;
        state.reserved_bytes = state.reserved_bytes.saturating_sub(bytes);
    }

    /// Stores the list of a pack that is complete. From now on, runs find what is in it.
    pub(super) async fn add(&self, id: ObjectId, rows: &[StoredBlock]) -> Result<()> {
        let list = list::encode(id, rows);
        let (list_bytes, frames) = (list.len() as u64, rows.iter().map(|at| u64::from(at.length)).sum::<u64>());
        let stored = self.place.backend().put(&self.layout().index(id)?, list.into()).await;
        stored.while_doing(|| format!("writing to the cache in {}", self.place.location()))?;
        let mut state = self.cache.0.state.lock().await;
        state.packs.insert(id, PackState { bytes: frames + list_bytes, list_bytes, turn: self.turn });
        Ok(())
    }

    /// Stores which packs were used when. If that fails, others go first the next time the cache is full.
    pub(crate) async fn end(&self) {
        let mut state = self.cache.0.state.lock().await;
        let usage: Usage = state.packs.iter().map(|(id, pack)| (*id, pack.turn)).collect();
        state.count += 1;
        let Ok(key) = self.layout().cache_usage(ObjectId::new(state.epoch, state.count)) else { return };
        if self.place.backend().put(&key, usage::encode(&usage).into()).await.is_ok() {
            for old in std::mem::replace(&mut state.usage, vec![key]) {
                let _ = self.place.backend().delete(&old).await;
            }
        }
    }
}
