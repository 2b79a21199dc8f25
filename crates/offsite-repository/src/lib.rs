//! The contract between Offsite and a storage: the [`Repository`] trait.
//!
//! A repository is a place that stores immutable objects: a folder on a local disk, a bucket, a removable drive. This crate knows
//! nothing about backups.
//!
//! # Who it is for
//!
//! - *Integrators* who connect their own storage implement [`Repository`]. It has four verbs: [`create`](Repository::create),
//!   [`read`](Repository::read), [`list`](Repository::list) and [`delete`](Repository::delete). A place that can do more returns
//!   capabilities from accessors, for example [`reclaim`](Repository::reclaim).
//! - *Users* of a repository call the trait, and the helpers of [`RepositoryExt`].
//!
//! The engine builds everything that must be atomic on one promise: *create fails if the name is taken*.
//!
//! # Example
//!
//! ```
//! use offsite_repository::{ErrorKind, Key, Prefix, RepositoryExt, Repository};
//! # #[cfg(feature = "testing")]
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # use offsite_repository::testing::Memory;
//! let repository = Memory::new();
//! let key = Key::new("folder/object")?;
//!
//! repository.put(&key, "content".into()).await?;
//! assert_eq!(repository.get(&key, 1_000).await?, "content");
//!
//! // The name is taken now.
//! let error = repository.put(&key, "other".into()).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::AlreadyExists);
//!
//! repository.delete(&key).await?;
//! assert!(repository.list_all(&Prefix::root()).await?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # What is in this crate
//!
//! | you want to | use |
//! |---|---|
//! | implement a storage | [`Repository`], [`ObjectWriter`], [`Key`], [`Error`] and [`ErrorKind`] |
//! | offer more than the four verbs | [`Links`], [`Reclaim`], [`CloneRange`], [`Patch`], [`Retain`] |
//! | act on an error | [`Error::class`], [`Error::is_retryable`] |
//! | find out whether a live place keeps the promise | [`probe_create`] |
//! | count calls and bytes | [`Recording`] |
//! | limit rates, or retry calls | `Throttle`, `Retry` (feature `decorators`) |
//! | bound the requests at once, as the link bears them | `Streams`, `Streamed` (feature `decorators`) |
//! | test an implementation, or a user of one | `testing`: the conformance suite and fakes (feature `testing`) |
//!
//! The traits need [`bytes`] and [`macro@async_trait`]. This crate re-exports both.

mod capability;
mod counts;
mod endpoint;
mod error;
mod forward;
mod key;
#[cfg(feature = "testing")]
mod numbers;
mod probe;
mod recording;
mod repository;
#[cfg(feature = "decorators")]
mod retry;
#[cfg(feature = "decorators")]
mod streams;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "decorators")]
mod throttle;
#[cfg(feature = "decorators")]
mod token_bucket;

pub use async_trait::async_trait;
pub use bytes;
pub use capability::{CloneRange, Extent, Links, Patch, Piece, Reclaim, Retain};
pub use counts::{Call, Counts, Verb};
pub use endpoint::Endpoint;
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use key::{Key, KeyError, Prefix};
pub use probe::{CreateIfAbsent, CreateProbe, PROBED_NAMES, probe_create, probe_create_by};
pub use recording::Recording;
pub use repository::{Limits, ListPage, ObjectInfo, ObjectWriter, ReadRequest, Repository, RepositoryExt, RootFolder};
#[cfg(feature = "decorators")]
pub use retry::{Retry, RetryOptions};
#[cfg(feature = "decorators")]
pub use streams::{StreamDirection, StreamPermit, StreamRange, StreamShare, Streamed, Streams};
#[cfg(feature = "decorators")]
pub use throttle::{Throttle, ThrottleRates};
#[cfg(feature = "decorators")]
pub use token_bucket::TokenBucket;
