//! The disks of machines, as a restore point has them.

use std::collections::BTreeMap;

use offsite_core::{BlockMap, DiskIdentity, DiskMap, DiskNumber, MachineMap, MachineName};

/// A disk of a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DiskSummary {
    /// Its number in its machine.
    pub number: DiskNumber,
    /// What it is called, and the format of the image that it is backed up from.
    pub identity: DiskIdentity,
    /// Its size.
    pub size_bytes: u64,
}

impl DiskSummary {
    /// What a map says of a disk, its blocks left out.
    pub(crate) fn of((number, disk): (&DiskNumber, &DiskMap)) -> Self {
        Self { number: *number, identity: disk.identity().clone(), size_bytes: disk.size_bytes() }
    }
}

/// The disks of machines, ascending by number.
pub(crate) type Disks = BTreeMap<MachineName, Vec<DiskSummary>>;

/// The disks of the machines of `map`.
pub(crate) fn disks_of(map: &BlockMap) -> Disks {
    let of_machine = |machine: &MachineMap| machine.disks.iter().map(DiskSummary::of).collect();
    map.machines().iter().map(|(name, machine)| (name.clone(), of_machine(machine))).collect()
}
