//! Compaction: live blocks leave files that are mostly superseded, piece by piece.
//!
//! A piece is an operation of its own, with its own commit: it moves at most so many bytes to a new file and puts their new
//! places on top of the indexes of every point that refers to them. So a run may end after any piece, and needs room for one.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::format::backup_file::region_bytes;
use offsite_core::plan::{references, relocate};
use offsite_core::{BlockMap, FileState, Head, ObjectId, PointKind, Sequence};

use super::draft::DraftedOperation;
use super::settings::Compact;
use super::stack::{Relaid, relaid};
use crate::commit::draft::BlockViews;
use crate::commit::plan_context::PlanContext;
use crate::folder::verification_notes::VerificationNotes;
use crate::report::{Carriage, Operation};
use crate::{Error, Result};

/// What a piece may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Files of this epoch and later are as compact as they get: this run has written them.
    pub(super) epoch: u32,
    /// What is left of the budget: bytes that may be written.
    pub(super) bytes: u64,
}

/// What compaction goes on with.
pub(super) enum Next {
    /// A piece.
    Piece(Box<DraftedOperation>),
    /// Nothing: every file is as compact as it gets.
    Nothing,
    /// Nothing more in this run, as its bounds are reached.
    Bounded,
}

/// The next piece, if any file is to be emptied and the bounds allow it.
pub(super) async fn draft(context: &mut PlanContext<'_>, settings: &Compact, bounds: Bounds) -> Result<Next> {
    let Some(newest) = context.head.chain.latest().cloned() else { return Ok(Next::Nothing) };
    let header = context.header_of_all(&newest).await?;
    let placement = header.placement(context.repository);
    // One new file a piece.
    let room = bounds.bytes.min(placement.file_bytes_max).saturating_sub(placement.first_offset);
    let layers = Layers::of(context).await?;
    // A damaged block cannot be moved; its file goes when no point needs the block any more.
    let noted = context.noted().await?;
    let sparse = sparse(context.head, settings, bounds.epoch);
    let mut piece = Piece::default();
    piece.fill(context, &layers, &sparse, &noted, (settings.piece_bytes, room)).await?;
    if piece.frames.is_empty()
        && !piece.is_bounded
        && let Some(scattered) = scattered(context, settings, bounds.epoch).await?
    {
        piece.fill(context, &layers, &scattered, &noted, (settings.piece_bytes, room)).await?;
        if piece.emptied < 2 {
            return Ok(Next::Nothing);
        }
    }
    if piece.frames.is_empty() {
        return Ok(if piece.is_bounded { Next::Bounded } else { Next::Nothing });
    }
    let mut parts: Vec<(Sequence, BlockMap)> = Vec::new();
    for (sequence, step) in &piece.steps {
        let part = step.picked(|_, _, _, at| piece.frames.contains(&(at.file, at.offset)).then_some(at));
        if part != BlockMap::empty() {
            parts.push((*sequence, part));
        }
    }
    let reclaiming = context.reclaiming();
    let maps: Vec<&BlockMap> = parts.iter().map(|(_, part)| part).collect();
    let relocation = relocate(&maps, &[], |_| true, placement, || context.minter.mint(), reclaiming);
    let mut plan = relocation.plan;
    let carriage = context.carriage(&plan, &noted);
    plan.cloned = carriage == Carriage::Cloned;
    let files = plan.files_after(&context.head.files, context.head.alignment_bytes.into());
    let Relaid { indexes, chain, after } =
        relaid(context, &parts, &relocation.indexes, &files, &mut piece.steps).await?;
    let operation = Operation::Compact { files: piece.files.len() as u64, carriage };
    let views = BlockViews { before: maps, after: after.iter().collect(), others: piece.steps.values().collect() };
    let draft = context.draft_operation(operation, plan, chain, indexes, views).await?;
    Ok(Next::Piece(Box::new(DraftedOperation { header: Some(header), ..draft })))
}

/// The files below the threshold, the sparsest first.
fn sparse(head: &Head, settings: &Compact, epoch: u32) -> Vec<ObjectId> {
    // Machines are only ever added, so no file's header takes more room than one with all of them.
    let region = region_bytes(head.machines.iter().map(|name| name.as_str()), head.alignment_bytes.into());
    let is_sparse = |id: &ObjectId, file: &FileState| {
        id.epoch() < epoch
            && file.live_bytes + region < file.length
            // What a file begins with is never superseded.
            && settings.below_live.is_above(file.live_bytes, file.length - region)
    };
    let sparse = head.files.iter().filter(|(id, file)| is_sparse(id, file));
    let mut sparse: Vec<(ObjectId, FileState)> = sparse.map(|(id, file)| (*id, *file)).collect();
    let live = |file: &FileState| u128::from(file.live_bytes);
    sparse.sort_by(|(_, left), (_, right)| {
        (live(left) * u128::from(right.length)).cmp(&(live(right) * u128::from(left.length)))
    });
    sparse.into_iter().map(|(id, _)| id).collect()
}

