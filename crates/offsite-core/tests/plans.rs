//! Plans, over random histories of a copy job: what they say is carried, what they let go, and what that costs.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::{Store, World, apply, captured, config, history, live, time};
use offsite_core::plan::{
    Files, FoldTarget, MergeInput, Placement, Plan, Reclaiming, Relocation, Retired, RetiredFile, adopt, batches, fold,
    free_ranges, references, relocate, retire, sync,
};
use offsite_core::{BlockMap, ObjectId, StoredBlock};
use proptest::prelude::*;

/// A copy job's chain and archives, and for each point what a restore must give.
#[derive(Default)]
struct Target {
    store: Store,
    minted: u32,
    files: Files,
    archives: Vec<Point>,
    points: Vec<Point>,
    /// Retired by the last commit; readers of the head before it may still need it.
    held: BTreeMap<ObjectId, Vec<Range<u64>>>,
    /// The most that each file had to hold at once.
    needed: BTreeMap<ObjectId, u64>,
}

#[derive(Clone)]
struct Point {
    step: BlockMap,
    world: World,
}

impl Target {
    fn state(&self, count: usize) -> BlockMap {
        self.points[..count].iter().fold(BlockMap::empty(), |state, point| state.overlay(&point.step))
    }

    fn carry(&mut self, source: &Store, plan: &Plan) {
        for step in &plan.moves {
            let frame = source.frames[&(step.from.file, step.from.offset)].clone();
            assert!(self.store.frames.insert((step.to.file, step.to.offset), frame).is_none(), "written twice");
        }
    }

    /// Deletes and punches; a frame that a range touches is gone.
    fn release(&mut self, plan: &Plan) {
        self.store.frames.retain(|(file, offset), (_, length)| {
            !plan.retired.files.contains_key(file)
                && plan.retired.ranges.get(file).into_iter().flatten().all(|range| !meets(range, *offset, *length))
        });
        self.held = plan.retired.ranges.clone();
    }

    fn check_restores(&self) {
        for (count, point) in (1..).zip(&self.points) {
            assert_eq!(self.store.restore(&self.state(count)), point.world, "point {count}");
        }
        for archive in &self.archives {
            assert_eq!(self.store.restore(&archive.step), archive.world, "an archive");
        }
    }

    fn maps(&self) -> Vec<BlockMap> {
        self.archives.iter().chain(&self.points).map(|point| point.step.clone()).collect()
    }

    /// The frames that any point refers to are those that are stored, and the head's sums are right.
    fn check_live(&self, alignment: u64) {
        let live = references(&self.maps());
        let stored: Vec<_> = self.store.frames.keys().copied().collect();
        assert_eq!(
            stored,
            live.iter().map(|at| (at.file, at.offset)).collect::<Vec<_>>(),
            "nothing more, nothing less"
        );
        let mut bytes: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for at in &live {
            *bytes.entry(at.file).or_default() += u64::from(at.length).next_multiple_of(alignment);
        }
        assert_eq!(self.files.iter().map(|(file, state)| (*file, state.live_bytes)).collect::<BTreeMap<_, _>>(), bytes);
        for pair in live.windows(2).filter(|pair| pair[0].file == pair[1].file) {
            assert!(pair[0].offset + u64::from(pair[0].length) <= pair[1].offset, "frames overlap");
        }
    }

    /// Where a merge may write in the first file of the full.
    fn fold_target(&self, placement: Placement) -> Option<FoldTarget> {
        let file = self.points[0].step.stored().next()?.3.file;
        let (length, alignment) = (self.files[&file].length, placement.alignment);
        let live: Vec<_> = references(&self.maps()).into_iter().filter(|at| at.file == file).collect();
        let held = self.held.get(&file).map(Vec::as_slice).unwrap_or_default();
        let free = free_ranges(std::iter::once(placement.first_offset..length), &live, held, alignment);
        Some(FoldTarget { file, length, length_max: u64::MAX, alignment, free })
    }
}

fn meets(range: &Range<u64>, offset: u64, length: u32) -> bool {
    range.start < offset + u64::from(length) && offset < range.end
}

