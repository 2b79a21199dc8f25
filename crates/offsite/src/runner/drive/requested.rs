//! A run that somebody asks for in between.

use offsite_core::Sequence;
use offsite_core::phase::{Job, Phase};
use tokio::sync::oneshot;

use super::Drive;
use crate::runner::memory::Memory;
use crate::runner::report::{RunEnd, RunReport, RunStatus};

/// A run that was asked for.
pub(super) struct Requested {
    /// What was remembered before.
    prior: Memory,
    pub(super) answers: Vec<oneshot::Sender<RunEnd>>,
}

impl Drive {
    /// Begins what somebody has asked for, if that can begin now; whether it has begun.
    pub(super) fn begin_requested(&mut self) -> bool {
        self.wanted.extend(self.setup.control.take_runs());
        if let Some(requested) = &mut self.requested {
            requested.answers.append(&mut self.wanted);
        }
        if self.gate.is_some() {
            // A transfer that waits for its window would be waited for until then.
            self.forced.append(&mut self.wanted);
        }
        if self.task.is_some() || !matches!(self.job.phase(), Phase::Idle | Phase::Sync) {
            return false;
        }
        // What was transferred is not all of the interval.
        self.wanted.append(&mut self.forced);
        if self.wanted.is_empty() || self.is_single {
            return false;
        }
        let (job, actions) = self.job.at_once(self.setup.clock.now());
        self.requested = Some(Requested { prior: self.memory.clone(), answers: std::mem::take(&mut self.wanted) });
        (self.job, self.is_single) = (job, true);
        (self.look, self.wake) = (None, None);
        self.carry_out(actions);
        true
    }

    /// The interval is done by a transfer that went on because somebody has asked for it.
    pub(super) fn answer_forced(&mut self, report: &RunReport) {
        for answer in self.forced.drain(..) {
            // Whoever asked need not wait.
            let _ = answer.send(RunEnd::Done(Box::new(report.clone())));
        }
    }

    /// Answers those who asked, and goes on with the schedule.
    pub(super) fn answer(&mut self, requested: Requested, report: RunReport) {
        if report.status() == RunStatus::Failed && report.point().is_none() {
            // Nothing came of it, so that the interval is as it was.
            self.memory = Memory { added: self.memory.added, ..requested.prior };
            self.remember();
        }
        self.is_single = false;
        self.point = self.arrived_point();
        let now = self.setup.clock.now();
        let past = self.memory.past(&self.settings.schedule, self.target.as_ref(), now);
        let (job, actions) = Job::resume(self.settings.clone(), past, now);
        self.job = job;
        self.carry_out(actions);
        for answer in requested.answers {
            let _ = answer.send(RunEnd::Done(Box::new(report.clone())));
        }
    }

    /// The newest point of the interval that is open.
    pub(super) fn arrived_point(&self) -> Option<Sequence> {
        self.target.as_ref()?.arrived(self.memory.open.as_ref()?).point
    }
}
