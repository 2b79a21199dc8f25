//! States of machines, the steps between them, and how they combine.

use std::collections::{BTreeMap, BTreeSet};

use crate::{DiskMap, DiskNumber, MachineName, ObjectId, StoredBlock, Timestamp};

/// The disks of one machine, as a state or as a step between two states.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineMap {
    /// The time at which the machine was in this state.
    pub captured: Timestamp,
    /// All disks of the machine, whether they changed or not.
    pub disks: BTreeMap<DiskNumber, DiskMap>,
}

impl MachineMap {
    /// The machine at `captured`, with these disks.
    #[must_use]
    pub const fn new(captured: Timestamp, disks: BTreeMap<DiskNumber, DiskMap>) -> Self {
        Self { captured, disks }
    }

    /// Returns `true` if both maps have the same disks with the same content.
    ///
    /// The places of the blocks and the times do not matter.
    #[must_use]
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.disks.keys().eq(other.disks.keys())
            && self.disks.values().zip(other.disks.values()).all(|(left, right)| left.same_content(right))
    }
}

/// Where the blocks of machines lie: sorted runs for each disk.
///
/// As a *state*, it says what each block is. As a *step*, it says what changes on the way to the next state. Machines that a step
/// does not name stay as they were.
///
/// [`overlay`](BlockMap::overlay) (written ⊕) applies a step to a state, or joins two steps to one. It is associative, and the
/// empty map is its neutral element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockMap {
    machines: BTreeMap<MachineName, MachineMap>,
}

/// A stored block that the result of an overlay no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Displaced {
    /// The machine of the block.
    pub machine: MachineName,
    /// The disk of the block.
    pub disk: DiskNumber,
    /// The number of the block on the disk.
    pub block: u32,
    /// The place of its frame.
    pub at: StoredBlock,
}

impl BlockMap {
    /// The map without machines.
    ///
    /// As a step it changes nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The machines, by name.
    #[must_use]
    pub fn machines(&self) -> &BTreeMap<MachineName, MachineMap> {
        &self.machines
    }

    /// The map of one machine.
    ///
    /// `None` if this map does not name it.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> Option<&MachineMap> {
        self.machines.get(name)
    }

    /// Adds a machine.
    ///
    /// It replaces a machine of the same name.
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

    /// Returns `true` if runs cover every block of each disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.machines.values().flat_map(|machine| machine.disks.values()).all(DiskMap::is_full)
    }

    /// Applies `upper` on top of this map: `self ⊕ upper`.
    ///
    /// Where both maps know a block, the result has that of `upper`. A machine that `upper` names has exactly the disks of
    /// `upper` afterwards. Any other machine stays as it was.
    #[must_use]
    pub fn overlay(&self, upper: &Self) -> Self {
        self.overlay_with(upper, |_| {})
    }

    /// The same as [`overlay`](Self::overlay), and reports what it displaces.
    ///
    /// `displaced` receives each stored block of `self` that the result no longer holds.
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

    /// The smallest step `d` for which `self ⊕ d` equals `next`, for the machines of `next`.
    ///
    /// Both maps must be states. Digests alone decide what differs. The blocks of the step lie where `next` has them.
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

    /// The part of this map with the machines for which `keep` returns `true`.
    #[must_use]
    pub fn project(&self, mut keep: impl FnMut(&MachineName) -> bool) -> Self {
        let kept = self.machines.iter().filter(|(name, _)| keep(name));
        Self { machines: kept.map(|(name, machine)| (name.clone(), machine.clone())).collect() }
    }

    /// The step that undoes `step` after this state.
    ///
    /// (`self` ⊕ `step`) ⊕ the result equals `self`, for the machines that both maps have. The result does not name machines that
    /// only `step` has.
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

    /// The step that moves stored blocks to the places that `place` returns.
    ///
    /// A block for which `place` returns `None` stays where it is.
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

    /// This state without the blocks for which `is_lost` returns `true`.
    ///
    /// The [`diff`](Self::diff) from this state to one that has the blocks contains them again.
    #[must_use]
    pub fn without(&self, mut is_lost: impl FnMut(&StoredBlock) -> bool) -> Self {
        let machines = self.machines.iter().map(|(name, machine)| {
            let disks = machine.disks.iter().map(|(number, disk)| (*number, disk.without(&mut is_lost))).collect();
            (name.clone(), MachineMap { captured: machine.captured, disks })
        });
        Self { machines: machines.collect() }
    }

    /// Replaces the place of each stored block with what `place` returns.
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

    /// Returns `true` if both maps have the same machines with the same content.
    ///
    /// The places of the blocks and the times do not matter.
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
