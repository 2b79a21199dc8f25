//! What plans are made of: what is read at once, where there is space, what a copy has brought, what is let go.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::{Store, World, captured, config, history, live, time};
use offsite_core::plan::{
    Address, Arrival, BATCH_BYTES_MAX, Move, Placement, Plan, Retired, RetiredFile, SyncInput, batches, free_ranges,
    move_batches, places, sync, sync_from,
};
use offsite_core::{BlockMap, Digest, DiskMap, DiskNumber, MachineMap, ObjectId, Run, StoredBlock, Transferred};
use proptest::prelude::*;

/// The steps of a copy of each day: what is there, what is wanted, and the plan's index.
fn copies(days: &[model::Day]) -> Vec<(BlockMap, BlockMap, BlockMap)> {
    let (mut store, mut world, mut latest) = (Store::default(), World::new(), BlockMap::empty());
    let mut copies = Vec::new();
    for (day, secs) in days.iter().zip(0..) {
        live(&mut world, day);
        let wanted = store.write(&captured(&world, day), time(secs));
        let step = latest.diff(&wanted);
        let after = latest.overlay(&step);
        copies.push((latest, wanted, step));
        latest = after;
    }
    copies
}

fn placement() -> Placement {
    Placement { first_offset: 64, alignment: 64, file_bytes_max: 4000 }
}

/// Blocks by machine, disk and number.
type Blocks = BTreeMap<Address, StoredBlock>;

fn blocks(map: &BlockMap) -> Blocks {
    let address = |machine: &offsite_core::MachineName, disk, block| Address { machine: machine.clone(), disk, block };
    map.stored().map(|(machine, disk, block, at)| (address(machine, disk, block), at)).collect()
}

