//! A repository in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::{
    CloneRange, Error, ErrorKind, Key, Limits, Links, ListPage, ObjectInfo, ObjectWriter, Patch, Prefix, ReadRequest,
    Reclaim, Repository, Result, Retain,
};

const LOCATION: &str = "memory";

/// The capabilities and limits of a [`Memory`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// `true` if it has [`Links`].
    pub links: bool,
    /// `true` if it has [`Reclaim`].
    pub reclaim: bool,
    /// `true` if it has [`CloneRange`].
    pub clone_range: bool,
    /// `true` if it has [`Patch`].
    pub patch: bool,
    /// `true` if it has [`Retain`].
    pub retain: bool,
    /// The granularity of punching and cloning, in bytes.
    pub granularity_bytes: u64,
    /// The space for all objects in bytes, unfinished ones included. A write beyond it fails with `NoSpace`.
    pub capacity_bytes: u64,
    /// The length of the largest object, in bytes.
    pub object_bytes_max: u64,
    /// `true` if each call first yields to the scheduler once, so that other tasks and cancellation can come in between.
    pub yields: bool,
}

impl Default for MemoryOptions {
    /// Every capability, in granules of 4 KiB, without limits.
    fn default() -> Self {
        Self {
            links: true,
            reclaim: true,
            clone_range: true,
            patch: true,
            retain: true,
            granularity_bytes: 4_096,
            capacity_bytes: u64::MAX,
            object_bytes_max: u64::MAX,
            yields: false,
        }
    }
}

impl MemoryOptions {
    /// Sets [`MemoryOptions::links`].
    #[must_use]
    pub fn with_links(mut self, links: bool) -> Self {
        self.links = links;
        self
    }

    /// Sets [`MemoryOptions::reclaim`].
    #[must_use]
    pub fn with_reclaim(mut self, reclaim: bool) -> Self {
        self.reclaim = reclaim;
        self
    }

    /// Sets [`MemoryOptions::clone_range`].
    #[must_use]
    pub fn with_clone_range(mut self, clone_range: bool) -> Self {
        self.clone_range = clone_range;
        self
    }

    /// Sets [`MemoryOptions::patch`].
    #[must_use]
    pub fn with_patch(mut self, patch: bool) -> Self {
        self.patch = patch;
        self
    }

    /// Sets [`MemoryOptions::retain`].
    #[must_use]
    pub fn with_retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets [`MemoryOptions::granularity_bytes`].
    #[must_use]
    pub fn with_granularity_bytes(mut self, granularity_bytes: u64) -> Self {
        self.granularity_bytes = granularity_bytes;
        self
    }

    /// Sets [`MemoryOptions::capacity_bytes`].
    #[must_use]
    pub fn with_capacity_bytes(mut self, capacity_bytes: u64) -> Self {
        self.capacity_bytes = capacity_bytes;
        self
    }

    /// Sets [`MemoryOptions::object_bytes_max`].
    #[must_use]
    pub fn with_object_bytes_max(mut self, object_bytes_max: u64) -> Self {
        self.object_bytes_max = object_bytes_max;
        self
    }

    /// Sets [`MemoryOptions::yields`].
    #[must_use]
    pub fn with_yields(mut self, yields: bool) -> Self {
        self.yields = yields;
        self
    }
}

/// A repository in memory, for tests.
///
/// Clones are handles of the same store. Besides the verbs, it has methods that inspect or damage what it stores.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) options: MemoryOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    // By text and not by `Key`: a folder's first possible key, "folder/", is none.
    pub(super) objects: BTreeMap<String, Object>,
    /// Bytes that unfinished objects take.
    staged_bytes: u64,
    capacity_bytes: Option<u64>,
    clock_unix_secs: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    /// Numbers of the granules that were punched.
    pub(super) holes: BTreeSet<u64>,
    pub(super) retained_until: Option<i64>,
    /// `true` if the object has another name outside.
    pub(super) is_linked: bool,
}

impl Memory {
    /// An empty store with every capability.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with these options.
    #[must_use]
    pub fn with_options(options: MemoryOptions) -> Self {
        assert!(options.granularity_bytes > 0, "a granule has at least one byte");
        Self { shared: Arc::new(Shared { options, state: Mutex::default() }) }
    }

