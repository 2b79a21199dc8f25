//! Files that are made beside repositories: whole, or not at all.

pub(crate) mod partial;
