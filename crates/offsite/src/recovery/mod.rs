//! Verifying and repairing job folders.

pub(crate) mod repair;
pub(crate) mod verify;
