//! The sync phase: what is new in the sources becomes a restore point of the copy.

use std::collections::BTreeMap;
use std::time::Instant;

use offsite_core::MachineName;
use offsite_core::plan::Plan;

use super::legs::{Committed, Legs, Way};
use super::offer::{NewPoint, Offer};
use super::outages::Outages;
use super::precedence::Precedence;
use super::request::SyncRequest;
use super::source::Sources;
use super::{CopyJob, latest_state};
use crate::cache::Kept;
use crate::commit::room::Room;
use crate::commit::writer::Writer;
use crate::lending::lenders::Lenders;
use crate::mover::{Copied, Ending, Keeping, block_counts};
use crate::progress::{Step, Task};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{
    Amount, BlockTraffic, ErrorSummary, MachineOutcome, MachineReport, Note, Reason, SyncOutcome, SyncReport, Tally,
};
use crate::teller::Control;
use crate::{Error, Result};

impl CopyJob {
    /// Copies what is new, and commits it, be it only in part.
    ///
    /// `left_out` gets what was found of machines that cannot be copied, as the error of a sync tells of one thing only.
    pub(super) async fn sync_with(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
        left_out: &mut Vec<MachineReport>,
        outages: &Outages<'_>,
    ) -> Result<SyncOutcome> {
        let mut lenders = Lenders::new(true);
        let result = self.sync_borrowing(writer, indexes, sources, request, left_out, outages, &mut lenders).await;
        lenders.release().await;
        result
    }

    #[allow(clippy::too_many_arguments, reason = "all that a copy has found and opened")]
    async fn sync_borrowing(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
        left_out: &mut Vec<MachineReport>,
        outages: &Outages<'_>,
        lenders: &mut Lenders,
    ) -> Result<SyncOutcome> {
        let offer = loop {
            let offered = self.offered(writer, indexes, sources, request, lenders).await;
            if let Some(answer) = outages.judged(offered).await {
                break answer?;
            }
            std::mem::replace(lenders, Lenders::new(true)).release().await;
        };
        let Offer { stored, nothing, selected, labels, others, failure, notes, doubts } = offer;
        if let Some(error) = nothing {
            return Err(error);
        }
        writer.label(&labels);
        left_out.clone_from(&others);
        let notes =
            sources.notes().chain(self.notes.iter().cloned()).chain(notes).chain(lenders.notes.drain(..)).collect();
        let mut outcome =
            SyncOutcome { sync: None, history: None, filled: Vec::new(), machines: others, notes, doubts };
        let Some(stored) = stored else {
            writer.select(&selected);
            return match failure {
                Some(error) if !outcome.machines.iter().any(is_fine) => Err(error),
                _ => Ok(outcome),
            };
        };
        Room::of(&self.target, &stored.plan.cost(), self.min_free_bytes).await?.require(&self.target, Task::Copy)?;
        let copied = self.store(writer, indexes, (sources, lenders), request, stored, &mut outcome, outages).await?;
        // Only now does the chain have the machines that are new.
        writer.select(&selected);
        outcome.machines.sort_by(|left, right| left.name.cmp(&right.name));
        let is_all_lost = !outcome.machines.iter().any(is_fine);
        match (copied.ending, copied.damage.or(failure)) {
            (Ending::Failed(error), _) => Err(error),
            (Ending::Done, Some(error)) if is_all_lost => Err(error),
            _ => Ok(outcome),
        }
    }

    async fn offered(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
        lenders: &mut Lenders,
    ) -> Result<Offer> {
        let head = writer.head().clone();
        let latest = latest_state(&head, indexes).await?;
        self.offer(&mut writer.plan_context(indexes), sources, &latest, request, lenders).await
    }

