//! The contract of a repository.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{CloneRange, Endpoint, Error, ErrorKind, Key, Links, Patch, Prefix, Reclaim, Result, Retain};

/// The limits of a place, for planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The length of the largest object that the place stores, in bytes.
    pub object_bytes_max: u64,
    /// The length of the parts in which the place stores or sends longer objects, in bytes. `None` means that it does not cut
    /// objects, or that the length is unknown. The conformance suite tries objects of more than two parts.
    pub part_bytes: Option<u64>,
    /// The largest number of requests for block data that the place has under way at once. A reader gets the most out of the place if
    /// it asks for as many ranges at once. `None` means that the place does not say.
    pub streams_max: Option<usize>,
}

impl Limits {
    /// The limits of a place that does not cut objects.
    #[must_use]
    pub fn new(object_bytes_max: u64) -> Self {
        Self { object_bytes_max, part_bytes: None, streams_max: None }
    }

    /// Sets [`Limits::part_bytes`].
    #[must_use]
    pub fn with_part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = Some(bytes);
        self
    }

    /// Sets [`Limits::streams_max`].
    #[must_use]
    pub fn with_streams_max(mut self, streams: usize) -> Self {
        self.streams_max = Some(streams);
        self
    }
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The name of the object.
    pub key: Key,
    /// The length of the object in bytes.
    pub length: u64,
}

impl ObjectInfo {
    /// An object of `length` bytes.
    #[must_use]
    pub fn new(key: Key, length: u64) -> Self {
        Self { key, length }
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The objects, in ascending order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// `true` if there may be more objects after the last one. Such a page is not empty.
    pub more: bool,
}

impl ListPage {
    /// A page of `objects`, which must be in ascending order.
    #[must_use]
    pub fn new(objects: Vec<ObjectInfo>, more: bool) -> Self {
        Self { objects, more }
    }
}

/// A folder at the root of a place.
#[derive(Debug)]
#[non_exhaustive]
pub struct RootFolder {
    /// The name of the folder. It can be the first component of a key.
    pub name: String,
    /// Why listings do not enter the folder: it is a link, it is on another file system, or this user may not read it. `None`
    /// means that listings enter it.
    pub closed: Option<Error>,
}

impl RootFolder {
    /// A folder that listings enter.
    #[must_use]
    pub fn open(name: impl Into<String>) -> Self {
        Self { name: name.into(), closed: None }
    }

    /// A folder that listings do not enter, for the reason `why`.
    #[must_use]
    pub fn closed(name: impl Into<String>, why: Error) -> Self {
        Self { name: name.into(), closed: Some(why) }
    }
}

/// What to read of an object.
// Closed on purpose: a repository must carry out each of them, so a new one is a new promise of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRequest<'a> {
    /// The whole object, as one buffer. If the object is longer than the limit, the read fails with `Corrupt` and reads nothing.
    Whole {
        /// The largest length that the caller accepts, in bytes.
        limit_bytes: u64,
    },
    /// These ranges of bytes, as one buffer each, in this order. They may touch or overlap.
    Ranges(&'a [Range<u64>]),
}

/// A place that stores immutable objects.
///
/// # Contract
/// - **Create if absent.** Any number of writers, in any number of processes, may write the same key. At most one `finish`
///   succeeds.
/// - **Atomic.** Before `finish`, no verb sees anything of an object. Afterwards every verb sees all of it.
/// - **Durable.** When `finish`, `delete` or a call of a capability has returned, its effect survives a power cut.
/// - **Read your writes.** When `finish` has returned, each `read` and `list`, by anyone, sees the object.
/// - **Cancellation.** A caller may drop a future at any await. A create that is dropped becomes visible as a whole or not at
///   all.
///
/// # Errors
/// Each call may fail with `Unavailable`, `PermissionDenied`, `MediaAbsent`, `WrongMedia` or `Unsupported`, besides the kinds
/// that it lists. An error names the object ([`Error::with_key`]) and the place ([`Error::with_location`]).
///
/// # Decorators
/// A decorator forwards every method, accessors included. Put `#[deny(clippy::missing_trait_methods)]` on its `impl`, so that
/// none is forgotten.
#[async_trait]
pub trait Repository: fmt::Debug + Send + Sync {
    /// The place in words, for messages: a path, or a URL without secrets.
    fn location(&self) -> String;

    /// The limits of the place.
    fn limits(&self) -> Limits;

    /// Where the place is, for rules about traffic.
    ///
    /// It may change while the place is open: a name may get another address.
    fn endpoint(&self) -> Endpoint {
        Endpoint::Unknown
    }

