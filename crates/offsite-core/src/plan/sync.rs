//! Copying a restore point into another chain.

use std::collections::BTreeMap;

use crate::plan::{Address, Move, Plan};
use crate::{BlockMap, MachineName, ObjectId, Run, StoredBlock};

/// How frames are laid out in new backup files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Where the first frame of a file starts.
    pub first_offset: u64,
    /// Frames start at multiples of this.
    pub alignment: u64,
    /// A file ends before it would be longer than this.
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
    /// No frame yet.
    #[must_use]
    pub fn new(placement: Placement) -> Self {
        Self { placement, files: BTreeMap::new(), current: None }
    }

    /// The file and offset of the next frame, of `length` bytes. `mint` names a new file if the last is full.
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

    /// The files so far and their lengths, with header and padding.
    #[must_use]
    pub fn into_files(self) -> BTreeMap<ObjectId, u64> {
        self.files
    }
}

/// The plan that gives a chain whose newest state is `latest` a point with the content of `wanted`.
///
/// It carries only blocks whose digest differs. `mint` names the new files.
#[must_use]
pub fn sync(latest: &BlockMap, wanted: &BlockMap, placement: Placement, mint: impl FnMut() -> ObjectId) -> Plan {
    let (spare, sources) = (BlockMap::empty(), BTreeMap::new());
    sync_from(SyncInput { latest, wanted, spare: &spare, sources: &sources, placement }, mint)
}

/// What a copy from several folders has to know.
#[derive(Debug, Clone, Copy)]
pub struct SyncInput<'a> {
    /// The newest state of the chain.
    pub latest: &'a BlockMap,
    /// The states to copy.
    pub wanted: &'a BlockMap,
    /// Spare blocks of an earlier copy that was cut off. The plan takes them instead of carrying the same again.
    pub spare: &'a BlockMap,
    /// Which folder has each machine. A machine without an entry is in folder 0.
    pub sources: &'a BTreeMap<MachineName, u32>,
    /// How frames are laid out.
    pub placement: Placement,
}

/// The plan that gives a chain a point with the content of `wanted`, from several folders. It takes what is there already.
#[must_use]
pub fn sync_from(sync: SyncInput<'_>, mut mint: impl FnMut() -> ObjectId) -> Plan {
    let step = sync.latest.diff(sync.wanted);
    let mut placer = Placer::new(sync.placement);
    let mut moves = Vec::new();
    let index = step.relocated(|machine, disk, block, from| {
        let disks = sync.spare.machine(machine).map(|machine| &machine.disks);
        let here = disks.and_then(|disks| disks.get(&disk)).and_then(|map| map.get(block));
        if let Some(Run::Stored { at, .. }) = here
            && at.digest == from.digest
        {
            return at;
        }
        let (file, offset) = placer.place(from.length, &mut mint);
        let to = StoredBlock { file, offset, ..from };
        let source = sync.sources.get(machine).copied().unwrap_or(0);
        moves.push(Move { address: Address { machine: machine.clone(), disk, block }, source, from, to });
        to
    });
    Plan { index, moves, files: placer.into_files(), ..Plan::default() }
}
