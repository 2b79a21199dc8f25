//! A repository as one actor sees it: each call waits for its turn, and may be lost, doubled or late.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::testing::CrashImage;
use offsite_repository::{
    CloneRange, Error, ErrorKind, Extent, Key, Limits, ListPage, ObjectWriter, Patch, Piece, Prefix, ReadRequest,
    Reclaim, Repository, Result, Retain,
};
use tokio::time::sleep;

use crate::schedule::{Actor, Call, Fate, Schedule};

/// Ways in which a backend can be got wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BrokenBackend {
    /// A listing that fails is taken for an empty one.
    pub failed_list_is_empty: bool,
    /// A conflict, in which nothing was stored, is taken for an earlier try of one's own.
    pub conflict_is_success: bool,
}

/// A head or the second copy of one that was stored: who stored it, and what it is.
#[derive(Debug, Clone)]
pub struct StoredHead {
    /// The actor.
    pub actor: Actor,
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A repository as one actor sees it.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// What all of them share.
    pub image: CrashImage,
    /// Who sees it.
    pub actor: Actor,
    /// Whose turn it is.
    pub schedule: Schedule,
    /// What its backend does wrongly.
    pub broken: BrokenBackend,
    /// The heads that were stored, in order.
    pub heads: Arc<Mutex<Vec<StoredHead>>>,
}

fn lost(kind: ErrorKind, action: &'static str) -> Error {
    Error::new(kind, action).with_location("the simulation").with_detail("the line is down")
}

impl Simulated {
    async fn turn(&self, call: Call, action: &str, key: Option<&Key>) -> Fate {
        self.schedule.turn(self.actor, call, action, key).await
    }

    async fn look(&self, action: &'static str, key: Option<&Key>) -> Result<()> {
        match self.turn(Call::Look, action, key).await {
            Fate::Done => Ok(()),
            _ => Err(lost(ErrorKind::Unavailable, action)),
        }
    }

    /// A call that can be done twice without harm.
    async fn change<F: Future<Output = Result<()>> + Send>(
        &self,
        call: Call,
        action: &'static str,
        key: &Key,
        mut apply: impl FnMut() -> F + Send,
    ) -> Result<()> {
        match self.turn(call, action, Some(key)).await {
            Fate::Done => apply().await,
            Fate::Doubled => {
                apply().await?;
                apply().await
            }
            Fate::AnswerLost => {
                apply().await?;
                Err(lost(ErrorKind::Unavailable, action))
            }
            _ => Err(lost(ErrorKind::Unavailable, action)),
        }
    }

    fn note_head(&self, key: &Key, bytes: Bytes) {
        if key.as_str().contains("/head/") || key.name().ends_with(".head") {
            let stored = StoredHead { actor: self.actor, name: key.as_str().to_owned(), bytes };
            self.heads.lock().unwrap_or_else(PoisonError::into_inner).push(stored);
        }
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        let mut writer = self.image.create(key).await?;
        writer.write(vec![bytes.clone()]).await?;
        writer.finish().await?;
        self.note_head(key, bytes);
        Ok(())
    }

    async fn store(&self, key: &Key, bytes: Bytes, action: &'static str, fate: Fate) -> Result<()> {
        match fate {
            Fate::Done => self.put(key, bytes).await,
            // The repetition finds the name taken, by itself.
            Fate::Doubled => {
                self.put(key, bytes).await?;
                Err(Error::new(ErrorKind::AlreadyExists, action).with_key(key))
            }
            Fate::AnswerLost => {
                self.put(key, bytes).await?;
                Err(lost(ErrorKind::Indeterminate, action))
            }
            Fate::Conflict if self.broken.conflict_is_success => Ok(()),
            Fate::Late(pause) => {
                let (late, key) = (self.clone(), key.clone());
                tokio::spawn(async move {
                    sleep(pause).await;
                    // It may be too late, which nobody will hear of.
                    let _ = late.put(&key, bytes).await;
                });
                Err(lost(ErrorKind::Indeterminate, action))
            }
            Fate::Conflict | Fate::RequestLost => Err(lost(ErrorKind::Unavailable, action)),
        }
    }
}

