//! What a copy has brought when it ends, early or not.

use std::collections::BTreeMap;

use crate::{BlockMap, DiskMap, MachineMap, MachineName, Run, StoredBlock, Transferred};

/// What has arrived of a copy: the complete machines, and spare blocks of the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrival {
    /// The map of the machines whose blocks have all arrived.
    pub whole: BlockMap,
    /// The blocks that have arrived of the other machines. They belong to no state. The next copy uses those that it needs.
    pub spare: BlockMap,
    /// How much of the other machines has been copied.
    pub transferred: BTreeMap<MachineName, Transferred>,
}

impl Arrival {
    /// Splits `index` into what has arrived and what has not.
    ///
    /// `place` returns the place of each block that has arrived, and `None` for any other.
    #[must_use]
    pub fn of(index: &BlockMap, mut place: impl FnMut(&StoredBlock) -> Option<StoredBlock>) -> Self {
        let mut arrival = Self::default();
        for (name, machine) in index.machines() {
            let mut transferred = Transferred::default();
            let mut disks = BTreeMap::new();
            let mut spare = BTreeMap::new();
            for (number, disk) in &machine.disks {
                let mut places: BTreeMap<u32, StoredBlock> = BTreeMap::new();
                for (block, at) in disk.stored() {
                    match place(&at) {
                        Some(here) => {
                            transferred.done_bytes += u64::from(at.length);
                            places.insert(block, here);
                        }
                        None => transferred.left_bytes += u64::from(at.length),
                    }
                }
                let runs = places.iter().map(|(block, at)| Run::Stored { block: *block, at: *at }).collect();
                spare.insert(*number, part(disk, runs));
                disks.insert(*number, disk.clone().relocated(|block, at| places.get(&block).copied().unwrap_or(at)));
            }
            let captured = machine.captured;
            if transferred.left_bytes == 0 {
                arrival.whole.insert(name.clone(), MachineMap { captured, disks });
            } else {
                arrival.spare.insert(name.clone(), MachineMap { captured, disks: spare });
                arrival.transferred.insert(name.clone(), transferred);
            }
        }
        arrival
    }
}

/// The part of a disk map with these runs only.
fn part(disk: &DiskMap, runs: Vec<Run>) -> DiskMap {
    let count = u64::from(disk.block_count());
    // The runs are some of the disk's own, in their order, so they are a map.
    DiskMap::new(disk.identity().clone(), disk.size_bytes(), count, 0, runs).unwrap_or_else(|_| disk.clone())
}
