//! The rules of Offsite without any I/O: what a backup chain is, what an operation will cost, which restore points a policy
//! keeps, and what a job does when.
//!
//! For whom: a program that runs jobs uses the crate `offsite`, which hands on what it needs from here. This crate alone is for
//! programs that only ask: what a policy would keep, when a job would run, what a merge would cost.
//!
//! This crate reads no file, no clock and no random source, and it never waits. Each answer follows from the arguments alone, so
//! a test lives ten years of a job in seconds. The lints of `clippy.toml` hold that wall.
//!
//! # Where to start
//!
//! - [`Chain`]: restore points in order, each with its machines. [`BlockMap`]: where their blocks lie, and how states and steps
//!   combine.
//! - [`retention`]: a [`Policy`](retention::Policy) says what to keep, and [`judge`](retention::judge) tells why and until when.
//! - [`schedule`] and [`selection`]: when a job runs, and which states of which machines it takes.
//! - [`phase`]: the state machine of a job. [`plan`]: operations as values, with their costs.
//!
//! Structs and enums that may grow are `#[non_exhaustive]`. Make such a struct by its `new` or `default`, and go on with its
//! `with_` methods. The feature `serde` writes and reads what plans, reports and a runner's memory are made of.
//!
//! The stored bytes are no public API. `docs/format.md` describes them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod block;
mod block_map;
mod chain;
mod coverage;
mod disk;
mod disk_map;
#[doc(hidden)]
pub mod format;
mod head;
mod id;
mod index;
mod labels;
mod machine;
pub mod phase;
pub mod plan;
pub mod retention;
pub mod schedule;
pub mod selection;
#[cfg(feature = "serde")]
mod serialized;
mod stored;
mod time;

pub use block::{BlockSize, BlockSizeError, Digest, DigestError};
pub use block_map::{BlockMap, Displaced, MachineMap};
pub use chain::{
    Chain, ChainError, IndexReference, MachineState, Origin, PointKind, RestorePoint, Status, Transferred,
};
pub use coverage::Coverage;
pub use disk::{DiskIdentity, DiskName, DiskNameError, ImageFormat, match_disks};
pub use disk_map::{DiskMap, DiskMapError, Run, StoredBlock};
pub use format::FormatError;
pub use head::{FileState, Head, Lease, RetiredObject, Retirement, Role};
pub use id::{ClaimId, CommitId, FolderId, IdentityError, ObjectId, RepositoryId, Sequence};
pub use index::Index;
pub use labels::{Labels, LabelsError};
pub use machine::{DiskNumber, MachineName, MachineNameError, MachineNumber};
pub use stored::Stored;
pub use time::{Timestamp, TimestampError};
