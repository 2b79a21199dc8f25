//! Where a fold finds room in the full's own file.
//!
//! Free space is derived from the indexes, each time anew. Small ones are all read. Where they are large, what is read has a bound,
//! so that a fold costs what its increments cost: room is then looked for where it can be proven with few pages, and what is not
//! found stays free for a later fold.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use offsite_core::format::backup_file::region_bytes;
use offsite_core::plan::{FoldTarget, free_ranges, places, references};
use offsite_core::{
    BlockMap, Coverage, Head, IndexReference, ObjectId, PointKind, RestorePoint, RetiredObject, StoredBlock,
};
use offsite_repository::Repository;

use crate::Result;
use crate::commit::plan_context::PlanContext;
use crate::commit::release::load_list;
use crate::folder::layout::Layout;
use crate::seams::is_broken;

/// Indexes of so many bytes are read whole: some 160,000 blocks.
pub(super) const READ_BYTES_MAX: u64 = 8 << 20;
/// Pieces of disks of 4,096 blocks, about a page each, that are looked up in larger indexes.
const PIECES_MAX: usize = 256;

/// Where a fold writes to: the oldest file that the full lives in and that is not sealed, and free space in it.
pub(super) async fn fold_target(context: &mut PlanContext<'_>, full: &RestorePoint) -> Result<Option<FoldTarget>> {
    let head = context.head;
    let mut target = None;
    for index in full.indexes() {
        let files = context.indexes.files(index, full).await?;
        let files = files.iter().filter(|id| id.epoch() > head.sealed_epoch);
        target = files.filter_map(|id| head.files.get_key_value(id)).next();
        if target.is_some() {
            break;
        }
    }
    let Some((file, state)) = target else { return Ok(None) };
    let alignment = u64::from(head.alignment_bytes);
    // Machines are only ever added, so no file's header takes more room than one with all of them.
    let first_offset = region_bytes(head.machines.iter().map(|name| name.as_str()), alignment);
    let mut free = Vec::new();
    if first_offset + state.live_bytes < state.length {
        let room = if index_bytes(head) <= READ_BYTES_MAX {
            all(context, *file, first_offset..state.length).await?
        } else {
            some(context, full, *file, first_offset..state.length).await?
        };
        // Release rule 7: what a list that cannot be read may hold is not free.
        if let Some(held) = held_ranges(context, *file).await? {
            free = free_ranges(room.domain, &room.live, &held, alignment);
        }
    }
    let length_max = context.repository.backend().limits().object_bytes_max;
    Ok(Some(FoldTarget { file: *file, length: state.length, length_max, alignment, free }))
}

/// The length of all indexes of a chain.
pub(super) fn index_bytes(head: &Head) -> u64 {
    head.chain.indexes().map(|index| index.length).sum()
}

/// Parts of a file, and what lies in them.
struct Room {
    domain: Vec<Range<u64>>,
    /// All frames that any point refers to in the domain, or has spare, and others of the file, by offset.
    live: Vec<StoredBlock>,
}

/// All of `file`: what all points say is read.
async fn all(context: &mut PlanContext<'_>, file: ObjectId, frames: Range<u64>) -> Result<Room> {
    let mut steps = Vec::new();
    for point in context.head.chain.all() {
        steps.push(context.indexes.step(point).await?);
    }
    steps.push(context.indexes.live_spare(context.head).await?);
    Ok(Room { domain: vec![frames], live: in_file(&steps, file) })
}

