//! Who may read and who may write: pins and leases, and how a living process is told from a dead one.

pub(crate) mod holder;
pub(crate) mod lease;
pub(crate) mod pin;
pub(crate) mod signs;
