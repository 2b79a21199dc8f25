//! Reading a chain: its indexes, what is known to be damaged, reading disks here and there, restoring.

pub(crate) mod disk_reader;
pub(crate) mod disk_selector;
pub(crate) mod disk_stream;
pub(crate) mod indexes;
pub(crate) mod job_folder;
pub(crate) mod known_damage;
pub(crate) mod restore;
pub(crate) mod snapshot;
