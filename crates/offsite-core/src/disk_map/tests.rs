//! One disk's laws, against a model that has a cell for each block and no runs.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{Digest, DiskName, ImageFormat, ObjectId};

/// What a map says of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Absent,
    Zero,
    /// Content, and which of its copies.
    Stored {
        content: u8,
        copy: u8,
    },
}

/// A disk map without runs: a cell for each block. `keeps` says of each block whether it is kept where it is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cells {
    size_bytes: u64,
    keeps: Vec<bool>,
    cells: Vec<Cell>,
}

const BLOCK_BYTES: u64 = 10;

/// What the model's disks are known by, which goes with their size: whoever takes the one from another map than the other is seen.
fn identity(size_bytes: u64) -> DiskIdentity {
    let format = if size_bytes.is_multiple_of(2) { ImageFormat::Raw } else { ImageFormat::Qcow2 };
    DiskIdentity { name: DiskName::new(&format!("of-{size_bytes}")).unwrap(), format }
}

fn stored(block: usize, content: u8, copy: u8) -> StoredBlock {
    StoredBlock {
        file: ObjectId::new(1, copy.into()),
        offset: block as u64 * 1000 + u64::from(content),
        length: 100 + u32::from(content),
        digest: Digest([content; 32]),
    }
}

impl Cells {
    /// The runs that say the same, zeros block by block.
    fn runs(&self) -> Vec<Run> {
        let run = |(block, cell): (usize, &Cell)| {
            let number = u32::try_from(block).unwrap();
            match *cell {
                Cell::Absent => None,
                Cell::Zero => Some(Run::Zero { first: number, count: 1 }),
                Cell::Stored { content, copy } => Some(Run::Stored { block: number, at: stored(block, content, copy) }),
            }
        };
        self.cells.iter().enumerate().filter_map(run).collect()
    }

    fn map(&self) -> DiskMap {
        let keeps = self.keeps.iter().rposition(|keeps| *keeps).map_or(0, |last| u32::try_from(last + 1).unwrap());
        DiskMap::new(identity(self.size_bytes), self.size_bytes, self.cells.len() as u64, keeps, self.runs()).unwrap()
    }

    /// What `map` says, block by block: of covered blocks it does not matter whether they would be kept.
    fn of(map: &DiskMap) -> Self {
        assert_eq!(*map.identity(), identity(map.size_bytes()));
        let cell = |block| match map.get(block) {
            None => Cell::Absent,
            Some(Run::Zero { .. }) => Cell::Zero,
            Some(Run::Stored { at, .. }) => {
                Cell::Stored { content: at.digest.0[0], copy: u8::try_from(at.file.stored() & 0xff).unwrap() }
            }
        };
        let cells: Vec<Cell> = (0..map.block_count()).map(cell).collect();
        let keeps = cells.iter().zip(0..).map(|(cell, block)| *cell == Cell::Absent && block < map.keeps_blocks());
        Self { size_bytes: map.size_bytes(), keeps: keeps.collect(), cells }
    }

    fn plain(mut self) -> Self {
        self.keeps.resize(self.cells.len(), false);
        for (keeps, cell) in self.keeps.iter_mut().zip(&self.cells) {
            *keeps &= *cell == Cell::Absent;
        }
        self
    }

    /// The naive `self ⊕ upper`.
    fn overlay(&self, upper: &Self) -> Self {
        let upper = upper.clone().plain();
        let own = self.clone().plain();
        let mut cells = upper.cells.clone();
        let mut keeps = vec![false; cells.len()];
        for (block, cell) in cells.iter_mut().enumerate() {
            if *cell == Cell::Absent && upper.keeps[block] {
                *cell = own.cells.get(block).copied().unwrap_or(Cell::Absent);
                keeps[block] = own.keeps.get(block).copied().unwrap_or(false);
            }
        }
        Self { size_bytes: upper.size_bytes, keeps, cells }.plain()
    }
}

fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        2 => Just(Cell::Absent),
        2 => Just(Cell::Zero),
        3 => (0..4u8, 0..3u8).prop_map(|(content, copy)| Cell::Stored { content, copy }),
    ]
}

fn covered() -> impl Strategy<Value = Cell> {
    cell().prop_map(|cell| if cell == Cell::Absent { Cell::Zero } else { cell })
}

/// The size of a disk of so many blocks, the last of them perhaps shorter.
fn size(blocks: usize) -> impl Strategy<Value = u64> {
    let end = blocks as u64 * BLOCK_BYTES;
    end.saturating_sub(BLOCK_BYTES - 1).min(end)..=end
}

