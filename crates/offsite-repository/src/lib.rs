//! A repository is a place that stores immutable objects: a local disk, a bucket, a removable drive.
//!
//! An integrator implements [`Repository`]: four verbs ([`create`](Repository::create), [`read`](Repository::read),
//! [`list`](Repository::list), [`delete`](Repository::delete)) and, where the place can do more, capabilities as
//! accessors. The engine builds everything that must be atomic on one promise: *create fails if the name is taken*.
//!
//! This crate knows nothing of backups. It has:
//! - the contract ([`Repository`]), the names ([`Key`]) and the errors ([`Error`], [`ErrorKind`], [`ErrorClass`]);
//! - a decorator that counts ([`Recording`]);
//! - a probe that tells whether a place keeps that promise ([`probe_create`]);
//! - behind the feature `decorators`, one that slows down and one that tries again;
//! - behind the feature `testing`, fakes, and the conformance suite. It tells whether an implementation keeps the contract.
//!
//! The traits need [`bytes`] and [`macro@async_trait`]. Implementors find both here.

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
pub use throttle::{Throttle, ThrottleRates};
#[cfg(feature = "decorators")]
pub use token_bucket::TokenBucket;
