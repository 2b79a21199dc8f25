//! The disks of machines in a restore point.

use std::collections::BTreeMap;

use offsite_core::{BlockMap, DiskIdentity, DiskMap, DiskNumber, MachineMap, MachineName};

/// A disk of a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DiskSummary {
    /// The number of the disk in its machine.
    pub number: DiskNumber,
    /// The name of the disk, and the format of the image that it is backed up from.
    pub identity: DiskIdentity,
    /// The size of the disk in bytes.
    pub size_bytes: u64,
}

impl DiskSummary {
    /// What a map says of a disk, without its blocks.
    pub(crate) fn of((number, disk): (&DiskNumber, &DiskMap)) -> Self {
        Self { number: *number, identity: disk.identity().clone(), size_bytes: disk.size_bytes() }
    }
}

/// The disks of each machine, ascending by number.
pub(crate) type Disks = BTreeMap<MachineName, Vec<DiskSummary>>;

/// The disks of the machines of `map`.
pub(crate) fn disks_of(map: &BlockMap) -> Disks {
    let of_machine = |machine: &MachineMap| machine.disks.iter().map(DiskSummary::of).collect();
    map.machines().iter().map(|(name, machine)| (name.clone(), of_machine(machine))).collect()
}