#[async_trait]
impl Repository for Simulated {
    fn location(&self) -> String {
        "the simulation".to_owned()
    }

    fn limits(&self) -> Limits {
        self.image.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        self.look("create", Some(key)).await?;
        // Whether the name is taken is found out at once, or at the end.
        let writer = self.image.create(key).await?;
        drop(writer);
        Ok(Box::new(SimulatedWriter { repository: self.clone(), key: key.clone(), chunks: Vec::new(), is_dead: false }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        self.look("read", Some(key)).await?;
        self.image.read(key, what).await
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        match self.look("list", None).await {
            Err(_) if self.broken.failed_list_is_empty => Ok(ListPage::new(Vec::new(), false)),
            Err(error) => Err(error),
            Ok(()) => self.image.list(prefix, after, limit).await,
        }
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let fate = self.turn(Call::Delete, "delete", Some(key)).await;
        if let Fate::Late(pause) = fate {
            let (late, key) = (self.image.clone(), key.clone());
            tokio::spawn(async move {
                sleep(pause).await;
                let _ = late.delete(&key).await;
            });
        }
        match fate {
            Fate::Done => self.image.delete(key).await,
            Fate::Doubled => {
                self.image.delete(key).await?;
                self.image.delete(key).await
            }
            Fate::AnswerLost => {
                self.image.delete(key).await?;
                Err(lost(ErrorKind::Unavailable, "delete"))
            }
            _ => Err(lost(ErrorKind::Unavailable, "delete")),
        }
    }

    async fn sweep(&self) -> Result<()> {
        self.look("sweep", None).await?;
        self.image.sweep().await
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.image.reclaim().map(|_| self as &dyn Reclaim)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.image.clone_range().map(|_| self as &dyn CloneRange)
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.image.patch().map(|_| self as &dyn Patch)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        None
    }
}

struct SimulatedWriter {
    repository: Simulated,
    key: Key,
    chunks: Vec<Bytes>,
    is_dead: bool,
}

#[async_trait]
impl ObjectWriter for SimulatedWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        if std::mem::replace(&mut self.is_dead, true) {
            return Err(lost(ErrorKind::Unavailable, "write"));
        }
        self.repository.look("write", Some(&self.key)).await?;
        self.is_dead = false;
        self.chunks.extend(chunks);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        if self.is_dead {
            return Err(lost(ErrorKind::Unavailable, "finish"));
        }
        let fate = self.repository.turn(Call::Create, "finish", Some(&self.key)).await;
        self.repository.store(&self.key, Bytes::from(self.chunks.concat()), "finish", fate).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.repository.look("abort", Some(&self.key)).await
    }
}

#[async_trait]
impl Reclaim for Simulated {
    fn punch_granularity_bytes(&self) -> u64 {
        self.image.punch_granularity_bytes()
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        self.change(Call::Change, "punch", key, || Reclaim::punch(&self.image, key, ranges)).await
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        self.look("measure", Some(key)).await?;
        Reclaim::allocated_bytes(&self.image, key).await
    }
}

#[async_trait]
impl CloneRange for Simulated {
    fn clone_granularity_bytes(&self) -> u64 {
        self.image.clone_granularity_bytes()
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        match self.turn(Call::Change, "clone", Some(key)).await {
            Fate::Done => CloneRange::create_from(&self.image, key, pieces).await,
            Fate::Doubled => {
                CloneRange::create_from(&self.image, key, pieces).await?;
                Err(Error::new(ErrorKind::AlreadyExists, "clone into").with_key(key))
            }
            Fate::AnswerLost => {
                CloneRange::create_from(&self.image, key, pieces).await?;
                Err(lost(ErrorKind::Indeterminate, "clone into"))
            }
            _ => Err(lost(ErrorKind::Unavailable, "clone into")),
        }
    }
}

#[async_trait]
impl Patch for Simulated {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        self.change(Call::Change, "patch", key, || self.image.write_extents(key, extents.clone())).await
    }
}
