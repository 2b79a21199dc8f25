//! The contract.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{CloneRange, Endpoint, Error, ErrorKind, Key, Links, Patch, Prefix, Reclaim, Result, Retain};

/// Bounds of a place, for planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest object that the place takes.
    pub object_bytes_max: u64,
    /// The place stores or sends longer objects in parts of this length. `None` says that it does not cut objects, or does not
    /// tell. The conformance suite tries objects of more than two parts.
    pub part_bytes: Option<u64>,
}

impl Limits {
    /// The limits of a place that does not cut objects.
    #[must_use]
    pub fn new(object_bytes_max: u64) -> Self {
        Self { object_bytes_max, part_bytes: None }
    }

    /// Sets [`Limits::part_bytes`].
    #[must_use]
    pub fn with_part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = Some(bytes);
        self
    }
}

/// An object, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its name.
    pub key: Key,
    /// Its length in bytes.
    pub length: u64,
}

impl ObjectInfo {
    /// An object of `length` bytes.
    #[must_use]
    pub fn new(key: Key, length: u64) -> Self {
        Self { key, length }
    }
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// Objects in ascending order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Whether there may be more after the last of them. A page with `more` is not empty.
    pub more: bool,
}

impl ListPage {
    /// A page of `objects`, in ascending order.
    #[must_use]
    pub fn new(objects: Vec<ObjectInfo>, more: bool) -> Self {
        Self { objects, more }
    }
}

/// A folder at the root of a place.
#[derive(Debug)]
#[non_exhaustive]
pub struct RootFolder {
    /// Its name, which can be the first component of a key.
    pub name: String,
    /// Why no listing goes into it: it is a link, or on another file system, or this user may not read it. `None` says that
    /// listings do.
    pub closed: Option<Error>,
}

impl RootFolder {
    /// A folder that listings go into.
    #[must_use]
    pub fn open(name: impl Into<String>) -> Self {
        Self { name: name.into(), closed: None }
    }

    /// A folder that no listing goes into, and why.
    #[must_use]
    pub fn closed(name: impl Into<String>, why: Error) -> Self {
        Self { name: name.into(), closed: Some(why) }
    }
}

/// What to read of an object.
// Closed on purpose: a repository must carry out each of them, so a new one is a new promise of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRequest<'a> {
    /// All of it, as one buffer. An object longer than the limit is `Corrupt`, and is not read.
    Whole {
        /// The largest length that the caller is ready to hold.
        limit_bytes: u64,
    },
    /// These ranges, one buffer each, in this order. They may touch or overlap.
    Ranges(&'a [Range<u64>]),
}

/// A place that stores immutable objects.
///
/// # Contract
/// - **Create if absent.** Of any number of writers of one key, in any number of processes, at most one `finish` succeeds.
/// - **Atomic.** Nothing of an object is visible, to any verb, before its `finish`; all of it is afterwards.
/// - **Durable.** What `finish`, `delete` or a capability's call returned survives a power cut.
/// - **Read your writes.** Once `finish` has returned, each `read` and `list`, by anyone, sees the object.
/// - **Cancellation.** A caller may drop a future at any await. A create that it dropped is visible whole or not at all.
///
/// # Errors
/// Each call may also fail with `Unavailable`, `PermissionDenied`, `MediaAbsent`, `WrongMedia` or `Unsupported`. An error names the
/// object ([`Error::with_key`]) and the place ([`Error::with_location`]).
///
/// # Decorators
/// A decorator forwards every method, the accessors too. `#[deny(clippy::missing_trait_methods)]` on the `impl` makes sure of it.
#[async_trait]
pub trait Repository: fmt::Debug + Send + Sync {
    /// The place in words, for messages: a path, a URL without secrets.
    fn location(&self) -> String;

    /// Bounds of the place.
    fn limits(&self) -> Limits;

    /// Where the place is, for rules about traffic. It may change while the place is open: a name may get another address.
    fn endpoint(&self) -> Endpoint {
        Endpoint::Unknown
    }

    /// Starts a new object.
    ///
    /// # Errors
    /// `AlreadyExists` if the key is taken, `NoSpace`. A backend may find out only at `finish` that the key is taken.
    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>>;

    /// Reads exactly what the caller asks for. Buffers of ranges that touch may share their memory.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if the object is shorter than a range, or longer than the limit of [`ReadRequest::Whole`].
    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>>;

