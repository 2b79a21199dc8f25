//! A repository whose power can be cut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;

use super::disk::{Disk, File};
use super::moment::CrashMoment;
use super::options::CrashOptions;
use crate::numbers::Numbers;
use crate::testing::memory::{Memory, MemoryOptions};
use crate::{
    CloneRange, Error, ErrorKind, Key, Limits, ListPage, ObjectWriter, Patch, Prefix, ReadRequest, Reclaim, Repository,
    Result, Retain,
};

/// A repository on a simulated disk whose power can be cut.
///
/// It tells which states may be found after a power cut. While the power is on, it behaves like [`Memory`]. It keeps apart what
/// is on the disk and what is not there yet:
///
/// - **Data** of files. A write without a flush may have put nothing, everything, or any subset of its 512-byte sectors on the
///   disk. Newer sectors may be there without older ones. Missing sectors of a file's new part read as zeros, or are cut off. A
///   punch without a flush may have reached any subset of its granules.
/// - **Entries**: names and dates of retention. Each change without a flush may be on the disk or not, independently of other
///   changes and of the data behind it.
///
/// An honest repository flushes before it returns, as the contract requires. So only the calls that were in progress at the cut
/// are in doubt. After a `finish` or a clone, the object is there as a whole or not at all. After a write of extents, any mix of
/// old and new sectors is there. After a punch, any part of it. A deletion or a date of retention is done or not.
///
/// [`CrashOptions`] make the repository dishonest. With them, a test of recovery can prove that it would detect a fault.
///
/// Seeds decide all of this. The same calls and seeds give the same images on every machine. Clones are handles of the same
/// image.
///
/// # Crashing at every call
///
/// [`cut_after`](CrashImage::cut_after) cuts the power in the n-th call that changes something. Every later call fails with
/// `Unavailable`. So does the interrupted call, unless it is a create that may have taken effect: that fails with
/// `Indeterminate`.
///
/// A test runs an operation once as a whole, and asks for [`changing_calls`](CrashImage::changing_calls). Then it runs the
/// operation again with a cut in each of them. [`power_cut`](CrashImage::power_cut) returns one of the possible states for each
/// seed.
///
/// ```
/// use offsite_repository::testing::CrashImage;
/// use offsite_repository::{ErrorKind, Key, RepositoryExt};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let key = Key::new("object").unwrap();
/// let put = || async {
///     let image = CrashImage::new(1);
///     (image.put(&key, "content".into()).await, image)
/// };
/// let calls = put().await.1.changing_calls();
/// for cut in 1..=calls {
///     let image = CrashImage::new(1);
///     image.cut_after(cut);
///     image.put(&key, "content".into()).await.unwrap_err();
///     for seed in 0..20 {
///         // Whole or not there, whenever the cut came.
///         match image.power_cut(seed).get(&key, 100).await {
///             Ok(found) => assert_eq!(found, "content"),
///             Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
///         }
///     }
/// }
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct CrashImage {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: CrashOptions,
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// What the running system sees.
    pub(super) memory: Memory,
    disk: Disk,
    is_on: bool,
    calls: u64,
    cut_at: Option<u64>,
    /// The number of times that the power came back. Writers from before are dead.
    boots: u64,
    /// Data of new objects that was flushed, or was to be.
    flushes: u64,
    /// The moments that are recorded.
    moments: Option<Vec<CrashMoment>>,
}

