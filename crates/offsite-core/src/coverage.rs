//! The blocks that a step touches.
//!
//! An operation looks up only these blocks in the maps below the step.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{BlockMap, DiskMap, DiskNumber, MachineMap, MachineName, Run};

/// The number of blocks in a piece of a disk. A page of an index describes about as many.
const PIECE_BLOCKS: u32 = 4096;

/// A set of blocks, by machine and disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    machines: BTreeMap<MachineName, Disks>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Disks {
    ranges: BTreeMap<DiskNumber, Vec<Range<u32>>>,
    /// `true` if every disk without an entry is covered as a whole. `false` if no block of it is covered.
    others: bool,
}

impl Coverage {
    /// The blocks that `step` replaces or drops, whatever state it is applied to.
    #[must_use]
    pub fn of(step: &BlockMap) -> Self {
        let machines = step.machines().iter().map(|(name, machine)| {
            let disks = machine.disks.iter().map(|(number, disk)| (*number, ranges_of(disk)));
            (name.clone(), Disks { ranges: disks.collect(), others: true })
        });
        Self { machines: machines.collect() }
    }

    /// These blocks and no others.
    #[must_use]
    pub fn of_blocks<'a>(blocks: impl IntoIterator<Item = (&'a MachineName, DiskNumber, u32)>) -> Self {
        let mut machines: BTreeMap<MachineName, Disks> = BTreeMap::new();
        for (name, disk, block) in blocks {
            if !machines.contains_key(name) {
                machines.insert(name.clone(), Disks::default());
            }
            if let Some(disks) = machines.get_mut(name) {
                disks.ranges.entry(disk).or_default().push(block..block.saturating_add(1));
            }
        }
        for ranges in machines.values_mut().flat_map(|disks| disks.ranges.values_mut()) {
            *ranges = joined(std::mem::take(ranges));
        }
        Self { machines }
    }

    /// One lot of the blocks of `step`: those in at most `pieces_max` pieces of its disks.
    ///
    /// A piece has 4,096 blocks. As `turn` counts up, the lots cover all blocks and then start again. So the look-up of one lot
    /// has a bounded cost, however large the step is.
    #[must_use]
    pub fn lot(step: &BlockMap, pieces_max: usize, turn: u64) -> Self {
        let disks = || {
            let machines = step.machines().iter();
            machines.flat_map(|(name, machine)| machine.disks.iter().map(move |(number, disk)| (name, *number, disk)))
        };
        // Counted, not listed: a run of zeros in a small index may have any length.
        let count: u64 = disks().flat_map(|(_, _, disk)| numbered(disk)).map(|run| run.fresh).sum();
        let pieces_max = pieces_max.max(1) as u64;
        let first = turn % count.div_ceil(pieces_max).max(1) * pieces_max;
        let mut machines: BTreeMap<MachineName, Disks> = BTreeMap::new();
        let mut before = 0;
        for (name, number, disk) in disks() {
            let mut ranges = Vec::new();
            for Numbered { run, pieces, position, .. } in numbered(disk) {
                let start = before + position;
                let from = pieces.start + first.saturating_sub(start);
                let to = pieces.end.min((pieces.start + first + pieces_max).saturating_sub(start));
                if from < to {
                    let block = |piece: u64| piece * u64::from(PIECE_BLOCKS);
                    let blocks = u64::from(run.first()).max(block(from))..run.end().min(block(to));
                    let number = |block: u64| u32::try_from(block).unwrap_or(u32::MAX);
                    ranges.push(number(blocks.start)..number(blocks.end));
                }
            }
            before += numbered(disk).map(|run| run.fresh).sum::<u64>();
            let ranges = joined(ranges);
            if !ranges.is_empty() {
                machines.entry(name.clone()).or_default().ranges.insert(number, ranges);
            }
        }
        Self { machines }
    }

    /// The blocks that are in `self`, in `other`, or in both.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        for (name, mut disks) in other.machines {
            let Some(mut own) = self.machines.remove(&name) else {
                self.machines.insert(name, disks);
                continue;
            };
            // A disk that either covers as a whole without listing it is covered as a whole.
            own.ranges.retain(|number, _| !disks.others || disks.ranges.contains_key(number));
            disks.ranges.retain(|number, _| !own.others || own.ranges.contains_key(number));
            for (number, ranges) in disks.ranges {
                let all = own.ranges.entry(number).or_default();
                all.extend(ranges);
                *all = joined(std::mem::take(all));
            }
            own.others |= disks.others;
            self.machines.insert(name, own);
        }
        self
    }

    /// Returns `true` if any block of the machine is covered.
    #[must_use]
    pub fn names(&self, machine: &MachineName) -> bool {
        self.machines.contains_key(machine)
    }

    /// Returns `true` if any of these blocks of the disk is covered.
    #[must_use]
    pub fn touches(&self, machine: &MachineName, disk: DiskNumber, blocks: Range<u32>) -> bool {
        let Some(disks) = self.machines.get(machine) else { return false };
        let Some(ranges) = disks.ranges.get(&disk) else { return disks.others };
        let after = ranges.partition_point(|range| range.end <= blocks.start);
        ranges.get(after).is_some_and(|range| range.start < blocks.end)
    }

    /// The covered ranges of a disk, ascending. `None` means that the whole disk is covered. The machine must be named.
    fn ranges(&self, machine: &MachineName, disk: DiskNumber) -> Option<&[Range<u32>]> {
        let disks = self.machines.get(machine)?;
        match disks.ranges.get(&disk) {
            Some(ranges) => Some(ranges),
            None if disks.others => None,
            None => Some(&[]),
        }
    }
}