    /// Lists objects below `prefix` in ascending order, from the first key that is greater than `after`. `None` starts at the first
    /// of all. A page has at most `limit` objects, and at least one if there is one. No page shows unfinished objects.
    ///
    /// # Errors
    /// Those of every call, and no others. A prefix without objects gives an empty page.
    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage>;

    /// Removes an object. An object that is not there counts as removed.
    ///
    /// # Errors
    /// `PermissionDenied` for a retained object.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// The folders at the root, ascending, with those that no listing goes into. `None` says that a listing shows all that there
    /// is: the place has no folders but those in keys.
    ///
    /// # Errors
    /// Those of every call, and no others.
    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        Ok(None)
    }

    /// Removes the unfinished objects of writers that are gone. It spares writers at work.
    ///
    /// # Errors
    /// Those of every call, and no others.
    async fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// How many bytes the place can still store. `None` says that it does not tell, or has no known end.
    ///
    /// # Errors
    /// Those of every call, and no others.
    async fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Telling which objects have another name. `None` says that the place has no such objects, or cannot tell.
    fn links(&self) -> Option<&dyn Links> {
        None
    }

    /// Punching holes. `None` says that the place cannot.
    fn reclaim(&self) -> Option<&dyn Reclaim> {
        None
    }

    /// Making objects from parts of others. `None` says that the place cannot.
    fn clone_range(&self) -> Option<&dyn CloneRange> {
        None
    }

    /// Writing into existing objects. `None` says that the place cannot.
    fn patch(&self) -> Option<&dyn Patch> {
        None
    }

    /// Keeping objects undeletable until a date. `None` says that the place cannot.
    fn retain(&self) -> Option<&dyn Retain> {
        None
    }
}

/// An object being written, from its start to its end.
///
/// Dropped without `finish`, it leaves no object. [`abort`](ObjectWriter::abort) also gives its space back at once.
///
/// After a failed call the writer is dead: every later call fails, and the caller writes the object anew. After a dropped call it
/// may be dead. If it is not, the call took effect as a whole or not at all.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Appends the chunks one after the other.
    ///
    /// # Errors
    /// `NoSpace`; `Unsupported` past [`Limits::object_bytes_max`].
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()>;

    /// Makes the object durable and visible if its key is still free.
    ///
    /// # Errors
    /// `AlreadyExists`, `NoSpace`, `Indeterminate`. The object that exists may be of this writer's own earlier try: read back and
    /// compare.
    async fn finish(self: Box<Self>) -> Result<()>;

    /// Gives up. Nothing becomes visible, and the space comes back. What others made of the name stays.
    ///
    /// # Errors
    /// Those of every call, and no others. There is no object in any case.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// How many objects a full listing asks for at a time.
const LIST_PAGE: usize = 1_000;

/// Calls that every repository has without writing them.
#[async_trait]
pub trait RepositoryExt: Repository {
    /// Stores `bytes` as one new object.
    ///
    /// # Errors
    /// As for [`Repository::create`] and [`ObjectWriter::finish`].
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        let mut writer = self.create(key).await?;
        match writer.write(vec![bytes]).await {
            Ok(()) => writer.finish().await,
            Err(error) => {
                // The first error is the one to report; there is no object in any case.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    /// An object as a whole.
    ///
    /// # Errors
    /// As for [`Repository::read`].
    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Bytes> {
        let buffers = self.read(key, ReadRequest::Whole { limit_bytes }).await?;
        buffers.into_iter().next().ok_or_else(|| no_buffer(key, self.location()))
    }

    /// One range of an object.
    ///
    /// # Errors
    /// As for [`Repository::read`].
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        let buffers = self.read(key, ReadRequest::Ranges(std::slice::from_ref(&range))).await?;
        buffers.into_iter().next().ok_or_else(|| no_buffer(key, self.location()))
    }

    /// Every object below `prefix`.
    ///
    /// # Errors
    /// As for [`Repository::list`].
    async fn list_all(&self, prefix: &Prefix) -> Result<Vec<ObjectInfo>> {
        let mut objects: Vec<ObjectInfo> = Vec::new();
        loop {
            let after = objects.last().map(|object| object.key.clone());
            let page = self.list(prefix, after.as_ref(), LIST_PAGE).await?;
            let more = page.more && !page.objects.is_empty();
            objects.extend(page.objects);
            if !more {
                return Ok(objects);
            }
        }
    }
}

impl<R: Repository + ?Sized> RepositoryExt for R {}

fn no_buffer(key: &Key, location: String) -> Error {
    let error = Error::new(ErrorKind::Corrupt, "read").with_key(key).with_location(location);
    error.with_detail("the repository returned no buffer")
}
