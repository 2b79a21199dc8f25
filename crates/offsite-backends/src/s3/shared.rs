//! What all handles of a bucket have in common.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use offsite_repository::{Error, ErrorKind, Key, Limits, Result};
use tokio::sync::MutexGuard;

use super::bucket::Bucket;

/// Names are finished in turn if they fall together here, where the store does not see to that itself.
const TURNS: usize = 64;
/// No object has more versions that need deleting.
const VERSIONS_MAX: usize = 10_000;

/// Where the store keeps a promise to create nothing that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conditions {
    /// On storing objects and on completing uploads.
    Everywhere,
    /// On storing objects.
    OnPut,
    /// It does not; the only writer looks first.
    Nowhere,
}

/// What the store turned out to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) writable: bool,
    pub(super) conditions: Conditions,
    /// Whether it remembers who wrote an object.
    pub(super) keeps_metadata: bool,
    pub(super) versioned: bool,
    pub(super) copies_parts: bool,
    pub(super) locks: bool,
}

impl Abilities {
    /// Of a place that this user can only read.
    pub(super) fn reading() -> Self {
        let conditions = Conditions::Everywhere;
        Self { writable: false, conditions, keeps_metadata: true, versioned: false, copies_parts: false, locks: false }
    }
}

pub(super) struct Shared {
    pub(super) bucket: Bucket,
    pub(super) abilities: Abilities,
    turns: Vec<tokio::sync::Mutex<()>>,
    /// Uploads that were dropped: name, id, record.
    dropped: Mutex<Vec<(String, String, String)>>,
}

/// What a person would look for; the client beneath has more settings than that.
impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, abilities, .. } = self;
        formatter
            .debug_struct("Shared")
            .field("options", &bucket.options)
            .field("abilities", abilities)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(bucket: Bucket, abilities: Abilities) -> Self {
        let turns = (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect();
        Self { bucket, abilities, turns, dropped: Mutex::default() }
    }

    /// Names the object and the place in an error.
    pub(super) fn named<T>(&self, key: Option<&Key>, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| {
            let error = error.with_location(self.bucket.location());
            match key {
                Some(key) => error.with_key(key),
                None => error,
            }
        })
    }

    pub(super) fn limits(&self) -> Limits {
        let options = &self.bucket.options;
        let limits = Limits::new(options.object_bytes_max()).with_part_bytes(options.part_bytes);
        limits.with_streams_max(options.streams.range().most())
    }

    pub(super) fn check_writable(&self, key: &Key) -> Result<()> {
        if self.abilities.writable {
            return Ok(());
        }
        let detail = "this access key may only read here";
        Err(Error::new(ErrorKind::PermissionDenied, "create").with_key(key).with_detail(detail))
    }

    /// Removes an object for good.
    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        self.bucket.remove(name, self.abilities.versioned).await
    }

    /// The turn to look whether a name is free, and to take it.
    pub(super) async fn turn(&self, name: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or(0);
        self.turns[index].lock().await
    }

    pub(super) fn leave(&self, upload: (String, String, String)) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(upload);
    }

    pub(super) fn take_dropped(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut self.dropped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Bucket {
    /// Removes an object for good: where versions are kept, the newest one, as long as there is one.
    pub(super) async fn remove(&self, name: &str, versioned: bool) -> Result<()> {
        if !versioned {
            return self.delete_version(name, None).await;
        }
        for _ in 0..VERSIONS_MAX {
            match self.describe("delete", name).await? {
                None => return Ok(()),
                Some(object) => self.delete_version(name, object.version.as_deref()).await?,
            }
        }
        let detail = "it has more versions than were ever written";
        Err(Error::new(ErrorKind::Unavailable, "delete").with_subject(name).with_detail(detail))
    }
}
