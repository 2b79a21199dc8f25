//! The algebra of block maps, against what it says of each block by itself.
//!
//! A step says of a block of a disk that it becomes something, is kept, or is gone. What two steps, a difference or a projection say of
//! it follows from that alone, so the model asks one block at a time, and knows nothing of runs.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use offsite_core::{
    BlockMap, Coverage, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, MachineMap, MachineName,
    ObjectId, Run, StoredBlock, Timestamp,
};

#[derive(Debug, Arbitrary)]
struct Input {
    /// Whether disks are nearly as long as they can be, so that numbers run over where they can.
    is_long: bool,
    steps: [Step; 4],
    kept: u8,
    lost: u8,
    pieces: u8,
    turn: u8,
}

#[derive(Debug, Arbitrary)]
struct Step {
    /// Machines by a number, and their disks.
    machines: Vec<(u8, Vec<(u8, Disk)>)>,
}

#[derive(Debug, Arbitrary)]
struct Disk {
    count: u8,
    keeps: u8,
    /// What each of the first blocks becomes, before those at the other end if the disk is long.
    blocks: Vec<u8>,
    tail_is_zero: bool,
}

/// What a step says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Zero,
    Stored(StoredBlock),
    Kept,
    Gone,
}

impl Says {
    fn content(self) -> Option<Option<Digest>> {
        match self {
            Self::Zero => Some(None),
            Self::Stored(at) => Some(Some(at.digest)),
            Self::Kept | Self::Gone => None,
        }
    }
}

impl Disk {
    /// As a step, or filled up to a state.
    fn map(&self, is_long: bool, is_full: bool, salt: u64) -> DiskMap {
        let far = if is_long { u32::MAX - 40 } else { 0 };
        let count = far + u32::from(self.count % 24);
        let keeps = if self.keeps & 1 == 0 { u32::from(self.keeps) } else { far + u32::from(self.keeps % 24) };
        let mut runs = Vec::new();
        let mut end = 0_u32;
        let half = self.blocks.len() / 2;
        for (position, what) in self.blocks.iter().enumerate() {
            let position_on = if position < half { 0 } else { far };
            let block = u32::try_from(position).unwrap_or(u32::MAX).saturating_add(position_on);
            if block >= count || block < end {
                continue;
            }
            if is_full && end < block {
                runs.push(Run::Zero { first: end, count: block - end });
            }
            match what % 6 {
                0 if !is_full => continue,
                0 | 1 => runs.push(Run::Zero { first: block, count: 1 }),
                2 => {
                    let most = if block < far { far - block } else { count - block };
                    let length = (u32::from(what / 6) + 1).min(most).max(1);
                    runs.push(Run::Zero { first: block, count: length });
                    end = block + length;
                    continue;
                }
                content => {
                    let file = ObjectId::new(1, u32::from(content));
                    let offset = (salt << 32) + u64::from(block) * 64;
                    let at = StoredBlock { file, offset, length: 64, digest: Digest([content; 32]) };
                    runs.push(Run::Stored { block, at });
                }
            }
            end = block + 1;
        }
        if end < count && (is_full || self.tail_is_zero) {
            runs.push(Run::Zero { first: end, count: count - end });
        }
        let name = DiskName::nearest(&format!("of-{count}"));
        let identity = DiskIdentity::new(name, ImageFormat::Raw);
        DiskMap::new(identity, u64::from(count) << 18, count.into(), keeps, runs).expect("runs in order")
    }
}

fn name(number: u8) -> MachineName {
    MachineName::new(&format!("m{}", number % 3)).expect("a plain name")
}

impl Step {
    fn map(&self, is_long: bool, is_full: bool, salt: u64) -> BlockMap {
        let mut map = BlockMap::empty();
        for (number, disks) in &self.machines {
            let machine = u64::from(number % 3);
            let disks = disks.iter().map(|(number, disk)| {
                // No two disks have a frame in common, nor have two steps.
                let salt = salt * 100 + machine * 10 + u64::from(*number % 3);
                (DiskNumber((number % 3).into()), disk.map(is_long, is_full, salt))
            });
            let captured = Timestamp::from_unix_secs(i64::try_from(salt).unwrap_or(0)).expect("a time in range");
            map.insert(name(*number), MachineMap::new(captured, disks.collect()));
        }
        map
    }
}

fn says(disk: &DiskMap, block: u32) -> Says {
    match disk.get(block) {
        Some(Run::Zero { .. }) => Says::Zero,
        Some(Run::Stored { at, .. }) => Says::Stored(at),
        None if block < disk.keeps_blocks() => Says::Kept,
        None => Says::Gone,
    }
}

/// The blocks at which anything may change in one of these disks, and those beside them.
fn blocks<'a>(disks: impl IntoIterator<Item = &'a DiskMap>) -> BTreeSet<u32> {
    let mut blocks = BTreeSet::from([0]);
    let mut add = |block: u64| {
        let near = [block.saturating_sub(1), block, block + 1];
        blocks.extend(near.into_iter().filter_map(|block| u32::try_from(block).ok()));
    };
    for disk in disks {
        add(disk.keeps_blocks().into());
        add(disk.block_count().into());
        for run in disk.runs() {
            add(run.first().into());
            add(run.end());
        }
    }
    blocks
}