/// Small files and large ones, frames at every 64th byte or every 4096th.
fn placement() -> impl Strategy<Value = Placement> {
    let max = prop_oneof![Just(1000u64), Just(5000), Just(20_000), Just(u64::MAX)];
    (prop_oneof![Just(64u64), Just(512), Just(4096)], 1..4u64, max).prop_map(|(alignment, first, max)| Placement {
        first_offset: first * alignment,
        alignment,
        file_bytes_max: max,
    })
}

/// What a copy carries, and where to.
fn check_sync(latest: &BlockMap, wanted: &BlockMap, placement: Placement, plan: &Plan) {
    let differing: Vec<_> = latest.diff(wanted).stored().map(|(m, d, b, at)| (m.clone(), d, b, at)).collect();
    let moved =
        plan.moves.iter().map(|step| (step.address.machine.clone(), step.address.disk, step.address.block, step.from));
    assert_eq!(moved.collect::<Vec<_>>(), differing);
    let placed: Vec<_> = plan.index.stored().map(|(m, d, b, at)| (m.clone(), d, b, at)).collect();
    let to =
        plan.moves.iter().map(|step| (step.address.machine.clone(), step.address.disk, step.address.block, step.to));
    assert_eq!(to.collect::<Vec<_>>(), placed);

    let mut ends: BTreeMap<ObjectId, u64> = BTreeMap::new();
    let mut last = None;
    for step in &plan.moves {
        let (from, to) = (step.from, step.to);
        assert_eq!((from.length, from.digest), (to.length, to.digest));
        assert!(last <= Some(to.file), "files are filled one after the other");
        last = Some(to.file);
        assert_eq!(to.offset % placement.alignment, 0);
        let end = ends.get(&to.file).copied();
        assert_eq!(to.offset, end.unwrap_or(placement.first_offset), "frames follow each other");
        let after = (to.offset + u64::from(to.length)).next_multiple_of(placement.alignment);
        // A frame that is longer than a file may be has a file of its own.
        assert!(after <= placement.file_bytes_max || end.is_none(), "a file is too long");
        ends.insert(to.file, after);
    }
    assert_eq!(plan.files, ends);
    assert_eq!(plan.retired, Retired::default());
    let cost = plan.cost();
    assert_eq!(cost.blocks, plan.moves.len() as u64);
    assert_eq!(cost.bytes_written, ends.values().sum::<u64>());
    assert_eq!(cost.peak_extra_bytes, cost.bytes_written);
    assert_eq!(cost.bytes_released, 0);
    let frames: u64 = plan.moves.iter().map(|step| u64::from(step.from.length)).sum();
    let reads = batches(&plan.moves, |step| step.from);
    let gaps: u64 = reads
        .iter()
        .map(|batch| {
            let items = &plan.moves[batch.items.clone()];
            items
                .windows(2)
                .map(|pair| pair[1].from.offset - pair[0].from.offset - u64::from(pair[0].from.length))
                .sum::<u64>()
        })
        .sum();
    assert_eq!(cost.bytes_read, frames + gaps);
    assert_eq!(cost.read_requests, reads.len() as u64);
}

/// What a plan lets go is exactly what some map referred to before and none does afterwards.
fn check_retired(before: &[BlockMap], after: &[BlockMap], plan: &Plan, alignment: u64) {
    let (before, kept) = (references(before), references(after));
    let kept: BTreeSet<_> = kept.iter().map(|at| (at.file, at.offset)).collect();
    let retired = &plan.retired;
    let ranges = |at: &StoredBlock| retired.ranges.get(&at.file).into_iter().flatten();
    let mut released = 0;
    for at in &before {
        let inside = ranges(at).any(|range| range.start <= at.offset && at.offset + u64::from(at.length) <= range.end);
        let is_live = kept.contains(&(at.file, at.offset));
        assert_ne!(retired.files.contains_key(&at.file) || inside, is_live, "{at:?} is either live or let go");
        released += if is_live { 0 } else { u64::from(at.length).next_multiple_of(alignment) };
    }
    assert_eq!(plan.cost().bytes_released, released);
    // A file goes as a whole if, and only if, nothing in it is live.
    let holds_live = |file: &ObjectId| kept.iter().any(|(other, _)| other == file);
    let dead: BTreeSet<_> = before.iter().map(|at| at.file).filter(|file| !holds_live(file)).collect();
    assert_eq!(retired.files.keys().copied().collect::<BTreeSet<_>>(), dead);
    for map in after {
        assert_eq!(retired.touches(map), None);
        for (_, _, _, at) in map.stored() {
            assert!(ranges(&at).all(|range| !meets(range, at.offset, at.length)));
        }
    }
    for ranges in retired.ranges.values() {
        assert!(!ranges.is_empty());
        assert!(ranges.iter().all(|range| range.start < range.end && range.end % alignment == 0));
        assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "neighbours are one range: {ranges:?}");
    }
    assert!(retired.ranges.keys().all(|file| !retired.files.contains_key(file)));
}

