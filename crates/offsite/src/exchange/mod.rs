//! Chains that come and go in other ways: exports, imports, carried copies.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod map;