/// What a map must be: each run after the one before it, none empty, zeros joined, and nothing past the end.
fn check_form(disk: &DiskMap) {
    let same = DiskMap::new(disk.identity().clone(), disk.size_bytes(), disk.block_count().into(), disk.keeps_blocks(), disk.runs().to_vec());
    assert_eq!(same.as_ref(), Ok(disk));
}

fn disks(map: &BlockMap) -> BTreeMap<(MachineName, DiskNumber), DiskMap> {
    let machines = map.machines().iter();
    machines
        .flat_map(|(name, machine)| {
            machine.disks.iter().map(move |(number, disk)| ((name.clone(), *number), disk.clone()))
        })
        .collect()
}

fn overlay(lower: &BlockMap, upper: &BlockMap) -> BlockMap {
    let mut displaced = Vec::new();
    let result = lower.overlay_with(upper, |gone| displaced.push(gone.at));
    let (below, above) = (disks(lower), disks(upper));
    for ((machine, number), disk) in disks(&result) {
        check_form(&disk);
        let key = (machine.clone(), number);
        let Some(step) = above.get(&key) else {
            assert!(upper.machine(&machine).is_none());
            assert_eq!(Some(&disk), below.get(&key));
            continue;
        };
        assert_eq!((disk.size_bytes(), disk.block_count()), (step.size_bytes(), step.block_count()));
        let old = below.get(&key);
        let machine_was_there = lower.machine(&machine).is_some();
        for block in blocks([&disk, step].into_iter().chain(old)) {
            let expected = match (says(step, block), old) {
                (Says::Kept, Some(old)) => says(old, block),
                // A disk that was not there has nothing to be kept; of a machine that is not told of, nothing is known.
                (Says::Kept, None) if machine_was_there => Says::Gone,
                (step, _) => step,
            };
            assert_eq!(says(&disk, block), expected, "block {block}");
        }
    }
    for name in lower.machines().keys().chain(upper.machines().keys()) {
        assert!(result.machine(name).is_some());
    }
    let places = |map: &BlockMap| map.stored().map(|(.., at)| (at.file, at.offset)).collect::<BTreeSet<_>>();
    let lacks: BTreeSet<_> = places(lower).difference(&places(&result)).copied().collect();
    assert_eq!(displaced.iter().map(|at| (at.file, at.offset)).collect::<BTreeSet<_>>(), lacks);
    result
}

fn diff(state: &BlockMap, next: &BlockMap) {
    let step = state.diff(next);
    let (before, after) = (disks(state), disks(next));
    let steps = disks(&step);
    assert!(steps.keys().eq(after.keys()));
    for (key, disk) in &steps {
        check_form(disk);
        let (old, new) = (before.get(key), &after[key]);
        for block in blocks([disk, new].into_iter().chain(old)) {
            let old = old.map_or(Says::Gone, |old| says(old, block));
            let new = says(new, block);
            let is_same = old.content().is_some() && old.content() == new.content();
            assert_eq!(says(disk, block), if is_same { Says::Kept } else { new }, "block {block}");
        }
    }
    let reached = state.overlay(&step);
    assert!(reached.project(|name| next.machine(name).is_some()).same_content(next));
}

fuzz_target!(|input: Input| {
    let step = |position: usize, is_full| input.steps[position].map(input.is_long, is_full, position as u64 + 1);
    let (a, b, c) = (step(0, false), step(1, false), step(2, false));
    assert_eq!(overlay(&overlay(&a, &b), &c), overlay(&a, &overlay(&b, &c)));
    assert_eq!(overlay(&BlockMap::empty(), &a), a);
    assert_eq!(overlay(&a, &BlockMap::empty()), a);

    let keep = |machine: &MachineName| (0..3).any(|number| input.kept >> number & 1 == 1 && *machine == name(number));
    let kept = a.project(keep);
    assert!(a.machines().iter().all(|(name, machine)| kept.machine(name) == Some(machine).filter(|_| keep(name))));
    assert_eq!(overlay(&a, &b).project(keep), overlay(&kept, &b.project(keep)));

    let (state, next) = (step(2, true), step(3, true));
    assert!(state.is_full() && next.is_full());
    diff(&state, &next);
    diff(&next, &state);
    let lost = Digest([3 + input.lost % 3; 32]);
    let without = state.without(|at| at.digest == lost);
    let before = disks(&state);
    for (key, disk) in disks(&without) {
        check_form(&disk);
        for block in blocks([&disk, &before[&key]]) {
            let expected = match says(&before[&key], block) {
                Says::Stored(at) if at.digest == lost => Says::Gone,
                other => other,
            };
            assert_eq!(says(&disk, block), expected, "block {block}");
        }
    }
    diff(&without, &next);

    // What undoes a step undoes it, for the machines that were there and are told of.
    let step = state.diff(&next);
    let back = overlay(&overlay(&state, &step), &state.inverse(&step));
    let both = |map: &BlockMap| map.project(|name| state.machine(name).is_some() && next.machine(name).is_some());
    assert!(both(&back).same_content(&both(&state)));

    // Parts combine as the whole does.
    let lot = Coverage::lot(&b, usize::from(input.pieces % 4) + 1, input.turn.into());
    for coverage in [Coverage::of(&step), Coverage::of(&b), Coverage::of(&step).union(lot)] {
        let (part, rest) = (state.restricted(&coverage), step.restricted(&coverage));
        assert_eq!(overlay(&state, &step).restricted(&coverage), overlay(&part, &rest));
    }
});
