//! Files that are made beside repositories: whole, or not at all.

pub(crate) mod in_use;
pub(crate) mod partial;
