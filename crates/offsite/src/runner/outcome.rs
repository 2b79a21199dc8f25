//! The result of an interval, in the types of the engine.
//!
//! The state machine has types of its own, which know no more than it needs.

use std::collections::BTreeMap;
use std::fmt;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Timestamp, Transferred, phase};

use crate::report::{ErrorSummary, MachineOutcome, Reason};

/// The result of an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RunResult {
    /// The interval, or the joined intervals. Without a schedule, it lasts from the opening of the restore point to its closing.
    pub span: Span,
    /// The outcome of each selected machine.
    pub machines: BTreeMap<MachineName, MachineOutcome>,
    /// Why the next run has to do the transforms. `None` if they are done, or if there was nothing to do.
    pub transform_failure: Option<ErrorSummary>,
    /// What happened in the interval, in order.
    pub incidents: Vec<Incident>,
}

/// Something that happened in an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Incident {
    /// Something failed. The outcomes tell whether a retry succeeded.
    Failed {
        /// The time of the failure.
        at: Timestamp,
        /// The failure.
        why: ErrorSummary,
    },
    /// The job stopped retrying until the end of the interval.
    GaveUp {
        /// The time at which it stopped.
        at: Timestamp,
    },
    /// The clock was set back.
    ClockRanBack {
        /// The time before.
        from: Timestamp,
        /// The time after.
        to: Timestamp,
    },
}

/// The restore point that was closed last, before the runner started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LastRun {
    /// The interval of the point, or the joined intervals.
    pub span: Span,
    /// The outcome of each machine in it.
    pub machines: BTreeMap<MachineName, MachineOutcome>,
    /// `true` if transforms and post-job activities have followed. Use `false` if that is unknown, as transforms with nothing to
    /// do cost nothing.
    pub is_finished: bool,
}

impl LastRun {
    /// The restore point of `span` with these machines.
    ///
    /// Transforms and post-job activities may not have followed.
    #[must_use]
    pub const fn new(span: Span, machines: BTreeMap<MachineName, MachineOutcome>) -> Self {
        Self { span, machines, is_finished: false }
    }

    /// Sets whether transforms and post-job activities have followed.
    #[must_use]
    pub const fn with_finished(mut self, is_finished: bool) -> Self {
        self.is_finished = is_finished;
        self
    }
}

impl RunResult {
    /// Returns `true` if every machine is complete or unchanged, and the transforms are done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.transform_failure.is_none() && self.machines.values().all(MachineOutcome::is_whole)
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { at, why } => write!(formatter, "{at}: {why}"),
            Self::GaveUp { at } => write!(formatter, "{at}: gave up until the next interval"),
            Self::ClockRanBack { from, to } => write!(formatter, "the clock was set back from {from} to {to}"),
        }
    }
}

/// What is known of an interval besides what the state machine knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What the last look found of each machine.
    machines: BTreeMap<MachineName, MachineOutcome>,
    /// What failed.
    failures: Vec<ErrorSummary>,
}

impl Known {
    /// What a starting runner knows of the interval that was closed last.
    pub(super) fn of(last: Option<&LastRun>) -> Self {
        let machines = last.map(|last| last.machines.clone()).unwrap_or_default();
        Self { machines, failures: Vec::new() }
    }

    pub(super) fn machine(&mut self, machine: MachineName, outcome: MachineOutcome) {
        self.machines.insert(machine, outcome);
    }

    pub(super) fn failed(&mut self, failure: &ErrorSummary) {
        if !self.failures.contains(failure) {
            self.failures.push(failure.clone());
        }
    }

    pub(super) fn outcomes(
        &self,
        outcomes: &BTreeMap<MachineName, phase::Outcome>,
    ) -> BTreeMap<MachineName, MachineOutcome> {
        outcomes.iter().map(|(machine, outcome)| (machine.clone(), self.outcome(machine, *outcome))).collect()
    }