/// Any step, also one that no diff would make.
fn step() -> impl Strategy<Value = Cells> {
    (prop::collection::vec(cell(), 0..14), 0..16usize).prop_flat_map(|(cells, keeps)| {
        size(cells.len()).prop_map(move |size_bytes| {
            let keeps = (0..cells.len()).map(|block| block < keeps).collect();
            Cells { size_bytes, keeps, cells: cells.clone() }
        })
    })
}

fn state() -> impl Strategy<Value = Cells> {
    known(covered())
}

/// A state of which some blocks are lost.
fn remains() -> impl Strategy<Value = Cells> {
    known(cell())
}

fn known(cell: impl Strategy<Value = Cell>) -> impl Strategy<Value = Cells> {
    prop::collection::vec(cell, 0..14).prop_flat_map(|cells| {
        size(cells.len()).prop_map(move |size_bytes| Cells { size_bytes, keeps: Vec::new(), cells: cells.clone() })
    })
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_map_says_of_each_block_what_its_runs_said(cells in step()) {
        prop_assert_eq!(Cells::of(&cells.map()), cells.plain());
    }

    #[test]
    fn overlay_is_the_naive_overlay(lower in step(), upper in step()) {
        prop_assert_eq!(Cells::of(&lower.map().overlay(&upper.map(), |_, _| {})), lower.overlay(&upper));
    }

    /// `==` on maps is equality of steps, whichever way the map was reached.
    #[test]
    fn what_overlay_returns_is_in_normal_form(lower in step(), upper in step()) {
        prop_assert_eq!(lower.map().overlay(&upper.map(), |_, _| {}), lower.overlay(&upper).map());
    }

    #[test]
    fn overlay_is_associative(a in step(), b in step(), c in step()) {
        let (a, b, c) = (a.map(), b.map(), c.map());
        let none = |_, _| {};
        prop_assert_eq!(a.overlay(&b, none).overlay(&c, none), a.overlay(&b.overlay(&c, none), none));
    }

    #[test]
    fn zeros_cut_otherwise_and_bounds_above_covered_blocks_are_the_same_map(cells in step(), cuts in any::<u16>()) {
        let map = cells.map();
        // The same runs, with neighbouring zeros joined wherever `cuts` has a bit.
        let mut runs: Vec<Run> = Vec::new();
        for run in cells.runs() {
            match (runs.last_mut(), run) {
                (Some(Run::Zero { first, count }), Run::Zero { first: next, .. })
                    if *first + *count == next && cuts >> (next % 16) & 1 == 1 => *count += 1,
                _ => runs.push(run),
            }
        }
        let keeps = map.keeps_blocks();
        let (size_bytes, count) = (map.size_bytes(), u64::from(map.block_count()));
        let again = DiskMap::new(identity(size_bytes), size_bytes, count, keeps, runs.clone()).unwrap();
        prop_assert_eq!(&again, &map);
        if map.get(keeps).is_some() {
            let raised = DiskMap::new(identity(size_bytes), size_bytes, count, keeps + 1, runs).unwrap();
            prop_assert_eq!(&raised, &map);
        }
    }

    #[test]
    fn displaced_is_what_the_result_lacks(lower in step(), upper in step()) {
        let (lower, upper) = (lower.map(), upper.map());
        let mut displaced = Vec::new();
        let result = lower.overlay(&upper, |block, at| displaced.push((block, at)));
        let places = |map: &DiskMap| map.stored().map(|(block, at)| (block, at.file, at.offset)).collect::<BTreeSet<_>>();
        let lacks: Vec<_> = places(&lower).difference(&places(&result)).copied().collect();
        let displaced: Vec<_> = displaced.into_iter().map(|(block, at)| (block, at.file, at.offset)).collect();
        prop_assert_eq!(displaced, lacks);
    }

    #[test]
    fn a_step_that_covers_what_it_does_not_keep_makes_a_full_of_a_full(lower in state(), upper in step()) {
        let known = lower.cells.len();
        let whole = upper.cells.iter().enumerate().all(|(block, cell)| {
            *cell != Cell::Absent || (upper.keeps[block] && block < known)
        });
        prop_assert_eq!(lower.map().overlay(&upper.map(), |_, _| {}).is_full(), whole);
        prop_assert!(lower.map().is_full());
        prop_assert_eq!(lower.map().keeps_blocks(), 0);
    }

    #[test]
    fn diff_leads_there(before in remains(), after in state()) {
        let (before, after) = (before.map(), after.map());
        let reached = before.overlay(&before.diff(&after), |_, _| {});
        prop_assert!(reached.same_content(&after), "{:?}", reached);
        prop_assert!(reached.is_full());
    }

    /// No block is in the step that need not be.
    #[test]
    fn diff_is_smallest(before in remains(), after in state()) {
        let step = Cells::of(&before.map().diff(&after.map()));
        let content = |cell: Option<&Cell>| match cell {
            Some(Cell::Stored { content, .. }) => Some(Some(*content)),
            Some(Cell::Zero) => Some(None),
            Some(Cell::Absent) | None => None,
        };
        let needed = after.cells.iter().enumerate().map(|(block, cell)| {
            if content(before.cells.get(block)) == content(Some(cell)) { Cell::Absent } else { *cell }
        });
        prop_assert_eq!(step.cells, needed.collect::<Vec<_>>());
    }

    /// The way back from a step, and only what the step has changed.
    #[test]
    fn an_inverse_leads_back(before in state(), step in step()) {
        let (before, step) = (before.map(), step.map());
        let back = before.inverse(&step);
        prop_assert_eq!(before.overlay(&step, |_, _| {}).overlay(&back, |_, _| {}), before);
        for run in back.runs() {
            let touched = |block| block >= step.keeps_blocks() || step.get(block).is_some();
            prop_assert!((run.first()..u32::try_from(run.end()).unwrap()).all(touched), "{:?}", run);
        }
    }

    #[test]
    fn nothing_differs_from_itself(state in state()) {
        let map = state.map();
        prop_assert!(map.diff(&map).runs().is_empty());
        prop_assert_eq!(map.overlay(&map.diff(&map), |_, _| {}), map);
    }

    #[test]
    fn doing_a_step_again_changes_and_displaces_nothing(lower in step(), upper in step()) {
        let (once, upper) = (lower.map().overlay(&upper.map(), |_, _| {}), upper.map());
        let mut displaced = Vec::new();
        let twice = once.overlay(&upper, |block, at| displaced.push((block, at)));
        prop_assert_eq!(&twice, &once);
        prop_assert_eq!(displaced, Vec::new());
    }

    #[test]
    fn relocating_keeps_the_content(cells in step(), shift in 1..1000u64) {
        let map = cells.map();
        let moved = map.clone().relocated(|_, at| StoredBlock { offset: at.offset + shift, ..at });
        prop_assert!(moved.same_content(&map));
        prop_assert_eq!(moved.keeps_blocks(), map.keeps_blocks());
        for ((block, from), (same, to)) in map.stored().zip(moved.stored()) {
            prop_assert_eq!((block, from.offset + shift, from.file), (same, to.offset, to.file));
        }
    }
}