/// A run, the pieces of its disk that it lies in, and where the first of these stands among all that the disk's runs lie in.
struct Numbered<'a> {
    run: &'a Run,
    pieces: Range<u64>,
    position: u64,
    /// Pieces that no run before lies in.
    fresh: u64,
}

fn numbered(disk: &DiskMap) -> impl Iterator<Item = Numbered<'_>> {
    let (mut counted, mut end) = (0_u64, 0_u64);
    disk.runs().iter().map(move |run| {
        let piece = |block: u64| block / u64::from(PIECE_BLOCKS);
        let pieces = piece(run.first().into())..piece(run.end().saturating_sub(1)) + 1;
        // Only the last piece of the run before can be one of this run's.
        let shared = end.saturating_sub(pieces.start).min(1);
        let position = counted - shared;
        let fresh = pieces.end - pieces.start - shared;
        (counted, end) = (counted + fresh, pieces.end);
        Numbered { run, pieces, position, fresh }
    })
}

impl BlockMap {
    /// The part of this map that lies in `coverage`.
    ///
    /// Parts combine like whole maps: the part of `a ⊕ b` is the part of `a` ⊕ the part of `b`.
    #[must_use]
    pub fn restricted(&self, coverage: &Coverage) -> Self {
        let mut part = Self::empty();
        for (name, machine) in self.machines().iter().filter(|(name, _)| coverage.names(name)) {
            let disks = machine.disks.iter().map(|(number, disk)| {
                let disk =
                    coverage.ranges(name, *number).map_or_else(|| disk.clone(), |ranges| disk.restricted(ranges));
                (*number, disk)
            });
            part.insert(name.clone(), MachineMap::new(machine.captured, disks.collect()));
        }
        part
    }
}

/// What a step of a disk replaces, and what it lets go of because the disk was shorter meanwhile.
fn ranges_of(disk: &DiskMap) -> Vec<Range<u32>> {
    let end = |end: u64| u32::try_from(end).unwrap_or(u32::MAX);
    let mut ranges: Vec<Range<u32>> = disk.runs().iter().map(|run| run.first()..end(run.end())).collect();
    ranges.push(disk.keeps_blocks()..u32::MAX);
    joined(ranges)
}

/// Ascending, and those that touch as one.
fn joined(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, previous| {
        let touches = next.start <= previous.end;
        if touches {
            previous.end = previous.end.max(next.end);
        }
        touches
    });
    ranges
}
