//! The block cache: blocks that came over a link before, on a disk of this host.
//!
//! The cache holds packs of frames, each with a list of its digests. Nothing depends on it: whatever is missing or damaged in it comes from
//! the source. Blocks enter it through [`Keeper`] alone, and leave it through [`CacheRun`] alone. A cache that seals its content does it
//! there.

mod block_cache;
mod keeper;
mod list;
mod pack;
mod usage;

pub use block_cache::{BlockCache, BlockCacheError};
pub(crate) use block_cache::{CacheRun, MACHINE};
pub(crate) use keeper::{Keeper, Kept};
