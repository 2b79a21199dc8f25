//! A decorator that fails on purpose.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    CloneRange, Error, ErrorKind, Extent, Key, Limits, ListPage, ObjectWriter, Patch, Piece, Prefix, Read, Reclaim,
    Repository, Result, Retain, Verb,
};

/// On which side of a call it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing happens, and the call fails.
    Before,
    /// The call is carried out, and its answer is lost.
    After,
}

/// A failure to come.
#[derive(Debug, Clone)]
pub struct Fault {
    /// How many calls that match still succeed before it.
    pub spare: u64,
    /// The calls that match: this verb, or all.
    pub verb: Option<Verb>,
    /// The calls that match: those of objects below this folder, or all. A `list` is of its prefix's folder; a `sweep` is
    /// of none.
    pub folder: Prefix,
    /// The failure.
    pub kind: ErrorKind,
    /// On which side of the call.
    pub moment: Moment,
    /// Whether every matching call from then on fails (the place is gone) or one alone.
    pub for_ever: bool,
}

impl Fault {
    /// The call after the next `spare` ones, of any verb, fails once with `kind`, before anything happens.
    #[must_use]
    pub fn after_calls(spare: u64, kind: ErrorKind) -> Self {
        Self { spare, verb: None, folder: Prefix::root(), kind, moment: Moment::Before, for_ever: false }
    }

    /// Only calls of `verb` match.
    #[must_use]
    pub fn on(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only calls for objects below `folder` match.
    #[must_use]
    pub fn below(mut self, folder: Prefix) -> Self {
        self.folder = folder;
        self
    }

    /// The call is carried out before it fails.
    #[must_use]
    pub fn losing_the_answer(mut self) -> Self {
        self.moment = Moment::After;
        self
    }

    /// Every matching call from then on fails.
    #[must_use]
    pub fn for_ever(mut self) -> Self {
        self.for_ever = true;
        self
    }
}

/// A repository whose chosen calls fail, always the same ones: there is no chance in it.
///
/// Clones share their faults and their counter. A writer whose call failed is dead, as the contract says.
#[derive(Debug, Clone)]
pub struct Faulty<R> {
    inner: Arc<Inner<R>>,
}

impl<R: Repository> Faulty<R> {
    /// A repository without faults so far.
    pub fn new(repository: R) -> Self {
        Self { inner: Arc::new(Inner { repository, script: Arc::default() }) }
    }

    /// Adds a failure to come. Where several match, the one added first is taken.
    pub fn inject(&self, fault: Fault) {
        self.inner.script.lock().faults.push(fault);
    }

    /// Removes all failures to come.
    pub fn heal(&self) {
        self.inner.script.lock().faults.clear();
    }

    /// How many calls there were, failed ones included. With it a test can learn how many places there are to fail at.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.script.lock().calls
    }

    /// How many calls failed on purpose.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.inner.script.lock().failures
    }
}

/// Out of sight, as which capabilities there are is for `repository` to say.
#[derive(Debug)]
struct Inner<R> {
    repository: R,
    script: Arc<Script>,
}

#[derive(Debug, Default)]
struct Script(Mutex<Scene>);

#[derive(Debug, Default)]
struct Scene {
    faults: Vec<Fault>,
    calls: u64,
    failures: u64,
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call for `key`, and fails at once if it is to fail before anything happens. Otherwise the answer is to be
    /// passed through [`Turn::answer`].
    fn turn(&self, verb: Verb, key: Option<&Key>) -> Result<Turn> {
        self.meet(verb, key, |fault| match key {
            Some(key) => fault.folder.contains(key),
            None => fault.folder == Prefix::root(),
        })
    }

    fn turn_list(&self, prefix: &Prefix) -> Result<Turn> {
        self.meet(Verb::List, None, |fault| {
            let as_key = Key::new(prefix.as_str());
            fault.folder == Prefix::root()
                || fault.folder == *prefix
                || as_key.is_ok_and(|key| fault.folder.contains(&key))
        })
    }

