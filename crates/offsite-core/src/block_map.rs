//! The algebra: states of machines, steps between them, and how they combine.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Coverage, DiskMap, DiskNumber, MachineName, ObjectId, StoredBlock, Timestamp};

/// What a restore point, or a step between two, knows of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineMap {
    /// When the machine was in this state.
    pub captured: Timestamp,
    /// All its disks, with or without a change.
    pub disks: BTreeMap<DiskNumber, DiskMap>,
}

impl MachineMap {
    /// The machine at `captured`, with these disks.
    #[must_use]
    pub const fn new(captured: Timestamp, disks: BTreeMap<DiskNumber, DiskMap>) -> Self {
        Self { captured, disks }
    }

    /// Whether both have the same disks with the same content. Place and time do not matter.
    #[must_use]
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.disks.keys().eq(other.disks.keys())
            && self.disks.values().zip(other.disks.values()).all(|(left, right)| left.same_content(right))
    }
}

/// Where the blocks of machines lie: sorted runs per disk.
///
/// As a *state* it says what each block is. As a *step* it says what changes on the way to the next state, and the machines
/// that it does not name stay as they were. [`overlay`](BlockMap::overlay) (⊕) applies a step to a state, or joins two
/// steps. It is associative, and the empty map changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockMap {
    machines: BTreeMap<MachineName, MachineMap>,
}

/// A stored block that an overlay left without a place in its result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Displaced {
    /// Its machine.
    pub machine: MachineName,
    /// Its disk.
    pub disk: DiskNumber,
    /// Its number on the disk.
    pub block: u32,
    /// Where it lies.
    pub at: StoredBlock,
}

impl BlockMap {
    /// The map that knows nothing and changes nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The machines, by name.
    #[must_use]
    pub fn machines(&self) -> &BTreeMap<MachineName, MachineMap> {
        &self.machines
    }

