//! A bucket of S3, or of a store that speaks its protocol, as a repository.

mod bucket;
mod calls;
mod claim;
mod clone;
mod credentials;
mod errors;
mod life;
mod list;
mod location;
mod options;
mod probe;
mod read;
mod retain;
mod settings;
mod signed;
mod truth;
mod upload;
mod wire;
mod writer;
mod xml;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use offsite_repository::{
    CloneRange, Error, ErrorKind, Key, Limits, ListPage, ObjectWriter, Prefix, Read, Repository, Result, Retain,
};
use tokio::sync::{MutexGuard, Semaphore};

use self::bucket::Bucket;
pub use self::credentials::{S3CredentialProvider, S3CredentialSource, S3Credentials};
pub use self::location::S3Location;
pub use self::options::{S3Checksum, S3Options, S3RetentionMode};
use self::writer::S3Writer;

/// Names are finished in turn if they fall together here, where the store does not see to that itself.
const TURNS: usize = 64;
/// No object has more versions that need deleting.
const VERSIONS_MAX: usize = 10_000;

/// A repository in a folder of a bucket: each key is the name of an object below it.
///
/// - **Create if absent** is S3's `If-None-Match: *`. What a store makes of it is tried out on opening; one that ignores it
///   is refused, unless [`S3Options::single_writer`] asserts that there is one writer. One that honours it on storing an
///   object, but not on completing an upload, gets a claim object for each upload.
/// - **The truth about a create** is read back where an answer leaves a doubt: each object says who wrote it.
/// - Objects longer than [`S3Options::part_bytes`] are uploaded in parts, several at once. What a dead writer left of that
///   is ended by [`sweep`](Repository::sweep), by its record below `.offsite/`, a folder that no key reaches.
/// - What is sent has a checksum that the store checks ([`S3Checksum`]). What was stored by one request and is read as a whole is compared
///   with the CRC-64/NVME in its metadata.
/// - Requests are repeated a bounded number of times, and each may take as long as its bytes need on a slow link.
/// - In a bucket that keeps versions, what is deleted is deleted for good.
/// - Ranges of objects can be copied where the store can, and objects locked where the bucket can.
///
/// It needs the permissions to get, put, delete and list objects, and to abort uploads; with versions, to delete those.
/// With only those for reading it opens for reading.
#[derive(Debug, Clone)]
pub struct S3 {
    shared: Arc<Shared>,
}

/// Where the store keeps a promise to create nothing that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conditions {
    /// On storing objects and on completing uploads.
    Everywhere,
    /// On storing objects.
    OnPut,
    /// It does not; the only writer looks first.
    Nowhere,
}

/// What the store turned out to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Abilities {
    writable: bool,
    conditions: Conditions,
    /// Whether it remembers who wrote an object.
    keeps_metadata: bool,
    versioned: bool,
    copies_parts: bool,
    locks: bool,
}

impl Abilities {
    /// Of a place that this user can only read.
    fn reading() -> Self {
        let conditions = Conditions::Everywhere;
        Self { writable: false, conditions, keeps_metadata: true, versioned: false, copies_parts: false, locks: false }
    }
}

struct Shared {
    bucket: Bucket,
    abilities: Abilities,
    /// A permit for each part that may be in flight.
    parts: Arc<Semaphore>,
    turns: Vec<tokio::sync::Mutex<()>>,
    /// Uploads that were dropped: name, id, record.
    dropped: Mutex<Vec<(String, String, String)>>,
}

impl S3 {
    /// Opens a bucket, and finds out what the store can do, by some thirty requests below a hidden folder.
    ///
    /// # Errors
    /// `NotFound` if there is no such bucket; `PermissionDenied` if the key does not fit or may not read;
    /// `Unsupported` if the store ignores conditions on writes and [`S3Options::single_writer`] is not set, or if an option
    /// makes no sense.
    pub fn open(options: S3Options) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let bucket = Bucket::new(options)?;
            let abilities = probe::probe(&bucket).await?;
            let parts = Arc::new(Semaphore::new(bucket.options.parts_in_flight));
            let turns = (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect();
            Ok(Self { shared: Arc::new(Shared { bucket, abilities, parts, turns, dropped: Mutex::default() }) })
        })
    }

    /// Whether the store keeps several writers apart by itself. If not, [`S3Options::single_writer`] was needed to open it.
    #[must_use]
    pub fn keeps_writers_apart(&self) -> bool {
        self.shared.abilities.conditions != Conditions::Nowhere
    }

    /// The keys of uploads that are under way or were left unfinished, each as often as there are uploads of it. The store
    /// charges for their parts; [`sweep`](Repository::sweep) ends those of writers that are gone.
    ///
    /// # Errors
    /// `Unsupported` where the store cannot list them; `PermissionDenied` where this user may not.
    pub async fn unfinished(&self) -> Result<Vec<Key>> {
        let uploads = self.shared.bucket.uploads().await?;
        Ok(uploads.into_iter().filter_map(|upload| Key::new(upload.name).ok()).collect())
    }
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
    fn limits(&self) -> Limits {
        let options = &self.bucket.options;
        Limits { object_bytes_max: options.object_bytes_max(), part_bytes: Some(options.part_bytes) }
    }

    fn check_writable(&self, key: &Key) -> Result<()> {
        if self.abilities.writable {
            return Ok(());
        }
        let detail = "this access key may only read here";
        Err(Error::new(ErrorKind::PermissionDenied, "create").with_key(key).with_detail(detail))
    }

    /// Removes an object for good.
    async fn remove(&self, name: &str) -> Result<()> {
        self.bucket.remove(name, self.abilities.versioned).await
    }

    /// The turn to look whether a name is free, and to take it.
    async fn turn(&self, name: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or(0);
        self.turns[index].lock().await
    }

    fn leave(&self, upload: (String, String, String)) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(upload);
    }

    fn take_dropped(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut self.dropped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Bucket {
    /// Removes an object for good: where versions are kept, the newest one, as long as there is one.
    async fn remove(&self, name: &str, versioned: bool) -> Result<()> {
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
        Err(Error::new(ErrorKind::Unavailable, "delete").with_place(name).with_detail(detail))
    }
}

#[async_trait]
impl Repository for S3 {
    fn location(&self) -> String {
        self.shared.bucket.location()
    }

    fn limits(&self) -> Limits {
        self.shared.limits()
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        self.shared.check_writable(key)?;
        Ok(Box::new(S3Writer::new(Arc::clone(&self.shared), key.clone())?))
    }

    async fn read(&self, key: &Key, what: Read<'_>) -> Result<Vec<Bytes>> {
        match what {
            Read::Whole { limit_bytes } => read::whole(&self.shared, key, limit_bytes).await,
            Read::Ranges(ranges) => read::ranges(&self.shared, key, ranges).await,
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        list::page(&self.shared, prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.shared.remove(key.as_str()).await
    }

    async fn sweep(&self) -> Result<()> {
        life::sweep(&self.shared).await
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        (self.shared.abilities.writable && self.shared.abilities.copies_parts).then_some(self)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        self.shared.abilities.locks.then_some(self)
    }
}
