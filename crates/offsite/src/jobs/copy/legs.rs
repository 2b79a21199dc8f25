//! The legs of a copy, which are committed one after the other.
//!
//! A leg that ends before the copy does is committed by a checkpoint: the restore point as it would be if the copy ended there. The
//! next leg joins that point, as the next sync would. So a killed copy loses what came after its last checkpoint, and the chain has
//! nothing that a stopped copy would not leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;

use futures::future::{Either, select};
use offsite_core::plan::{Cost, Move, move_batches};
use offsite_core::{MachineName, ObjectId, PointKind, Sequence, Timestamp, Transferred};

use super::offer::{Brought, Checkpoint, NewPoint, Settled};
use crate::commit::point::{Abandoned, Addition, commit_point};
use crate::commit::writer::Writer;
use crate::mover::{self, Copied, EndedLeg, Ending, FrameSource, Leg, Output, Pace, Route, copy, relay};
use crate::reader::indexes::Indexes;
use crate::seams::is_broken;
use crate::teller::Running;
use crate::{OpenRepository, Result};

/// A copy under way: what of it is committed, and what is left.
pub(super) struct Legs<'a> {
    writer: &'a mut Writer,
    indexes: &'a mut Indexes,
    target: &'a OpenRepository,
    /// What is left of the restore point.
    point: NewPoint,
    /// The id for the next index.
    id: Option<ObjectId>,
    /// Where each block is that has arrived, by the place that was planned for it.
    places: BTreeMap<(ObjectId, u64), (ObjectId, u64)>,
    /// The cost of what was committed.
    cost: Cost,
    /// The index of the last checkpoint.
    checkpoint: Option<ObjectId>,
}

/// How a copy was committed at its end.
pub(super) struct Committed {
    pub(super) sequence: Sequence,
    pub(super) time: Timestamp,
    pub(super) is_full: bool,
    /// What the copy was to cost, given how far it came.
    pub(super) cost: Cost,
}

/// What has become of the machines at the end of a copy.
pub(super) struct End {
    /// How far machines came that are not whole.
    pub(super) transferred: BTreeMap<MachineName, Transferred>,
    /// Machines that could not be read whole, and of which the chain has the same state.
    pub(super) kept: BTreeSet<MachineName>,
    /// `None` if nothing has arrived.
    pub(super) committed: Option<Committed>,
}

impl<'a> Legs<'a> {
    pub(super) fn new(
        writer: &'a mut Writer,
        indexes: &'a mut Indexes,
        target: &'a OpenRepository,
        point: NewPoint,
    ) -> Self {
        let (id, places, cost) = (Some(point.id), BTreeMap::new(), Cost::default());
        Self { writer, indexes, target, point, id, places, cost, checkpoint: None }
    }

    /// Copies these blocks as far as they come, and commits each leg that ends before the copy does.
    ///
    /// Returns the last leg, whose files are durable. If it fails, the error is one of the target, and nothing of the last legs counts.
    pub(super) async fn carry(
        &mut self,
        moves: &[Move],
        sources: &[FrameSource],
        pace: Pace,
        progress: &Running<'_>,
        copied: &mut Copied,
    ) -> Result<Leg> {
        let header = self.point.header.clone();
        let (repository, layout) = (self.target.clone(), self.writer.layout().clone());
        let route = Route { sources, placement: header.placement(&repository) };
        let mut ids: VecDeque<ObjectId> = self.point.plan.files.keys().copied().collect();
        let mut output = Output::new(&repository, &layout, header);
        let (relay, ended) = relay(pace);
        let carried = {
            let output = &mut output;
            let carrying = pin!(async move {
                let leg = copy(moves, route, &mut ids, output, progress, &relay, copied).await?;
                output.finish().await?;
                Ok(leg)
            });
            match select(pin!(self.commit_each(ended)), carrying).await {
                Either::Left((Err(error), _)) => Err(error),
                Either::Left((Ok(()), carrying)) => carrying.await,
                Either::Right((leg, committing)) => {
                    let committed = committing.await;
                    leg.and_then(|leg| committed.map(|()| leg))
                }
            }
        };
        if carried.is_err() {
            output.abort().await;
        }
        carried
    }

