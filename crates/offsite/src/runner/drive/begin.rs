//! The beginning of each activity.
//!
//! It is at work from when it is asked first, after what is to be remembered was stored.

use std::collections::BTreeSet;
use std::sync::Arc;

use offsite_core::phase::RunResult;
use offsite_core::schedule::PointRange;
use offsite_core::{MachineName, RepositoryId, Sequence};

use super::Drive;
use super::passage::WindowGate;
use super::work::{Done, SyncOrder, look, sync, transform};
use crate::report::{MachineOutcome, MachineReport};
use crate::runner::event::RunnerEvent;
use crate::runner::memory::OpenInterval;
use crate::runner::outcome::LastRun;
use crate::runner::tell::after;

impl Drive {
    pub(super) fn start_look(&mut self, range: PointRange) {
        let now = self.setup.clock.now();
        self.look = Some(Box::pin(look(self.open.clone(), now, range, self.take())));
    }

    pub(super) fn start_sync(&mut self, range: PointRange, machines: BTreeSet<MachineName>) {
        let names: Vec<MachineName> = machines.iter().cloned().collect();
        self.tell(RunnerEvent::SyncStarted { machines: &names });
        let gate = Arc::new(WindowGate::new(self.setup.teller.clone(), self.setup.slots.clone()));
        let interval = self.open_interval();
        self.ordered.clone_from(&machines);
        let (clock, take) = (self.setup.clock.clone(), self.take());
        let order = SyncOrder { clock, range, take, machines, interval, gate: gate.clone() };
        let open = self.open.clone();
        self.task = Some(Box::pin(async move { Done::Synced(sync(open, order).await) }));
        self.gate = Some(gate);
        (self.is_shut, self.is_closing) = (false, false);
    }

    /// The interval that is open, which begins with its first sync.
    fn open_interval(&mut self) -> OpenInterval {
        let span = *self.job.span();
        // A sync follows a look, which told the target.
        let (target, newest) = self
            .target
            .as_ref()
            .map_or((RepositoryId::new([0; 16]), Sequence(0)), |target| (target.id, target.newest()));
        let open = match self.memory.open {
            Some(open) if open.start == span.start && open.target == target => OpenInterval { end: span.end, ..open },
            _ => OpenInterval { start: span.start, end: span.end, target, after: newest },
        };
        if self.memory.open.replace(open) != Some(open) {
            self.remember();
        }
        open
    }

    pub(super) fn start_transform(&mut self) {
        let machines = self.known.outcomes(&self.job.outcomes());
        let report = |(name, outcome): (&MachineName, &MachineOutcome)| MachineReport {
            name: name.clone(),
            outcome: outcome.clone(),
        };
        self.tell(RunnerEvent::Closed { machines: &machines.iter().map(report).collect::<Vec<_>>() });
        let span = *self.job.span();
        // What somebody asked for found unchanged is known to be copied, as if this interval had copied it.
        let known = |(machine, outcome)| match outcome {
            MachineOutcome::Unchanged { captured } => (machine, MachineOutcome::Complete { captured }),
            outcome => (machine, outcome),
        };
        let machines = machines.into_iter().map(known).collect();
        self.memory.last = Some(LastRun { span, machines, is_finished: false });
        self.memory.open = None;
        self.remember();
        let (open, slots, teller) = (self.open.clone(), self.setup.slots.clone(), self.setup.teller.clone());
        let (clock, added) = (self.setup.clock.clone(), self.memory.added);
        self.task = Some(Box::pin(transform(open, slots, teller, clock, added)));
    }

    pub(super) fn start_post_job(&mut self, result: RunResult) {
        let report = self.report(&result);
        self.result = Some(result);
        let activities = self.setup.activities.clone();
        self.task = Some(Box::pin(async move { Done::PostJob(after(activities, report).await) }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use offsite_core::Timestamp;
    use offsite_core::phase::{Job, Settings};
    use offsite_core::schedule::Schedule;

    use super::*;
    use crate::JobName;
    use crate::runner::clock::SystemClock;
    use crate::runner::control::Control;
    use crate::runner::event::Unheard;
    use crate::runner::failure::OpenFailure;
    use crate::runner::memory::Memory;
    use crate::runner::setup::Setup;
    use crate::runner::slots::Slots;
    use crate::runner::status::{JobStatus, Subject, WorkKind};
    use crate::runner::store::MemoryStore;
    use crate::runner::tell::Teller;

    /// The settings may have changed since it began.
    #[test]
    fn an_open_interval_ends_when_its_settings_say_now() {
        let settings = Settings::new(Schedule::Immediate);
        let subject = Subject { repository: "dr".to_owned(), job: JobName::new("second").unwrap() };
        let status = Arc::new(Mutex::new(JobStatus::new(subject, WorkKind::Copy)));
        let clock = Arc::new(SystemClock);
        let (control, _) = Control::new(status.clone(), settings.window.clone(), clock.clone());
        let teller = Teller::new(
            Arc::new(Unheard),
            Arc::new(MemoryStore::new()),
            clock.clone(),
            status,
            settings.window.clone(),
        );
        let (teller, slots, activities) = (Arc::new(teller), Slots::new(1), Vec::new());
        let setup = Setup { teller, clock, slots, activities, max_age: None, control };
        let (job, _) = Job::single(settings.clone(), Timestamp::from_unix_secs(1_793_570_400).unwrap());
        let span = *job.span();
        let end = span.end.saturating_add_secs(86_400);
        let interval = OpenInterval { start: span.start, end, target: RepositoryId::new([0; 16]), after: Sequence(3) };
        let memory = Memory { open: Some(interval), ..Memory::default() };
        let away = || async { Err(OpenFailure::new("it is away", true)) };
        let mut drive = Drive::new(setup, settings, Arc::new(away), memory, job);
        let expected = OpenInterval { end: span.end, ..interval };
        assert_eq!((drive.open_interval(), drive.memory.open), (expected, Some(expected)));
    }
}
