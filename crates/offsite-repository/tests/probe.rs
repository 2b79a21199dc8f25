//! A probe tells places that break create-if-absent, each by what it saw, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::testing::{Fault, Faulty, Memory, MemoryOptions};
use offsite_repository::{
    CreateIfAbsent, Error, ErrorKind, Key, Limits, ListPage, ObjectWriter, Prefix, ReadRequest, Repository,
    RepositoryExt, Result, probe_create,
};
use tokio::task::yield_now;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// What comes later wins.
    Overwrites,
    /// A name is looked at when a writer begins, and not when it finishes.
    LooksAtTheBeginning,
    /// A name is looked at, and taken a moment later.
    LooksThenTakes,
    /// The loser is told the truth, and its content is what stays.
    LoserStays,
    /// Each writer is told that its name is taken, by its own object.
    FindsItsOwn,
    /// The same as [`LoserStays`](Flaw::LoserStays), in a race alone.
    RacingLoserStays,
}

#[derive(Debug, Clone)]
struct Place(Memory, Flaw);

struct Writer(Place, Key, Bytes);

impl Writer {
    fn store_by_force(&self) {
        self.0.0.remove(&self.1);
        futures::FutureExt::now_or_never(self.0.0.put(&self.1, self.2.clone())).unwrap().unwrap();
    }
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.2 = chunks.concat().into();
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let Self(Place(memory, flaw), key, content) = &*self;
        let is_taken = memory.get(key, 100).await.is_ok();
        match flaw {
            Flaw::None => return memory.put(key, content.clone()).await,
            Flaw::Overwrites | Flaw::LooksAtTheBeginning => {}
            Flaw::LooksThenTakes => {
                yield_now().await;
                if is_taken {
                    return Err(Error::new(ErrorKind::AlreadyExists, "finish"));
                }
            }
            Flaw::LoserStays if is_taken => {
                self.store_by_force();
                return Err(Error::new(ErrorKind::AlreadyExists, "finish"));
            }
            Flaw::RacingLoserStays => {
                yield_now().await;
                let lost = memory.get(key, 100).await.is_ok();
                if lost && !is_taken {
                    self.store_by_force();
                }
                if lost {
                    return Err(Error::new(ErrorKind::AlreadyExists, "finish"));
                }
            }
            Flaw::FindsItsOwn => {
                memory.put(key, content.clone()).await?;
                return Err(Error::new(ErrorKind::AlreadyExists, "finish"));
            }
            Flaw::LoserStays => {}
        }
        self.store_by_force();
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Repository for Place {
    fn location(&self) -> String {
        format!("{:?}", self.1)
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        if self.1 == Flaw::LooksAtTheBeginning && self.0.get(key, 100).await.is_ok() {
            return Err(Error::new(ErrorKind::AlreadyExists, "create"));
        }
        Ok(Box::new(Writer(self.clone(), key.clone(), Bytes::new())))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        self.0.read(key, what).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        self.0.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }
}

fn folder() -> Prefix {
    Prefix::new("probe/one").unwrap()
}

#[tokio::test]
async fn each_flaw_is_told_by_what_was_seen() {
    for (flaw, wanted) in [
        (Flaw::None, CreateIfAbsent::Kept),
        (Flaw::FindsItsOwn, CreateIfAbsent::Kept),
        (Flaw::Overwrites, CreateIfAbsent::IgnoredInTurn),
        (Flaw::LooksAtTheBeginning, CreateIfAbsent::IgnoredInTurn),
        (Flaw::LooksThenTakes, CreateIfAbsent::IgnoredInRace),
        (Flaw::LoserStays, CreateIfAbsent::WinnerReplaced),
        (Flaw::RacingLoserStays, CreateIfAbsent::WinnerReplaced),
    ] {
        let memory = Memory::new();
        let other = Key::new("probe/other").unwrap();
        memory.put(&other, Bytes::from_static(b"mine")).await.unwrap();
        let seen = probe_create(&Place(memory.clone(), flaw), &folder()).await.unwrap();
        assert_eq!(seen, wanted, "{flaw:?}");
        assert_eq!(memory.contents(), [(other, Bytes::from_static(b"mine"))], "{flaw:?} left something");
    }
}

#[tokio::test]
async fn a_place_that_yields_keeps_it() {
    let memory = Memory::with_options(MemoryOptions::default().with_yields(true));
    assert_eq!(probe_create(&memory, &folder()).await.unwrap(), CreateIfAbsent::Kept);
    assert_eq!(memory.contents(), []);
}

/// A place that fails is not taken for one that breaks the promise, nor for one that keeps it.
#[tokio::test]
async fn a_place_that_cannot_be_tried_is_an_error() {
    let faulty = Faulty::new(Memory::new());
    faulty.inject(Fault::after_calls(0, ErrorKind::PermissionDenied).for_ever());
    assert_eq!(probe_create(&faulty, &folder()).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    // Wherever it begins to fail.
    let mut calls = 0;
    loop {
        let faulty = Faulty::new(Memory::new());
        faulty.inject(Fault::after_calls(calls, ErrorKind::Unavailable).for_ever());
        match probe_create(&faulty, &folder()).await {
            Ok(seen) => {
                assert_eq!(seen, CreateIfAbsent::Kept);
                break;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
        calls += 1;
    }
    assert!(calls > 20, "{calls} calls");
}
