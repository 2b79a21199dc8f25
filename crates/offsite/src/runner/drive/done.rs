//! What an activity that is done means for its interval.

use offsite_core::phase::{Event, Sighting};
use offsite_core::selection::Decision;

use super::Drive;
use super::work::{Done, Looked};
use crate::Look;
use crate::report::{ErrorSummary, MachineOutcome, Note, Reason};
use crate::runner::event::RunnerEvent;
use crate::runner::failure::Failure;
use crate::runner::outcome::Known;

impl Drive {
    pub(super) fn looked(&mut self, looked: Result<Looked, Failure>) {
        let look = match looked {
            Ok(Looked { look, target }) => {
                self.is_failing = false;
                self.target = Some(target);
                self.tell_overdue();
                look
            }
            Err(failure) => Err(failure),
        };
        let event = match look {
            Ok(Look { choices, notes, doubts }) => {
                self.note(notes);
                for choice in &choices {
                    if let Decision::FutureDated { captured } = choice.decision {
                        let why = Reason::FutureDated { earliest: Some(captured) };
                        self.known.machine(choice.machine.clone(), MachineOutcome::Absent { why });
                    }
                }
                // What came meanwhile is no longer missed.
                self.doubts = doubts;
                Event::SourcesSeen(choices.iter().map(Sighting::from).collect())
            }
            Err(failure) => {
                self.failed(&failure);
                Event::LookFailed { why: failure.why.text }
            }
        };
        self.events.push_back(event);
    }

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Synced(synced) => self.synced(synced),
            Done::Transformed(Ok(mut report)) => {
                self.is_failing = false;
                self.memory.added = 0;
                self.remember();
                report.operations.splice(0..0, std::mem::take(&mut self.filled));
                if let Some(history) = &mut self.history {
                    report.operations.splice(0..0, std::mem::take(&mut history.operations));
                    let later = std::mem::replace(&mut report.released, std::mem::take(&mut history.released));
                    report.released.add(later);
                }
                self.tell(RunnerEvent::Transformed(&report));
                self.transform = Some(report);
                self.events.push_back(Event::TransformDone);
            }
            // Another run transforms the chain.
            Done::Transformed(Err(failure)) if failure.is_busy && !self.is_single => {
                self.is_refused = true;
                self.tell(RunnerEvent::AtWorkElsewhere { why: &failure.why });
                self.events.push_back(Event::TransformDone);
            }
            Done::Transformed(Err(failure)) => {
                self.is_refused |= failure.is_busy;
                self.failed(&failure);
                let ErrorSummary { text: why, is_retryable } = failure.why;
                self.events.push_back(Event::TransformFailed { is_retryable, why });
            }
            Done::PostJob(warnings) => {
                self.notes.extend(warnings.into_iter().map(|text| Note::PostJob { text }));
                if let Some(report) = self.result.take().map(|result| self.report(&result)) {
                    self.tell(RunnerEvent::Ended(&report));
                    self.unstored.0 = Some(report.clone());
                    if self.is_single {
                        self.ended = Some(report);
                    } else {
                        self.answer_forced(&report);
                    }
                }
                if let Some(last) = &mut self.memory.last {
                    last.is_finished = true;
                }
                self.remember();
                (self.transform, self.point) = (None, None);
                self.syncs.clear();
                self.history = None;
                self.filled.clear();
                self.notes.clear();
                self.doubts.clear();
                self.known = Known::default();
                self.elsewhere.clear();
                self.is_refused = false;
                self.events.push_back(Event::PostJobDone);
            }
        }
    }

    pub(super) fn note(&mut self, notes: Vec<Note>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }
}