/// As much of `file` as can be known by reading the newest indexes whole, and a few pages of the others.
///
/// Two parts of a file are known so. What lies past the length that the file had when the others were written: only the newest
/// indexes have rows there. And the frames that the full had when its newest among the others was written, of blocks that have
/// changed since: nothing else that any point refers to lay there then, and whatever was written since is a row of an index that is
/// read whole.
async fn some(context: &mut PlanContext<'_>, full: &RestorePoint, file: ObjectId, frames: Range<u64>) -> Result<Room> {
    let alignment = u64::from(context.head.alignment_bytes);
    let layers = Layers::of(context, full, file).await?;
    let tail = layers.tail_start.max(frames.start).next_multiple_of(alignment)..frames.end;
    let mut domain = vec![tail];
    let mut maps = Vec::new();
    for point in context.head.chain.all() {
        let newest: Vec<IndexReference> =
            point.indexes().filter(|index| layers.newest.contains(&index.id)).copied().collect();
        maps.push(context.indexes.rows(&newest, point).await?);
    }
    let (old, new): (Vec<_>, Vec<_>) = full.indexes().copied().partition(|index| !layers.newest.contains(&index.id));
    // Ids ascend with time: what is new lies above what is old, and nothing else that is old is younger.
    let youngest = old.last().filter(|last| layers.others_last == Some(last.id) && !layers.steps);
    let youngest = youngest.filter(|_| old.iter().chain(&new).is_sorted_by(|below, above| below.id < above.id));
    let machines = match youngest {
        Some(index) => context.indexes.machines_then(index, full).await,
        None => None,
    };
    // Rows of a machine that was away then and came back may name places that others had taken meanwhile.
    if let Some(machines) = machines {
        let changed = context.indexes.rows(&new, full).await?.project(|name| machines.contains(name));
        let lot = Coverage::lot(&changed, PIECES_MAX, full.sequence.0);
        let before = context.indexes.part_of_stack(&old, full, &lot).await?;
        domain.extend(places(&in_file([&before], file), alignment));
        for point in context.head.chain.all().filter(|point| layers.refers(point)) {
            maps.push(context.indexes.part(point, &lot).await?);
        }
    }
    maps.push(context.indexes.live_spare(context.head).await?);
    Ok(Room { domain, live: in_file(&maps, file) })
}

fn in_file<'a>(maps: impl IntoIterator<Item = &'a BlockMap>, file: ObjectId) -> Vec<StoredBlock> {
    references(maps).into_iter().filter(|at| at.file == file).collect()
}

/// The indexes that list a file, and those that the full stands on.
struct Layers {
    /// The newest of them, without a gap, as many as are read whole.
    newest: BTreeSet<ObjectId>,
    /// All that list the file.
    listing: BTreeSet<ObjectId>,
    /// The youngest of those that are not read whole.
    others_last: Option<ObjectId>,
    /// Whether one of those is of a point that is no full.
    steps: bool,
    /// The length of the file when those were written, at the most.
    tail_start: u64,
}

impl Layers {
    async fn of(context: &mut PlanContext<'_>, full: &RestorePoint, file: ObjectId) -> Result<Self> {
        let mut all: BTreeMap<ObjectId, (IndexReference, &RestorePoint)> = BTreeMap::new();
        let mut listing = BTreeSet::new();
        let mut of_steps = BTreeSet::new();
        for point in context.head.chain.all() {
            for index in point.indexes() {
                let lists = context.indexes.files(index, point).await?.contains(&file);
                if lists {
                    listing.insert(index.id);
                }
                if lists && point.kind != PointKind::Full {
                    of_steps.insert(index.id);
                }
                if lists || point.sequence == full.sequence {
                    all.insert(index.id, (*index, point));
                }
            }
        }
        let mut left = READ_BYTES_MAX;
        let mut layers = Self { newest: BTreeSet::new(), listing, others_last: None, steps: false, tail_start: 0 };
        for (id, (index, point)) in all.into_iter().rev() {
            if layers.others_last.is_none() && index.length <= left {
                left -= index.length;
                layers.newest.insert(id);
                continue;
            }
            layers.others_last = layers.others_last.or(Some(id));
            layers.steps |= of_steps.contains(&id);
            let end = context.indexes.file_end(&index, point, file).await?;
            layers.tail_start = layers.tail_start.max(end);
        }
        Ok(layers)
    }

    /// Whether a point can refer to the file.
    fn refers(&self, point: &RestorePoint) -> bool {
        point.indexes().any(|index| self.listing.contains(&index.id))
    }
}

/// What of a file is listed for release: readers may still need it, and a release that was cut off may yet punch it.
///
/// None: that cannot be told.
async fn held_ranges(context: &mut PlanContext<'_>, file: ObjectId) -> Result<Option<Vec<Range<u64>>>> {
    let mut held = Vec::new();
    if is_broken!(HeldRangesReused) {
        return Ok(Some(held));
    }
    for retirement in &context.head.retired {
        if let RetiredObject::Ranges { list: id, digest } = retirement.what {
            if let Some(list) = context.indexes.imagined_list(id) {
                held.extend(list.get(&file).into_iter().flatten().cloned());
                continue;
            }
            let layout: &Layout = context.indexes.layout();
            let Some(mut list) = load_list(context.repository, layout, context.head.folder, (id, digest)).await? else {
                return Ok(None);
            };
            held.extend(list.remove(&file).unwrap_or_default());
        }
    }
    Ok(Some(held))
}
