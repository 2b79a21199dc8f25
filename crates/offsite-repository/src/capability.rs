//! What some repositories can do beyond the four verbs.
//!
//! A capability is an accessor of [`Repository`](crate::Repository) that returns a sub-trait. So a backend cannot claim what it
//! does not implement. It returns one only where a probe of the live place found that it works.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Key, Result};

/// Tells which objects have another name outside of the place, as a hard link is: a copy by `cp -al` shares them.
///
/// Creating and deleting an object touches its name alone. Where objects can have other names, [`Reclaim`] and [`Patch`] look
/// themselves before they write, and refuse with `Linked`. `Links` is for planning.
#[async_trait]
pub trait Links: fmt::Debug + Send + Sync {
    /// Whether the object has another name, where a write into it would be seen.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    async fn is_linked(&self, key: &Key) -> Result<bool>;
}

/// Gives the space of parts of an object back without moving the rest (a punched hole).
#[async_trait]
pub trait Reclaim: fmt::Debug + Send + Sync {
    /// Space comes back only in whole, aligned pieces of this many bytes.
    fn punch_granularity_bytes(&self) -> u64;

    /// Gives back the whole granules inside `ranges` (ascending, disjoint). The object's length and every byte outside
    /// the ranges stay. Bytes inside read as zeros afterwards or, at a range's ragged ends, as before.
    /// Repeating the call is harmless.
    ///
    /// # Errors
    /// `NotFound` if there is no such object. `Corrupt` if a range goes past its end. `Linked`, with nothing changed, if it has
    /// another name ([`Links`]).
    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()>;

    /// The bytes of storage that the object takes now.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    async fn allocated_bytes(&self, key: &Key) -> Result<u64>;
}

/// A range of an existing object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// The object.
    pub key: Key,
    /// The bytes of it.
    pub range: Range<u64>,
}

impl Piece {
    /// The bytes `range` of the object `key`.
    #[must_use]
    pub fn new(key: Key, range: Range<u64>) -> Self {
        Self { key, range }
    }
}

/// Makes a new object from ranges of existing ones without moving bytes through the caller (reflink, multipart copy).
#[async_trait]
pub trait CloneRange: fmt::Debug + Send + Sync {
    /// The pieces start and end at multiples of this many bytes, but for the end of the last one.
    fn clone_granularity_bytes(&self) -> u64;

    /// Creates `key` as the pieces one after the other. It is as atomic, durable and exclusive as
    /// [`create`](crate::Repository::create) and `finish`.
    ///
    /// # Errors
    /// As for `create`; `NotFound` or `Corrupt` for a piece that is not there.
    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()>;
}

/// Bytes and where they go in an existing object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// Where the first of them goes.
    pub offset: u64,
    /// The bytes, one chunk after the other.
    pub chunks: Vec<Bytes>,
}

impl Extent {
    /// Bytes that go to `offset` and on from there.
    #[must_use]
    pub fn new(offset: u64, chunks: Vec<Bytes>) -> Self {
        Self { offset, chunks }
    }

    /// The offset after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.chunks.iter().fold(self.offset, |end, chunk| end.saturating_add(chunk.len() as u64))
    }
}

/// Writes into an existing object. The caller makes sure that nobody needs what stood there.
#[async_trait]
pub trait Patch: fmt::Debug + Send + Sync {
    /// Writes each of `extents` (ascending, apart from each other). An extent that goes past the object's end makes the object
    /// longer. On return all of it is durable, and nothing outside has changed. After an error or a dropped call, any part of the
    /// extents may have changed.
    ///
    /// # Errors
    /// `NotFound` if there is no such object. `Corrupt` if an extent begins past its end, where earlier extents have moved that
    /// end. `Linked`, with nothing changed, if it has another name ([`Links`]).
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()>;
}

/// Makes objects undeletable for a time (object lock).
#[async_trait]
pub trait Retain: fmt::Debug + Send + Sync {
    /// Denies deletion of `key` until `until_unix_secs`. The date only ever moves forward.
    ///
    /// # Errors
    /// `NotFound` if there is no such object; `PermissionDenied` for a date before the present one.
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()>;

    /// The date until which nobody can delete `key`. `None` says that it has no such date.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    async fn retained_until(&self, key: &Key) -> Result<Option<i64>>;
}