impl CrashImage {
    /// An empty image on an honest disk, with every capability.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_options(seed, CrashOptions::default())
    }

    /// An empty image with these options.
    #[must_use]
    pub fn with_options(seed: u64, options: CrashOptions) -> Self {
        let memory = Memory::with_options(
            MemoryOptions::default()
                .with_reclaim(options.reclaim)
                .with_clone_range(options.clone_range)
                .with_patch(options.patch)
                .with_retain(options.retain)
                .with_granularity_bytes(options.granularity_bytes),
        );
        Self::on(seed, memory, Disk::new(options.clone()), options)
    }

    /// An image on an honest disk that starts with the objects and capabilities of `memory`.
    ///
    /// Later changes made directly to `memory`, such as damage, reach the disk only by [`flush_all`](CrashImage::flush_all).
    #[must_use]
    pub fn from_memory(seed: u64, memory: &Memory) -> Self {
        let MemoryOptions { reclaim, clone_range, patch, retain, granularity_bytes, yields, .. } = *memory.options();
        let options = CrashOptions::default()
            .with_reclaim(reclaim)
            .with_clone_range(clone_range)
            .with_patch(patch)
            .with_retain(retain)
            .with_granularity_bytes(granularity_bytes)
            .with_yields(yields);
        let disk = Disk::holding(options.clone(), &memory.lock().objects);
        Self::on(seed, memory.clone(), disk, options)
    }

    /// Flushes all that the running system sees.
    pub fn flush_all(&self) {
        let mut state = self.lock();
        let disk = Disk::holding(self.shared.options.clone(), &state.memory.lock().objects);
        state.disk = disk;
    }

    fn on(seed: u64, memory: Memory, disk: Disk, options: CrashOptions) -> Self {
        let state = State { memory, disk, is_on: true, calls: 0, cut_at: None, boots: 0, flushes: 0, moments: None };
        Self { shared: Arc::new(Shared { options, seed, state: Mutex::new(state) }) }
    }

    /// The number of calls so far that change something.
    ///
    /// These are creates, writes, finishes, aborts, deletions, sweeps, punches, clones, writes of extents and dates of retention.
    /// Failed calls count, too.
    #[must_use]
    pub fn changing_calls(&self) -> u64 {
        self.lock().calls
    }

    /// Cuts the power in the `calls`-th changing call from now.
    ///
    /// Zero cuts it at once.
    pub fn cut_after(&self, calls: u64) {
        let mut state = self.lock();
        state.cut_at = Some(state.calls.saturating_add(calls));
        state.is_on &= calls > 0;
    }

    /// Cancels a cut that has not happened yet.
    pub fn cancel_cut(&self) {
        self.lock().cut_at = None;
    }

    /// Returns `true` if the power is on.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.lock().is_on
    }

    /// One of the images that a power cut may leave.
    ///
    /// The cut is now, or the one that has already happened. This image's seed and `seed` decide which image it is. The power of
    /// the result is on. This image does not change.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> Self {
        let state = self.lock();
        let disk = state.disk.after_cut(&mut self.numbers(seed));
        let memory = state.memory.with_objects(disk.objects());
        Self::on(seed, memory, disk, self.shared.options.clone())
    }

    /// Turns the power on again, after a cut now if it was still on.
    ///
    /// This image and all its handles continue with the state that [`power_cut`](CrashImage::power_cut) would return for this
    /// seed. Earlier writers are dead.
    pub fn power_on(&self, seed: u64) {
        let mut state = self.lock();
        state.disk = state.disk.after_cut(&mut self.numbers(seed));
        state.memory.replace_objects(state.disk.objects());
        (state.is_on, state.cut_at) = (true, None);
        state.boots += 1;
    }

    /// An independent image with the same content, and with the same changes in doubt.
    ///
    /// Its power is on.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.lock();
        Self::on(self.shared.seed, state.memory.fork(), state.disk.clone(), self.shared.options.clone())
    }

    /// The same image with another seed for the states that cuts leave.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        let state = self.lock();
        Self::on(seed, state.memory.fork(), state.disk.clone(), self.shared.options.clone())
    }

    /// Starts to record moments: each call that changes something, as a moment at which the power could be cut.
    pub fn record_moments(&self) {
        self.lock().moments = Some(Vec::new());
    }

    /// The moments since recording began, in order.
    ///
    /// Recording ends.
    #[must_use]
    pub fn take_moments(&self) -> Vec<CrashMoment> {
        self.lock().moments.take().unwrap_or_default()
    }

    /// Sets the clock of retention to this date, and stops it there.
    ///
    /// Until then, retention uses the system's clock. The date is in seconds since 1970-01-01T00:00:00Z.
    pub fn set_clock(&self, now_unix_secs: i64) {
        self.lock().memory.set_clock(now_unix_secs);
    }

    /// Every object with its content, as the running system sees it, whether the power is on or not.
    #[must_use]
    pub fn contents(&self) -> Vec<(Key, Bytes)> {
        self.lock().memory.contents()
    }

    fn numbers(&self, seed: u64) -> Numbers {
        // Mixed, so that images 1 and 2 after cuts 2 and 1 have nothing in common.
        Numbers::new(Numbers::new(self.shared.seed).next() ^ seed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn turn(&self) {
        if self.shared.options.yields {
            tokio::task::yield_now().await;
        }
    }

    /// The error of a failed call.
    fn failed(&self, kind: ErrorKind, action: &'static str, key: Option<&Key>) -> Error {
        let error = Error::new(kind, action).with_location(self.location());
        match key {
            Some(key) => error.with_key(key),
            None => error,
        }
    }

    fn off(&self, kind: ErrorKind, action: &'static str, key: Option<&Key>) -> Error {
        self.failed(kind, action, key).with_detail("its power is cut")
    }

    /// The answer of the memory, which does not yield, as this image's answer.
    pub(super) fn now<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = answer.now_or_never();
        let answer = answer.unwrap_or_else(|| Err(self.failed(ErrorKind::Unavailable, "wait for memory", None)));
        answer.map_err(|error| error.moved_to(self.location()))
    }

    /// The state, for a call that changes nothing.
    pub(super) fn look(&self, action: &'static str, key: Option<&Key>) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.is_on { Ok(state) } else { Err(self.off(ErrorKind::Unavailable, action, key)) }
    }

    /// Counts a call that changes something.
    ///
    /// Returns the state, and whether the power is cut in this call.
    fn begin(&self, action: &'static str, key: Option<&Key>) -> Result<(MutexGuard<'_, State>, bool)> {
        let mut state = self.look(action, key)?;
        state.calls += 1;
        let is_cut = state.cut_at == Some(state.calls);
        state.is_on = !is_cut;
        Ok((state, is_cut))
    }

    /// Stores a new object: its data, then its entry.
    pub(super) fn create_whole(
        &self,
        key: &Key,
        action: &'static str,
        call: impl FnOnce(&Memory) -> Result<()>,
        boots: Option<u64>,
    ) -> Result<()> {
        let (mut state, is_cut) = self.begin(action, Some(key))?;
        self.check_boots(&state, boots, key, action)?;
        let CrashOptions { failing_flush_every, retries_failed_flush, .. } = self.shared.options;
        state.flushes += 1;
        let is_lost = failing_flush_every > 0 && state.flushes % failing_flush_every == 0 && !is_cut;
        if is_lost && !retries_failed_flush {
            let error = self.failed(ErrorKind::Unavailable, action, Some(key));
            return Err(error.with_detail("its data could not be flushed; write it anew"));
        }
        let before = state.moments.as_ref().map(|_| state.disk.names());
        let done = call(&state.memory);
        let bytes = state.memory.lock().objects.get(key.as_str()).map(|object| object.bytes.clone());
        if let (Ok(()), Some(bytes)) = (&done, bytes) {
            let State { disk, calls, moments, .. } = &mut *state;
            let file = if is_lost { disk.write_lost(bytes.len()) } else { disk.write_new(bytes) };
            // The cut came before the entry was written, or after.
            let is_early = is_cut && Numbers::new(self.shared.seed ^ *calls).coin();
            if is_cut && !self.shared.options.data_before_entry {
                disk.link(key.as_str(), file);
            } else if !is_early {
                if self.shared.options.data_before_entry {
                    disk.flush_data(file);
                }
                disk.link(key.as_str(), file);
            }
            if let Some((moments, before)) = moments.as_mut().zip(before) {
                moments.push(CrashMoment::new(
                    self.shared.options.clone(),
                    self.shared.seed,
                    *calls,
                    action,
                    key,
                    disk,
                    before,
                ));
            }
            if !is_cut {
                disk.flush_data(file);
                disk.flush_entries();
            }
        }
        if is_cut { Err(self.off(ErrorKind::Indeterminate, action, Some(key))) } else { done }
    }

    /// Changes or removes an object. `log` tells the disk of the change, `flush` flushes it.
    pub(super) fn change(
        &self,
        action: &'static str,
        key: &Key,
        call: impl FnOnce(&Memory) -> Result<()>,
        log: impl FnOnce(&mut Disk, File),
        flush: impl FnOnce(&mut Disk, File),
    ) -> Result<()> {
        let (mut state, is_cut) = self.begin(action, Some(key))?;
        let file = state.disk.file(key.as_str());
        let before = state.moments.as_ref().map(|_| state.disk.names());
        let done = call(&state.memory);
        if let (Ok(()), Some(file)) = (&done, file) {
            log(&mut state.disk, file);
            let State { disk, calls, moments, .. } = &mut *state;
            if let Some((moments, before)) = moments.as_mut().zip(before) {
                moments.push(CrashMoment::new(
                    self.shared.options.clone(),
                    self.shared.seed,
                    *calls,
                    action,
                    key,
                    disk,
                    before,
                ));
            }
            if !is_cut {
                flush(&mut state.disk, file);
            }
        }
        if is_cut { Err(self.off(ErrorKind::Unavailable, action, Some(key))) } else { done }
    }

    fn check_boots(&self, state: &State, boots: Option<u64>, key: &Key, action: &'static str) -> Result<()> {
        if boots.is_none_or(|boots| boots == state.boots) {
            return Ok(());
        }
        let detail = "the power was cut while it was written; write it anew";
        Err(self.failed(ErrorKind::Unavailable, action, Some(key)).with_detail(detail))
    }
}

