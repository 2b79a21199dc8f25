//! What an interval comes to, for whoever is told.

use std::collections::BTreeMap;

use offsite_core::{MachineName, Timestamp};

use super::Drive;
use crate::report::{MachineOutcome, Reason};
use crate::runner::event::RunnerEvent;
use crate::runner::memory::Target;
use crate::runner::outcome::RunResult;
use crate::runner::report::{Overdue, RunReport};

impl Drive {
    /// Tells which machines have become overdue; the report comes with the end of the interval only.
    pub(super) fn tell_overdue(&mut self) {
        let (Some(max_age), Some(target)) = (self.runner.max_age, &self.target) else { return };
        let newest = target.newest_states();
        let newest = newest.iter().map(|(machine, captured)| (machine, Some(*captured)));
        let mut overdue = Overdue::of(newest, max_age, self.runner.clock.now());
        let told = std::mem::replace(&mut self.overdue, overdue.iter().map(|one| one.machine.clone()).collect());
        overdue.retain(|one| !told.contains(&one.machine));
        if !overdue.is_empty() && !self.is_single {
            self.tell(RunnerEvent::Overdue { machines: &overdue, max_age });
        }
    }

    /// When each machine was in the newest state that there is a whole copy of. A machine without a time has no copy.
    fn newest_states(&self, result: &RunResult) -> BTreeMap<MachineName, Option<Timestamp>> {
        let known = self.target.as_ref().map(Target::newest_states).unwrap_or_default();
        let is_selected =
            |outcome: &MachineOutcome| !matches!(outcome, MachineOutcome::Absent { why: Reason::NotSelected });
        let selected = result.machines.iter().filter(|(_, outcome)| is_selected(outcome));
        let mut newest: BTreeMap<_, _> = selected
            .map(|(machine, outcome)| {
                let (MachineOutcome::Complete { captured } | MachineOutcome::Unchanged { captured }) = outcome else {
                    return (machine.clone(), known.get(machine).copied());
                };
                (machine.clone(), known.get(machine).max(Some(captured)).copied())
            })
            .collect();
        // Where the sources were not seen, the machines are those that were selected before.
        if newest.is_empty() {
            newest = known.into_iter().map(|(machine, captured)| (machine, Some(captured))).collect();
        }
        newest
    }

    pub(super) fn report(&self) -> Option<RunReport> {
        let result = self.known.result(self.result.as_ref()?);
        let newest = self.newest_states(&result);
        Some(RunReport {
            job: self.runner.name.clone(),
            ended: self.runner.clock.now(),
            max_age: self.runner.max_age,
            newest,
            result,
            point: self.point,
            syncs: self.syncs.clone(),
            transform: self.transform.clone(),
            notes: self.notes.clone(),
            doubts: self.doubts.clone(),
            elsewhere: self.elsewhere.union(self.job.elsewhere()).cloned().collect(),
        })
    }
}