/// What a fold carries: each block that lies elsewhere and is not superseded, once, to space that nothing needs.
fn check_fold(target: &Target, step: &BlockMap, file: ObjectId, placement: Placement, plan: &Plan) {
    let wanted: BTreeSet<_> = step
        .stored()
        .filter(|(_, _, _, at)| at.file != file)
        .map(|(m, d, b, at)| (m.clone(), d, b, at.file, at.offset))
        .collect();
    let moved = |step: &offsite_core::plan::Move| {
        let address = step.address.clone();
        (address.machine, address.disk, address.block, step.from.file, step.from.offset)
    };
    assert_eq!(plan.moves.len(), wanted.len(), "none twice");
    assert_eq!(plan.moves.iter().map(moved).collect::<BTreeSet<_>>(), wanted);
    assert!(plan.files.is_empty() && plan.patched.len() == 1);
    let bytes: u64 =
        plan.moves.iter().map(|step| u64::from(step.from.length).next_multiple_of(placement.alignment)).sum();
    assert_eq!((plan.cost().bytes_read, plan.cost().bytes_written), (bytes, bytes));
    assert!(plan.index.same_content(step));
    let mut taken: Vec<Range<u64>> = target.held.get(&file).cloned().unwrap_or_default();
    let live = references(&target.maps());
    taken.extend(live.iter().filter(|at| at.file == file).map(|at| at.offset..at.offset + u64::from(at.length)));
    for step in &plan.moves {
        let (from, to) = (step.from, step.to);
        assert_eq!((to.file, to.length, to.digest), (file, from.length, from.digest));
        assert!(to.offset >= placement.first_offset && to.offset % placement.alignment == 0);
        let padded = to.offset..to.offset + u64::from(to.length).next_multiple_of(placement.alignment);
        assert!(padded.end <= plan.patched[&file]);
        assert!(
            taken.iter().all(|range| range.end <= padded.start || padded.end <= range.start),
            "{padded:?} is taken"
        );
        taken.push(padded);
    }
}

