//! Files beside repositories. They are made completely, or not at all.

pub(crate) mod free_space;
pub(crate) mod in_use;
pub(crate) mod partial;
