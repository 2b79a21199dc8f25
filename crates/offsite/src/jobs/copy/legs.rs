//! The legs of a copy, which are committed one after the other.
//!
//! A leg that ends before the copy does is committed by a checkpoint: the restore point as it would be if the copy ended there. The
//! next leg joins that point, as the next sync would. So a killed copy loses what came after its last checkpoint, and the chain has
//! nothing that a stopped copy would not leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;

use futures::future::{Either, select};
use offsite_core::plan::{Came, Cost, Move, Plan, Savings};
use offsite_core::{
    BlockMap, MachineName, ObjectId, PointKind, RestorePoint, Sequence, StoredBlock, Timestamp, Transferred,
};
use tokio::time::Instant;

use super::offer::{Brought, Checkpoint, NewPoint, Settled};
use super::outages::{Outages, Waited, is_outage};
use crate::commit::point::{Abandoned, Addition, commit_point};
use crate::commit::writer::Writer;
use crate::mover::{
    Copied, EndedLeg, EndedLegs, Ending, FrameSource, GivesWay, Keeping, Leg, Output, Pace, Route, copy, relay,
};
use crate::reader::indexes::Indexes;
use crate::seams::is_broken;
use crate::teller::Running;
use crate::{Error, OpenRepository, Result};

/// A copy under way: what of it is committed, and what is left.
pub(super) struct Legs<'a> {
    writer: &'a mut Writer,
    indexes: &'a mut Indexes,
    target: &'a OpenRepository,
    /// What is left of the restore point.
    point: NewPoint,
    /// The id for the next index.
    id: Option<ObjectId>,
    /// Ids for the next files.
    ids: VecDeque<ObjectId>,
    outages: &'a Outages<'a>,
    /// Where each block is that has arrived, by the place that was planned for it.
    places: BTreeMap<(ObjectId, u64), StoredBlock>,
    /// The cost of what was committed.
    cost: Cost,
    /// The index of the last checkpoint.
    checkpoint: Option<ObjectId>,
}

/// Where a copy reads from, and how.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// The folders of the sources, and then those of the lenders.
    pub(super) sources: &'a [FrameSource],
    pub(super) pace: Pace,
    /// The backups that it gives way to.
    pub(super) precedence: &'a dyn GivesWay,
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
    pub(super) savings: Savings,
    /// `None` if nothing has arrived.
    pub(super) committed: Option<Committed>,
}

impl<'a> Legs<'a> {
    pub(super) fn new(
        writer: &'a mut Writer,
        indexes: &'a mut Indexes,
        target: &'a OpenRepository,
        point: NewPoint,
        outages: &'a Outages<'a>,
    ) -> Self {
        let (id, places, cost) = (Some(point.id), BTreeMap::new(), Cost::default());
        let ids = point.plan.files.keys().chain(&point.reserve).copied().collect();
        Self { writer, indexes, target, point, id, ids, outages, places, cost, checkpoint: None }
    }

    /// Copies these blocks as far as they come, and commits each leg that ends before the copy does. If a place cannot be reached, it
    /// commits what has arrived, waits, and goes on.
    ///
    /// Returns the last leg, whose files are durable. If it fails, the error is one of the target, and the last legs are lost.
    pub(super) async fn carry(
        &mut self,
        plan: &Plan,
        way: Way<'_>,
        mut keeping: Option<&mut Keeping>,
        progress: &Running<'_>,
        copied: &mut Copied,
    ) -> Result<Leg> {
        let mut rest: Option<Plan> = None;
        let mut arrived = 0;
        loop {
            let carried = {
                let keeping = keeping.as_deref_mut();
                self.carry_on(rest.as_ref().unwrap_or(plan), way, keeping, progress, copied).await
            };
            let (leg, error) = match carried {
                Ok(leg) => match std::mem::take(&mut copied.ending) {
                    Ending::Failed(error) => (leg, error),
                    Ending::Done if self.lacks(plan, &leg, copied) => {
                        // A leg was lost, as the target could not be reached.
                        self.checkpoint(leg).await?;
                        rest = Some(self.missing(plan, copied));
                        continue;
                    }
                    ending => {
                        copied.ending = ending;
                        return Ok(leg);
                    }
                },
                Err(error) => {
                    self.target_is_back(error, &mut arrived).await?;
                    rest = Some(self.missing(plan, copied));
                    continue;
                }
            };
            if !is_outage(&error) || !self.outages.are_waited_for() {
                copied.ending = Ending::Failed(error);
                return Ok(leg);
            }
            if !leg.blocks.is_empty() {
                self.checkpoint(leg).await?;
            }
            match self.waited(&error, &mut arrived).await {
                Waited::TryAgain => rest = Some(self.missing(plan, copied)),
                Waited::Stopped => {
                    copied.ending = Ending::Stopped;
                    return Ok(Leg::default());
                }
                Waited::GiveUp => {
                    copied.ending = Ending::Failed(error);
                    return Ok(Leg::default());
                }
            }
        }
    }