/// Merges the oldest increments into the full, by adoption or by folding.
fn merge(target: &mut Target, at_once: usize, folds: bool, archives: bool, placement: Placement) {
    let alignment = placement.alignment;
    let increments: Vec<BlockMap> = target.points[1..=at_once].iter().map(|point| point.step.clone()).collect();
    let coverage = MergeInput::coverage(&increments);
    let full = target.points[0].step.restricted(&coverage);
    let mut others: Vec<BlockMap> = target.archives.iter().map(|archive| archive.step.restricted(&coverage)).collect();
    others.extend(archives.then(|| full.clone()));
    let files = target.files.clone();
    let reclaiming = Reclaiming { alignment, files: &files, punches: true };
    let request =
        MergeInput { increments: &increments, full: &full, others: &others, dropped: &BlockMap::empty(), reclaiming };
    let step = increments.iter().fold(BlockMap::empty(), |step, increment| step.overlay(increment));
    let plan = match target.fold_target(placement).filter(|_| folds) {
        Some(place) => {
            let (file, before) = (place.file, place.length);
            let plan = fold(request, place).expect("a file without end");
            check_fold(target, &step, file, placement, &plan);
            let held: u64 = target.held.get(&file).into_iter().flatten().map(|range| range.end - range.start).sum();
            let needs = placement.first_offset + files[&file].live_bytes + held + plan.cost().bytes_written;
            let needed = target.needed.entry(file).or_insert(before);
            *needed = needs.max(*needed);
            // Where all frames are as long, a file is no longer than what it had to hold at once.
            assert!(alignment < 4096 || plan.patched[&file] <= *needed, "{} of {needed}", plan.patched[&file]);
            // Where they are not, first fit wastes a bounded multiple of it: frames are 1 to 13 units of 64 bytes.
            assert!(plan.patched[&file] <= *needed * 5, "{} of {needed}", plan.patched[&file]);
            plan
        }
        None => {
            let plan = adopt(request);
            assert_eq!(plan.index, step);
            let cost = plan.cost();
            assert!(plan.moves.is_empty() && plan.files.is_empty() && plan.patched.is_empty());
            assert_eq!(cost.bytes_written + cost.bytes_read + cost.read_requests, 0);
            // Without holes only whole files come back, with all that is in them.
            let whole = adopt(MergeInput { reclaiming: Reclaiming { punches: false, ..reclaiming }, ..request });
            assert_eq!(whole.retired.range_bytes(), 0);
            assert!(whole.retired.files.keys().eq(plan.retired.files.keys()));
            let lengths: u64 = whole.retired.files.keys().map(|file| files[file].length).sum();
            assert_eq!(whole.cost().bytes_released, lengths);
            plan
        }
    };
    let before = target.maps();
    let old = target.points[0].clone();
    let merged = Point { step: old.step.overlay(&plan.index), world: target.points[at_once].world.clone() };
    target.archives.extend(archives.then_some(old));
    target.points.splice(..=at_once, [merged]);
    check_retired(&before, &target.maps(), &plan, alignment);
    let mut own = Store::default();
    own.frames = target.store.frames.clone();
    target.carry(&own, &plan);
    commit(target, &plan, alignment);
}

fn commit(target: &mut Target, plan: &Plan, alignment: u64) {
    target.files = plan.files_after(&target.files, alignment);
    target.release(plan);
    target.check_restores();
    target.check_live(alignment);
}

fn remove_archive(target: &mut Target, alignment: u64) {
    let before = target.maps();
    target.archives.remove(0);
    let after = target.maps();
    let files = target.files.clone();
    let retired = retire(&before, &after, Reclaiming { alignment, files: &files, punches: true });
    let plan = Plan { retired, ..Plan::default() };
    check_retired(&before, &after, &plan, alignment);
    commit(target, &plan, alignment);
}

/// Moves the frames of two files to new ones.
fn relocated(target: &mut Target, files_moved: [ObjectId; 2], placement: Placement) {
    let before = target.maps();
    let mut minted = target.minted;
    let mint = || {
        minted += 1;
        ObjectId::new(7, minted)
    };
    let maps: Vec<&BlockMap> = before.iter().collect();
    let files = target.files.clone();
    let reclaiming = Reclaiming { alignment: placement.alignment, files: &files, punches: true };
    let Relocation { plan, indexes } =
        relocate(&maps, &[], |at| files_moved.contains(&at.file), placement, mint, reclaiming);
    target.minted = minted;
    let from: BTreeSet<_> = plan.moves.iter().map(|step| (step.from.file, step.from.offset)).collect();
    assert_eq!(from.len(), plan.moves.len(), "each frame once");
    let all: BTreeSet<_> =
        references(&before).iter().filter(|at| files_moved.contains(&at.file)).map(|at| (at.file, at.offset)).collect();
    assert_eq!(from, all);
    for (point, layer) in target.archives.iter_mut().chain(&mut target.points).zip(&indexes) {
        let after = point.step.overlay(layer);
        // A step that a disk's new size makes keeps its bound, so that contents can be compared.
        assert!(after.same_content(&point.step));
        assert!(after.stored().all(|(_, _, _, at)| !files_moved.contains(&at.file)));
        point.step = after;
    }
    assert_eq!(references(&before).len(), references(&target.maps()).len(), "what was shared stays shared");
    check_retired(&before, &target.maps(), &plan, placement.alignment);
    let mut own = Store::default();
    own.frames = target.store.frames.clone();
    target.carry(&own, &plan);
    commit(target, &plan, placement.alignment);
}

