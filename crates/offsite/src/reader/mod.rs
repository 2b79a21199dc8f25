//! Reading a chain: its indexes, what is known to be damaged, restoring.

pub(crate) mod indexes;
pub(crate) mod job_folder;
pub(crate) mod known_damage;
pub(crate) mod restore;
