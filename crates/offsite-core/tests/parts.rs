//! Parts of maps: what is read of a large index because a step touches it, and steps that are made from states.

mod model;

use offsite_core::FolderId;
use offsite_core::format::WireFormat;
use std::collections::{BTreeMap, BTreeSet};

use model::{Store, World, captured, config, history, live, time};
use offsite_core::Index;
use offsite_core::format::index::Directory;
use offsite_core::{
    BlockMap, BlockSize, Coverage, Digest, DiskIdentity, DiskMap, DiskName, DiskNumber, ImageFormat, MachineMap,
    MachineName, MachineNumber, MachineState, ObjectId, PointKind, Run, Sequence, Status, StoredBlock,
};
use proptest::prelude::*;

/// The steps of a history.
fn steps(days: &[model::Day]) -> Vec<BlockMap> {
    let (mut store, mut world, mut latest) = (Store::default(), World::new(), BlockMap::empty());
    let mut steps = Vec::new();
    for (day, secs) in days.iter().zip(0..) {
        live(&mut world, day);
        let step = latest.diff(&store.write(&captured(&world, day), time(secs)));
        latest = latest.overlay(&step);
        steps.push(step);
    }
    steps
}

fn fold(steps: &[BlockMap]) -> BlockMap {
    steps.iter().fold(BlockMap::empty(), |state, step| state.overlay(step))
}

proptest! {
    #![proptest_config(config(1500))]

    /// (a ⊕ b)|R = a|R ⊕ b|R: of a state for any R, of a step where R has all that both touch.
    #[test]
    fn parts_combine_as_the_whole_does(days in history(8), cuts in any::<[prop::sample::Index; 3]>()) {
        let steps = steps(&days);
        let [cut, first, second] = cuts.map(|cut| cut.index(steps.len()));
        let (a, b) = (fold(&steps[..cut]), fold(&steps[cut..]));
        let lot = Coverage::lot(&steps[first], 2, second as u64);
        for range in [lot, Coverage::of(&b), Coverage::of(&steps[first]), Coverage::of(&steps[first]).union(Coverage::of(&steps[second]))] {
            prop_assert_eq!(a.overlay(&b).restricted(&range), a.restricted(&range).overlay(&b.restricted(&range)));
        }
        let (a, b) = (&steps[first], &steps[second]);
        let both = Coverage::of(a).union(Coverage::of(b));
        prop_assert_eq!(a.overlay(b).restricted(&both), a.restricted(&both).overlay(&b.restricted(&both)));
        prop_assert_eq!(&a.restricted(&both), a, "a coverage holds what it is of");
    }

    /// Outside of what a step covers, it changes nothing.
    #[test]
    fn a_coverage_is_all_that_a_step_can_touch(days in history(8), cut in any::<prop::sample::Index>()) {
        let steps = steps(&days);
        let cut = cut.index(steps.len());
        let (state, step) = (fold(&steps[..cut]), &steps[cut]);
        let (coverage, after) = (Coverage::of(step), state.overlay(step));
        for (name, disk, block, at) in state.stored().chain(after.stored()) {
            let find = |map: &BlockMap| {
                let disk = map.machine(name).and_then(|machine| machine.disks.get(&disk));
                disk.and_then(|disk| disk.get(block))
            };
            let touched = coverage.touches(name, disk, block..block + 1);
            prop_assert!(touched || find(&state) == find(&after), "{} {} {:?}", name, block, at);
            // And as part of any range.
            prop_assert!(!touched || coverage.touches(name, disk, block.saturating_sub(2)..block + 2));
        }
    }

    /// The lots of a step cover what it says, all together, and nothing that it says nothing of.
    #[test]
    fn each_piece_of_a_step_has_its_turn(days in history(6), which in any::<prop::sample::Index>(), pieces in 1..3usize) {
        let steps = steps(&days);
        let step = which.get(&steps);
        // Disks of these histories are shorter than a piece.
        let disks = step.machines().values().map(|machine| machine.disks.len()).sum::<usize>();
        let lots: Vec<_> = (0..disks.div_ceil(pieces).max(1) as u64).map(|turn| Coverage::lot(step, pieces, turn)).collect();
        for (name, disk, block, _) in step.stored() {
            prop_assert!(lots.iter().any(|lot| lot.touches(name, disk, block..block + 1)));
        }
        for lot in &lots {
            for (name, machine) in step.machines() {
                let touches = machine.disks.iter().any(|(number, disk)| lot.touches(name, *number, 0..disk.block_count()));
                prop_assert_eq!(lot.names(name), touches, "a machine of which no block is covered is not named");
            }
            let part = step.restricted(lot);
            let spoken = part.machines().values().flat_map(|machine| machine.disks.values());
            prop_assert!(spoken.filter(|disk| !disk.runs().is_empty()).count() <= pieces);
        }
    }

    /// A union covers what either does, also where a step drops a disk of which the other has a few blocks.
    #[test]
    fn a_union_covers_what_either_does(
        days in history(6),
        which in any::<[prop::sample::Index; 2]>(),
        lot in any::<bool>(),
        turn in 0..4u64,
    ) {
        let steps = steps(&days);
        let [left, right] = which.map(|which| which.get(&steps));
        let (left, right) = (if lot { Coverage::lot(left, 1, turn) } else { Coverage::of(left) }, Coverage::of(right));
        let (left, right) = if turn % 2 == 0 { (left, right) } else { (right, left) };
        let both = left.clone().union(right.clone());
        for (machine, disk, block) in (0..4u8).flat_map(|m| (0..4u16).flat_map(move |d| (0..9u32).map(move |b| (m, d, b)))) {
            let (name, disk) = (model::name(machine), DiskNumber(disk));
            let touches = |coverage: &Coverage| coverage.touches(&name, disk, block..block + 1);
            prop_assert_eq!(touches(&both), touches(&left) || touches(&right));
        }
    }

    #[test]
    fn an_inverse_leads_back(days in history(8), cut in any::<prop::sample::Index>()) {
        let steps = steps(&days);
        let cut = cut.index(steps.len());
        for to in cut..steps.len() {
            let (state, step) = (fold(&steps[..cut]), fold(&steps[cut..=to]));
            let back = state.overlay(&step).overlay(&state.inverse(&step));
            prop_assert_eq!(back.project(|name| state.machine(name).is_some()), state);
        }
    }

    #[test]
    fn picked_blocks_are_elsewhere_and_all_else_is_as_it_was(days in history(6), which in 0..7u64) {
        let state = fold(&steps(&days));
        let picks = |at: &StoredBlock| u64::from(at.digest.0[3]) % 7 <= which;
        let moved = |at: StoredBlock| StoredBlock { file: ObjectId::new(9, 9), offset: at.file.stored() << 20 | at.offset, ..at };
        let layer = state.picked(|_, _, _, at| picks(&at).then(|| moved(at)));
        let after = state.overlay(&layer);
        prop_assert!(after.same_content(&state));
        let expected = state.clone().relocated(|_, _, _, at| if picks(&at) { moved(at) } else { at });
        prop_assert_eq!(after, expected);
    }
}

