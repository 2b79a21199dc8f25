//! Plans that copy a restore point into another chain.

use std::collections::BTreeMap;

use crate::plan::{Address, Move, Plan};
use crate::{BlockMap, DiskNumber, MachineName, ObjectId, Run, StoredBlock};

/// The layout of frames in new backup files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The position of the first frame in a file, in bytes.
    pub first_offset: u64,
    /// The alignment in bytes. Each frame starts at a multiple of it.
    pub alignment: u64,
    /// The largest length of a file, in bytes. A frame that would make the file longer starts a new one.
    pub file_bytes_max: u64,
}

/// Places frames one after the other in new files.
#[derive(Debug, Clone)]
pub struct Placer {
    placement: Placement,
    files: BTreeMap<ObjectId, u64>,
    current: Option<ObjectId>,
}

impl Placer {
    /// A placer that has placed no frame yet.
    #[must_use]
    pub fn new(placement: Placement) -> Self {
        Self { placement, files: BTreeMap::new(), current: None }
    }

    /// Places the next frame, which has `length` bytes.
    ///
    /// Returns its file and its position in the file.
    ///
    /// If the last file is full, `mint` returns the id of a new one.
    pub fn place(&mut self, length: u32, mint: impl FnOnce() -> ObjectId) -> (ObjectId, u64) {
        let Placement { first_offset, alignment, file_bytes_max } = self.placement;
        let end_of = |offset: u64| (offset + u64::from(length)).next_multiple_of(alignment);
        if let Some(file) = self.current
            && let Some(offset) = self.files.get_mut(&file)
            && end_of(*offset) <= file_bytes_max
        {
            return (file, std::mem::replace(offset, end_of(*offset)));
        }
        let file = mint();
        self.current = Some(file);
        self.files.insert(file, end_of(first_offset));
        (file, first_offset)
    }

    /// The files so far with their lengths in bytes, headers and padding included.
    #[must_use]
    pub fn into_files(self) -> BTreeMap<ObjectId, u64> {
        self.files
    }
}

/// The plan that adds a point with the content of `wanted` to a chain whose newest state is `latest`.
///
/// It moves only blocks whose digest differs. `mint` returns ids for new files.
#[must_use]
pub fn sync(latest: &BlockMap, wanted: &BlockMap, placement: Placement, mint: impl FnMut() -> ObjectId) -> Plan {
    let (spare, sources) = (BlockMap::empty(), BTreeMap::new());
    sync_from(SyncInput { latest, wanted, spare: &spare, sources: &sources, placement }, mint)
}

/// The input of [`sync_from`].
#[derive(Debug, Clone, Copy)]
pub struct SyncInput<'a> {
    /// The newest state of the target chain.
    pub latest: &'a BlockMap,
    /// The states to copy, by machine.
    pub wanted: &'a BlockMap,
    /// Spare blocks in the target, from an earlier copy that was cut off. The plan uses them where they fit.
    pub spare: &'a BlockMap,
    /// The number of the folder that has each machine. A machine without an entry is in folder 0.
    pub sources: &'a BTreeMap<MachineName, u32>,
    /// The layout of frames in new files.
    pub placement: Placement,
}

/// The plan that copies the wanted states from several folders, and uses spare blocks.
///
/// It moves only blocks whose digest differs and that no spare block provides. `mint` returns ids for new files.
#[must_use]
pub fn sync_from(sync: SyncInput<'_>, mut mint: impl FnMut() -> ObjectId) -> Plan {
    let step = sync.latest.diff(sync.wanted);
    let mut placer = Placer::new(sync.placement);
    let mut moves = Vec::new();
    let index = step.relocated(|machine, disk, block, from| {
        if let Some(at) = spare_of(sync.spare, machine, disk, block, &from) {
            return at;
        }
        let (file, offset) = placer.place(from.length, &mut mint);
        let to = StoredBlock { file, offset, ..from };
        let source = sync.source_of(machine);
        moves.push(Move { address: Address { machine: machine.clone(), disk, block }, source, from, to });
        to
    });
    Plan { index, moves, files: placer.into_files(), ..Plan::default() }
}

impl SyncInput<'_> {
    /// The number of the folder that has a machine.
    pub(super) fn source_of(&self, machine: &MachineName) -> u32 {
        self.sources.get(machine).copied().unwrap_or(0)
    }
}

/// The spare block of this place, if it has the bytes of `wanted`.
pub(super) fn spare_of(
    spare: &BlockMap,
    machine: &MachineName,
    disk: DiskNumber,
    block: u32,
    wanted: &StoredBlock,
) -> Option<StoredBlock> {
    match spare.machine(machine)?.disks.get(&disk)?.get(block)? {
        Run::Stored { at, .. } if at.digest == wanted.digest => Some(at),
        _ => None,
    }
}
