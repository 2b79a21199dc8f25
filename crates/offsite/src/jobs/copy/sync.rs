//! The sync phase: what is new in the sources becomes a restore point of the copy.

use std::collections::BTreeMap;
use std::time::Instant;

use offsite_core::plan::{Cost, Plan};
use offsite_core::{MachineName, PointKind};

use super::offer::{NewPoint, Offer};
use super::request::SyncRequest;
use super::source::Sources;
use super::{CopyJob, latest_state};
use crate::commit::point::{Abandoned, Addition, commit_point};
use crate::commit::room::Room;
use crate::commit::writer::Writer;
use crate::mover::{Copied, Ending, Output, block_counts, copy};
use crate::progress::Task;
use crate::reader::indexes::Indexes;
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
    ) -> Result<SyncOutcome> {
        let head = writer.head().clone();
        let latest = latest_state(&head, indexes).await?;
        let offer = self.offer(&mut writer.plan_context(indexes), sources, &latest, request).await?;
        drop(latest);
        let Offer { stored, nothing, selected, labels, others, failure, notes, doubts } = offer;
        if let Some(error) = nothing {
            return Err(error);
        }
        writer.label(&labels);
        left_out.clone_from(&others);
        let notes = sources.notes().chain(self.notes.iter().cloned()).chain(notes).collect();
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
        let copied = self.store(writer, indexes, sources, request, stored, &mut outcome).await?;
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

    /// Copies what was chosen, as far as it comes, and commits it as a restore point.
    async fn store(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &Sources,
        request: &SyncRequest,
        stored: NewPoint,
        outcome: &mut SyncOutcome,
    ) -> Result<Copied> {
        let start = Instant::now();
        let frames = sources.frames();
        let before = (block_counts(&frames), self.target.block_counts());
        let layout = writer.layout().clone();
        let placement = stored.header.placement(&self.target);
        let output = Output::new(&self.target, &layout, stored.header.clone());
        let gate = request.gate.as_ref();
        let progress = Control::new(self.progress.as_ref(), gate).teller(Task::Copy, &self.name);
        let copied = copy(&stored.plan, &frames, placement, output, progress).await?;
        let reasons = reasons(&stored, &copied, sources).await;
        let why = |name: &MachineName| reasons.get(name).cloned().map_or(Reason::TransferEnded, Reason::Failed);
        let (machines, predecessor, joins) = (stored.machines.clone(), stored.predecessor, stored.joins);
        let settled = stored.settle(writer.head(), &self.target, Some(&copied))?;
        for machine in &machines {
            let result = match settled.transferred.get(&machine.name) {
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
        outcome.notes.extend(settled.kept.iter().map(kept));
        let has_whole = settled.transferred.len() < machines.len();
        if !has_whole && copied.places.iter().all(Option::is_none) {
            // Nothing arrived, and what had arrived before is still there.
            return Ok(copied);
        }
        let planned = planned(&settled.plan, &copied);
        let (sequence, time, full) =
            (settled.point.sequence, settled.point.time, settled.point.kind == PointKind::Full);
        let addition = Addition {
            rollback: None,
            point: settled.point,
            plan: settled.plan,
            predecessor_flags: predecessor,
            spare: &settled.spare_before,
            abandoned: Abandoned::default(),
        };
        commit_point(writer, indexes, addition).await?;
        let tally = Tally {
            planned,
            source: BlockTraffic::between(before.0, block_counts(&frames)),
            target: BlockTraffic::between(before.1, self.target.block_counts()),
            duration: start.elapsed(),
        };
        let is_whole = |name: &MachineName| !settled.transferred.contains_key(name);
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

/// What a copy was to cost, given how far it came.
fn planned(plan: &Plan, copied: &Copied) -> Cost {
    let mut cost = plan.cost();
    if !(matches!(copied.ending, Ending::Done | Ending::Stopped) && copied.damaged.is_empty()) {
        // What was left out lies among what was read.
        (cost.bytes_read, cost.read_requests) = (copied.bytes_read, copied.read_requests);
    }
    cost
}

/// Why machines are not whole, as far as that is the sources' doing.
async fn reasons(stored: &NewPoint, copied: &Copied, sources: &Sources) -> BTreeMap<MachineName, ErrorSummary> {
    let mut reasons = copied.damaged.clone();
    for (name, why) in &mut reasons {
        let folder = stored.sources.get(name).and_then(|number| sources.get(usize::try_from(*number).ok()?));
        let Some(folder) = folder else { continue };
        match folder.is_expired().await {
            Ok(true) => *why = (&Error::expired(folder.job())).into(),
            Ok(false) => {}
            Err(outage) => *why = (&outage).into(),
        }
    }
    reasons
}