#[test]
fn runs_that_are_no_map_are_refused() {
    let zero = |first, count| Run::Zero { first, count };
    let at = |block| Run::Stored { block, at: stored(0, 1, 0) };
    let new = |blocks, runs| DiskMap::new(identity(blocks), blocks, blocks, 0, runs);
    assert_eq!(new(4, vec![zero(0, 0)]), Err(DiskMapError::Order(0)));
    assert_eq!(new(4, vec![zero(0, 2), at(1)]), Err(DiskMapError::Order(1)));
    assert_eq!(new(4, vec![at(2), at(1)]), Err(DiskMapError::Order(1)));
    assert_eq!(new(4, vec![at(2), at(2)]), Err(DiskMapError::Order(2)));
    assert_eq!(new(4, vec![zero(2, 3)]), Err(DiskMapError::PastEnd { end: 5, block_count: 4 }));
    assert_eq!(new(4, vec![at(4)]), Err(DiskMapError::PastEnd { end: 5, block_count: 4 }));
    assert_eq!(new(1 << 32, vec![]), Err(DiskMapError::TooLarge(1 << 32)));
}

#[test]
fn the_largest_disk_combines() {
    let blocks = u32::MAX;
    let size_bytes = u64::from(blocks) * (4 << 20);
    let zero = Run::Zero { first: 0, count: blocks };
    let empty = DiskMap::new(identity(size_bytes), size_bytes, blocks.into(), 0, vec![zero]).unwrap();
    let last = Run::Stored { block: blocks - 1, at: stored(0, 1, 0) };
    let step = DiskMap::new(identity(size_bytes), size_bytes, blocks.into(), blocks, vec![last]).unwrap();
    let after = empty.overlay(&step, |_, _| {});
    assert_eq!(after.runs(), [Run::Zero { first: 0, count: blocks - 1 }, last]);
    assert!(after.is_full());
    assert_eq!(empty.diff(&after).runs(), [last]);
    assert_eq!(after.diff(&empty).runs(), [Run::Zero { first: blocks - 1, count: 1 }]);
}