    /// Commits the legs that end before the copy does, each before it takes the next.
    pub(super) async fn commit_each(&mut self, mut legs: mover::Legs) -> Result<()> {
        while let Some(EndedLeg { leg, mut file, ids }) = legs.next().await {
            let fresh = leg.files.keys().map(|_| self.writer.mint()).collect();
            // The copy may have been cut off meanwhile.
            let _ = ids.send(fresh);
            let is_late = is_broken!(CheckpointBeforeFile);
            if let Some(file) = file.take_if(|_| !is_late) {
                file.finish().await?;
            }
            self.checkpoint(leg).await?;
            if let Some(file) = file {
                file.finish().await?;
            }
        }
        Ok(())
    }

    /// Commits what a leg has brought. Its files are durable.
    async fn checkpoint(&mut self, leg: Leg) -> Result<()> {
        let settled = self.settle(leg, &BTreeSet::new())?;
        let Settled { plan, transferred, .. } = &settled;
        let (whole, transferred) = (plan.index.clone(), transferred.clone());
        let point = self.commit(settled).await?;
        let map = self.indexes.map(&point.index, &point).await?;
        let spare = self.indexes.live_spare(self.writer.head()).await?;
        if let Some(before) = self.checkpoint.replace(point.index.id) {
            self.indexes.forget(before);
        }
        self.point.go_on(point, (*map).clone(), Checkpoint { whole, spare, transferred });
        Ok(())
    }

    /// The restore point, with one more leg.
    fn settle(&mut self, leg: Leg, damaged: &BTreeSet<MachineName>) -> Result<Settled> {
        let Leg { blocks, files } = leg;
        if is_broken!(EarlierLegsForgotten) {
            self.places.clear();
        }
        self.places.extend(blocks.iter().map(|(step, planned)| (*planned, (step.to.file, step.to.offset))));
        let moves = blocks.into_iter().map(|(step, _)| step).collect();
        let id = self.id.take().unwrap_or_else(|| self.writer.mint());
        let brought = Brought { moves, files, places: &self.places, damaged };
        self.point.settle(self.writer.head(), self.target, id, brought)
    }

    async fn commit(&mut self, settled: Settled) -> Result<offsite_core::RestorePoint> {
        let Settled { point, plan, spare_before, .. } = settled;
        let cost = plan.cost();
        let addition = Addition {
            rollback: None,
            point,
            plan,
            predecessor_flags: self.point.predecessor,
            spare: &spare_before,
            abandoned: Abandoned::default(),
        };
        let point = commit_point(self.writer, self.indexes, addition).await?;
        self.cost.blocks += cost.blocks;
        self.cost.bytes_written += cost.bytes_written;
        self.cost.bytes_released += cost.bytes_released;
        self.cost.bytes_linked += cost.bytes_linked;
        self.cost.peak_extra_bytes += cost.peak_extra_bytes;
        Ok(point)
    }

    /// Commits what the last leg has brought. Its files are durable. `moves` are all blocks of the copy.
    pub(super) async fn end(mut self, leg: Leg, moves: &[Move], copied: &Copied) -> Result<End> {
        let has_arrived = !self.places.is_empty() || !leg.blocks.is_empty();
        let damaged = copied.damaged.keys().cloned().collect();
        let settled = self.settle(leg, &damaged)?;
        let (transferred, kept) = (settled.transferred.clone(), settled.kept.clone());
        let has_whole = settled.point.machines.iter().any(|machine| {
            let is_copied = self.point.machines.iter().any(|copy| copy.name == machine.name);
            is_copied && !transferred.contains_key(&machine.name)
        });
        if !has_whole && !has_arrived {
            // What had arrived before is still there.
            return Ok(End { transferred, kept, committed: None });
        }
        let point = self.commit(settled).await?;
        let mut cost = self.cost;
        // What was left out lies among what was read.
        (cost.bytes_read, cost.read_requests) = (copied.bytes_read, copied.read_requests);
        if matches!(copied.ending, Ending::Done | Ending::Stopped) && copied.damaged.is_empty() {
            let reads = move_batches(&moves[..self.places.len()]);
            cost.bytes_read = reads.iter().map(|batch| batch.range.end - batch.range.start).sum();
            cost.read_requests = reads.len() as u64;
        }
        let is_full = point.kind == PointKind::Full;
        let committed = Some(Committed { sequence: point.sequence, time: point.time, is_full, cost });
        Ok(End { transferred, kept, committed })
    }
}
