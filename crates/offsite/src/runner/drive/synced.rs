//! What a sync that ended means for its interval.

use offsite_core::phase::Event;

use super::Drive;
use super::work::Synced;
use crate::report::{ErrorSummary, MachineOutcome, MachineReport, Reason, SyncOutcome};
use crate::runner::event::RunnerEvent;
use crate::runner::memory::Arrived;

impl Drive {
    pub(super) fn synced(&mut self, Synced { result, arrived, left_out }: Synced) {
        self.gate = None;
        let is_closing = std::mem::take(&mut self.is_closing);
        // Who found another run at work has committed nothing: what has arrived is that run's.
        let is_own = !matches!(&result, Err(failure) if failure.is_busy);
        let failure = result.as_ref().err().filter(|_| is_own).map(|failure| failure.why.clone());
        if result.is_err() {
            self.left_out(left_out, failure.as_ref());
        }
        self.is_refused |= !is_own;
        self.arrived(arrived, is_own, failure);
        let end = match result {
            Ok(outcome) => {
                self.take_in(outcome);
                if is_closing { Event::PointClosed } else { Event::SyncEnded }
            }
            Err(failure) if failure.is_busy && !is_closing => {
                self.known.failed(&failure.why);
                self.tell(RunnerEvent::AtWorkElsewhere { why: &failure.why });
                Event::AtWorkElsewhere { why: failure.why.text }
            }
            Err(failure) => {
                self.failed(&failure);
                let ErrorSummary { text: why, is_retryable } = failure.why;
                // What was committed is told already. Closing again finds no sync, so there it cannot fail.
                if is_closing {
                    Event::CloseFailed { is_retryable: true, why }
                } else {
                    Event::SyncFailed { is_retryable, why }
                }
            }
        };
        self.events.push_back(end);
        self.remember();
    }

    /// Why the machines of a sync that failed were not copied: what it found of each, or else the failure. Without a failure of
    /// its own, another run is at work.
    fn left_out(&mut self, left_out: Vec<MachineReport>, failure: Option<&ErrorSummary>) {
        let why = failure.map_or(Reason::RunAtWork, |failure| Reason::Failed(failure.clone()));
        for machine in &self.ordered {
            self.known.machine(machine.clone(), MachineOutcome::Absent { why: why.clone() });
        }
        for MachineReport { name, outcome } in left_out {
            if self.ordered.contains(&name) && matches!(outcome, MachineOutcome::Absent { .. }) {
                self.known.machine(name, outcome);
            }
        }
    }

    /// What the chain tells of a sync that failed.
    fn arrived(&mut self, arrived: Option<Arrived>, is_own: bool, failure: Option<ErrorSummary>) {
        let Some(arrived) = arrived else { return };
        if is_own {
            self.point = arrived.point.or(self.point);
        } else if self.point.is_none() {
            self.elsewhere.extend(arrived.copied.keys().cloned());
        }
        let known = self.syncs.iter().filter(|sync| !sync.joined).count();
        let points = usize::try_from(arrived.points).unwrap_or(usize::MAX);
        let unknown = u32::try_from(points.saturating_sub(known)).unwrap_or(u32::MAX);
        self.memory.added = self.memory.added.max(unknown);
        for (machine, captured) in arrived.copied {
            self.events.push_back(Event::MachineCopied { machine, captured });
        }
        for (machine, (captured, transferred)) in arrived.partial {
            let why = failure.clone().map_or(Reason::TransferEnded, Reason::Failed);
            let outcome = MachineOutcome::Incomplete { captured: Some(captured), transferred, why };
            self.known.machine(machine.clone(), outcome);
            let (done_bytes, left_bytes) = (transferred.done_bytes, transferred.left_bytes);
            self.events.push_back(Event::Progress { machine, done_bytes, left_bytes });
        }
    }

    fn take_in(&mut self, outcome: SyncOutcome) {
        self.tell(RunnerEvent::SyncEnded(&outcome));
        self.memory.added = self.memory.added.saturating_add(outcome.added());
        // The others are as the look found them.
        for report in outcome.machines.iter().filter(|report| self.ordered.contains(&report.name)) {
            let machine = report.name.clone();
            self.known.machine(machine.clone(), report.outcome.clone());
            match &report.outcome {
                // One that is as it should be without a copy: an earlier try had committed it, or another run.
                MachineOutcome::Complete { captured } | MachineOutcome::Unchanged { captured } => {
                    if matches!(report.outcome, MachineOutcome::Unchanged { .. }) && self.point.is_none() {
                        self.elsewhere.insert(machine.clone());
                    }
                    self.events.push_back(Event::MachineCopied { machine, captured: *captured });
                }
                MachineOutcome::Incomplete { transferred, .. } => {
                    let (done_bytes, left_bytes) = (transferred.done_bytes, transferred.left_bytes);
                    self.events.push_back(Event::Progress { machine, done_bytes, left_bytes });
                }
                MachineOutcome::Waiting { .. } => self.events.push_back(Event::MachineLocked { machine }),
                MachineOutcome::Absent { .. } => {}
            }
        }
        self.note(outcome.notes);
        self.doubts = outcome.doubts;
        self.filled.extend(outcome.filled);
        if let Some(history) = outcome.history {
            self.syncs.extend(history.points.iter().cloned());
            self.history.get_or_insert_default().add(history);
        }
        self.syncs.extend(outcome.sync);
        self.point = self.syncs.last().map(|sync| sync.sequence).or(self.point);
    }
}
