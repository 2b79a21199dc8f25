//! Who may read and who may write: pins, leases, and how the living are told from the dead.

pub(crate) mod holder;
pub(crate) mod lease;
pub(crate) mod pin;
pub(crate) mod signs;