    fn outcome(&self, machine: &MachineName, outcome: phase::Outcome) -> MachineOutcome {
        match (outcome, self.machines.get(machine)) {
            (phase::Outcome::Complete { captured }, _) => MachineOutcome::Complete { captured },
            (phase::Outcome::Unchanged { captured }, _) => MachineOutcome::Unchanged { captured },
            (phase::Outcome::Incomplete { done_bytes, left_bytes }, known) => {
                let (captured, why) = match known {
                    Some(MachineOutcome::Incomplete { captured, why, .. }) => (*captured, why.clone()),
                    _ => (None, Reason::TransferEnded),
                };
                let transferred = Transferred::new(done_bytes, left_bytes);
                MachineOutcome::Incomplete { captured, transferred, why }
            }
            (phase::Outcome::Absent(absence), known) => MachineOutcome::Absent { why: reason(absence, known) },
            // An outcome of a later version of the state machine.
            _ => MachineOutcome::Absent { why: Reason::NotStarted },
        }
    }

    pub(super) fn result(&self, result: &phase::RunResult) -> RunResult {
        let transform_failure = result.transform.failure().map(|why| self.summary(why));
        RunResult {
            span: result.span,
            machines: self.outcomes(&result.machines),
            transform_failure,
            incidents: result.notes.iter().filter_map(|note| self.incident(note)).collect(),
        }
    }

    fn incident(&self, note: &phase::Note) -> Option<Incident> {
        Some(match note {
            phase::Note::Failed { at, why } => Incident::Failed { at: *at, why: self.summary(why) },
            phase::Note::GaveUp { at } => Incident::GaveUp { at: *at },
            phase::Note::ClockRanBack { from, to } => Incident::ClockRanBack { from: *from, to: *to },
            _ => return None,
        })
    }

    /// The failure with this text.
    fn summary(&self, text: &str) -> ErrorSummary {
        let known = self.failures.iter().rev().find(|failure| failure.text == text);
        known.cloned().unwrap_or_else(|| ErrorSummary::new(text, false))
    }
}

/// Why nothing of a machine was copied, given what the last look found of it.
fn reason(absence: phase::Absence, known: Option<&MachineOutcome>) -> Reason {
    match absence {
        phase::Absence::NoNewPoint => Reason::NoNewPoint,
        phase::Absence::Locked => match known {
            Some(MachineOutcome::Waiting { job }) => Reason::BackupAtWork { job: job.clone() },
            Some(MachineOutcome::Absent { why: why @ Reason::BackupAtWork { .. } }) => why.clone(),
            _ => Reason::BackupAtWork { job: None },
        },
        phase::Absence::AtWorkElsewhere => Reason::RunAtWork,
        phase::Absence::FutureDated => match known {
            Some(MachineOutcome::Absent { why: why @ Reason::FutureDated { .. } }) => why.clone(),
            _ => Reason::FutureDated { earliest: None },
        },
        phase::Absence::NoWholePoint => Reason::NoWholePoint,
        phase::Absence::InTarget => Reason::InTarget,
        phase::Absence::Missing => Reason::Missing,
        phase::Absence::NotSelected => Reason::NotSelected,
        phase::Absence::NotCommitted => Reason::NotCommitted,
        // What keeps a machine from being taken is known to the engine alone. Includes absences of other versions of the state
        // machine.
        _ => match known {
            Some(MachineOutcome::Absent {
                why:
                    why @ (Reason::RunAtWork
                    | Reason::OtherBlockSize { .. }
                    | Reason::OtherOrigin { .. }
                    | Reason::Failed(_)),
            }) => why.clone(),
            _ => Reason::NotStarted,
        },
    }
}

/// The restore point that was closed last, in the types of the state machine.
pub(super) fn past(last: &LastRun) -> phase::LastRun {
    let machines = last.machines.iter().map(|(machine, outcome)| (machine.clone(), past_outcome(outcome))).collect();
    phase::LastRun::new(last.span, machines).with_finished(last.is_finished)
}