    /// Copies what was chosen, as far as it comes, and commits it as a restore point.
    #[allow(clippy::too_many_arguments, reason = "all that a copy has found and opened")]
    async fn store(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        (sources, lenders): (&Sources, &Lenders),
        request: &SyncRequest,
        mut stored: NewPoint,
        outcome: &mut SyncOutcome,
        outages: &Outages<'_>,
    ) -> Result<Copied> {
        let start = Instant::now();
        let mut frames = sources.frames();
        let of_sources = frames.len();
        frames.extend(lenders.frames());
        let before = (block_counts(&frames[..of_sources]), self.target.block_counts(), lenders.cache_counts());
        let (moves, detours) = (std::mem::take(&mut stored.plan.moves), std::mem::take(&mut stored.plan.detours));
        let plan = Plan { moves, detours, ..Plan::default() };
        let (machines, origins, joins) = (stored.machines.clone(), stored.sources.clone(), stored.joins);
        let gate = request.gate.as_ref();
        let progress = Control::new(self.progress.as_ref(), gate).teller(Task::Copy, &self.name);
        let bytes = plan.moves.iter().map(|step| u64::from(step.from.length)).sum();
        let progress = progress.begin(Step::Transfer, bytes);
        let places = sources.folders().map(JobFolder::repository).chain([&self.target]);
        let pace = self.checkpoints.pace(bytes, places);
        let precedence = Precedence::new(sources, self.progress.clone());
        let mut keeping = lenders.keeper().map(|keeper| Keeping { keeper, away: lenders.away.clone() });
        let mut legs = Legs::new(writer, indexes, &self.target, stored, outages);
        let mut copied = Copied::default();
        let way = Way { sources: &frames, pace, precedence: &precedence };
        let carried = legs.carry(&plan, way, keeping.as_mut(), &progress, &mut copied).await;
        let filled = match keeping {
            Some(keeping) => Some(keeping.keeper.finish().await),
            None => None,
        };
        let last = carried?;
        progress.end();
        let gave_way = precedence.gave_way().await;
        outcome.notes.extend(lenders.unused(&copied.unused));
        outcome.notes.extend(filled.iter().filter_map(not_kept));
        let reasons = reasons(&origins, &copied, sources).await;
        let why = |name: &MachineName| reasons.get(name).cloned().map_or(Reason::TransferEnded, Reason::Failed);
        let end = legs.end(last, &plan, &copied).await?;
        outcome.notes.extend(outages.note());
        for machine in &machines {
            let result = match end.transferred.get(&machine.name) {
                None => MachineOutcome::Complete { captured: machine.captured },
                Some(transferred) => MachineOutcome::Incomplete {
                    captured: Some(machine.captured),
                    transferred: *transferred,
                    why: why(&machine.name),
                },
            };
            outcome.machines.push(MachineReport { name: machine.name.clone(), outcome: result });
        }
        let kept = |name: &MachineName| Note::KeptFromChain { machine: name.clone(), why: why(name) };
        outcome.notes.extend(end.kept.iter().map(kept));
        let Some(Committed { sequence, time, is_full: full, cost: planned }) = end.committed else { return Ok(copied) };
        let cached = filled.as_ref().map_or_else(Amount::default, Kept::amount);
        let tally = Tally {
            planned,
            source: BlockTraffic::between(before.0, block_counts(&frames[..of_sources])),
            target: BlockTraffic::between(before.1, self.target.block_counts())
                .with_reads(BlockTraffic::between(before.2, lenders.cache_counts())),
            duration: start.elapsed(),
        };
        let is_whole = |name: &MachineName| !end.transferred.contains_key(name);
        let machines = machines.into_iter().filter(|machine| is_whole(&machine.name)).collect();
        outcome.sync = Some(SyncReport {
            sequence,
            time,
            full,
            joined: joins,
            machines,
            tally,
            gave_way,
            savings: end.savings,
            look_up: lenders.look_up,
            cached,
        });
        Ok(copied)
    }
}

/// Whether a machine needs no look.
pub(super) fn is_fine(report: &MachineReport) -> bool {
    matches!(
        report.outcome,
        MachineOutcome::Complete { .. } | MachineOutcome::Unchanged { .. } | MachineOutcome::Waiting { .. }
    )
}

/// That the cache did not take what it should have.
fn not_kept(kept: &Kept) -> Option<Note> {
    kept.failure.clone().map(|why| Note::CacheNotFilled { why })
}

/// Why machines are not whole, as far as that is the sources' doing.
async fn reasons(
    origins: &BTreeMap<MachineName, u32>,
    copied: &Copied,
    sources: &Sources,
) -> BTreeMap<MachineName, ErrorSummary> {
    let mut reasons = copied.damaged.clone();
    for (name, why) in &mut reasons {
        let folder = origins.get(name).and_then(|number| sources.get(usize::try_from(*number).ok()?));
        let Some(folder) = folder else { continue };
        match folder.is_expired().await {
            Ok(true) => *why = (&Error::expired(folder.job())).into(),
            Ok(false) => {}
            Err(outage) => *why = (&outage).into(),
        }
    }
    reasons
}
