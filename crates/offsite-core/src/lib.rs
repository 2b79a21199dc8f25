//! The rules of Offsite as pure functions.
//!
//! This crate says what a backup chain is, what an operation costs, which restore points a policy keeps, and what a job does
//! when. It reads no file, no clock and no random source, and it never waits. Each answer follows from the arguments alone. So a
//! test can run ten years of a job in seconds. The lints in `clippy.toml` enforce this.
//!
//! # Who it is for
//!
//! Use the crate `offsite` to run jobs. It re-exports what a job needs from this crate. Use this crate alone if your program only
//! asks questions: what would a policy keep, when would a job run, what would a merge cost?
//!
//! # Example
//!
//! A policy keeps the newest two restore points and one weekly archive. Which points are there after thirty daily runs?
//!
//! ```
//! use offsite_core::Timestamp;
//! use offsite_core::retention::{Gfs, Policy, Simple, Simulation};
//!
//! let policy = Policy::new(Simple::new(2)?).with_gfs(Gfs::new(1, 0, 0, 0)?);
//! let mut simulation = Simulation::new(policy)?;
//! let first = Timestamp::parse("2026-11-01T22:00:00Z")?;
//! for day in 0..30 {
//!     simulation.add(first.saturating_add_secs(day * 86_400))?;
//! }
//! let times: Vec<String> = simulation.points().map(|point| point.time.to_string()).collect();
//! assert_eq!(times, ["2026-11-29T22:00:00Z", "2026-11-30T22:00:00Z"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to start
//!
//! | you want to | start with |
//! |---|---|
//! | describe restore points and their order | [`Chain`], [`RestorePoint`], [`MachineState`] |
//! | know where blocks lie, and combine states and steps | [`BlockMap`], [`DiskMap`] |
//! | know what a policy keeps, why, and until when | [`retention`]: [`Policy`](retention::Policy), [`judge`](retention::judge) |
//! | know when a job runs, and when it may transfer | [`schedule`]: [`Interval`](schedule::Interval), [`Window`](schedule::Window) |
//! | choose restore points of machines to copy | [`selection`]: [`decide`](selection::decide) |
//! | drive a copy job through its phases | [`phase`]: [`Job`](phase::Job) |
//! | know what an operation reads, writes and releases | [`plan`]: [`Plan`](plan::Plan) |
//!
//! # Conventions
//!
//! Structs and enums that may grow are `#[non_exhaustive]`. Create such a struct with its `new` or `default`, then set further
//! fields with its `with_` methods.
//!
//! The feature `serde` implements `Serialize` and `Deserialize` for the parts of plans, reports and a runner's memory.
//!
//! The stored bytes are not part of the public API. `docs/format.md` describes them.
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
pub mod retry;
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
