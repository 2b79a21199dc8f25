//! The state machine.

mod single;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::attempts::Attempts;
use super::event::{Action, Event};
use super::machines::{LastRun, Machines, Past};
use super::outcome::{Note, Outcome, RunResult, TransformResult};
use super::settings::Settings;
use crate::schedule::{Interval, PointRange, Schedule, Span};
use crate::{MachineName, Timestamp};

/// How long a job without intervals rests after it gave up.
const REST_SECS: i64 = 3600;

/// The phases of a copy job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
// Closed: a runner has to do something in each.
pub enum Phase {
    /// The job waits for the next interval, or for the next restore point.
    Idle,
    /// The job waits for machines, and copies them.
    Sync,
    /// The job commits the restore point.
    Closing,
    /// The job brings the chain to what the policy asks for.
    Transform,
    /// The runner does what the user wants done after a run.
    PostJob,
}

impl Phase {
    /// The name that users read: `idle`, `sync`, `closing`, `transform` or `post-job`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Sync => "sync",
            Self::Closing => "closing",
            Self::Transform => "transform",
            Self::PostJob => "post-job",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The running sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transfer {
    None,
    Runs,
    Paused,
}

/// A copy job, as a state machine.
///
/// The [module](super) explains its phases and lists its laws.
#[derive(Debug, Clone)]
pub struct Job {
    settings: Settings,
    phase: Phase,
    /// The latest time that the job was told.
    known: Timestamp,
    /// The interval of the restore point that is open, or that was closed last.
    span: Span,
    /// The start of the next interval that has no restore point yet.
    settled_until: Timestamp,
    /// When the restore point was opened.
    opened: Timestamp,
    is_first_run: bool,
    /// `true` if the job does only what can be done now.
    is_single: bool,
    /// Whether a look has been answered since the restore point was opened.
    has_looked: bool,
    machines: Machines,
    /// The newest state of each machine that the chain was known to have when the last restore point was closed.
    copied: BTreeMap<MachineName, Timestamp>,
    /// Machines of the restore point that another run has copied.
    elsewhere: BTreeSet<MachineName>,
    /// The outcomes of the restore point that was closed last.
    outcomes: BTreeMap<MachineName, Outcome>,
    transfer: Transfer,
    /// Whether a sync was started for the restore point that is open.
    has_begun: bool,
    /// Whether the answer to a look is waited for.
    is_looking: bool,
    /// Whether nothing was started since the last look.
    is_fresh: bool,
    next_look: Timestamp,
    attempts: Attempts,
    /// The time after which the phase's work is no longer retried.
    deadline: Timestamp,
    transform: TransformResult,
    notes: Vec<Note>,
}

/// The states of the machines that are complete.
fn complete(outcomes: &BTreeMap<MachineName, Outcome>) -> impl Iterator<Item = (MachineName, Timestamp)> {
    outcomes.iter().filter_map(|(machine, outcome)| match outcome {
        Outcome::Complete { captured } => Some((machine.clone(), *captured)),
        _ => None,
    })
}

impl Job {
    /// Makes a job when a runner starts or restarts at `now`.
    ///
    /// Returns the job and its first actions.
    ///
    /// `past` is what the runner knows of earlier runs. Work that was in progress when the runner stopped counts as stopped. If
    /// the current interval is not closed yet, the job begins at once.
    #[must_use]
    pub fn resume(settings: Settings, past: Past, now: Timestamp) -> (Self, Vec<Action>) {
        let is_first_run = past.last.is_none();
        let is_finished = past.last.as_ref().is_none_or(|last| last.is_finished);
        let mut job = Self::new(settings, past.last, now);
        let mut actions = Vec::new();
        if !is_finished {
            job.enter(Phase::Transform, now, &mut actions);
        } else if is_first_run && job.settings.schedule.interval().is_some() {
            job.open(job.span, now);
        }
        actions.extend(job.step(Event::Tick, now));
        if job.phase == Phase::Sync {
            past.copied.into_iter().for_each(|(machine, captured)| job.machines.complete(machine, captured));
        }
        (job, actions)
    }

    /// Makes a job that knows of `last`, and starts nothing yet.
    fn new(settings: Settings, last: Option<LastRun>, now: Timestamp) -> Self {
        let current = settings.schedule.span_at(now);
        let is_first_run = last.is_none();
        let last = last.unwrap_or(LastRun { span: current, machines: BTreeMap::new(), is_finished: true });
        // The schedule may have changed since. If the last point was closed in the interval that contains `now`, that interval is
        // done.
        let is_current = last.span.contains(now);
        Self {
            phase: Phase::Idle,
            known: now.max(last.span.start),
            span: last.span,
            settled_until: if is_current { last.span.end.min(current.end) } else { last.span.end },
            opened: now,
            is_first_run,
            is_single: false,
            has_looked: false,
            machines: Machines::default(),
            copied: complete(&last.machines).collect(),
            elsewhere: BTreeSet::new(),
            outcomes: last.machines,
            transfer: Transfer::None,
            has_begun: false,
            is_looking: false,
            is_fresh: false,
            next_look: now,
            attempts: Attempts::default(),
            deadline: current.end,
            transform: TransformResult::Done,
            notes: Vec::new(),
            settings,
        }
    }