proptest! {
    #![proptest_config(config(1000))]

    /// A machine has arrived if all of its blocks have; of the others it is known what is here, and how much is not.
    #[test]
    fn what_is_here_is_whole_or_spare(days in history(5), which in any::<prop::sample::Index>(), there in 0..17u8) {
        let copies = copies(&days);
        let (_, _, index) = which.get(&copies);
        // At 16, everything is; at 15, one machine or another is whole.
        let is_here = |at: &StoredBlock| there == 16 || at.digest.0[9] % 16 < there;
        let here = |at: &StoredBlock| is_here(at).then(|| StoredBlock { file: ObjectId::new(9, 9), ..*at });
        let arrival = Arrival::of(index, here);
        for (name, machine) in index.machines() {
            let own = index.project(|other| other == name);
            let (mut came, mut left) = (blocks(&own), blocks(&own));
            came.retain(|_, at| is_here(at));
            left.retain(|_, at| !is_here(at));
            let moved: Blocks = came.iter().map(|(address, at)| (address.clone(), here(at).expect("it is here"))).collect();
            let bytes = |blocks: &Blocks| blocks.values().map(|at| u64::from(at.length)).sum::<u64>();
            if left.is_empty() {
                let whole = arrival.whole.machine(name).expect("it is whole");
                prop_assert!(whole.has_content_of(machine) && whole.captured == machine.captured);
                prop_assert_eq!(blocks(&arrival.whole.project(|other| other == name)), moved);
                prop_assert!(arrival.spare.machine(name).is_none() && !arrival.transferred.contains_key(name));
            } else {
                let spare = arrival.spare.machine(name).expect("it is spare");
                prop_assert_eq!(spare.captured, machine.captured);
                prop_assert!(spare.disks.keys().eq(machine.disks.keys()));
                prop_assert!(spare.disks.values().all(|disk| disk.runs().len() == disk.stored().count()));
                prop_assert_eq!(blocks(&arrival.spare.project(|other| other == name)), moved);
                let transferred = Transferred::new(bytes(&came), bytes(&left));
                prop_assert_eq!(arrival.transferred.get(name), Some(&transferred));
                prop_assert!(arrival.whole.machine(name).is_none());
            }
        }
        let known = arrival.whole.machines().len() + arrival.spare.machines().len();
        prop_assert_eq!(known, index.machines().len());
    }

    /// The next copy carries what is neither in the chain nor spare, each from the folder that its machine is in.
    #[test]
    fn spare_blocks_are_not_carried_again(
        days in history(5),
        which in any::<prop::sample::Index>(),
        there in 0..16u8,
        outdated in any::<bool>(),
    ) {
        let copies = copies(&days);
        let position = which.index(copies.len());
        let (latest, wanted, step) = &copies[position];
        // What arrived may be of a state before the one that is wanted now.
        let cut_off = if outdated { &copies[position.saturating_sub(1)].2 } else { step };
        let is_here = |at: &StoredBlock| at.digest.0[9] % 16 < there;
        let arrival = Arrival::of(cut_off, |at| is_here(at).then(|| StoredBlock { file: ObjectId::new(9, 9), ..*at }));
        let sources = BTreeMap::from([(model::name(1), 5)]);
        let (latest, wanted, spare, mut minted) = (latest, wanted, &arrival.spare, 0);
        let plan = sync_from(SyncInput { latest, wanted, spare, sources: &sources, placement: placement() }, || {
            minted += 1;
            ObjectId::new(7, minted)
        });
        prop_assert!(plan.index.same_content(&latest.diff(wanted)));
        let (step, spare, index) = (blocks(&latest.diff(wanted)), blocks(spare), blocks(&plan.index));
        let is_spare = |address: &Address, at: &StoredBlock| spare.get(address).is_some_and(|here| here.digest == at.digest);
        let carried: BTreeSet<&Address> = step.iter().filter(|(address, at)| !is_spare(address, at)).map(|(address, _)| address).collect();
        prop_assert_eq!(plan.moves.iter().map(|step| &step.address).collect::<BTreeSet<_>>(), carried.clone());
        prop_assert_eq!(plan.moves.len(), carried.len());
        for (address, at) in &index {
            prop_assert!(carried.contains(address) || spare.get(address) == Some(at));
        }
        for step in &plan.moves {
            prop_assert_eq!(step.source, if step.address.machine == model::name(1) { 5 } else { 0 });
            prop_assert_eq!(index.get(&step.address), Some(&step.to));
        }
    }

    /// Cell by cell: a cell is free if a range of the domain has all of it and nothing taken has any of it.
    #[test]
    fn free_is_what_nothing_takes(
        domain in prop::collection::vec((0..60u64, 0..30u64), 0..4),
        live in prop::collection::vec((0..6u64, 1..12u32), 0..6),
        held in prop::collection::vec((0..15u64, 1..5u64), 0..4),
        alignment in prop_oneof![Just(1u64), Just(4), Just(8)],
    ) {
        let domain: Vec<Range<u64>> = domain.iter().map(|(start, length)| *start..start + length).collect();
        let held: Vec<Range<u64>> =
            held.iter().map(|(start, length)| start * alignment..(start + length) * alignment).collect();
        let mut end = 0;
        let live: Vec<StoredBlock> = live.iter().map(|(gap, length)| {
            let offset = end + gap * alignment;
            end = (offset + u64::from(*length)).next_multiple_of(alignment);
            StoredBlock { file: ObjectId::new(1, 1), offset, length: *length, digest: Digest([0; 32]) }
        }).collect();
        let frames: Vec<Range<u64>> =
            live.iter().map(|at| at.offset..(at.offset + u64::from(at.length)).next_multiple_of(alignment)).collect();
        let free = free_ranges(domain.clone(), &live, &held, alignment);
        prop_assert!(free.iter().all(|range| range.start < range.end));
        prop_assert!(free.windows(2).all(|pair| pair[0].end < pair[1].start), "neighbours are one: {:?}", free);
        for cell in (0..200).step_by(usize::try_from(alignment).unwrap()).map(|start| start..start + alignment) {
            let meets = |range: &Range<u64>| range.start < cell.end && cell.start < range.end;
            let holds = |range: &Range<u64>| range.start <= cell.start && cell.end <= range.end;
            let is_free = domain.iter().any(holds) && !frames.iter().chain(&held).any(meets);
            prop_assert_eq!(free.iter().any(holds), is_free, "{:?}", cell);
            prop_assert_eq!(free.iter().any(meets), is_free, "{:?}", cell);
        }
        // The places of frames are theirs alone, too.
        let places = places(&live, alignment);
        prop_assert!(places.windows(2).all(|pair| pair[0].end < pair[1].start));
        prop_assert_eq!(places.iter().map(|range| range.end - range.start).sum::<u64>(), frames.iter().map(|range| range.end - range.start).sum::<u64>());
        prop_assert!(frames.iter().all(|frame| places.iter().any(|range| range.start <= frame.start && frame.end <= range.end)));
    }

    /// What is read from one folder is read as if there were no other.
    #[test]
    fn no_batch_reads_from_two_folders(
        parts in prop::collection::vec((0..3u32, prop::collection::vec((0..4u64, 1..100u32), 1..5)), 0..6),
    ) {
        let (mut moves, mut offset): (Vec<Move>, u64) = (Vec::new(), 0);
        for (source, (gap, length)) in parts.iter().flat_map(|(source, frames)| frames.iter().map(move |frame| (*source, *frame))) {
            let from = StoredBlock { file: ObjectId::new(1, 1), offset: offset + gap * 8192, length, digest: Digest([0; 32]) };
            offset = from.offset + u64::from(length);
            moves.push(Move { address: Address { machine: model::name(0), disk: DiskNumber(0), block: 0 }, source, from, to: from });
        }
        let all = move_batches(&moves);
        let covered: Vec<usize> = all.iter().flat_map(|batch| batch.items.clone()).collect();
        prop_assert_eq!(covered, (0..moves.len()).collect::<Vec<_>>());
        for batch in &all {
            let own = &moves[batch.items.clone()];
            prop_assert!(own.iter().all(|step| step.source == own[0].source));
            prop_assert_eq!(batch.range.clone(), own[0].from.offset..own[own.len() - 1].from.offset + u64::from(own[own.len() - 1].from.length));
        }
        let alone = moves.chunk_by(|left, right| left.source == right.source).map(|part| batches(part, |step| step.from).len());
        prop_assert_eq!(all.len(), alone.sum::<usize>());
        prop_assert_eq!(Plan { moves, ..Plan::default() }.cost().read_requests, all.len() as u64);
    }

    #[test]
    fn batches_cover_each_item_once(
        frames in prop::collection::vec((1..3u32, 0..4u64, prop_oneof![1..100u32, 1..5_000_000u32]), 0..40),
        shuffle in any::<bool>(),
    ) {
        let mut ends = BTreeMap::new();
        let mut items: Vec<StoredBlock> = frames.iter().map(|(file, gap, length)| {
            let end = ends.entry(*file).or_insert(0);
            let offset = *end + gap * 8192;
            *end = offset + u64::from(*length);
            StoredBlock { file: ObjectId::new(1, *file), offset, length: *length, digest: Digest([0; 32]) }
        }).collect();
        if shuffle {
            items.reverse();
        }
        let batches = batches(&items, |at| *at);
        let mut next = 0;
        for batch in &batches {
            prop_assert_eq!(batch.items.start, next);
            prop_assert!(!batch.items.is_empty());
            next = batch.items.end;
            let own = &items[batch.items.clone()];
            prop_assert!(own.iter().all(|at| at.file == batch.file));
            prop_assert_eq!(batch.range.start, own[0].offset);
            prop_assert_eq!(batch.range.end, own.iter().map(|at| at.offset + u64::from(at.length)).max().unwrap());
            prop_assert!(own.windows(2).all(|pair| pair[0].offset + u64::from(pair[0].length) <= pair[1].offset));
            prop_assert!(own.len() == 1 || batch.range.end - batch.range.start <= BATCH_BYTES_MAX);
            let gaps = own.windows(2).map(|pair| pair[1].offset - pair[0].offset - u64::from(pair[0].length));
            prop_assert!(gaps.into_iter().all(|gap| gap <= 16 << 10));
        }
        prop_assert_eq!(next, items.len());
        // No two neighbouring batches could have been one.
        for pair in batches.windows(2) {
            let (left, right) = (&pair[0], &pair[1]);
            let near = left.range.end <= right.range.start && right.range.start - left.range.end <= 16 << 10;
            let first = items[right.items.start];
            let fits = first.offset + u64::from(first.length) - left.range.start.min(first.offset) <= BATCH_BYTES_MAX;
            prop_assert!(left.file != right.file || !near || !fits);
        }
    }
}