const PAGE_RUNS: usize = 4096;

/// A disk of so many runs: stored blocks, zeros of some length and holes, by a little arithmetic.
/// What a disk of the tests is known by.
fn identity(number: u32) -> DiskIdentity {
    DiskIdentity::new(DiskName::new(&format!("disk-{number}")).expect("a plain name"), ImageFormat::Raw)
}

fn long_disk(runs: usize, seed: u32, file: u32) -> DiskMap {
    let (mut block, mut state, mut list) = (seed % 5, seed | 1, Vec::with_capacity(runs));
    let mut last_was_zero = false;
    while list.len() < runs {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let kind = state >> 24;
        if kind < 60 && !last_was_zero {
            let count = 1 + (state >> 8) % 9;
            list.push(Run::Zero { first: block, count });
            block += count;
            last_was_zero = true;
        } else if kind < 90 {
            block += 1 + (state >> 8) % 40;
            last_was_zero = false;
        } else {
            let at = StoredBlock {
                file: ObjectId::new(1, file),
                offset: u64::from(block) * 1024,
                length: 900,
                digest: Digest([7; 32]),
            };
            list.push(Run::Stored { block, at });
            block += 1;
            last_was_zero = false;
        }
    }
    let count = block + 100;
    DiskMap::new(identity(file), u64::from(count) << 20, count.into(), seed % 3 * (count / 3), list)
        .expect("runs in order")
}

fn name(number: usize) -> MachineName {
    model::name(u8::try_from(number).expect("a few"))
}

