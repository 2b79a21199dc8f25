//! What an event changes in a job.

use super::{Job, Phase, Transfer};
use crate::phase::attempts::Verdict;
use crate::phase::event::{Action, Event, Seen};
use crate::phase::outcome::{Absence, Note, Outcome, TransformResult};
use crate::schedule::{Schedule, Span};
use crate::{MachineName, Timestamp};

impl Job {
    pub(super) fn take(&mut self, event: Event, now: Timestamp, actions: &mut Vec<Action>) {
        let (is_sync, is_closing) = (self.phase == Phase::Sync, self.phase == Phase::Closing);
        match event {
            Event::SourceChanged => self.next_look = self.next_look.min(now),
            Event::SourcesSeen(sightings) if std::mem::take(&mut self.is_looking) => {
                self.has_looked = true;
                self.next_look = now.saturating_add_secs(self.settings.look_every_secs.into());
                match self.settings.schedule {
                    _ if self.is_single => self.machines.see(sightings, true),
                    Schedule::Interval(_) => {
                        self.machines.see(sightings, true);
                        if is_sync {
                            self.take_over(now);
                        }
                    }
                    Schedule::Immediate if is_sync => self.machines.see(sightings, false),
                    Schedule::Immediate => {
                        let ready = sightings.into_iter().filter(|sighting| sighting.seen == Seen::Ready);
                        let ready: Vec<_> = ready.collect();
                        if !ready.is_empty() {
                            self.open(Span::new(now, now), now);
                            self.machines.see(ready, true);
                        }
                    }
                }
                self.is_fresh = true;
            }
            Event::LookFailed { why } if std::mem::take(&mut self.is_looking) => {
                if self.is_single {
                    self.fail(false, why, now);
                    return;
                }
                self.note_failure(now, why);
                self.next_look = now.saturating_add_secs(self.settings.look_every_secs.into());
            }
            Event::Progress { machine, done_bytes, left_bytes } if is_sync || is_closing => {
                self.machines.progress(machine, done_bytes, left_bytes);
            }
            Event::MachineCopied { machine, captured } if is_sync || is_closing => {
                self.machines.complete(machine, captured);
            }
            Event::MachineLocked { machine } if is_sync => self.machines.lock(&machine),
            Event::SyncEnded if is_sync && self.transfer != Transfer::None => {
                self.transfer = Transfer::None;
                let cut_off: Vec<&str> = self.machines.stop().into_iter().map(MachineName::as_str).collect();
                if cut_off.is_empty() {
                    self.next_look = now;
                } else {
                    let why = format!("the sync ended without {}", cut_off.join(", "));
                    self.fail(true, why, now);
                }
            }
            Event::SyncFailed { is_retryable, why } if is_sync && self.transfer != Transfer::None => {
                self.transfer = Transfer::None;
                self.machines.stop();
                self.fail(is_retryable, why, now);
            }
            Event::AtWorkElsewhere { why } if is_sync && self.transfer != Transfer::None => {
                self.transfer = Transfer::None;
                if self.is_single {
                    self.machines.stop();
                    self.fail(false, why, now);
                    return;
                }
                self.machines.leave_to_others();
                self.next_look = now.saturating_add_secs(self.settings.retry_after_secs.into());
            }
            Event::PointClosed if is_closing => self.closed(self.machines.outcomes(!self.is_single), now, actions),
            Event::CloseFailed { is_retryable, why } if is_closing => {
                self.transfer = Transfer::None;
                if self.fail(is_retryable, why, now) == Verdict::GiveUp {
                    let lost = |(machine, outcome)| match outcome {
                        Outcome::Absent(_) | Outcome::Unchanged { .. } => (machine, outcome),
                        _ => (machine, Outcome::Absent(Absence::NotCommitted)),
                    };
                    let outcomes = self.machines.outcomes(!self.is_single).into_iter().map(lost).collect();
                    self.closed(outcomes, now, actions);
                }
            }
            Event::TransformDone if self.phase == Phase::Transform => {
                self.transformed(TransformResult::Done, now, actions)
            }
            Event::TransformFailed { is_retryable, why } if self.phase == Phase::Transform => {
                let verdict = self.fail(is_retryable, why.clone(), now);
                if verdict == Verdict::GiveUp {
                    self.transformed(TransformResult::Failed { why }, now, actions);
                }
            }
            Event::PostJobDone if self.phase == Phase::PostJob => {
                self.phase = Phase::Idle;
                self.is_looking = false;
                self.notes.clear();
            }
            _ => {}
        }
    }

    /// Marks machines as complete that another run has copied since the last restore point was closed.
    ///
    /// Their state must count in this interval.
    fn take_over(&mut self, now: Timestamp) {
        let range = self.range(now);
        let is_new = |(machine, captured): &(&MachineName, Timestamp)| {
            range.contains(*captured) && self.copied.get(*machine).is_some_and(|before| before < captured)
        };
        let copied: Vec<(MachineName, Timestamp)> = self
            .machines
            .already_copied()
            .filter(is_new)
            .map(|(machine, captured)| (machine.clone(), captured))
            .collect();
        for (machine, captured) in copied {
            if !self.machines.is_complete(&machine) {
                self.machines.complete(machine.clone(), captured);
                self.elsewhere.insert(machine);
            }
        }
    }

    /// Notes a failure.
    ///
    /// A failure that repeats the last one (a source that is away all day) is noted once.
    fn note_failure(&mut self, at: Timestamp, why: String) {
        if !matches!(self.notes.last(), Some(Note::Failed { why: last, .. }) if *last == why) {
            self.notes.push(Note::Failed { at, why });
        }
    }

    fn fail(&mut self, is_retryable: bool, why: String, now: Timestamp) -> Verdict {
        self.note_failure(now, why);
        let is_late =
            self.phase == Phase::Transform && self.settings.schedule.interval().is_some() && now >= self.deadline;
        let verdict = self.attempts.fail(is_retryable && !is_late, now, &self.settings);
        // A single job retries nothing, so it need not report that it gave up.
        if verdict == Verdict::GiveUp && !self.is_single {
            self.notes.push(Note::GaveUp { at: now });
        }
        verdict
    }
}