/// The files of a full that is spread over more of them than it may be, the smallest first.
async fn scattered(context: &mut PlanContext<'_>, settings: &Compact, epoch: u32) -> Result<Option<Vec<ObjectId>>> {
    let Some(files_max) = settings.files_max.filter(|_| context.repository.backend_granularity().is_none()) else {
        return Ok(None);
    };
    for full in context.head.chain.points().iter().filter(|point| point.kind == PointKind::Full) {
        let files = context.indexes.step(full).await?.files();
        if files.len() as u64 <= u64::from(files_max) {
            continue;
        }
        let live = |id: &ObjectId| context.head.files.get(id).map_or(0, |file| file.live_bytes);
        let mut files: Vec<ObjectId> = files.into_iter().filter(|id| id.epoch() < epoch).collect();
        files.sort_by_key(live);
        return Ok(Some(files));
    }
    Ok(None)
}

/// Which points' indexes list which files. A listed file may be hidden by an index above; the points' steps decide.
struct Layers {
    files: BTreeMap<Sequence, BTreeSet<ObjectId>>,
    archives: BTreeSet<Sequence>,
}

impl Layers {
    async fn of(context: &mut PlanContext<'_>) -> Result<Self> {
        let mut files: BTreeMap<Sequence, BTreeSet<ObjectId>> = BTreeMap::new();
        for point in context.head.chain.all() {
            let listed = files.entry(point.sequence).or_default();
            for index in point.indexes() {
                listed.extend(context.indexes.files(index, point).await?);
            }
        }
        let archives = context.head.chain.archives().iter().map(|archive| archive.sequence).collect();
        Ok(Self { files, archives })
    }

    fn points(&self, file: ObjectId) -> BTreeSet<Sequence> {
        self.files.iter().filter(|(_, files)| files.contains(&file)).map(|(sequence, _)| *sequence).collect()
    }
}

/// Frames that move together.
#[derive(Default)]
struct Piece {
    frames: BTreeSet<(ObjectId, u64)>,
    files: BTreeSet<ObjectId>,
    /// How many of the files have no other frame.
    emptied: usize,
    /// What the points say that refer to the files.
    steps: BTreeMap<Sequence, BlockMap>,
    bytes: u64,
    /// Whether there are frames that the run's bounds leave no room for.
    is_bounded: bool,
}

impl Piece {
    /// Takes frames of `files`, in that order, as long as they fit; not those that are known to be damaged.
    ///
    /// Blocks of files that different archives refer to are not brought together: an archive that shares no file stays alone.
    async fn fill(
        &mut self,
        context: &mut PlanContext<'_>,
        layers: &Layers,
        files: &[ObjectId],
        noted: &VerificationNotes,
        (piece_bytes, room): (u64, u64),
    ) -> Result<()> {
        let alignment = u64::from(context.head.alignment_bytes);
        let mut together: Option<BTreeSet<Sequence>> = None;
        for file in files {
            let points = layers.points(*file);
            for sequence in &points {
                let Some(point) = context.head.chain.get(*sequence) else {
                    return Err(Error::defect(format!("restore point {sequence} is none")));
                };
                if !self.steps.contains_key(sequence) {
                    self.steps.insert(*sequence, context.indexes.step(point).await?);
                }
            }
            let in_file = |step: &BlockMap| step.picked(|_, _, _, at| (at.file == *file).then_some(at));
            let rows: Vec<BlockMap> =
                points.iter().filter_map(|sequence| self.steps.get(sequence)).map(in_file).collect();
            let (live, damaged): (Vec<_>, Vec<_>) = references(&rows).into_iter().partition(|at| !noted.names(at));
            if live.is_empty() {
                // Nothing but what a copy that was cut off has left for the next one, or what cannot be moved.
                continue;
            }
            let archives: BTreeSet<Sequence> = points.intersection(&layers.archives).copied().collect();
            if *together.get_or_insert_with(|| archives.clone()) != archives {
                continue;
            }
            for at in live {
                let bytes = u64::from(at.length).next_multiple_of(alignment);
                let is_first = self.frames.is_empty();
                self.is_bounded |= self.bytes + bytes > room;
                if self.is_bounded || (self.bytes + bytes > piece_bytes && !is_first) {
                    return Ok(());
                }
                self.bytes += bytes;
                self.frames.insert((at.file, at.offset));
                self.files.insert(*file);
            }
            self.emptied += usize::from(damaged.is_empty());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::LiveShare;
    use super::*;
    use crate::sample::empty_head;

    const REGION: u64 = 4_096;

    /// Of files with so many live bytes, each as long as its header's region and ten more of it.
    fn sparse_of(live_bytes: &[u64], below_live: LiveShare) -> Vec<ObjectId> {
        let file = |live_bytes: &u64| FileState::new(11 * REGION, *live_bytes);
        let files = (1..).map(|count| ObjectId::new(1, count)).zip(live_bytes.iter().map(file));
        let mut head = empty_head();
        head.files = files.collect();
        sparse(&head, &Compact::below(below_live), 2)
    }

    #[test]
    fn the_sparsest_file_comes_first() {
        assert_eq!(region_bytes(std::iter::empty(), REGION), REGION);
        let sparse = sparse_of(&[4 * REGION, 2 * REGION, 10 * REGION, 3 * REGION], LiveShare::ALL);
        assert_eq!(sparse, [2, 4, 1].map(|count| ObjectId::new(1, count)), "what has nothing superseded is left alone");
    }

    #[test]
    fn a_share_is_one_of_what_lies_behind_the_header() {
        let half = LiveShare::new(0.5).unwrap();
        assert_eq!(sparse_of(&[5 * REGION - 1, 5 * REGION, 6 * REGION], half), [ObjectId::new(1, 1)]);
    }
}
