//! What a drive reports about an interval.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{MachineName, Timestamp, phase};

use super::Drive;
use crate::report::{MachineOutcome, Reason};
use crate::runner::event::RunnerEvent;
use crate::runner::memory::Target;
use crate::runner::outcome::RunResult;
use crate::runner::report::{CopyRun, Overdue, RunReport};

impl Drive {
    /// Reports which machines have become overdue. The interval's report comes only at its end.
    pub(super) fn tell_overdue(&mut self) {
        let Some(target) = &self.target else { return };
        let newest = target.newest_states();
        if !newest.is_empty() {
            let known = newest.iter().map(|(machine, captured)| (machine.clone(), Some(*captured))).collect();
            self.setup.teller.change(|status| status.newest = known);
        }
        let Some(max_age) = self.setup.max_age else { return };
        let newest = newest.iter().map(|(machine, captured)| (machine, Some(*captured)));
        let mut overdue = Overdue::of(newest, max_age, self.setup.clock.now());
        let told = std::mem::replace(&mut self.overdue, overdue.iter().map(|one| one.machine.clone()).collect());
        overdue.retain(|one| !told.contains(&one.machine));
        if !overdue.is_empty() && !self.is_single {
            self.tell(RunnerEvent::Overdue { machines: &overdue, max_age });
        }
    }

    /// The newest state of each machine of which there is a complete copy.
    ///
    /// A machine without a time has no copy.
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

    /// The report of the interval, given its result.
    pub(super) fn report(&self, result: &phase::RunResult) -> RunReport {
        let result = self.known.result(result);
        let newest = self.newest_states(&result);
        let elsewhere: BTreeSet<MachineName> = self.elsewhere.union(self.job.elsewhere()).cloned().collect();
        let has_done = self.point.is_some() || self.transform.is_some() || !elsewhere.is_empty();
        RunReport::Copy(CopyRun {
            job: self.setup.teller.subject.job.clone(),
            repository: self.setup.teller.subject.repository.clone(),
            ended: self.setup.clock.now(),
            max_age: self.setup.max_age,
            newest,
            result,
            point: self.point,
            syncs: self.syncs.clone(),
            history: self.history.clone(),
            transform: self.transform.clone(),
            notes: self.notes.clone(),
            doubts: self.doubts.clone(),
            elsewhere,
            is_refused: self.is_refused && !has_done,
        })
    }
}
