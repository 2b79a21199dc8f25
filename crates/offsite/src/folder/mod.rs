//! What a repository and a job folder contain: keys, heads, verification notes.

pub(crate) mod disks;
pub(crate) mod heads;
pub(crate) mod job_folders;
pub(crate) mod layout;
pub(crate) mod links;
pub(crate) mod marker;
pub(crate) mod open_repository;
pub(crate) mod verification_notes;
