//! An index that is lost together with its second copy, made again from frames.
//!
//! A frame says which block it holds and for which restore point it was written; which blocks are zeros and how large a disk is, no
//! frame says. So what the frames and the points beside suggest is a guess, and counts only if it is the lost index to the last
//! byte: the head has its length and the checksum of its directory, and the directory has those of all its pages.

use std::collections::BTreeMap;

use bytes::Bytes;
use offsite_core::format::head::Head;
use offsite_core::{
    BlockMap, DiskMap, DiskNumber, MachineMap, MachineName, MachineState, ObjectId, PointKind, RestorePoint, Run,
    Sequence, StoredBlock,
};

use super::survey::Survey;
use crate::indexes::Indexes;
use crate::mover::{Found, FrameSource, find};
use crate::point::{NewIndex, PointIndex, Stack, encode_index};
use crate::{Progress, Result};

/// Of so many machines whose disks changed beside the lost index, each way is tried.
const DOUBTFUL_MAX: usize = 8;

/// The frames of all backup files that a head refers to.
pub(super) struct Frames(Vec<Found>);

/// What is known of the points before and after the one whose index is lost.
pub(super) struct Neighbours {
    /// The index speaks of what came after this restore point; none: of all.
    after: Option<Sequence>,
    /// The state that it changes, or else the one before it.
    before: Option<BlockMap>,
    /// What the next point says.
    next: Option<BlockMap>,
}

impl Neighbours {
    /// Those of `point`, as far as `is_there` says that their indexes are. `sequences` are the points that indexes were written for.
    pub(super) async fn of(
        indexes: &mut Indexes,
        head: &Head,
        point: &RestorePoint,
        sequences: &BTreeMap<ObjectId, Sequence>,
        is_there: impl Fn(&&RestorePoint) -> bool,
    ) -> Result<Self> {
        let predecessor = head.chain.all().rev().find(|other| other.sequence < point.sequence);
        let next = head.chain.all().find(|other| other.sequence > point.sequence).filter(&is_there);
        let next = match next {
            Some(next) => Some(indexes.step(next).await?),
            None => None,
        };
        if !point.below.is_empty() {
            let after = point.below.iter().filter_map(|index| sequences.get(&index.id)).max().copied();
            return Ok(Self { after, before: Some(indexes.rows(&point.below, point).await?), next });
        }
        let steps = predecessor.and_then(|other| head.chain.steps_to(other.sequence)).unwrap_or_default();
        let before = match steps.iter().all(&is_there) {
            true => Some(indexes.state(&steps).await?),
            false => None,
        };
        let after = predecessor.filter(|_| point.kind == PointKind::Increment).map(|other| other.sequence);
        Ok(Self { after, before, next })
    }
}

impl Frames {
    pub(super) async fn of(survey: &Survey, head: &Head, progress: &dyn Progress) -> Result<Self> {
        let source = FrameSource::new(&survey.repository, &survey.layout, head);
        let files: Vec<(ObjectId, u64)> =
            head.files.keys().filter_map(|id| Some((*id, *survey.files.get(id)?))).collect();
        progress.begin("looking for frames", files.iter().map(|(_, length)| length).sum());
        let mut frames = Vec::new();
        for (id, length) in files {
            frames.extend(find(&source, id, length, head.alignment_bytes.into()).await?);
            progress.advance(length);
        }
        progress.end();
        // Of a block's frames the newest comes last; one that was moved is in the younger file.
        frames.sort_by_key(|frame| (frame.header.identity.sequence, frame.at.file, frame.at.offset));
        Ok(Self(frames))
    }

    /// The bytes of the index of `point` and what it says, if they can be proven.
    pub(super) fn salvage(&self, head: &Head, point: &RestorePoint, beside: &Neighbours) -> Option<(Bytes, BlockMap)> {
        if point.kind == PointKind::Rollback || point.machines.iter().any(|machine| !machine.is_whole()) {
            return None;
        }
        let rows = self.rows(head, point, beside.after);
        let guess = Guess { head, point, rows: &rows, before: beside.before.as_ref() };
        let shapes = guess.shapes(&[beside.next.as_ref(), beside.before.as_ref()]);
        let doubtful = shapes.values().filter(|shapes| shapes.len() > 1).count();
        let choices = 1_u32 << doubtful.min(DOUBTFUL_MAX);
        (0..choices).flat_map(|choice| [(choice, true), (choice, false)]).find_map(|(choice, names_all)| {
            let map = guess.map(&shapes, choice, names_all)?;
            let NewIndex { point: described, bytes, .. } =
                encode_index(head, guess.index(map.clone()), &head.files).ok()?;
            (described.index == point.index).then_some((bytes, map))
        })
    }