/// A machine, a disk, and ranges on it, each by the gap before it and its length.
type Ranges = (usize, u16, Vec<(u32, u32)>);

/// Ranges of blocks as a step that covers them.
fn covering(machines: &[Ranges]) -> BlockMap {
    let mut map = BlockMap::empty();
    let mut disks: BTreeMap<usize, BTreeMap<DiskNumber, DiskMap>> = BTreeMap::new();
    for (machine, number, ranges) in machines {
        let mut runs: Vec<Run> = Vec::new();
        for (gap, count) in ranges {
            let from = u32::try_from(runs.last().map_or(0, Run::end)).expect("it is small");
            runs.push(Run::Zero { first: from + gap, count: *count });
        }
        let disk = DiskMap::new(identity((*number).into()), 1 << 42, 1 << 22, 1 << 22, runs).expect("runs in order");
        disks.entry(*machine).or_default().insert(DiskNumber(*number), disk);
    }
    for (machine, disks) in disks {
        map.insert(name(machine), MachineMap::new(time(0), disks));
    }
    map
}

proptest! {
    #![proptest_config(config(60))]

    /// The pages that a directory names for a coverage hold all of it, whatever part of a page they are read for.
    #[test]
    fn pages_say_what_the_whole_says(
        lengths in prop::collection::vec((prop_oneof![0..PAGE_RUNS, 3 * PAGE_RUNS..5 * PAGE_RUNS, Just(PAGE_RUNS), Just(2 * PAGE_RUNS)], any::<u32>()), 1..5),
        wanted in prop::collection::vec((0..4usize, 0..3u16, prop::collection::vec((0..60_000u32, 1..300u32), 0..4)), 1..4),
        more in prop::collection::vec((0..4usize, 0..3u16, prop::collection::vec((0..60_000u32, 1..3u32), 1..4)), 0..3),
    ) {
        let mut map = BlockMap::empty();
        for (machine, pair) in lengths.chunks(2).enumerate() {
            let disks = pair.iter().zip(0..).map(|((runs, seed), number)| (DiskNumber(number), long_disk(*runs, *seed, 1 + u32::from(number))));
            map.insert(name(machine), MachineMap::new(time(5), disks.collect()));
        }
        let state = |name: &MachineName| MachineState::new(name.clone(), Status::Complete, time(5));
        let index = Index {
            folder: FolderId::new([1; 16]),
            id: ObjectId::new(1, 1),
            sequence: Sequence(1),
            time: time(6),
            kind: PointKind::Increment,
            is_back_filled: false,
            base: Some(Sequence(0)),
            block_size: BlockSize::MiB1,
            below: vec![],
                files: map.files().into_iter().map(|file| (file, 1 << 50)).collect(),
            machines: map.machines().keys().map(state).zip((0..).map(MachineNumber)).collect(),
            map: map.clone(),
            spare: BlockMap::empty(),
        };
        let bytes = index.encode().unwrap();
        prop_assert_eq!(&Index::decode(&bytes).unwrap(), &index);
        let directory = Directory::decode(&bytes).unwrap();
        for (position, (state, _)) in directory.machines.iter().enumerate() {
            let disks = map.machine(&state.name).unwrap().disks.iter();
            let known = disks.map(|(number, disk)| (*number, disk.identity().clone(), disk.size_bytes()));
            prop_assert_eq!(directory.disks(position), Some(known.collect()));
        }
        prop_assert_eq!(directory.disks(directory.machines.len()), None);
        let coverage = Coverage::of(&covering(&wanted)).union(Coverage::of(&covering(&more)));
        let pages = directory.pages(&coverage);
        let slice = |page: &offsite_core::format::index::Page| {
            let range = page.range();
            &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
        };
        let read: Vec<_> = pages.iter().map(slice).collect();
        prop_assert_eq!(directory.decode_pages(&coverage, &pages, &read).unwrap(), map.restricted(&coverage));
        let places: BTreeSet<_> = pages.iter().map(|page| page.range().start).collect();
        prop_assert_eq!(places.len(), pages.len(), "none twice");
        prop_assert!(pages.windows(2).all(|pair| pair[0].range().end <= pair[1].range().start));
    }
}

