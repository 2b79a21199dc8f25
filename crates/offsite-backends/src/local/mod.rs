//! A folder as a repository.

mod blocking;
mod claim;
#[cfg(test)]
mod claim_tests;
mod clone;
mod errors;
mod extents;
mod flush;
mod hidden;
mod links;
mod list;
mod mount;
mod options;
mod patch;
mod probe;
mod read;
mod reclaim;
mod repository;
mod root;
mod shared;
mod spelling;
mod staged;
mod sweep;
mod writer;
mod writer_files;

pub(crate) use self::blocking::blocking;
pub(crate) use self::errors::fault;
pub(crate) use self::hidden::FolderIdentity;
pub use self::options::{CreateMethod, LocalOptions};
pub use self::repository::Local;