proptest! {
    #![proptest_config(config(1500))]

    /// The law that matters: whatever is copied, merged, archived, moved and released, each kept point restores to what it was.
    #[test]
    fn every_kept_point_restores_the_same(
        days in history(14),
        placement in placement(),
        keep in 1..5usize,
        at_once in 1..4usize,
        choices in any::<[u16; 4]>(),
    ) {
        let (mut source, mut target, mut world) = (Store::default(), Target::default(), World::new());
        let mut state = World::new();
        for (day, secs) in days.iter().zip(0..) {
            let chosen = |choice: usize| choices[choice] >> secs & 1 == 1;
            live(&mut world, day);
            let seen = captured(&world, day);
            let wanted = source.write(&seen, time(secs));
            apply(&mut state, &seen);

            let latest = target.state(target.points.len());
            let mut minted = target.minted;
            let plan = sync(&latest, &wanted, placement, || {
                minted += 1;
                ObjectId::new(7, minted)
            });
            target.minted = minted;
            check_sync(&latest, &wanted, placement, &plan);
            target.carry(&source, &plan);
            target.points.push(Point { step: plan.index.clone(), world: state.clone() });
            commit(&mut target, &plan, placement.alignment);

            if target.points.len() > keep + at_once - 1 {
                merge(&mut target, at_once, chosen(0), chosen(1), placement);
            }
            if target.archives.len() > 2 {
                remove_archive(&mut target, placement.alignment);
            }
            if chosen(2) && chosen(3) && let [first, .., last] = &references(&target.maps())[..] {
                // Also the newest increment's: then a later fold finds blocks in its file already.
                relocated(&mut target, [first.file, last.file], placement);
            }
        }
    }

    /// A file into which increments are folded for long holds what it had to hold at once, and no more.
    #[test]
    fn a_long_life_of_folds_does_not_grow_the_file(days in history(60), alignment in prop_oneof![Just(64u64), Just(4096)]) {
        let placement = Placement { first_offset: alignment, alignment, file_bytes_max: u64::MAX };
        let (mut source, mut target, mut world, mut state) = (Store::default(), Target::default(), World::new(), World::new());
        for (day, secs) in days.iter().zip(0..) {
            live(&mut world, day);
            let seen = captured(&world, day);
            apply(&mut state, &seen);
            let wanted = source.write(&seen, time(secs));
            let plan = sync(&target.state(target.points.len()), &wanted, placement, || source.next_file());
            target.carry(&source, &plan);
            target.points.push(Point { step: plan.index.clone(), world: state.clone() });
            commit(&mut target, &plan, alignment);
            if target.points.len() > 2 {
                merge(&mut target, 1, true, false, placement);
            }
        }
    }

    #[test]
    fn copying_what_is_there_carries_nothing(days in history(6), placement in placement()) {
        let (mut source, mut world) = (Store::default(), World::new());
        days.iter().for_each(|day| live(&mut world, day));
        let wanted = source.write(&world, time(0));
        let again = source.write(&world, time(1));
        let plan = sync(&wanted, &again, placement, || panic!("no file is needed"));
        prop_assert_eq!(plan.moves, vec![]);
        prop_assert_eq!(plan.files, BTreeMap::new());
    }
}

/// What goes with a file that others share comes back to nobody.
#[test]
fn the_bytes_of_shared_files_are_told_apart() {
    let file = |number| ObjectId::new(1, number);
    let mut retired = Retired::default();
    for (number, bytes) in [(1, 100), (2, 20)] {
        retired.files.insert(file(number), RetiredFile { bytes, ranges: Vec::new() });
    }
    retired.ranges.insert(file(3), vec![0..2, 9..10]);
    retired.punches = true;
    let all = retired.bytes();
    assert_eq!((all, retired.linked_bytes()), (123, 0));
    retired.linked.insert(file(1));
    assert_eq!((retired.bytes(), retired.linked_bytes()), (23, 100));
    retired.linked.insert(file(2));
    assert_eq!((retired.bytes(), retired.linked_bytes()), (3, 120));
}
