//! Plans, over random histories of a copy job: what they say is carried, what they let go, and what that costs.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::{Store, World, apply, captured, config, history, live, time};
use offsite_core::plan::{Absorbed, BATCH_BYTES_MAX, Placement, Plan, Reclaiming, Retired, adopt, batches, sync};
use offsite_core::{BlockMap, Digest, DiskMap, DiskNumber, MachineMap, ObjectId, Run, StoredBlock};
use proptest::prelude::*;

/// A copy job's chain, and for each point what a restore must give.
#[derive(Default)]
struct Target {
    store: Store,
    minted: u32,
    points: Vec<Point>,
}

struct Point {
    index: ObjectId,
    step: BlockMap,
    world: World,
}

impl Target {
    fn state(&self, count: usize) -> BlockMap {
        self.points[..count].iter().fold(BlockMap::empty(), |state, point| state.overlay(&point.step))
    }

    fn mint(&mut self) -> ObjectId {
        self.minted += 1;
        ObjectId::new(7, self.minted)
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
    }

    fn check_restores(&self) {
        for (count, point) in (1..).zip(&self.points) {
            assert_eq!(self.store.restore(&self.state(count)), point.world, "point {count}");
        }
    }

    /// The frames that any point refers to.
    fn live(&self) -> BTreeMap<(ObjectId, u64), u32> {
        let stored = self.points.iter().flat_map(|point| point.step.stored());
        stored.map(|(_, _, _, at)| ((at.file, at.offset), at.length)).collect()
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

/// What a merge lets go, of a chain whose points up to `merged` become its full.
fn check_adopt(target: &Target, merged: usize, plan: &Plan, alignment: u64) {
    let absorbed = &target.points[..=merged];
    let kept = &target.points[merged + 1..];
    assert!(plan.moves.is_empty() && plan.files.is_empty());
    assert_eq!(plan.index, target.state(merged + 1));
    assert_eq!(plan.retired.indexes, absorbed.iter().map(|point| point.index).collect());

    let places = |map: &BlockMap| map.stored().map(|(_, _, _, at)| at).collect::<Vec<_>>();
    let before: Vec<StoredBlock> = absorbed.iter().flat_map(|point| places(&point.step)).collect();
    let live: BTreeSet<_> = places(&plan.index).iter().map(|at| (at.file, at.offset)).collect();
    let gone = |at: &StoredBlock| {
        plan.retired.files.contains_key(&at.file)
            || plan
                .retired
                .ranges
                .get(&at.file)
                .into_iter()
                .flatten()
                .any(|range| range.start <= at.offset && at.offset + u64::from(at.length) <= range.end)
    };
    // A file goes as a whole if, and only if, nothing in it is live.
    let holds_live = |file: ObjectId| live.iter().any(|(other, _)| *other == file);
    let dead: BTreeSet<_> = before.iter().map(|at| at.file).filter(|file| !holds_live(*file)).collect();
    assert_eq!(plan.retired.files.keys().copied().collect::<BTreeSet<_>>(), dead);
    let mut released = 0;
    for at in &before {
        let is_live = live.contains(&(at.file, at.offset));
        assert_ne!(gone(at), is_live, "{at:?} is either live or let go");
        released += if is_live { 0 } else { u64::from(at.length).next_multiple_of(alignment) };
    }
    assert_eq!(plan.cost().bytes_released, released);
    assert_eq!(plan.cost().bytes_written + plan.cost().bytes_read + plan.cost().read_requests, 0);
    for map in kept.iter().map(|point| &point.step).chain([&plan.index]) {
        assert_eq!(plan.retired.touches(map), None);
        for at in places(map) {
            assert!(!plan.retired.files.contains_key(&at.file));
            assert!(
                plan.retired
                    .ranges
                    .get(&at.file)
                    .into_iter()
                    .flatten()
                    .all(|range| !meets(range, at.offset, at.length))
            );
        }
    }
    // And `touches` is no empty promise.
    for at in before.iter().filter(|at| gone(at)) {
        let point = absorbed.iter().find(|point| places(&point.step).contains(at)).expect("it was in one of them");
        assert!(plan.retired.touches(&point.step).is_some());
    }
    for ranges in plan.retired.ranges.values() {
        assert!(!ranges.is_empty());
        assert!(ranges.iter().all(|range| range.start < range.end && range.end % alignment == 0));
        assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "neighbours are one range: {ranges:?}");
    }
    assert!(plan.retired.ranges.keys().all(|file| !plan.retired.files.contains_key(file)));
}

proptest! {
    #![proptest_config(config(1500))]

    /// The law that matters: whatever is copied, merged and released, each kept point restores to what it was.
    #[test]
    fn every_kept_point_restores_the_same(
        days in history(12),
        placement in placement(),
        keep in 1..5usize,
        at_once in 1..3usize,
    ) {
        let (mut source, mut target, mut world) = (Store::default(), Target::default(), World::new());
        let mut state = World::new();
        for (day, secs) in days.iter().zip(0..) {
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
            let index = target.mint();
            target.points.push(Point { index, step: plan.index, world: state.clone() });
            target.check_restores();

            if target.points.len() > keep + at_once - 1 {
                let absorbed: Vec<_> = target.points[..=at_once]
                    .iter().map(|point| Absorbed { index: point.index, step: &point.step }).collect();
                let lengths = target.store.frames.keys().map(|(file, _)| (*file, 1_000)).collect();
                let reclaiming = Reclaiming { alignment: placement.alignment, lengths: &lengths, punches: true };
                let plan = adopt(absorbed[0], &absorbed[1..], reclaiming);
                // Without holes only whole files come back, with all that is in them.
                let whole = adopt(absorbed[0], &absorbed[1..], Reclaiming { punches: false, ..reclaiming });
                prop_assert!(whole.retired.ranges.is_empty());
                prop_assert!(whole.retired.files.keys().eq(plan.retired.files.keys()));
                prop_assert_eq!(whole.cost().bytes_released, whole.retired.files.len() as u64 * 1_000);
                check_adopt(&target, at_once, &plan, placement.alignment);
                target.release(&plan);
                let index = target.mint();
                let full = Point { index, step: plan.index, world: target.points[at_once].world.clone() };
                target.points.splice(..=at_once, [full]);
                target.check_restores();
                let stored: BTreeSet<_> = target.store.frames.keys().copied().collect();
                prop_assert_eq!(stored, target.live().keys().copied().collect(), "nothing more and nothing less is stored");
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

/// A frame that begins or ends where a retired range does is not touched by it.
#[test]
fn touching_is_to_share_a_byte() {
    let at = |offset, length| StoredBlock { file: ObjectId::new(1, 1), offset, length, digest: Digest([0; 32]) };
    let step = |at| {
        let disk = DiskMap::new(1, 1, 0, vec![Run::Stored { block: 0, at }]).expect("one block");
        let mut map = BlockMap::empty();
        let disks = BTreeMap::from([(DiskNumber(0), disk)]);
        map.insert(model::name(0), MachineMap { captured: time(0), disks });
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
    let retired = Retired { files: BTreeMap::from([(ObjectId::new(1, 1), 1)]), ..Retired::default() };
    assert!(retired.touches(&step(at(0, 1))).is_some());
}