    /// Changes the space for all objects, in bytes.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.lock().capacity_bytes = Some(capacity_bytes);
    }

    /// Sets the clock of retention to this date, and stops it there.
    ///
    /// Until then, retention uses the system's clock. The date is in seconds since 1970-01-01T00:00:00Z.
    pub fn set_clock(&self, now_unix_secs: i64) {
        self.lock().clock_unix_secs = Some(now_unix_secs);
    }

    /// The bytes that all objects take.
    ///
    /// Unfinished objects count, holes do not.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes(self.granule())
    }

    /// Another store with the same objects.
    ///
    /// It has what would be left if all users of this store stopped now.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.lock();
        let forked = State {
            objects: state.objects.clone(),
            staged_bytes: 0,
            capacity_bytes: state.capacity_bytes,
            clock_unix_secs: state.clock_unix_secs,
        };
        Self { shared: Arc::new(Shared { options: self.shared.options.clone(), state: Mutex::new(forked) }) }
    }

    /// Another store with the same options and these objects.
    pub(super) fn with_objects(&self, objects: BTreeMap<String, Object>) -> Self {
        let fork = self.fork();
        fork.replace_objects(objects);
        fork
    }

    /// Replaces all objects.
    pub(super) fn replace_objects(&self, objects: BTreeMap<String, Object>) {
        self.lock().objects = objects;
    }

    /// Every object with its content.
    #[must_use]
    pub fn contents(&self) -> Vec<(Key, Bytes)> {
        let state = self.lock();
        state.objects.iter().filter_map(|(key, object)| Some((Key::new(key).ok()?, object.bytes.clone()))).collect()
    }

    /// Damages one byte of an object: the byte at `offset` is XORed with `xor`.
    ///
    /// Returns `false` if there is no such byte.
    pub fn corrupt(&self, key: &Key, offset: u64, xor: u8) -> bool {
        self.change(key, |bytes| {
            let byte = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset));
            byte.map(|byte| *byte ^= xor).is_some()
        })
    }

    /// Cuts an object to `length` bytes.
    ///
    /// Returns `false` if it is not that long.
    pub fn truncate(&self, key: &Key, length: u64) -> bool {
        self.change(key, |bytes| match usize::try_from(length) {
            Ok(length) if length <= bytes.len() => {
                bytes.truncate(length);
                true
            }
            _ => false,
        })
    }

    /// Deletes an object, even if it is retained.
    ///
    /// Returns `false` if there is no such object.
    pub fn remove(&self, key: &Key) -> bool {
        self.lock().objects.remove(key.as_str()).is_some()
    }

    /// Gives an object another name outside of the store, or removes that name.
    ///
    /// Returns `false` if there is no such object.
    pub fn link(&self, key: &Key, is_linked: bool) -> bool {
        let mut state = self.lock();
        state.objects.get_mut(key.as_str()).map(|object| object.is_linked = is_linked).is_some()
    }

    fn change(&self, key: &Key, change: impl FnOnce(&mut BytesMut) -> bool) -> bool {
        self.lock().objects.get_mut(key.as_str()).is_some_and(|object| object.change(change))
    }

    pub(super) fn options(&self) -> &MemoryOptions {
        &self.shared.options
    }

    pub(super) fn granule(&self) -> u64 {
        self.shared.options.granularity_bytes
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    pub(super) async fn turn(&self) {
        if self.shared.options.yields {
            tokio::task::yield_now().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn used_bytes(&self, granule: u64) -> u64 {
        self.objects.values().map(|object| object.allocated_bytes(granule)).sum::<u64>() + self.staged_bytes
    }

    pub(super) fn room_for(&self, bytes: u64, options: &MemoryOptions) -> bool {
        let capacity = self.capacity_bytes.unwrap_or(options.capacity_bytes);
        // A walk over all objects, only worth it where there is a bound.
        capacity == u64::MAX || self.used_bytes(options.granularity_bytes).saturating_add(bytes) <= capacity
    }

    pub(super) fn now(&self) -> i64 {
        self.clock_unix_secs.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0)
        })
    }

    pub(super) fn object(&mut self, key: &Key, action: &'static str) -> Result<&mut Object> {
        self.objects.get_mut(key.as_str()).ok_or_else(|| failed(ErrorKind::NotFound, action, key))
    }
}

impl Object {
    pub(super) fn allocated_bytes(&self, granule: u64) -> u64 {
        let length = self.bytes.len() as u64;
        let punched: u64 = self.holes.iter().map(|hole| granule.min(length.saturating_sub(hole * granule))).sum();
        length - punched
    }

    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut BytesMut) -> T) -> T {
        let bytes = std::mem::take(&mut self.bytes);
        // Without a copy unless a reader still holds the old content, which must not change under it.
        let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let answer = change(&mut bytes);
        self.bytes = bytes.freeze();
        answer
    }

    /// Fails if the object has another name, where a write would be seen.
    pub(super) fn refuse_linked(&self, key: &Key, action: &'static str) -> Result<()> {
        if self.is_linked { Err(failed(ErrorKind::Linked, action, key)) } else { Ok(()) }
    }

    pub(super) fn slice(&self, key: &Key, action: &'static str, range: &Range<u64>) -> Result<Bytes> {
        let bounds = (usize::try_from(range.start), usize::try_from(range.end));
        match bounds {
            (Ok(start), Ok(end)) if start <= end && end <= self.bytes.len() => Ok(self.bytes.slice(start..end)),
            _ => Err(failed(ErrorKind::Corrupt, action, key).with_detail(format!(
                "bytes {} to {} were asked for, it has {}",
                range.start,
                range.end,
                self.bytes.len()
            ))),
        }
    }
}

