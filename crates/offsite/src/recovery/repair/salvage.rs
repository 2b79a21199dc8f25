//! Makes an index again from frames, if it is lost together with its second copy.
//!
//! - A frame says which block it holds, and for which restore point it was written.
//! - The header of a backup file says what the disks are.
//! - Nothing says which blocks are zeros.
//!
//! So the index that files and neighbouring points suggest is a guess. It counts only if it is the lost index to the last byte. The
//! head proves that: it has the length of the index and the checksum of its directory, and the directory has the checksums of all
//! pages. Where the suggestions contradict each other, each is tried.

use std::collections::BTreeMap;

use bytes::Bytes;
use offsite_core::format::backup_file::{BackupFileHeader, DiskLabel, MachineLabel};
use offsite_core::{
    BlockMap, DiskMap, DiskNumber, Head, MachineMap, MachineName, MachineState, ObjectId, PointKind, RestorePoint, Run,
    Sequence, StoredBlock,
};

use super::survey::Survey;
use crate::commit::new_index::{NewIndex, PointIndex, Stack, encode_index};
use crate::folder::disks::{DiskSummary, Disks};
use crate::mover::{Found, FrameSource, find};
use crate::progress::{Step, Task};
use crate::reader::indexes::Indexes;
use crate::teller::Teller;
use crate::{Progress, Result};

/// The largest number of guesses. Files and points beside a lost index may say different things of disks, and each combination is a
/// guess.
const CHOICES_MAX: usize = 256;

/// The frames of all backup files of a head, and the disks that these files name.
pub(super) struct Frames {
    frames: Vec<Found>,
    /// The disks, by the restore point that the file was written for, and the file.
    disks: BTreeMap<(Sequence, ObjectId), Disks>,
}

/// What is known of the points before and after the one whose index is lost.
pub(super) struct Neighbours {
    /// The restore point after which the index says changes. `None` if the index says everything.
    after: Option<Sequence>,
    /// The state that the index changes, or else the state before it. `None` if it is not known.
    before: Option<BlockMap>,
    /// What the next point says. `None` if its index is lost, or there is no next point.
    next: Option<BlockMap>,
}

impl Neighbours {
    /// Collects what is known beside `point`. `is_there` says whether the indexes of a point are there. `sequences` has the point
    /// that each index was written for.
    pub(super) async fn of(
        indexes: &mut Indexes,
        head: &Head,
        point: &RestorePoint,
        sequences: &BTreeMap<ObjectId, Sequence>,
        is_there: impl Fn(&&RestorePoint) -> bool,
    ) -> Result<Self> {
        let is_other = |other: &&RestorePoint| other.sequence != point.sequence;
        let predecessor = head.chain.all().rev().skip_while(is_other).nth(1);
        let next = head.chain.all().skip_while(is_other).nth(1).filter(&is_there);
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
        let progress = Teller::new(progress, Task::Repair, survey.layout.job());
        let progress = progress.begin(Step::Search, files.iter().map(|(_, length)| length).sum());
        let (mut frames, mut disks) = (Vec::new(), BTreeMap::new());
        for (id, length) in files {
            if let Some(header) = survey.file_header(id, head.folder).await? {
                disks.insert((Sequence(header.sequence), id), told(head, &header));
            }
            frames.extend(find(&source, id, length, head.alignment_bytes.into()).await?);
            progress.advance(length);
        }
        progress.end();
        // The newest frame of a block comes last. A frame that was moved is in the younger file.
        frames.sort_by_key(|frame| (frame.header.identity.sequence, frame.at.file, frame.at.offset));
        Ok(Self { frames, disks })
    }

    /// Returns the bytes of the index of `point` and its map. `None` if they cannot be proven.
    pub(super) fn salvage(&self, head: &Head, point: &RestorePoint, beside: &Neighbours) -> Option<(Bytes, BlockMap)> {
        if point.kind == PointKind::Rollback || point.machines.iter().any(|machine| !machine.is_whole()) {
            return None;
        }
        let rows = self.rows(head, point, beside.after);
        let guess = Guess { head, point, rows: &rows, before: beside.before.as_ref() };
        let shapes = guess.shapes(&self.told_before(point), &[beside.next.as_ref(), beside.before.as_ref()]);
        let choices = shapes.values().fold(1, |choices: usize, shapes| choices.saturating_mul(shapes.len().max(1)));
        let choices = choices.min(CHOICES_MAX);
        (0..choices).flat_map(|choice| [(choice, true), (choice, false)]).find_map(|(choice, names_all)| {
            let map = guess.map(&shapes, choice, names_all)?;
            let NewIndex { point: described, bytes, .. } =
                encode_index(head, guess.index(map.clone()), &head.files).ok()?;
            (described.index == point.index).then_some((bytes, map))
        })
    }

    /// Returns what files say of disks: first the files that were written for `point`, the newest first, then those of earlier
    /// points.
    fn told_before(&self, point: &RestorePoint) -> Vec<(Sequence, &Disks)> {
        let files = self.disks.iter().rev();
        let of_point = files.filter(|((sequence, file), _)| *sequence <= point.sequence && *file < point.index.id);
        of_point.map(|((sequence, _), disks)| (*sequence, disks)).collect()
    }