fn past_outcome(outcome: &MachineOutcome) -> phase::Outcome {
    let why = match outcome {
        MachineOutcome::Complete { captured } => return phase::Outcome::Complete { captured: *captured },
        MachineOutcome::Unchanged { captured } => return phase::Outcome::Unchanged { captured: *captured },
        MachineOutcome::Incomplete { transferred, .. } => {
            let Transferred { done_bytes, left_bytes, .. } = *transferred;
            return phase::Outcome::Incomplete { done_bytes, left_bytes };
        }
        MachineOutcome::Waiting { .. } => return phase::Outcome::Absent(phase::Absence::Locked),
        MachineOutcome::Absent { why } => why,
    };
    phase::Outcome::Absent(match why {
        Reason::NoNewPoint | Reason::TooOld { .. } => phase::Absence::NoNewPoint,
        Reason::BackupAtWork { .. } => phase::Absence::Locked,
        Reason::RunAtWork => phase::Absence::AtWorkElsewhere,
        Reason::FutureDated { .. } => phase::Absence::FutureDated,
        Reason::NoWholePoint => phase::Absence::NoWholePoint,
        Reason::InTarget => phase::Absence::InTarget,
        Reason::Missing => phase::Absence::Missing,
        Reason::NotSelected => phase::Absence::NotSelected,
        Reason::NotCommitted => phase::Absence::NotCommitted,
        Reason::NotStarted
        | Reason::TransferEnded
        | Reason::OtherBlockSize { .. }
        | Reason::OtherOrigin { .. }
        | Reason::Failed(_) => phase::Absence::NotStarted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobName;

    fn machine() -> MachineName {
        MachineName::new("web01").unwrap()
    }

    fn absences() -> [phase::Absence; 10] {
        use phase::Absence::*;
        [
            NoNewPoint,
            Locked,
            NotStarted,
            AtWorkElsewhere,
            FutureDated,
            NoWholePoint,
            InTarget,
            Missing,
            NotSelected,
            NotCommitted,
        ]
    }

    /// What a runner remembers is what the next one goes on from.
    #[test]
    fn the_state_machine_gets_back_what_it_told() {
        let mut outcomes: Vec<phase::Outcome> = absences().into_iter().map(phase::Outcome::Absent).collect();
        outcomes.push(phase::Outcome::Complete { captured: Timestamp::MIN });
        outcomes.push(phase::Outcome::Unchanged { captured: Timestamp::MAX });
        outcomes.push(phase::Outcome::Incomplete { done_bytes: 5, left_bytes: 7 });
        for outcome in outcomes {
            let told = Known::default().outcome(&machine(), outcome);
            assert_eq!(past_outcome(&told), outcome, "{told:?}");
            let mut known = Known::default();
            known.machine(machine(), told.clone());
            assert_eq!(known.outcome(&machine(), outcome), told);
        }
    }

    #[test]
    fn what_was_found_of_a_machine_is_in_its_outcome() {
        let mut known = Known::default();
        let job = JobName::new("nightly").unwrap();
        let earliest = Some(Timestamp::MAX);
        let why = Reason::Failed(ErrorSummary::new("the network is down", true));
        let found = [
            (
                MachineOutcome::Waiting { job: Some(job.clone()) },
                phase::Outcome::Absent(phase::Absence::Locked),
                MachineOutcome::Absent { why: Reason::BackupAtWork { job: Some(job) } },
            ),
            (
                MachineOutcome::Absent { why: Reason::FutureDated { earliest } },
                phase::Outcome::Absent(phase::Absence::FutureDated),
                MachineOutcome::Absent { why: Reason::FutureDated { earliest } },
            ),
            (
                MachineOutcome::Absent { why: why.clone() },
                phase::Outcome::Absent(phase::Absence::NotStarted),
                MachineOutcome::Absent { why: why.clone() },
            ),
            (
                MachineOutcome::Incomplete {
                    captured: Some(Timestamp::MIN),
                    transferred: Transferred::new(1, 11),
                    why: why.clone(),
                },
                phase::Outcome::Incomplete { done_bytes: 5, left_bytes: 7 },
                MachineOutcome::Incomplete { captured: Some(Timestamp::MIN), transferred: Transferred::new(5, 7), why },
            ),
        ];
        for (was, is, told) in found {
            known.machine(machine(), was);
            assert_eq!(known.outcome(&machine(), is), told);
        }
    }

    #[test]
    fn a_failure_keeps_its_summary_on_its_way() {
        let mut known = Known::default();
        known.failed(&ErrorSummary::new("the network is down", true));
        let note = |why: &str| phase::Note::Failed { at: Timestamp::MIN, why: why.to_owned() };
        let summary = |note| match known.incident(&note) {
            Some(Incident::Failed { why, .. }) => why,
            incident => panic!("{incident:?}"),
        };
        assert_eq!(summary(note("the network is down")), ErrorSummary::new("the network is down", true));
        assert_eq!(summary(note("another")), ErrorSummary::new("another", false));
    }
}