    fn meet(&self, verb: Verb, key: Option<&Key>, of_folder: impl Fn(&Fault) -> bool) -> Result<Turn> {
        let mut scene = self.lock();
        scene.calls += 1;
        let number = scene.calls;
        let mut struck = None;
        for (position, fault) in scene.faults.iter_mut().enumerate() {
            if fault.verb.is_some_and(|wanted| wanted != verb) || !of_folder(fault) {
                continue;
            }
            if fault.spare > 0 {
                fault.spare -= 1;
            } else if struck.is_none() {
                struck = Some((position, fault.clone()));
            }
        }
        let Some((position, fault)) = struck else { return Ok(Turn { lost: None }) };
        scene.failures += 1;
        if !fault.for_ever {
            scene.faults.remove(position);
        }
        let mut error =
            Error::new(fault.kind, "carry out a call").with_detail(format!("{verb}, call {number}, fails on purpose"));
        if let Some(key) = key {
            error = error.with_key(key);
        }
        match fault.moment {
            Moment::Before => Err(error),
            Moment::After => Ok(Turn { lost: Some(error) }),
        }
    }
}

struct Turn {
    lost: Option<Error>,
}

impl Turn {
    fn answer<T>(self, answer: Result<T>) -> Result<T> {
        match self.lost {
            Some(error) => Err(error),
            None => answer,
        }
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
        let turn = script.turn(Verb::Create, Some(key))?;
        let writer = turn.answer(self.inner.repository.create(key).await)?;
        Ok(Box::new(FaultyWriter { writer, key: key.clone(), script: Arc::clone(script), dead: false }))
    }

    async fn read(&self, key: &Key, what: Read<'_>) -> Result<Vec<Bytes>> {
        let turn = self.inner.script.turn(Verb::Read, Some(key))?;
        turn.answer(self.inner.repository.read(key, what).await)
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let turn = self.inner.script.turn_list(prefix)?;
        turn.answer(self.inner.repository.list(prefix, after, limit).await)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let turn = self.inner.script.turn(Verb::Delete, Some(key))?;
        turn.answer(self.inner.repository.delete(key).await)
    }

    async fn sweep(&self) -> Result<()> {
        let turn = self.inner.script.turn(Verb::Sweep, None)?;
        turn.answer(self.inner.repository.sweep().await)
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
            return Err(Error::new(ErrorKind::Unavailable, action).with_key(&self.key).with_detail(detail));
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
        let turn = self.script.turn(Verb::Write, Some(&self.key))?;
        turn.answer(self.writer.write(chunks).await)?;
        self.dead = false;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.check_alive("finish")?;
        let turn = self.script.turn(Verb::Finish, Some(&self.key))?;
        turn.answer(self.writer.finish().await)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let turn = self.script.turn(Verb::Abort, Some(&self.key))?;
        turn.answer(self.writer.abort().await)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Reclaim for Inner<R> {
    fn granularity_bytes(&self) -> u64 {
        self.repository.reclaim().map_or(1, Reclaim::granularity_bytes)
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let turn = self.script.turn(Verb::Punch, Some(key))?;
        let inner = self.repository.reclaim().ok_or_else(|| lost("punch", key))?;
        turn.answer(inner.punch(key, ranges).await)
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        let turn = self.script.turn(Verb::Allocated, Some(key))?;
        let inner = self.repository.reclaim().ok_or_else(|| lost("measure", key))?;
        turn.answer(inner.allocated_bytes(key).await)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> CloneRange for Inner<R> {
    fn granularity_bytes(&self) -> u64 {
        self.repository.clone_range().map_or(1, CloneRange::granularity_bytes)
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        let turn = self.script.turn(Verb::CloneRange, Some(key))?;
        let inner = self.repository.clone_range().ok_or_else(|| lost("clone into", key))?;
        turn.answer(inner.create_from(key, pieces).await)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Patch for Inner<R> {
    async fn patch(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let turn = self.script.turn(Verb::Patch, Some(key))?;
        let inner = self.repository.patch().ok_or_else(|| lost("patch", key))?;
        turn.answer(inner.patch(key, extents).await)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Repository> Retain for Inner<R> {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        let turn = self.script.turn(Verb::Retain, Some(key))?;
        let inner = self.repository.retain().ok_or_else(|| lost("retain", key))?;
        turn.answer(inner.retain_until(key, until_unix_secs).await)
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        let turn = self.script.turn(Verb::Retained, Some(key))?;
        let inner = self.repository.retain().ok_or_else(|| lost("read the retention of", key))?;
        turn.answer(inner.retained_until(key).await)
    }
}

fn lost(action: &'static str, key: &Key) -> Error {
    Error::new(ErrorKind::Unsupported, action).with_key(key).with_detail("the repository no longer offers it")
}
