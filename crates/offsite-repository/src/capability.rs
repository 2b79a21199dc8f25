//! What some repositories can do besides the four verbs.
//!
//! A capability is an accessor of [`Repository`](crate::Repository) that returns a trait. So a backend cannot claim what it does
//! not implement. A backend returns a capability only if a probe of the live place has shown that it works.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Key, Result};

/// Tells which objects have another name outside of the place.
///
/// A hard link is such a name: a copy made with `cp -al` shares the objects. Creating and deleting an object affects only its own
/// name. [`Reclaim`] and [`Patch`] would change the shared bytes. So they check for other names themselves, and refuse with
/// `Linked`. This trait is for planning.
#[async_trait]
pub trait Links: fmt::Debug + Send + Sync {
    /// Returns `true` if the object has another name, where a write into it would be seen.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    async fn is_linked(&self, key: &Key) -> Result<bool>;
}

/// Gives the space of parts of an object back (punched holes).
#[async_trait]
pub trait Reclaim: fmt::Debug + Send + Sync {
    /// The granularity in bytes.
    ///
    /// Space comes back only in whole, aligned pieces of this length.
    fn punch_granularity_bytes(&self) -> u64;

    /// Gives the space of the whole granules inside `ranges` back.
    ///
    /// `ranges` must ascend and must not overlap. The length of the object and every byte outside the ranges stay. Bytes inside
    /// the ranges read as zeros afterwards. At the unaligned ends of a range they may stay as before. A repeated call is
    /// harmless.
    ///
    /// # Errors
    /// `NotFound` if there is no such object. `Corrupt` if a range goes past its end. `Linked` if the object has another name
    /// ([`Links`]); nothing has changed then.
    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()>;

    /// The number of bytes of storage that the object occupies now.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    async fn allocated_bytes(&self, key: &Key) -> Result<u64>;
}

/// A range of an existing object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// The name of the object.
    pub key: Key,
    /// The range, in bytes of the object.
    pub range: Range<u64>,
}

impl Piece {
    /// The range `range` of the object `key`.
    #[must_use]
    pub fn new(key: Key, range: Range<u64>) -> Self {
        Self { key, range }
    }
}

/// Makes a new object from ranges of existing ones (reflink, multipart copy).
///
/// No block data passes through the caller.
#[async_trait]
pub trait CloneRange: fmt::Debug + Send + Sync {
    /// The granularity in bytes.
    ///
    /// Each piece starts and ends at a multiple of it, except the end of the last piece.
    fn clone_granularity_bytes(&self) -> u64;

    /// Creates `key` from the pieces, one after the other.
    ///
    /// It is as atomic, durable and exclusive as [`create`](crate::Repository::create) and `finish`.
    ///
    /// # Errors
    /// The same as `create` and `finish`. `NotFound` or `Corrupt` if a piece does not exist.
    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()>;
}

/// Bytes to write into an existing object, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The position of the first byte in the object.
    pub offset: u64,
    /// The bytes, one chunk after the other.
    pub chunks: Vec<Bytes>,
}

impl Extent {
    /// The bytes of `chunks`, from position `offset` on.
    #[must_use]
    pub fn new(offset: u64, chunks: Vec<Bytes>) -> Self {
        Self { offset, chunks }
    }

    /// The position after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.chunks.iter().fold(self.offset, |end, chunk| end.saturating_add(chunk.len() as u64))
    }
}

/// Writes into existing objects.
///
/// The caller makes sure that nobody needs the bytes that it overwrites.
#[async_trait]
pub trait Patch: fmt::Debug + Send + Sync {
    /// Writes each of `extents`, which must ascend and must not overlap.
    ///
    /// An extent that goes past the end of the object makes the object longer. When the call returns, everything is durable, and
    /// nothing outside the extents has changed. After an error or a dropped call, any part of the extents may have changed.
    ///
    /// # Errors
    /// `NotFound` if there is no such object. `Corrupt` if an extent begins past the end of the object, as far as earlier extents
    /// have moved it. `Linked` if the object has another name ([`Links`]); nothing has changed then.
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()>;
}

/// Protects objects from deletion until a date (object lock).
#[async_trait]
pub trait Retain: fmt::Debug + Send + Sync {
    /// Protects `key` from deletion until `until_unix_secs`, in seconds since 1970-01-01T00:00:00Z.
    ///
    /// A date can only be moved forward.
    ///
    /// # Errors
    /// `NotFound` if there is no such object. `PermissionDenied` for a date before the one that is set.
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()>;

    /// The date until which nobody can delete `key`, in seconds since 1970-01-01T00:00:00Z.
    ///
    /// `None` if it has no such date.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    async fn retained_until(&self, key: &Key) -> Result<Option<i64>>;
}