impl CrashMoment {
    /// One of the images that a cut at this moment may leave.
    ///
    /// `seed` decides which. Its power is on.
    #[must_use]
    pub fn image(&self, seed: u64) -> CrashImage {
        let mut numbers = Numbers::new(Numbers::new(self.seed ^ self.call.rotate_left(32)).next() ^ seed);
        let disk = self.disk.after_cut(&mut numbers);
        let memory = Memory::with_options(
            MemoryOptions::default()
                .with_reclaim(self.options.reclaim)
                .with_clone_range(self.options.clone_range)
                .with_patch(self.options.patch)
                .with_retain(self.options.retain)
                .with_granularity_bytes(self.options.granularity_bytes),
        );
        let memory = memory.with_objects(disk.objects());
        CrashImage::on(self.seed, memory, disk, self.options.clone())
    }
}

#[async_trait]
impl Repository for CrashImage {
    fn location(&self) -> String {
        format!("crash image {}", self.shared.seed)
    }

    fn limits(&self) -> Limits {
        self.lock().memory.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        self.turn().await;
        let (state, is_cut) = self.begin("create", Some(key))?;
        if is_cut {
            return Err(self.off(ErrorKind::Unavailable, "create", Some(key)));
        }
        let writer = self.now(state.memory.create(key))?;
        Ok(Box::new(CrashWriter { image: self.clone(), key: key.clone(), writer, boots: state.boots, dead: false }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        self.turn().await;
        self.now(self.look("read", Some(key))?.memory.read(key, what))
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.turn().await;
        self.now(self.look("list", None)?.memory.list(prefix, after, limit))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.turn().await;
        let call = |memory: &Memory| self.now(memory.delete(key));
        self.change("delete", key, call, |disk, _| disk.unlink(key.as_str()), |disk, _| disk.flush_entries())
    }

    async fn sweep(&self) -> Result<()> {
        self.turn().await;
        let is_cut = self.begin("sweep", None)?.1;
        if is_cut { Err(self.off(ErrorKind::Unavailable, "sweep", None)) } else { Ok(()) }
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

struct CrashWriter {
    image: CrashImage,
    key: Key,
    writer: Box<dyn ObjectWriter>,
    boots: u64,
    dead: bool,
}

impl CrashWriter {
    /// Marks the writer dead for the time of a call, so that it stays so if the call fails or is dropped.
    fn enter(&mut self, action: &'static str) -> Result<()> {
        if std::mem::replace(&mut self.dead, true) {
            let detail = "an earlier call failed or was given up; write it anew";
            return Err(self.image.failed(ErrorKind::Unavailable, action, Some(&self.key)).with_detail(detail));
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectWriter for CrashWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.enter("write")?;
        self.image.turn().await;
        let (state, is_cut) = self.image.begin("write", Some(&self.key))?;
        self.image.check_boots(&state, Some(self.boots), &self.key, "write")?;
        if is_cut {
            return Err(self.image.off(ErrorKind::Unavailable, "write", Some(&self.key)));
        }
        self.image.now(self.writer.write(chunks))?;
        self.dead = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.enter("finish")?;
        self.image.turn().await;
        let Self { image, key, writer, boots, .. } = *self;
        image.create_whole(&key, "finish", |_| image.now(writer.finish()), Some(boots))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.image.turn().await;
        let is_cut = self.image.begin("abort", Some(&self.key))?.1;
        if is_cut { Err(self.image.off(ErrorKind::Unavailable, "abort", Some(&self.key))) } else { Ok(()) }
    }
}