/// Of long disks, too: each lot has as many pieces as it may, and each block of a run is in one lot.
#[test]
fn lots_of_long_disks_are_apart_and_cover_all() {
    const PIECE_BLOCKS: u32 = 4096;
    for seed in 0..6 {
        let mut step = BlockMap::empty();
        for machine in 0..2 {
            let disks = (0..2).map(|number| {
                let (runs, seed) = (2000 + 3000 * machine, seed + 7 * u32::from(number));
                (DiskNumber(number), long_disk(runs, seed, 1))
            });
            step.insert(name(machine), MachineMap::new(time(0), disks.collect()));
        }
        // And runs of zeros over several pieces, which begin and end at their bounds and beside them.
        let zeros = [(4096, 4096), (8192, 1), (8193, 9000), (20_479, 2), (24_576, 4096)];
        let zeros = zeros.map(|(first, count)| Run::Zero { first, count }).to_vec();
        let disk = DiskMap::new(identity(0), 1 << 40, 1 << 20, 1 << 20, zeros).unwrap();
        step.insert(name(2), MachineMap::new(time(0), BTreeMap::from([(DiskNumber(0), disk)])));
        let mut blocks: BTreeMap<(MachineName, DiskNumber, u32), Vec<u32>> = BTreeMap::new();
        for (name, machine) in step.machines() {
            for (number, disk) in &machine.disks {
                for run in disk.runs() {
                    for block in run.first()..u32::try_from(run.end()).unwrap() {
                        blocks.entry((name.clone(), *number, block / PIECE_BLOCKS)).or_default().push(block);
                    }
                }
            }
        }
        for pieces_max in [1, 3, 1000] {
            let count = blocks.len().div_ceil(pieces_max) as u64;
            let lots: Vec<_> = (0..count).map(|turn| Coverage::lot(&step, pieces_max, turn)).collect();
            let mut filled = vec![0; lots.len()];
            for ((name, disk, _), blocks) in &blocks {
                let touching = |block: u32| {
                    let touches = lots.iter().map(|lot| lot.touches(name, *disk, block..block + 1));
                    touches.enumerate().filter(|(_, touches)| *touches).map(|(lot, _)| lot).collect::<Vec<_>>()
                };
                let lot = touching(blocks[0]);
                assert_eq!(lot.len(), 1, "block {} of {name} {disk}", blocks[0]);
                filled[lot[0]] += 1;
                assert!(blocks.iter().all(|block| touching(*block) == lot), "a piece is in one lot");
            }
            let (last, full) = filled.split_last().unwrap();
            assert!(full.iter().all(|pieces| *pieces == pieces_max) && (1..=pieces_max).contains(last), "{filled:?}");
            assert_eq!(Coverage::lot(&step, pieces_max, count), lots[0], "then it starts over");
        }
    }
}

/// A look-up in a disk of many pages reads few of them.
#[test]
fn a_small_coverage_has_few_pages() {
    let mut map = BlockMap::empty();
    let at = |block: u32| StoredBlock {
        file: ObjectId::new(1, 1),
        offset: u64::from(block),
        length: 1,
        digest: Digest([0; 32]),
    };
    let runs = (0..40_960).map(|block| Run::Stored { block, at: at(block) }).collect();
    let disk = DiskMap::new(identity(0), 40_960 << 20, 40_960, 0, runs).unwrap();
    map.insert(name(0), MachineMap::new(time(0), BTreeMap::from([(DiskNumber(0), disk)])));
    let index = Index {
        folder: FolderId::new([1; 16]),
        id: ObjectId::new(1, 1),
        sequence: Sequence(1),
        time: time(6),
        kind: PointKind::Full,
        is_back_filled: false,
        base: None,
        block_size: BlockSize::MiB1,
        below: vec![],
        files: BTreeMap::from([(ObjectId::new(1, 1), 1 << 40)]),
        machines: vec![(MachineState::new(name(0), Status::Complete, time(0)), MachineNumber(0))],
        map,
        spare: BlockMap::empty(),
    };
    let directory = Directory::decode(&index.encode().unwrap()).unwrap();
    let runs = vec![Run::Stored { block: 5000, at: at(0) }, Run::Zero { first: 8190, count: 4 }];
    let step = DiskMap::new(identity(0), 40_960 << 20, 40_960, 40_960, runs).unwrap();
    let mut steps = BlockMap::empty();
    steps.insert(name(0), MachineMap::new(time(1), BTreeMap::from([(DiskNumber(0), step)])));
    assert_eq!(directory.pages(&Coverage::of(&steps)).len(), 2);
}
