//! The sync phase: what is new in the sources becomes a restore point of the copy.

use std::collections::BTreeMap;
use std::time::Instant;

use offsite_core::MachineName;

use super::legs::{Committed, Legs};
use super::offer::{NewPoint, Offer};
use super::outages::Outages;
use super::request::SyncRequest;
use super::source::Sources;
use super::{CopyJob, latest_state};
use crate::commit::room::Room;
use crate::commit::writer::Writer;
use crate::mover::{Copied, Ending, block_counts};
use crate::progress::{Step, Task};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{
    BlockTraffic, ErrorSummary, MachineOutcome, MachineReport, Note, Reason, SyncOutcome, SyncReport, Tally,
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
        let offer = loop {
            let offered = self.offered(writer, indexes, sources, request).await;
            if let Some(answer) = outages.judged(offered).await {
                break answer?;
            }
        };
        let Offer { stored, nothing, selected, labels, others, failure, notes, doubts } = offer;
        if let Some(error) = nothing {
            return Err(error);
        }
        writer.label(&labels);
        left_out.clone_from(&others);
        let notes = sources.notes().chain(self.notes.iter().cloned()).chain(notes).collect();
        let mut outcome = SyncOutcome { sync: None, machines: others, notes, doubts };
        let Some(stored) = stored else {
            writer.select(&selected);
            return match failure {
                Some(error) if !outcome.machines.iter().any(is_fine) => Err(error),
                _ => Ok(outcome),
            };
        };
        Room::of(&self.target, &stored.plan.cost(), self.min_free_bytes).await?.require(&self.target, Task::Copy)?;
        let copied = self.store(writer, indexes, sources, request, stored, &mut outcome, outages).await?;
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
    ) -> Result<Offer> {
        let head = writer.head().clone();
        let latest = latest_state(&head, indexes).await?;
        self.offer(&mut writer.plan_context(indexes), sources, &latest, request).await
    }

    /// Copies what was chosen, as far as it comes, and commits it as a restore point.
    #[allow(clippy::too_many_arguments, reason = "all that a copy has found and opened")]
    async fn store(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
        mut stored: NewPoint,
        outcome: &mut SyncOutcome,
        outages: &Outages<'_>,
    ) -> Result<Copied> {
        let start = Instant::now();
        let frames = sources.frames();
        let before = (block_counts(&frames), self.target.block_counts());
        let moves = std::mem::take(&mut stored.plan.moves);
        let (machines, origins, joins) = (stored.machines.clone(), stored.sources.clone(), stored.joins);
        let gate = request.gate.as_ref();
        let progress = Control::new(self.progress.as_ref(), gate).teller(Task::Copy, &self.name);
        let bytes = moves.iter().map(|step| u64::from(step.from.length)).sum();
        let progress = progress.begin(Step::Transfer, bytes);
        let places = sources.folders().map(JobFolder::repository).chain([&self.target]);
        let pace = self.checkpoints.pace(bytes, places);
        let mut legs = Legs::new(writer, indexes, &self.target, stored, outages);
        let mut copied = Copied::default();
        let last = legs.carry(&moves, &frames, pace, &progress, &mut copied).await?;
        progress.end();
        let reasons = reasons(&origins, &copied, sources).await;
        let why = |name: &MachineName| reasons.get(name).cloned().map_or(Reason::TransferEnded, Reason::Failed);
        let end = legs.end(last, &moves, &copied).await?;
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
        let tally = Tally {
            planned,
            source: BlockTraffic::between(before.0, block_counts(&frames)),
            target: BlockTraffic::between(before.1, self.target.block_counts()),
            duration: start.elapsed(),
        };
        let is_whole = |name: &MachineName| !end.transferred.contains_key(name);
        let machines = machines.into_iter().filter(|machine| is_whole(&machine.name)).collect();
        outcome.sync = Some(SyncReport { sequence, time, full, joined: joins, machines, tally });
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
