//! A decorator that makes calls fail or wait.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::gate::Gate;
use crate::numbers::Numbers;
use crate::recording::lost;
use crate::{
    CloneRange, Error, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Piece, Prefix,
    ReadRequest, Reclaim, Repository, Result, Retain, RootFolder, Verb,
};

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before it does anything.
    Before,
    /// After it is carried out. Its answer is lost.
    After,
}

/// How a call waits.
#[derive(Debug, Clone)]
enum Wait {
    /// On tokio's clock, which a test may pause.
    For(Duration),
    At(Gate),
}

/// A planned failure or delay of calls.
///
/// [`Faulty::inject`] applies it. Constructors say what happens, and the other methods say to which calls:
///
/// ```
/// use offsite_repository::testing::Fault;
/// use offsite_repository::{ErrorKind, Verb};
///
/// // The third `finish` from now stores its object, and reports that it does not know.
/// let fault = Fault::after_calls(2, ErrorKind::Indeterminate).on(Verb::Finish).losing_the_answer();
/// # let _ = fault;
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    /// The number of matching calls that are spared before it.
    spare: u64,
    /// The verb that matches. `None` means all verbs.
    verb: Option<Verb>,
    /// The folder whose objects match; the root means all. A `list` belongs to the folder of its prefix, a `sweep` to none.
    folder: Prefix,
    /// The kind of the failure. `None` for a call that is late and succeeds.
    kind: Option<ErrorKind>,
    /// When the call fails.
    moment: Moment,
    /// `true` if every later matching call fails as well (the place is gone).
    for_ever: bool,
    wait: Option<Wait>,
    chance: Option<Chance>,
}

/// Strikes one call in `one_in`.
#[derive(Debug, Clone)]
struct Chance {
    numbers: Numbers,
    one_in: u64,
}

impl Fault {
    /// Spares `spare` calls, then fails the next one with `kind`, before it does anything.
    #[must_use]
    pub fn after_calls(spare: u64, kind: ErrorKind) -> Self {
        Self { kind: Some(kind), ..Self::harmless(spare) }
    }

    /// Spares `spare` calls, then delays the next one, which succeeds.
    ///
    /// The delay is on tokio's clock. If the test has paused that clock, no real time passes.
    #[must_use]
    pub fn delaying(spare: u64, delay: Duration) -> Self {
        Self { wait: Some(Wait::For(delay)), ..Self::harmless(spare) }
    }

    /// Spares `spare` calls, then holds the next one until `gate` releases it.
    ///
    /// The call then succeeds.
    #[must_use]
    pub fn holding(spare: u64, gate: &Gate) -> Self {
        Self { wait: Some(Wait::At(gate.clone())), ..Self::harmless(spare) }
    }

    fn harmless(spare: u64) -> Self {
        let (verb, kind, wait, chance) = (None, None, None, None);
        Self { spare, verb, folder: Prefix::root(), kind, moment: Moment::Before, for_ever: false, wait, chance }
    }

    /// Restricts the fault to calls of `verb`.
    #[must_use]
    pub fn on(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Restricts the fault to calls for objects below `folder`.
    #[must_use]
    pub fn below(mut self, folder: Prefix) -> Self {
        self.folder = folder;
        self
    }

    /// Lets the call do its work before it fails or waits.
    #[must_use]
    pub fn losing_the_answer(mut self) -> Self {
        self.moment = Moment::After;
        self
    }

    /// Applies the fault to every later matching call, too.
    #[must_use]
    pub fn for_ever(mut self) -> Self {
        self.for_ever = true;
        self
    }

    /// Applies the fault to about one in `one_in` of all later matching calls.
    ///
    /// `seed` decides which.
    #[must_use]
    pub fn at_random(mut self, seed: u64, one_in: u64) -> Self {
        self.for_ever = true;
        self.chance = Some(Chance { numbers: Numbers::new(seed), one_in });
        self
    }

    /// Returns `true` if the fault strikes this matching call.
    fn strikes(&mut self) -> bool {
        if self.spare > 0 {
            self.spare -= 1;
            return false;
        }
        self.chance.as_mut().is_none_or(|chance| chance.numbers.below(chance.one_in) == 0)
    }
}

/// A repository whose chosen calls fail or wait.
///
/// The same calls fail in each run, as chance comes from a seed. Clones share their faults and their counter. A writer whose call
/// failed is dead, as the contract says.
#[derive(Debug, Clone)]
pub struct Faulty<R> {
    inner: Arc<Inner<R>>,
}

impl<R: Repository> Faulty<R> {
    /// Wraps `repository`, without faults so far.
    pub fn new(repository: R) -> Self {
        let script = Script { location: repository.location(), scene: Mutex::default() };
        Self { inner: Arc::new(Inner { repository, script: Arc::new(script) }) }
    }