    /// The newest frame of each block, of those that were written for points after `after` up to this one.
    fn rows(&self, head: &Head, point: &RestorePoint, after: Option<Sequence>) -> Rows {
        let mut rows = Rows::new();
        for Found { header, at } in &self.0 {
            let identity = &header.identity;
            // Ids are given out in order: what is younger than the index was not there when it was written.
            let is_of_point = at.file < point.index.id
                && identity.sequence <= point.sequence
                && after.is_none_or(|after| identity.sequence > after);
            let name = usize::try_from(identity.machine.0).ok().and_then(|number| head.machines.get(number));
            if let (true, Some(name)) = (is_of_point, name) {
                let end = head.chain.block_size().offset(identity.block) + u64::from(header.plain_bytes);
                rows.entry((name.clone(), identity.disk)).or_default().insert(identity.block, (*at, end));
            }
        }
        rows
    }
}

/// The disks of a machine and their sizes in bytes.
type Shape = BTreeMap<DiskNumber, u64>;

/// Of each disk, the blocks, with where each lies and where it ends on the disk.
type Rows = BTreeMap<(MachineName, DiskNumber), BTreeMap<u32, (StoredBlock, u64)>>;

/// What an index may have said.
struct Guess<'a> {
    head: &'a Head,
    point: &'a RestorePoint,
    rows: &'a Rows,
    before: Option<&'a BlockMap>,
}

impl Guess<'_> {
    /// What disks each machine may have had, and how large.
    fn shapes(&self, beside: &[Option<&BlockMap>]) -> BTreeMap<&MachineName, Vec<Shape>> {
        let of_machine = |name: &MachineName| {
            let known = beside.iter().flatten().filter_map(|map| map.machine(name));
            let sizes = known.map(|machine| machine.disks.iter().map(|(number, disk)| (*number, disk.size_bytes())));
            let mut shapes: Vec<Shape> = sizes.map(Iterator::collect).collect();
            shapes.dedup();
            if shapes.is_empty() {
                // As far as the blocks reach.
                let rows = self.rows.iter().filter(|((machine, _), _)| machine == name);
                shapes.push(rows.filter_map(|((_, disk), rows)| Some((*disk, rows.values().next_back()?.1))).collect());
            }
            shapes
        };
        self.point.machines.iter().map(|machine| (&machine.name, of_machine(&machine.name))).collect()
    }

    /// The rows in disks of these shapes, of two of which a bit of `choice` says which; of all machines, or only of those with rows.
    fn map(&self, shapes: &BTreeMap<&MachineName, Vec<Shape>>, mut choice: u32, names_all: bool) -> Option<BlockMap> {
        let mut map = BlockMap::empty();
        for MachineState { name, captured, .. } in &self.point.machines {
            let mut shape = shapes.get(name)?.first()?;
            if let Some(other) = shapes.get(name)?.get(1) {
                shape = if choice & 1 == 0 { shape } else { other };
                choice >>= 1;
            }
            if names_all || self.rows.keys().any(|(machine, _)| machine == name) {
                let disks = shape.iter().map(|(number, bytes)| Some((*number, self.disk(name, *number, *bytes)?)));
                let disks = disks.collect::<Option<BTreeMap<_, _>>>()?;
                map.insert(name.clone(), MachineMap { captured: *captured, disks });
            }
        }
        Some(map)
    }

    /// A disk with these rows; what is left of it is as it was before, and zero where nothing was.
    fn disk(&self, name: &MachineName, number: DiskNumber, size_bytes: u64) -> Option<DiskMap> {
        let block_count = self.head.chain.block_size().count(size_bytes);
        let is_step = self.point.kind == PointKind::Increment || !self.point.below.is_empty();
        let before = self.before.filter(|_| is_step).and_then(|map| map.machine(name)?.disks.get(&number));
        let kept = before.map_or(0, DiskMap::block_count);
        let mut runs = Vec::new();
        let mut zeros = kept;
        let nothing = BTreeMap::new();
        let rows = self.rows.get(&(name.clone(), number)).unwrap_or(&nothing);
        for (block, (at, _)) in rows.iter().filter(|(block, _)| u64::from(**block) < block_count) {
            if *block > zeros {
                runs.push(Run::Zero { first: zeros, count: block - zeros });
            }
            zeros = zeros.max(block + 1);
            runs.push(Run::Stored { block: *block, at: *at });
        }
        let end = u32::try_from(block_count).ok()?;
        if end > zeros {
            runs.push(Run::Zero { first: zeros, count: end - zeros });
        }
        DiskMap::new(size_bytes, block_count, kept, runs).ok()
    }

    fn index(&self, map: BlockMap) -> PointIndex {
        let RestorePoint { index, sequence, time, kind, machines, below, stored, flags } = self.point.clone();
        let stack = Stack { below, lower: Vec::new(), step: BlockMap::empty(), stored };
        PointIndex {
            id: index.id,
            sequence,
            time,
            kind,
            machines,
            map,
            stack: Some(stack),
            spare: BlockMap::empty(),
            flags,
        }
    }
}
