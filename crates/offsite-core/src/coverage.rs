//! Which blocks a step touches, so that only those need to be looked up in what lies below it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{BlockMap, DiskMap, DiskNumber, MachineName};

/// Blocks by machine and disk. Of a machine that is named, a disk that is not listed is covered as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    machines: BTreeMap<MachineName, BTreeMap<DiskNumber, Vec<Range<u32>>>>,
}

impl Coverage {
    /// The blocks of any state that `step` replaces or lets go of.
    #[must_use]
    pub fn of(step: &BlockMap) -> Self {
        let machines = step.machines().iter().map(|(name, machine)| {
            let disks = machine.disks.iter().map(|(number, disk)| (*number, ranges_of(disk)));
            (name.clone(), disks.collect())
        });
        Self { machines: machines.collect() }
    }

    /// These blocks and those.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        for (name, disks) in other.machines {
            match self.machines.remove(&name) {
                None => drop(self.machines.insert(name, disks)),
                Some(mut own) => {
                    // A disk that either does not list, it covers as a whole.
                    own.retain(|number, _| disks.contains_key(number));
                    for (number, ranges) in disks {
                        if let Some(own) = own.get_mut(&number) {
                            own.extend(ranges);
                            *own = joined(std::mem::take(own));
                        }
                    }
                    self.machines.insert(name, own);
                }
            }
        }
        self
    }

    /// Whether any block of the machine is covered.
    #[must_use]
    pub fn names(&self, machine: &MachineName) -> bool {
        self.machines.contains_key(machine)
    }

    /// Whether any of these blocks is covered.
    #[must_use]
    pub fn touches(&self, machine: &MachineName, disk: DiskNumber, blocks: Range<u32>) -> bool {
        let Some(disks) = self.machines.get(machine) else { return false };
        let Some(ranges) = disks.get(&disk) else { return true };
        let after = ranges.partition_point(|range| range.end <= blocks.start);
        ranges.get(after).is_some_and(|range| range.start < blocks.end)
    }

    /// The covered ranges of a disk of a machine that is named, ascending; none: all of it.
    pub(crate) fn ranges(&self, machine: &MachineName, disk: DiskNumber) -> Option<&[Range<u32>]> {
        self.machines.get(machine).and_then(|disks| disks.get(&disk)).map(Vec::as_slice)
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
