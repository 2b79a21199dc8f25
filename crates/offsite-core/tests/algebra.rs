//! The laws of whole maps: machines that appear and vanish, disks that are dropped, replaced and resized.

mod model;

use std::collections::BTreeSet;

use model::{Store, World, apply, captured, config, history, live, name, restored, time};
use offsite_core::{BlockMap, StoredBlock};
use proptest::prelude::*;

/// Steps, each the diff of two states that followed each other; and the naive state after each.
struct Told {
    store: Store,
    steps: Vec<BlockMap>,
    states: Vec<World>,
    /// What was captured on each day.
    captured: Vec<(BlockMap, World)>,
}

fn tell(days: &[model::Day]) -> Told {
    let (mut store, mut world) = (Store::default(), World::new());
    let (mut steps, mut states, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    let (mut latest, mut state) = (BlockMap::empty(), World::new());
    for (day, secs) in days.iter().zip(0..) {
        live(&mut world, day);
        let seen = captured(&world, day);
        let map = store.write(&seen, time(secs));
        let step = latest.diff(&map);
        latest = latest.overlay(&step);
        apply(&mut state, &seen);
        steps.push(step);
        states.push(state.clone());
        taken.push((map, seen));
    }
    Told { store, steps, states, captured: taken }
}

fn fold(steps: &[BlockMap]) -> BlockMap {
    steps.iter().fold(BlockMap::empty(), |state, step| state.overlay(step))
}

fn places(map: &BlockMap) -> BTreeSet<(u64, u64)> {
    map.stored().map(|(_, _, _, at)| (at.file.stored(), at.offset)).collect()
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn steps_applied_are_the_naive_states(days in history(8)) {
        let told = tell(&days);
        for (count, state) in (1..).zip(&told.states) {
            let reached = fold(&told.steps[..count]);
            prop_assert!(reached.is_full());
            prop_assert_eq!(&told.store.restore(&reached), state);
        }
    }

    #[test]
    fn overlay_is_associative(days in history(7), first in 0..7usize, second in 0..7usize) {
        let steps = tell(&days).steps;
        let whole = fold(&steps);
        // Any bracketing of the same steps.
        let (from, to) = (first.min(second).min(steps.len()), first.max(second).min(steps.len()));
        let (left, rest) = steps.split_at(from);
        let (middle, right) = rest.split_at(to - from);
        let (left, middle, right) = (fold(left), fold(middle), fold(right));
        prop_assert_eq!(&left.overlay(&middle).overlay(&right), &whole);
        prop_assert_eq!(&left.overlay(&middle.overlay(&right)), &whole);
        let from_the_right = steps.iter().rev().fold(BlockMap::empty(), |later, step| step.overlay(&later));
        prop_assert_eq!(&from_the_right, &whole);
    }

    /// Also for steps that no history would put beside each other: disks that come without a predecessor, and so on.
    #[test]
    fn overlay_is_associative_for_steps_out_of_order(days in history(7), order in any::<[prop::sample::Index; 3]>()) {
        let steps = tell(&days).steps;
        let [a, b, c] = order.map(|index| index.get(&steps));
        prop_assert_eq!(a.overlay(b).overlay(c), a.overlay(&b.overlay(c)));
    }

    #[test]
    fn the_empty_map_is_the_identity(days in history(5)) {
        for step in &tell(&days).steps {
            prop_assert_eq!(&BlockMap::empty().overlay(step), step);
            prop_assert_eq!(&step.overlay(&BlockMap::empty()), step);
        }
    }

    #[test]
    fn displaced_is_what_the_result_lacks(days in history(7), order in any::<[prop::sample::Index; 2]>()) {
        let steps = tell(&days).steps;
        let [first, second] = order.map(|index| index.index(steps.len()));
        let (lower, upper) = (fold(&steps[..=first]), fold(&steps[second..]));
        let mut displaced = Vec::new();
        let result = lower.overlay_with(&upper, |gone| displaced.push(gone));
        let lacks: BTreeSet<_> = places(&lower).difference(&places(&result)).copied().collect();
        let told: Vec<_> = displaced.iter().map(|gone| (gone.at.file.stored(), gone.at.offset)).collect();
        prop_assert_eq!(told.len(), lacks.len(), "none twice");
        prop_assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), lacks);
        for gone in displaced {
            let disk = &lower.machine(&gone.machine).expect("its machine").disks[&gone.disk];
            prop_assert!(disk.stored().any(|found| found == (gone.block, gone.at)));
        }
    }

    #[test]
    fn diff_leads_there_and_is_smallest(days in history(6), order in any::<[prop::sample::Index; 2]>()) {
        let told = tell(&days);
        let [first, second] = order.map(|index| index.index(days.len()));
        let state = fold(&told.steps[..=first]);
        let (wanted, _) = &told.captured[second];
        let step = state.diff(wanted);
        let reached = state.overlay(&step);
        prop_assert!(reached.project(|name| wanted.machine(name).is_some()).same_content(wanted));
        for (machine, disk, block, at) in step.stored() {
            let before = state.machine(machine).and_then(|machine| machine.disks.get(&disk));
            let before = before.and_then(|before| before.stored().find(|(number, _)| *number == block));
            prop_assert!(before.is_none_or(|(_, before)| before.digest != at.digest), "{} {} need not move", disk, block);
        }
        let again = reached.diff(wanted);
        prop_assert!(again.machines().values().flat_map(|machine| machine.disks.values()).all(|disk| disk.runs().is_empty()));
    }

    /// A map is full if each block of each disk is known.
    #[test]
    fn a_full_map_knows_each_block(days in history(5), which in any::<prop::sample::Index>()) {
        let steps = tell(&days).steps;
        for map in [which.get(&steps), &fold(&steps)] {
            let disks = || map.machines().values().flat_map(|machine| machine.disks.values());
            let knows_all = disks().all(|disk| (0..disk.block_count()).all(|block| disk.get(block).is_some()));
            prop_assert_eq!(map.is_full(), knows_all);
        }
    }

    /// What is lost of a state comes back with the step to a state that has it, and nothing else.
    #[test]
    fn what_is_lost_comes_again(days in history(6), lost in 0..8u8) {
        let state = fold(&tell(&days).steps);
        let is_lost = |at: &StoredBlock| at.digest.0[5] % 8 < lost;
        let left = state.without(is_lost);
        prop_assert!(left.stored().eq(state.stored().filter(|(_, _, _, at)| !is_lost(at))));
        let again = left.diff(&state);
        let brought: BTreeSet<_> = again.stored().map(|(machine, disk, block, at)| (machine.clone(), disk, block, at.digest)).collect();
        let missing = state.stored().filter(|(_, _, _, at)| is_lost(at));
        prop_assert_eq!(brought, missing.map(|(machine, disk, block, at)| (machine.clone(), disk, block, at.digest)).collect());
        prop_assert_eq!(left.overlay(&again), state);
    }

    #[test]
    fn projection_commutes_with_overlay(days in history(6), cut in any::<prop::sample::Index>(), kept in 0..8u8) {
        let steps = tell(&days).steps;
        let (left, right) = steps.split_at(cut.index(steps.len()));
        let (left, right) = (fold(left), fold(right));
        let keep = |machine: &offsite_core::MachineName| (0..3).any(|letter| kept >> letter & 1 == 1 && *machine == name(letter));
        prop_assert_eq!(left.overlay(&right).project(keep), left.project(keep).overlay(&right.project(keep)));
    }

    #[test]
    fn relocation_keeps_the_content_and_asks_once_per_block(days in history(5)) {
        let state = fold(&tell(&days).steps);
        let mut asked = Vec::new();
        let moved = state.clone().relocated(|machine, disk, block, at| {
            asked.push((machine.clone(), disk, block, at));
            StoredBlock { offset: at.offset + 7, ..at }
        });
        let stored: Vec<_> = state.stored().map(|(machine, disk, block, at)| (machine.clone(), disk, block, at)).collect();
        prop_assert_eq!(asked, stored);
        prop_assert!(moved.same_content(&state));
        prop_assert_eq!(moved == state, state.stored().next().is_none());
        prop_assert_eq!(moved.files(), state.stored().map(|(_, _, _, at)| at.file).collect());
    }

    #[test]
    fn same_content_is_equality_of_bytes(left in history(3), right in history(3)) {
        let (left, right) = (tell(&left), tell(&right));
        let (last, other) = (fold(&left.steps), fold(&right.steps));
        prop_assert_eq!(last.same_content(&other), restored(&left.states) == restored(&right.states));
    }
}