    /// One machine.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> Option<&MachineMap> {
        self.machines.get(name)
    }

    /// Puts a machine in, in place of one of that name.
    pub fn insert(&mut self, name: MachineName, machine: MachineMap) {
        self.machines.insert(name, machine);
    }

    /// The stored blocks, ordered by machine, disk and block.
    pub fn stored(&self) -> impl Iterator<Item = (&MachineName, DiskNumber, u32, StoredBlock)> + '_ {
        self.machines.iter().flat_map(|(name, machine)| {
            let disks = machine.disks.iter();
            disks.flat_map(move |(number, disk)| disk.stored().map(move |(block, at)| (name, *number, block, at)))
        })
    }

    /// The backup files that hold the stored blocks.
    #[must_use]
    pub fn files(&self) -> BTreeSet<ObjectId> {
        let mut files = BTreeSet::new();
        // Blocks of one file follow each other, so most look-ups are saved by remembering the last.
        let mut last = None;
        for (_, _, _, at) in self.stored() {
            if last != Some(at.file) {
                files.insert(at.file);
                last = Some(at.file);
            }
        }
        files
    }

    /// Whether the map covers every block of its disks.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.machines.values().flat_map(|machine| machine.disks.values()).all(DiskMap::is_full)
    }

    /// `self ⊕ upper`: where both know a block, `upper` is right.
    ///
    /// A machine of `upper` has `upper`'s disks afterwards. Any other stays as it was.
    #[must_use]
    pub fn overlay(&self, upper: &Self) -> Self {
        self.overlay_with(upper, |_| {})
    }

    /// `self ⊕ upper`. `displaced` gets each stored block of `self` that the result no longer holds.
    #[must_use]
    pub fn overlay_with(&self, upper: &Self, mut displaced: impl FnMut(Displaced)) -> Self {
        let mut result = self.clone();
        for (name, machine) in &upper.machines {
            let joined = match result.machines.remove(name) {
                None => machine.clone(),
                Some(lower) => overlay_machine(&lower, machine, |disk, block, at| {
                    displaced(Displaced { machine: name.clone(), disk, block, at });
                }),
            };
            result.machines.insert(name.clone(), joined);
        }
        result
    }

    /// The smallest step `d` with `self ⊕ d` = `next` for the machines of `next`. Both maps are states.
    ///
    /// Digests alone tell what differs. The blocks of the step lie where `next` has them.
    #[must_use]
    pub fn diff(&self, next: &Self) -> Self {
        let machines = next.machines.iter().map(|(name, machine)| {
            let before = self.machines.get(name);
            let disks = machine.disks.iter().map(|(number, disk)| {
                let step = match before.and_then(|before| before.disks.get(number)) {
                    Some(lower) => lower.diff(disk),
                    None => disk.keeping_nothing(),
                };
                (*number, step)
            });
            (name.clone(), MachineMap { captured: machine.captured, disks: disks.collect() })
        });
        Self { machines: machines.collect() }
    }

    /// The map of those machines only that `keep` answers true for.
    #[must_use]
    pub fn project(&self, mut keep: impl FnMut(&MachineName) -> bool) -> Self {
        let kept = self.machines.iter().filter(|(name, _)| keep(name));
        Self { machines: kept.map(|(name, machine)| (name.clone(), machine.clone())).collect() }
    }

    /// The part of this map that lies in `coverage`.
    ///
    /// Parts combine as whole maps do: the part of `a ⊕ b` is that of `a` ⊕ that of `b`.
    #[must_use]
    pub fn restricted(&self, coverage: &Coverage) -> Self {
        let machines = self.machines.iter().filter(|(name, _)| coverage.names(name)).map(|(name, machine)| {
            let disks = machine.disks.iter().map(|(number, disk)| {
                let part = match coverage.ranges(name, *number) {
                    Some(ranges) => disk.restricted(ranges),
                    None => disk.clone(),
                };
                (*number, part)
            });
            (name.clone(), MachineMap { captured: machine.captured, disks: disks.collect() })
        });
        Self { machines: machines.collect() }
    }

    /// The step that undoes `step` after this state: (`self` ⊕ `step`) ⊕ the result is `self` again, for the machines of both.
    /// It does not name machines that `step` brought.
    #[must_use]
    pub fn inverse(&self, step: &Self) -> Self {
        let machines = step.machines.iter().filter_map(|(name, machine)| {
            let before = self.machines.get(name)?;
            let disks = before.disks.iter().map(|(number, disk)| {
                let back = match machine.disks.get(number) {
                    Some(step) => disk.inverse(step),
                    None => disk.keeping_nothing(),
                };
                (*number, back)
            });
            Some((name.clone(), MachineMap { captured: before.captured, disks: disks.collect() }))
        });
        Self { machines: machines.collect() }
    }

    /// The step that moves stored blocks to the places that `place` gives. Blocks without a place stay.
    #[must_use]
    pub fn picked(
        &self,
        mut place: impl FnMut(&MachineName, DiskNumber, u32, StoredBlock) -> Option<StoredBlock>,
    ) -> Self {
        let machines = self.machines.iter().filter_map(|(name, machine)| {
            let disks = machine.disks.iter();
            let disks: BTreeMap<_, _> = disks
                .map(|(number, disk)| (*number, disk.picked(|block, at| place(name, *number, block, at))))
                .collect();
            let is_empty = disks.values().all(|disk| disk.runs().is_empty());
            (!is_empty).then(|| (name.clone(), MachineMap { captured: machine.captured, disks }))
        });
        Self { machines: machines.collect() }
    }

    /// This state without the blocks that `is_lost` answers true for. Its [`diff`](Self::diff) to a state with them brings them
    /// again.
    #[must_use]
    pub fn without(&self, mut is_lost: impl FnMut(&StoredBlock) -> bool) -> Self {
        let machines = self.machines.iter().map(|(name, machine)| {
            let disks = machine.disks.iter().map(|(number, disk)| (*number, disk.without(&mut is_lost))).collect();
            (name.clone(), MachineMap { captured: machine.captured, disks })
        });
        Self { machines: machines.collect() }
    }

    /// This map with each stored block's place replaced.
    #[must_use]
    pub fn relocated(
        mut self,
        mut place: impl FnMut(&MachineName, DiskNumber, u32, StoredBlock) -> StoredBlock,
    ) -> Self {
        for (name, machine) in &mut self.machines {
            let disks = std::mem::take(&mut machine.disks).into_iter();
            machine.disks = disks
                .map(|(number, disk)| (number, disk.relocated(|block, at| place(name, number, block, at))))
                .collect();
        }
        self
    }

    /// Whether both maps have the same machines with the same content. Place and time do not matter.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.machines.keys().eq(other.machines.keys())
            && self.machines.values().zip(other.machines.values()).all(|(left, right)| left.has_content_of(right))
    }
}

fn overlay_machine(
    lower: &MachineMap,
    upper: &MachineMap,
    mut displaced: impl FnMut(DiskNumber, u32, StoredBlock),
) -> MachineMap {
    let disks = upper.disks.iter().map(|(number, disk)| {
        let joined = match lower.disks.get(number) {
            Some(below) => below.overlay(disk, |block, at| displaced(*number, block, at)),
            // The machine had no such disk, so there is nothing that the step could keep.
            None => disk.keeping_nothing(),
        };
        (*number, joined)
    });
    let disks = disks.collect();
    for (number, gone) in lower.disks.iter().filter(|(number, _)| !upper.disks.contains_key(number)) {
        gone.stored().for_each(|(block, at)| displaced(*number, block, at));
    }
    MachineMap { captured: upper.captured, disks }
}