    /// Waits after a failure. If more has arrived than before the last one, it is another outage.
    async fn waited(&self, error: &Error, arrived: &mut usize) -> Waited {
        if std::mem::replace(arrived, self.places.len()) < self.places.len() {
            self.outages.succeed();
        }
        self.outages.wait(error).await
    }

    /// Waits until the target answers again, so that nothing is read in vain. The lease must not be lost.
    async fn target_is_back(&self, mut error: Error, arrived: &mut usize) -> Result<()> {
        loop {
            if self.waited(&error, arrived).await != Waited::TryAgain {
                return Err(error);
            }
            match self.writer.is_newest().await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Error::fenced(self.writer.layout().job())),
                Err(next) => error = next,
            }
        }
    }

    /// Whether a block has not arrived, and is not known to be damaged.
    fn is_missing(&self, step: &Move, copied: &Copied) -> bool {
        let planned = (step.to.file, step.to.offset);
        !self.places.contains_key(&planned) && !copied.lost.contains(&planned)
    }

    /// Whether blocks are missing that `leg` does not have either.
    fn lacks(&self, plan: &Plan, leg: &Leg, copied: &Copied) -> bool {
        let arrived: BTreeSet<(ObjectId, u64)> = leg.blocks.iter().map(|(_, planned)| *planned).collect();
        let is_left = |step: &Move| self.is_missing(step, copied) && !arrived.contains(&(step.to.file, step.to.offset));
        plan.moves.iter().any(is_left)
    }

    /// The plan for the blocks that are missing.
    fn missing(&self, plan: &Plan, copied: &Copied) -> Plan {
        plan.part(|step| self.is_missing(step, copied))
    }

    async fn carry_on(
        &mut self,
        plan: &Plan,
        Way { sources, pace, precedence }: Way<'_>,
        keeping: Option<&mut Keeping>,
        progress: &Running<'_>,
        copied: &mut Copied,
    ) -> Result<Leg> {
        let header = self.point.header.clone();
        let (repository, layout) = (self.target.clone(), self.writer.layout().clone());
        let placement = header.placement(&repository);
        while self.ids.len() < self.point.plan.files.len() + self.point.reserve.len() {
            self.ids.push_back(self.writer.mint());
        }
        let mut ids = std::mem::take(&mut self.ids);
        let mut output = Output::new(&repository, &layout, header);
        let (relay, ended) = relay(pace);
        let carried = {
            let (output, ids) = (&mut output, &mut ids);
            let route = Route { sources, placement, precedence, keeping };
            let carrying = pin!(async move {
                let leg = copy(plan, route, ids, output, progress, &relay, copied).await?;
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
        self.ids = ids;
        if carried.is_err() {
            output.abort().await;
        }
        carried
    }

    /// Commits the legs that end before the copy does, each before it takes the next.
    async fn commit_each(&mut self, mut legs: EndedLegs) -> Result<()> {
        while let Some(EndedLeg { leg, mut file, ids }) = legs.next().await {
            let fresh = leg.files.keys().map(|_| self.writer.mint()).collect();
            // The copy may have been cut off meanwhile.
            let _ = ids.send(fresh);
            let is_late = is_broken!(CheckpointBeforeFile);
            if let Some(file) = file.take_if(|_| !is_late) {
                match file.finish().await {
                    // Whether the file is there is unknown. Its blocks are copied again, into another one.
                    Err(error) if is_outage(&error) => match self.outages.wait(&error).await {
                        Waited::TryAgain => continue,
                        Waited::Stopped | Waited::GiveUp => return Err(error),
                    },
                    answer => answer?,
                }
            }
            let start = Instant::now();
            self.checkpoint(leg).await?;
            legs.committed(start.elapsed());
            if let Some(file) = file {
                file.finish().await?;
            }
        }
        Ok(())
    }

    /// Commits what a leg has brought. Its files are durable.
    async fn checkpoint(&mut self, leg: Leg) -> Result<()> {
        let (point, settled) = self.commit(&leg, &BTreeSet::new()).await?;
        let map = self.indexes.map(&point.index, &point).await?;
        let spare = self.indexes.live_spare(self.writer.head()).await?;
        if let Some(before) = self.checkpoint.replace(point.index.id) {
            self.indexes.forget(before);
        }
        self.point.go_on(point, (*map).clone(), Checkpoint { spare, ..settled });
        Ok(())
    }

    /// The restore point, with one more leg.
    fn settle(&mut self, leg: &Leg, damaged: &BTreeSet<MachineName>) -> Result<Settled> {
        if is_broken!(EarlierLegsForgotten) {
            self.places.clear();
        }
        self.places.extend(leg.blocks.iter().map(|(step, planned)| (*planned, step.to)));
        let moves = leg.blocks.iter().map(|(step, _)| step.clone()).collect();
        let id = self.id.take().unwrap_or_else(|| self.writer.mint());
        let brought = Brought { moves, files: leg.files.clone(), places: &self.places, damaged };
        self.point.settle(self.writer.head(), self.target, id, brought)
    }

    /// Commits the restore point with one more leg. If the target cannot be reached, it waits, and tries again.
    async fn commit(&mut self, leg: &Leg, damaged: &BTreeSet<MachineName>) -> Result<(RestorePoint, Checkpoint)> {
        let committed = self.commit_patiently(leg, damaged).await;
        if committed.is_err() {
            for (_, planned) in &leg.blocks {
                self.places.remove(planned);
            }
        }
        committed
    }

    async fn commit_patiently(
        &mut self,
        leg: &Leg,
        damaged: &BTreeSet<MachineName>,
    ) -> Result<(RestorePoint, Checkpoint)> {
        loop {
            // An index that was stored and not committed keeps its name, so each try has another one.
            let Settled { point, plan, spare_before, transferred, kept } = self.settle(leg, damaged)?;
            let (cost, whole) = (plan.cost(), plan.index.clone());
            let addition = Addition {
                rollback: None,
                point,
                plan,
                predecessor_flags: self.point.predecessor,
                spare: &spare_before,
                abandoned: Abandoned::default(),
            };
            let mut committed = commit_point(self.writer, self.indexes, addition).await;
            while let Err(error @ Error::CommitUnknown { .. }) = committed {
                if self.outages.wait(&error).await != Waited::TryAgain {
                    return Err(error);
                }
                committed = self.writer.finish_commit().await.and_then(|()| {
                    let latest = self.writer.head().chain.latest().cloned();
                    latest.ok_or_else(|| Error::defect("a commit has left no restore point".to_owned()))
                });
            }
            let Some(point) = self.outages.judged(committed).await else { continue };
            let point = point?;
            self.cost.blocks += cost.blocks;
            self.cost.bytes_written += cost.bytes_written;
            self.cost.bytes_released += cost.bytes_released;
            self.cost.bytes_linked += cost.bytes_linked;
            self.cost.peak_extra_bytes += cost.peak_extra_bytes;
            return Ok((point, Checkpoint { whole, spare: BlockMap::empty(), transferred, kept }));
        }
    }

    /// Commits what the last leg has brought. Its files are durable. `plan` has all blocks of the copy.
    pub(super) async fn end(mut self, leg: Leg, plan: &Plan, copied: &Copied) -> Result<End> {
        let has_arrived = !self.places.is_empty() || !leg.blocks.is_empty();
        let damaged = copied.damaged.keys().cloned().collect();
        if !has_arrived {
            // What had arrived before is still there. A machine may need nothing more.
            let id = self.id;
            let Settled { transferred, kept, .. } = self.settle(&leg, &damaged)?;
            self.id = id;
            if self.point.machines.iter().all(|copy| transferred.contains_key(&copy.name)) {
                return Ok(End { transferred, kept, savings: self.savings(plan, copied), committed: None });
            }
        }
        let (point, Checkpoint { transferred, kept, .. }) = self.commit(&leg, &damaged).await?;
        let mut cost = self.cost;
        // What was left out lies among what was read, and what was read instead came on top.
        (cost.bytes_read, cost.read_requests) = (copied.bytes_read, copied.read_requests);
        if !copied.has_strayed && self.outages.note().is_none() {
            let reads = plan.batches_of_first(self.places.len());
            cost.bytes_read = reads.iter().map(|batch| batch.range.end - batch.range.start).sum();
            cost.read_requests = reads.len() as u64;
        }
        let is_full = point.kind == PointKind::Full;
        let committed = Some(Committed { sequence: point.sequence, time: point.time, is_full, cost });
        Ok(End { transferred, kept, savings: self.savings(plan, copied), committed })
    }

    /// What came from the source, and why the rest did not.
    fn savings(&self, plan: &Plan, copied: &Copied) -> Savings {
        self.point.savings.settled(plan, |position| {
            let planned = plan.moves.get(position).map(|step| (step.to.file, step.to.offset));
            match planned.filter(|planned| self.places.contains_key(planned)) {
                Some(planned) => copied.strayed.get(&planned).copied().unwrap_or(Came::AsPlanned),
                None => Came::Not,
            }
        })
    }
}
