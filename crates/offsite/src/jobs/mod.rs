//! What jobs do: backups, copies, transforms.

pub(crate) mod backup;
pub(crate) mod copy;
pub(crate) mod transform;
pub(crate) mod transform_job;