    /// The current phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The interval of the open restore point, or else of the last one.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.span
    }

    /// The outcome of each machine so far, in the open restore point or else in the last one.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<MachineName, Outcome> {
        match self.phase {
            Phase::Sync | Phase::Closing => self.machines.outcomes(!self.is_single),
            _ => self.outcomes.clone(),
        }
    }

    /// The machines of that restore point that another run of the job has copied, perhaps on another host.
    #[must_use]
    pub const fn elsewhere(&self) -> &BTreeSet<MachineName> {
        &self.elsewhere
    }

    /// The result so far of the open interval, or else the result of the last one.
    #[must_use]
    pub fn result(&self) -> RunResult {
        let transform = match self.phase {
            Phase::Idle | Phase::PostJob => self.transform.clone(),
            Phase::Sync | Phase::Closing | Phase::Transform => TransformResult::Done,
        };
        let notes = self.notes.clone();
        RunResult { span: self.span, machines: self.outcomes(), transform, notes }
    }

    /// The settings of the job.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells the job that `event` happened at `now`.
    ///
    /// Returns the actions that the runner has to begin, in this order.
    ///
    /// A late event, which answers no open question, changes nothing.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.keep_time(now);
        self.take(event, now, &mut actions);
        loop {
            let phase = self.phase;
            match phase {
                Phase::Idle => self.idle(now, &mut actions),
                Phase::Sync => self.sync(now, &mut actions),
                Phase::Closing | Phase::Transform | Phase::PostJob => self.try_again(now, &mut actions),
            }
            if self.phase == phase {
                break;
            }
        }
        actions.extend(self.wake(now).map(Action::WakeAt));
        actions
    }

    /// Notes the present, which may be earlier than it was.
    fn keep_time(&mut self, now: Timestamp) {
        if now >= self.known {
            self.known = now;
            return;
        }
        // Postponed work is postponed from now.
        let look_latest = now.saturating_add_secs(self.settings.look_every_secs.into());
        self.next_look = self.next_look.min(look_latest.max(self.rest_until(now)));
        self.attempts.move_back(now, &self.settings);
        let tolerated = match &self.settings.schedule {
            Schedule::Interval(interval) => interval.before(self.known),
            Schedule::Immediate => self.known.saturating_add_secs(-REST_SECS),
        };
        if now >= tolerated {
            return;
        }
        self.notes.push(Note::ClockRanBack { from: self.known, to: now });
        self.known = now;
        self.opened = self.opened.min(now);
        if let Schedule::Interval(interval) = &self.settings.schedule {
            let span = interval.at(now);
            self.deadline = span.end;
            // An interval that is open goes on as the one that contains `now`. After a closed one, the one that contains `now`
            // follows.
            self.settled_until = span.start;
            if self.phase == Phase::Sync {
                self.span = span;
            }
        }
    }

    fn rest_until(&self, now: Timestamp) -> Timestamp {
        if self.attempts.gave_up() { now.saturating_add_secs(REST_SECS) } else { now }
    }

    /// Opens the restore point of `span`.
    fn open(&mut self, span: Span, now: Timestamp) {
        self.phase = Phase::Sync;
        self.span = span;
        self.opened = now;
        self.machines.clear();
        self.elsewhere.clear();
        self.attempts = Attempts::default();
        self.has_begun = false;
        self.has_looked = false;
        self.is_looking = false;
        self.is_fresh = false;
        self.next_look = now;
    }

    /// Enters `phase`, and asks for its work.
    fn enter(&mut self, phase: Phase, now: Timestamp, actions: &mut Vec<Action>) {
        if phase == Phase::Closing {
            self.settled_until = self.span.end;
        }
        self.phase = phase;
        self.attempts = Attempts::default();
        self.is_looking = false;
        if let Schedule::Interval(interval) = &self.settings.schedule {
            self.deadline = interval.at(now).end;
        }
        actions.push(self.command());
    }

    /// The action that the phase asks for.
    fn command(&self) -> Action {
        match self.phase {
            Phase::PostJob => Action::RunPostJob {
                result: RunResult {
                    span: self.span,
                    machines: self.outcomes.clone(),
                    transform: self.transform.clone(),
                    notes: self.notes.clone(),
                },
            },
            Phase::Transform => Action::StartTransform,
            _ => Action::ClosePoint { span: self.span, machines: self.machines.outcomes(!self.is_single) },
        }
    }

    fn closed(&mut self, outcomes: BTreeMap<MachineName, Outcome>, now: Timestamp, actions: &mut Vec<Action>) {
        self.transfer = Transfer::None;
        self.machines.stop();
        self.copied.extend(self.machines.already_copied().map(|(machine, captured)| (machine.clone(), captured)));
        self.copied.extend(complete(&outcomes));
        self.is_first_run &= !outcomes.values().any(|outcome| matches!(outcome, Outcome::Complete { .. }));
        self.outcomes = outcomes;
        self.enter(Phase::Transform, now, actions);
    }

    fn transformed(&mut self, result: TransformResult, now: Timestamp, actions: &mut Vec<Action>) {
        self.transform = result;
        self.enter(Phase::PostJob, now, actions);
    }

    fn idle(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.is_single {
            return;
        }
        match &self.settings.schedule {
            Schedule::Interval(interval) if now >= self.settled_until => {
                let span = interval.joined(interval.at(self.settled_until), now);
                self.open(span, now);
            }
            Schedule::Interval(_) => {}
            Schedule::Immediate => {
                if !self.is_looking && now >= self.next_look && self.settings.window.is_open(now) {
                    self.is_looking = true;
                    actions.push(Action::LookAtSources { range: self.range(now) });
                }
            }
        }
    }

    fn sync(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let interval: Option<Interval> = self.settings.schedule.interval().cloned();
        if let Some(interval) = interval.filter(|_| now >= self.span.end && !self.is_single) {
            let window = &self.settings.window;
            if !self.has_begun
                && !self.machines.has_complete()
                && window.is_closed_throughout(self.opened, self.span.end)
            {
                self.span = interval.joined(self.span, now);
            } else {
                return self.enter(Phase::Closing, now, actions);
            }
        }
        let is_open = self.settings.window.is_open(now);
        match self.transfer {
            Transfer::Runs if !is_open => {
                self.transfer = Transfer::Paused;
                actions.push(Action::Pause);
            }
            Transfer::Paused if is_open => {
                self.transfer = Transfer::Runs;
                actions.push(Action::Resume);
            }
            Transfer::Runs | Transfer::Paused => {}
            Transfer::None if self.is_all_done() => {
                if self.settings.schedule == Schedule::Immediate {
                    self.span.end = now.max(self.span.start);
                    // More points may wait to be copied, one after the other.
                    self.next_look = self.rest_until(now);
                }
                self.enter(Phase::Closing, now, actions);
            }
            Transfer::None if !is_open || self.is_looking || !self.attempts.may_try(now) => {}
            Transfer::None => {
                let is_retry = self.attempts.take_retry();
                let machines = if self.is_fresh { self.machines.ready() } else { Default::default() };
                if !machines.is_empty() {
                    self.transfer = Transfer::Runs;
                    self.has_begun = true;
                    self.is_fresh = false;
                    self.machines.start(&machines);
                    actions.push(Action::StartSync { range: self.range(now), machines });
                } else if now >= self.next_look || is_retry {
                    self.is_looking = true;
                    actions.push(Action::LookAtSources { range: self.range(now) });
                }
            }
        }
    }

    /// Returns `true` if nothing more can come into the open restore point, provided that no sync runs.
    fn is_all_done(&self) -> bool {
        match self.settings.schedule {
            _ if self.is_single => self.attempts.gave_up() || (self.has_looked && self.machines.ready().is_empty()),
            Schedule::Interval(_) => self.machines.are_all_in(),
            Schedule::Immediate => {
                self.attempts.gave_up()
                    || self.machines.are_all_in()
                    || (self.is_fresh && self.machines.ready().is_empty())
            }
        }
    }

    fn try_again(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.attempts.may_try(now) && self.attempts.take_retry() {
            actions.push(self.command());
        }
    }

    fn range(&self, now: Timestamp) -> PointRange {
        if self.is_single {
            return PointRange { not_before: Timestamp::MIN, not_after: now };
        }
        self.settings.lookup.range(&self.settings.schedule, &self.span, self.is_first_run, now)
    }

    /// The time at which the job wants the next tick.
    fn wake(&self, now: Timestamp) -> Option<Timestamp> {
        let window = &self.settings.window;
        match (self.phase, &self.settings.schedule) {
            // It never waits for a time.
            _ if self.is_single => None,
            (Phase::Idle, Schedule::Interval(_)) => Some(self.settled_until),
            (Phase::Idle, Schedule::Immediate) if self.is_looking => None,
            (Phase::Idle, Schedule::Immediate) => {
                let at = self.next_look.max(now);
                if window.is_open(at) { Some(at) } else { window.next_change(at) }
            }
            (Phase::Sync, schedule) => {
                let end = schedule.interval().map(|_| self.span.end);
                let change = window.next_change(now);
                let is_waiting = self.transfer == Transfer::None && !self.is_looking && window.is_open(now);
                let look = is_waiting.then(|| self.attempts.next_try(self.next_look)).flatten();
                [end, change, look].into_iter().flatten().min()
            }
            (Phase::Closing | Phase::Transform | Phase::PostJob, _) => self.attempts.retry_at(),
        }
    }
}
