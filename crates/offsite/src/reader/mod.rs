//! Reading a chain: its indexes, its known damage, single disks, restores.

pub(crate) mod disk_reader;
pub(crate) mod disk_selector;
pub(crate) mod disk_stream;
pub(crate) mod indexes;
pub(crate) mod job_folder;
pub(crate) mod known_damage;
pub(crate) mod known_losses;
pub(crate) mod restore;
pub(crate) mod snapshot;