    /// Starts a new object.
    ///
    /// Nothing is visible before [`ObjectWriter::finish`].
    ///
    /// # Errors
    /// `AlreadyExists` if the key is taken; `NoSpace`. A backend may also report a taken key later, at `finish`.
    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>>;

    /// Reads exactly what the caller asks for.
    ///
    /// Buffers of touching ranges may share their memory.
    ///
    /// # Errors
    /// `NotFound`. `Corrupt` if the object is shorter than a range, or longer than the limit of [`ReadRequest::Whole`].
    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>>;

    /// Lists objects below `prefix`, in ascending order.
    ///
    /// The page begins with the first key that is greater than `after`. `None` begins with the first of all. The page has at most
    /// `limit` objects, and at least one if there is one. It does not show unfinished objects.
    ///
    /// # Errors
    /// Only those of every call. A prefix without objects gives an empty page.
    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage>;

    /// Deletes an object.
    ///
    /// It succeeds if there is no such object.
    ///
    /// # Errors
    /// `PermissionDenied` if the object is retained.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// The folders at the root of the place, in ascending order.
    ///
    /// The list includes folders that listings do not enter. `None` means that a listing shows all there is: the place has no
    /// folders other than those in keys.
    ///
    /// # Errors
    /// Only those of every call.
    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        Ok(None)
    }

    /// Deletes the unfinished objects of writers that are gone.
    ///
    /// It keeps those of writers at work.
    ///
    /// # Errors
    /// Only those of every call.
    async fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// The number of bytes that the place can still store.
    ///
    /// `None` means that the number is unknown, or that there is no known limit.
    ///
    /// # Errors
    /// Only those of every call.
    async fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The capability to tell which objects have another name.
    ///
    /// `None` means that the place has no such objects, or cannot tell.
    fn links(&self) -> Option<&dyn Links> {
        None
    }

    /// The capability to punch holes into objects.
    ///
    /// `None` if the place cannot.
    fn reclaim(&self) -> Option<&dyn Reclaim> {
        None
    }

    /// The capability to make objects from parts of others.
    ///
    /// `None` if the place cannot.
    fn clone_range(&self) -> Option<&dyn CloneRange> {
        None
    }

    /// The capability to write into existing objects.
    ///
    /// `None` if the place cannot.
    fn patch(&self) -> Option<&dyn Patch> {
        None
    }

    /// The capability to protect objects from deletion until a date.
    ///
    /// `None` if the place cannot.
    fn retain(&self) -> Option<&dyn Retain> {
        None
    }
}

/// A new object while it is written.
///
/// If a writer is dropped without `finish`, no object appears. [`abort`](ObjectWriter::abort) also gives its space back at once.
///
/// After a failed call, the writer is dead: every later call fails, and the caller has to write the object again. After a dropped
/// call it may be dead. If it is not, the dropped call took effect as a whole or not at all.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Appends the chunks, one after the other.
    ///
    /// # Errors
    /// `NoSpace`. `Unsupported` if the object would be longer than [`Limits::object_bytes_max`].
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()>;

    /// Makes the object durable and visible, if its key is still free.
    ///
    /// # Errors
    /// `AlreadyExists`, `NoSpace`, `Indeterminate`. After `AlreadyExists`, the object that exists may come from an earlier try of
    /// the same caller: read it back and compare.
    async fn finish(self: Box<Self>) -> Result<()>;

    /// Gives the object up.
    ///
    /// Nothing becomes visible, and its space comes back. An object that others have stored under the key stays.
    ///
    /// # Errors
    /// Only those of every call. The object does not exist in any case.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// The number of objects that a full listing asks for at a time.
const LIST_PAGE: usize = 1_000;

/// Helpers that every [`Repository`] has.
#[async_trait]
pub trait RepositoryExt: Repository {
    /// Stores `bytes` as one new object.
    ///
    /// # Errors
    /// The same as [`Repository::create`] and [`ObjectWriter::finish`].
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

    /// Reads an object as a whole.
    ///
    /// It may have at most `limit_bytes` bytes.
    ///
    /// # Errors
    /// The same as [`Repository::read`].
    async fn get(&self, key: &Key, limit_bytes: u64) -> Result<Bytes> {
        let buffers = self.read(key, ReadRequest::Whole { limit_bytes }).await?;
        buffers.into_iter().next().ok_or_else(|| no_buffer(key, self.location()))
    }

    /// Reads one range of an object, in bytes.
    ///
    /// # Errors
    /// The same as [`Repository::read`].
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        let buffers = self.read(key, ReadRequest::Ranges(std::slice::from_ref(&range))).await?;
        buffers.into_iter().next().ok_or_else(|| no_buffer(key, self.location()))
    }

    /// Lists all objects below `prefix`, in ascending order.
    ///
    /// # Errors
    /// The same as [`Repository::list`].
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
