//! Finding damage, and what is left of a folder.

pub(crate) mod repair;
pub(crate) mod verify;