/// The error of a failed call for an object.
pub(super) fn failed(kind: ErrorKind, action: &'static str, key: &Key) -> Error {
    Error::new(kind, action).with_key(key).with_location(LOCATION)
}

#[async_trait]
impl Repository for Memory {
    fn location(&self) -> String {
        LOCATION.to_owned()
    }

    fn limits(&self) -> Limits {
        Limits::new(self.shared.options.object_bytes_max)
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        self.turn().await;
        if self.lock().objects.contains_key(key.as_str()) {
            return Err(failed(ErrorKind::AlreadyExists, "create", key));
        }
        let memory = self.clone();
        Ok(Box::new(MemoryWriter { memory, key: key.clone(), bytes: BytesMut::new(), dead: false }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        self.turn().await;
        let mut state = self.lock();
        let object = state.object(key, "read")?;
        match what {
            ReadRequest::Whole { limit_bytes } if object.bytes.len() as u64 > limit_bytes => {
                let detail = format!("it has {} bytes, at most {limit_bytes} are expected", object.bytes.len());
                Err(failed(ErrorKind::Corrupt, "read", key).with_detail(detail))
            }
            ReadRequest::Whole { .. } => Ok(vec![object.bytes.clone()]),
            ReadRequest::Ranges(ranges) => ranges.iter().map(|range| object.slice(key, "read", range)).collect(),
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.turn().await;
        let folder = if prefix.as_str().is_empty() { String::new() } else { format!("{prefix}/") };
        let start = match after {
            Some(after) if after.as_str() >= folder.as_str() => Bound::Excluded(after.as_str()),
            _ => Bound::Included(folder.as_str()),
        };
        let state = self.lock();
        let below = state.objects.range::<str, _>((start, Bound::Unbounded));
        let mut below = below.take_while(|(key, _)| key.starts_with(&folder));
        let mut objects = Vec::new();
        for (key, object) in below.by_ref().take(limit.max(1)) {
            // Only keys come in, so only keys go out.
            objects.extend(Key::new(key).ok().map(|key| ObjectInfo::new(key, object.bytes.len() as u64)));
        }
        Ok(ListPage::new(objects, below.next().is_some()))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.turn().await;
        let mut state = self.lock();
        let now = state.now();
        let until = state.objects.get(key.as_str()).and_then(|object| object.retained_until);
        if let Some(until) = until.filter(|until| *until > now) {
            let detail = format!("it is retained until {until}, and it is {now} (seconds since 1970)");
            return Err(failed(ErrorKind::PermissionDenied, "delete", key).with_detail(detail));
        }
        state.objects.remove(key.as_str());
        Ok(())
    }

    fn links(&self) -> Option<&dyn Links> {
        self.shared.options.links.then_some(self)
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.shared.options.reclaim.then_some(self)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.shared.options.clone_range.then_some(self)
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.shared.options.patch.then_some(self)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        self.shared.options.retain.then_some(self)
    }
}

struct MemoryWriter {
    memory: Memory,
    key: Key,
    bytes: BytesMut,
    dead: bool,
}

impl MemoryWriter {
    fn check_alive(&self, action: &'static str) -> Result<()> {
        if self.dead {
            let detail = "an earlier call failed or was given up; write it anew";
            return Err(failed(ErrorKind::Unavailable, action, &self.key).with_detail(detail));
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectWriter for MemoryWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.check_alive("write")?;
        self.dead = true;
        self.memory.turn().await;
        let added: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if self.bytes.len() as u64 + added > self.memory.shared.options.object_bytes_max {
            let detail = "it would be larger than the largest object";
            return Err(failed(ErrorKind::Unsupported, "write", &self.key).with_detail(detail));
        }
        {
            let mut state = self.memory.lock();
            if !state.room_for(added, &self.memory.shared.options) {
                return Err(failed(ErrorKind::NoSpace, "write", &self.key));
            }
            state.staged_bytes += added;
        }
        chunks.iter().for_each(|chunk| self.bytes.extend_from_slice(chunk));
        self.dead = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.check_alive("finish")?;
        self.memory.turn().await;
        let mut state = self.memory.lock();
        if state.objects.contains_key(self.key.as_str()) {
            return Err(failed(ErrorKind::AlreadyExists, "finish", &self.key));
        }
        let object = Object { bytes: self.bytes.clone().freeze(), ..Object::default() };
        state.objects.insert(self.key.as_str().to_owned(), object);
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.memory.turn().await;
        Ok(())
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        let mut state = self.memory.shared.lock();
        state.staged_bytes -= self.bytes.len() as u64;
    }
}
