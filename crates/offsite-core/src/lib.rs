//! The pure part of Offsite: what a backup chain is, how its states are combined, what each operation will cost, which
//! restore points a policy keeps, and the bytes in which all of it is stored.
//!
//! Nothing in this crate reads a file, a clock or a random source, and nothing waits: every decision is a function of
//! its arguments, so that ten years of a job run in a test in seconds. The lints in its `clippy.toml` hold that wall.
//!
//! Where to start: [`BlockMap`] (the algebra), [`Chain`] (restore points in order), [`plan`] (operations as values),
//! [`retention`] (what is kept, and why), [`schedule`], [`selection`] and [`phase`] (what a job does when). The stored bytes are no
//! public API: `docs/format.md` describes them.
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