    /// Returns the newest frame of each block among those that were written for points after `after`, up to this one.
    fn rows(&self, head: &Head, point: &RestorePoint, after: Option<Sequence>) -> Rows {
        let mut rows = Rows::new();
        for Found { header, at } in &self.frames {
            let identity = &header.identity;
            // Ids are given out in order. So a file with a greater id than the index did not exist when the index was written.
            let is_of_point = at.file < point.index.id
                && identity.sequence <= point.sequence
                && after.is_none_or(|after| identity.sequence > after);
            let name = usize::try_from(identity.machine.0).ok().and_then(|number| head.machines.get(number));
            if let (true, Some(name)) = (is_of_point, name) {
                rows.entry((name.clone(), identity.disk)).or_default().insert(identity.block, *at);
            }
        }
        rows
    }
}

/// Returns the disks of machines that the header of a backup file names. A machine with a label that is no disk is left out.
fn told(head: &Head, header: &BackupFileHeader) -> Disks {
    let disk = |label: &DiskLabel| {
        let identity = label.identity().ok()?;
        Some(DiskSummary { number: DiskNumber(label.number), identity, size_bytes: label.size_bytes })
    };
    let machine = |machine: &MachineLabel| {
        let name = head.machines.get(usize::try_from(machine.number).ok()?)?;
        let disks: Option<Vec<DiskSummary>> = machine.disks.iter().map(disk).collect();
        Some((name.clone(), disks.filter(|disks| !disks.is_empty())?))
    };
    header.machines.iter().filter_map(machine).collect()
}

/// The disks that a machine may have had.
type Shape = Vec<DiskSummary>;

/// Where the blocks of each disk lie.
type Rows = BTreeMap<(MachineName, DiskNumber), BTreeMap<u32, StoredBlock>>;

/// What an index may have said.
struct Guess<'a> {
    head: &'a Head,
    point: &'a RestorePoint,
    rows: &'a Rows,
    before: Option<&'a BlockMap>,
}

impl Guess<'_> {
    /// Returns the disks that each machine may have had, the most likely first: those in the point's own files, those in the points
    /// beside it, and those in the newest file before the point.
    fn shapes(&self, told: &[(Sequence, &Disks)], beside: &[Option<&BlockMap>]) -> BTreeMap<&MachineName, Vec<Shape>> {
        let of_machine = |name: &MachineName| {
            let told = told.iter().filter_map(|(sequence, disks)| Some((*sequence, disks.get(name)?)));
            let own = told.clone().filter(|(sequence, _)| *sequence == self.point.sequence);
            let older = told.filter(|(sequence, _)| *sequence < self.point.sequence).take(1);
            let known = beside.iter().flatten().filter_map(|map| map.machine(name));
            let known = known.map(|machine| machine.disks.iter().map(DiskSummary::of).collect());
            let mut shapes: Vec<Shape> = Vec::new();
            for shape in own.map(|(_, disks)| disks.clone()).chain(known).chain(older.map(|(_, disks)| disks.clone())) {
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
            // No frame tells the name of a disk. So nothing can be suggested for a machine with frames if nothing else tells its
            // disks.
            if shapes.is_empty() && !self.rows.keys().any(|(machine, _)| machine == name) {
                shapes.push(Shape::new());
            }
            shapes
        };
        self.point.machines.iter().map(|machine| (&machine.name, of_machine(&machine.name))).collect()
    }

    /// Returns the rows in disks of these shapes. `choice` selects one of several shapes. The map has all machines if `names_all`,
    /// else those with rows.
    fn map(&self, shapes: &BTreeMap<&MachineName, Vec<Shape>>, mut choice: usize, names_all: bool) -> Option<BlockMap> {
        let mut map = BlockMap::empty();
        for MachineState { name, captured, .. } in &self.point.machines {
            let shapes = shapes.get(name).filter(|shapes| !shapes.is_empty())?;
            let shape = &shapes[choice % shapes.len()];
            choice /= shapes.len();
            if names_all || self.rows.keys().any(|(machine, _)| machine == name) {
                let disks = shape.iter().map(|disk| Some((disk.number, self.disk(name, disk)?)));
                let disks = disks.collect::<Option<BTreeMap<_, _>>>()?;
                map.insert(name.clone(), MachineMap::new(*captured, disks));
            }
        }
        Some(map)
    }

    /// Returns a disk with these rows. Its other blocks stay as they were before. Blocks that it did not have before are zeros.
    fn disk(&self, name: &MachineName, disk: &DiskSummary) -> Option<DiskMap> {
        let DiskSummary { number, identity, size_bytes } = disk;
        let block_count = self.head.chain.block_size().count(*size_bytes);
        let is_step = self.point.kind == PointKind::Increment || !self.point.below.is_empty();
        let before = self.before.filter(|_| is_step).and_then(|map| map.machine(name)?.disks.get(number));
        let kept = before.map_or(0, DiskMap::block_count);
        let mut runs = Vec::new();
        let mut zeros = kept;
        let nothing = BTreeMap::new();
        let rows = self.rows.get(&(name.clone(), *number)).unwrap_or(&nothing);
        for (block, at) in rows.iter().filter(|(block, _)| u64::from(**block) < block_count) {
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
        DiskMap::new(identity.clone(), *size_bytes, block_count, kept, runs).ok()
    }

    fn index(&self, map: BlockMap) -> PointIndex {
        let RestorePoint { index, sequence, time, kind, machines, below, stored, flags, is_back_filled, .. } =
            self.point.clone();
        let stack = Stack { below, lower: Vec::new(), step: BlockMap::empty(), stored };
        PointIndex {
            id: index.id,
            sequence,
            time,
            kind,
            base: self.head.chain.base_of(sequence, kind),
            machines,
            map,
            stack: Some(stack),
            spare: BlockMap::empty(),
            flags,
            is_back_filled,
        }
    }
}