/// Where the repository itself makes files of parts of others, the blocks go to their places and no byte passes through here.
#[test]
fn a_cloned_plan_reads_and_writes_nothing() {
    let mut source = Store::default();
    let world = World::from([(0, BTreeMap::from([(0, vec![1, 2, 3, 4, 5])]))]);
    let wanted = source.write(&world, time(0));
    let placement = Placement { first_offset: 64, alignment: 64, file_bytes_max: u64::MAX };
    let plan = sync(&BlockMap::empty(), &wanted, placement, || ObjectId::new(7, 1));
    let (carried, cloned) = (plan.cost(), Plan { cloned: true, ..plan.clone() }.cost());
    assert!(carried.blocks == 2 && carried.bytes_read > 0 && carried.bytes_written > 0 && carried.read_requests > 0);
    let mut by_itself = carried;
    (by_itself.bytes_read, by_itself.bytes_written, by_itself.read_requests) = (0, 0, 0);
    assert_eq!(cloned, by_itself, "the space that it takes is the same");
}

/// A frame that begins or ends where a retired range does is not touched by it.
#[test]
fn touching_is_to_share_a_byte() {
    let at = |offset, length| StoredBlock { file: ObjectId::new(1, 1), offset, length, digest: Digest([0; 32]) };
    let step = |at| {
        let disk = DiskMap::new(model::identity(0, 1), 1, 1, 0, vec![Run::Stored { block: 0, at }]).expect("one block");
        let mut map = BlockMap::empty();
        let disks = BTreeMap::from([(DiskNumber(0), disk)]);
        map.insert(model::name(0), MachineMap::new(time(0), disks));
        map
    };
    let ranges = BTreeMap::from([(ObjectId::new(1, 1), vec![100..200, 300..400])]);
    let retired = Retired { ranges, ..Retired::default() };
    for (offset, length, touched) in [
        (0, 100, false),
        (0, 101, true),
        (199, 1, true),
        (200, 100, false),
        (200, 101, true),
        (150, 10, true),
        (400, 9, false),
    ] {
        assert_eq!(retired.touches(&step(at(offset, length))).is_some(), touched, "{offset} {length}");
    }
    let mut retired =
        Retired { files: BTreeMap::from([(ObjectId::new(1, 1), RetiredFile::default())]), ..Retired::default() };
    assert!(retired.touches(&step(at(0, 1))).is_some());
    // Kept after all, it lets go of what was superseded last.
    retired.files.insert(ObjectId::new(1, 1), RetiredFile { bytes: 7, ranges: std::iter::once(200..300).collect() });
    retired.keep(ObjectId::new(1, 1));
    assert!(retired.touches(&step(at(0, 1))).is_none() && retired.touches(&step(at(250, 1))).is_some());
    assert_eq!((retired.bytes(), Retired { punches: true, ..retired.clone() }.bytes()), (0, 100));
    let before = retired.clone();
    retired.keep(ObjectId::new(1, 2));
    assert_eq!(retired, before);
}