    /// Adds a fault.
    ///
    /// If several faults match a call, the one that was added first strikes.
    pub fn inject(&self, fault: Fault) {
        self.inner.script.lock().faults.push(fault);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.inner.script.lock().faults.clear();
    }

    /// Reports this many free bytes from now on.
    ///
    /// `None` reports again what the repository says.
    pub fn tell_free_bytes(&self, bytes: Option<u64>) {
        self.inner.script.lock().free_bytes = bytes;
    }

    /// The number of calls so far, failed ones included.
    ///
    /// It tells a test at how many places an operation can fail.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.script.lock().calls
    }

    /// The number of calls that failed on purpose.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.inner.script.lock().failures
    }
}

/// Implements the capabilities. It is private, as `repository` decides which capabilities there are.
#[derive(Debug)]
struct Inner<R> {
    repository: R,
    script: Arc<Script>,
}

#[derive(Debug)]
struct Script {
    /// The location of the repository, for errors.
    location: String,
    scene: Mutex<Scene>,
}

#[derive(Debug, Default)]
struct Scene {
    faults: Vec<Fault>,
    calls: u64,
    failures: u64,
    /// The number of free bytes to report, whatever there is.
    free_bytes: Option<u64>,
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call for `key`.
    ///
    /// It waits or fails if a fault strikes before the call. Otherwise the answer must pass through [`Turn::answer`].
    async fn turn(&self, verb: Verb, key: Option<&Key>) -> Result<Turn> {
        let turn = self.meet(verb, key, |fault| match key {
            Some(key) => fault.folder.contains(key),
            None => fault.folder == Prefix::root(),
        });
        turn.begin().await
    }

    async fn turn_list(&self, prefix: &Prefix) -> Result<Turn> {
        let turn = self.meet(Verb::List, None, |fault| {
            let as_key = Key::new(prefix.as_str());
            fault.folder == Prefix::root()
                || fault.folder == *prefix
                || as_key.is_ok_and(|key| fault.folder.contains(&key))
        });
        turn.begin().await
    }

    fn meet(&self, verb: Verb, key: Option<&Key>, of_folder: impl Fn(&Fault) -> bool) -> Turn {
        let mut scene = self.lock();
        scene.calls += 1;
        let number = scene.calls;
        let mut struck = None;
        for (position, fault) in scene.faults.iter_mut().enumerate() {
            if fault.verb.is_some_and(|wanted| wanted != verb) || !of_folder(fault) {
                continue;
            }
            if fault.strikes() && struck.is_none() {
                struck = Some((position, fault.clone()));
            }
        }
        let Some((position, fault)) = struck else { return Turn::default() };
        if !fault.for_ever {
            scene.faults.remove(position);
        }
        let error = fault.kind.map(|kind| {
            scene.failures += 1;
            let detail = format!("{verb}, call {number}, fails on purpose");
            let error = Error::new(kind, "carry out a call").with_detail(detail).with_location(&self.location);
            if let Some(key) = key { error.with_key(key) } else { error }
        });
        Turn { error, wait: fault.wait, after: fault.moment == Moment::After }
    }
}

/// The fault that a call meets.
#[derive(Debug, Default)]
struct Turn {
    error: Option<Error>,
    wait: Option<Wait>,
    /// `true` if the fault strikes after the call was carried out.
    after: bool,
}

impl Turn {
    async fn begin(self) -> Result<Self> {
        if self.after { Ok(self) } else { self.meet().await.map(|()| Self::default()) }
    }

    async fn answer<T>(self, answer: Result<T>) -> Result<T> {
        self.meet().await?;
        answer
    }

    async fn meet(self) -> Result<()> {
        match self.wait {
            Some(Wait::For(delay)) => tokio::time::sleep(delay).await,
            Some(Wait::At(gate)) => gate.pass().await,
            None => {}
        }
        self.error.map_or(Ok(()), Err)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Repository for Faulty<R> {
    fn location(&self) -> String {
        self.inner.repository.location()
    }

    fn limits(&self) -> Limits {
        self.inner.repository.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let script = &self.inner.script;
        let turn = script.turn(Verb::Create, Some(key)).await?;
        let writer = turn.answer(self.inner.repository.create(key).await).await?;
        Ok(Box::new(FaultyWriter { writer, key: key.clone(), script: Arc::clone(script), dead: false }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let turn = self.inner.script.turn(Verb::Read, Some(key)).await?;
        turn.answer(self.inner.repository.read(key, what).await).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let turn = self.inner.script.turn_list(prefix).await?;
        turn.answer(self.inner.repository.list(prefix, after, limit).await).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let turn = self.inner.script.turn(Verb::Delete, Some(key)).await?;
        turn.answer(self.inner.repository.delete(key).await).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        self.inner.repository.root_folders().await
    }

    async fn sweep(&self) -> Result<()> {
        let turn = self.inner.script.turn(Verb::Sweep, None).await?;
        turn.answer(self.inner.repository.sweep().await).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        let told = self.inner.script.lock().free_bytes;
        match told {
            Some(bytes) => Ok(Some(bytes)),
            None => self.inner.repository.free_bytes().await,
        }
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

struct FaultyWriter {
    writer: Box<dyn ObjectWriter>,
    key: Key,
    script: Arc<Script>,
    dead: bool,
}

impl FaultyWriter {
    fn check_alive(&self, action: &'static str) -> Result<()> {
        if self.dead {
            let detail = "an earlier call failed; write it anew";
            let error = Error::new(ErrorKind::Unavailable, action).with_key(&self.key).with_detail(detail);
            return Err(error.with_location(&self.script.location));
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectWriter for FaultyWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.check_alive("write")?;
        self.dead = true;
        let turn = self.script.turn(Verb::Write, Some(&self.key)).await?;
        turn.answer(self.writer.write(chunks).await).await?;
        self.dead = false;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.check_alive("finish")?;
        let turn = self.script.turn(Verb::Finish, Some(&self.key)).await?;
        turn.answer(self.writer.finish().await).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let turn = self.script.turn(Verb::Abort, Some(&self.key)).await?;
        turn.answer(self.writer.abort().await).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Links for Inner<R> {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        let turn = self.script.turn(Verb::IsLinked, Some(key)).await?;
        let inner = self.repository.links().ok_or_else(|| lost("look for links of", key, &self.repository))?;
        turn.answer(inner.is_linked(key).await).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Reclaim for Inner<R> {
    fn punch_granularity_bytes(&self) -> u64 {
        self.repository.reclaim().map_or(1, Reclaim::punch_granularity_bytes)
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let turn = self.script.turn(Verb::Punch, Some(key)).await?;
        let inner = self.repository.reclaim().ok_or_else(|| lost("punch", key, &self.repository))?;
        turn.answer(inner.punch(key, ranges).await).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        let turn = self.script.turn(Verb::AllocatedBytes, Some(key)).await?;
        let inner = self.repository.reclaim().ok_or_else(|| lost("measure", key, &self.repository))?;
        turn.answer(inner.allocated_bytes(key).await).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> CloneRange for Inner<R> {
    fn clone_granularity_bytes(&self) -> u64 {
        self.repository.clone_range().map_or(1, CloneRange::clone_granularity_bytes)
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        let turn = self.script.turn(Verb::CreateFrom, Some(key)).await?;
        let inner = self.repository.clone_range().ok_or_else(|| lost("clone into", key, &self.repository))?;
        turn.answer(inner.create_from(key, pieces).await).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Patch for Inner<R> {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let turn = self.script.turn(Verb::WriteExtents, Some(key)).await?;
        let inner = self.repository.patch().ok_or_else(|| lost("patch", key, &self.repository))?;
        turn.answer(inner.write_extents(key, extents).await).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Retain for Inner<R> {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        let turn = self.script.turn(Verb::RetainUntil, Some(key)).await?;
        let inner = self.repository.retain().ok_or_else(|| lost("retain", key, &self.repository))?;
        turn.answer(inner.retain_until(key, until_unix_secs).await).await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        let turn = self.script.turn(Verb::RetainedUntil, Some(key)).await?;
        let inner = self.repository.retain().ok_or_else(|| lost("read the retention of", key, &self.repository))?;
        turn.answer(inner.retained_until(key).await).await
    }
}
