//! The machines of an interval, and what is known of earlier ones.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Seen, Sighting};
use super::outcome::{Absence, Outcome};
use crate::schedule::Span;
use crate::{MachineName, Timestamp};

/// What a runner knows of a job when it starts.
///
/// The default is nothing: the job has never run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Past {
    /// The restore point that the job closed last. `None` means that the job has never run.
    pub last: Option<LastRun>,
    /// The machines that the open interval has copied and committed so far, each with the time of its state.
    pub copied: BTreeMap<MachineName, Timestamp>,
}

/// The restore point that a job closed last, before the runner started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LastRun {
    /// The interval of the point, or the joined intervals. If only a time in it is known, [`Interval::at`] gives the span.
    ///
    /// [`Interval::at`]: crate::schedule::Interval::at
    pub span: Span,
    /// The outcome of each machine in it.
    pub machines: BTreeMap<MachineName, Outcome>,
    /// `true` if transforms and post-job activities have followed. Use `false` if that is unknown, as transforms with nothing to
    /// do cost nothing.
    pub is_finished: bool,
}

impl Past {
    /// Sets the restore point that the job closed last.
    #[must_use]
    pub fn with_last(self, last: impl Into<Option<LastRun>>) -> Self {
        Self { last: last.into(), ..self }
    }

    /// Sets the machines that the open interval has copied.
    #[must_use]
    pub fn with_copied(self, copied: BTreeMap<MachineName, Timestamp>) -> Self {
        Self { copied, ..self }
    }
}

impl LastRun {
    /// The restore point of `span` with these machines.
    ///
    /// Transforms and post-job activities have not followed yet.
    #[must_use]
    pub const fn new(span: Span, machines: BTreeMap<MachineName, Outcome>) -> Self {
        Self { span, machines, is_finished: false }
    }

    /// Sets whether transforms and post-job activities have followed.
    #[must_use]
    pub fn with_finished(self, is_finished: bool) -> Self {
        Self { is_finished, ..self }
    }
}

/// The machines of the open restore point. A machine that was once in it never leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machines {
    table: BTreeMap<MachineName, Work>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Work {
    /// What the last look found. `None` if the machine was not in it.
    seen: Option<Seen>,
    /// Bytes done and left.
    progress: Option<(u64, u64)>,
    captured: Option<Timestamp>,
    is_in_sync: bool,
    /// `true` if another run was at work when the machine was to be copied.
    is_elsewhere: bool,
}

impl Work {
    const fn new(seen: Option<Seen>) -> Self {
        Self { seen, progress: None, captured: None, is_in_sync: false, is_elsewhere: false }
    }

    /// The outcome of the machine.
    ///
    /// `is_waiting` tells whether the job waited for something new.
    fn outcome(&self, is_waiting: bool) -> Outcome {
        match (self.captured, self.progress, self.seen) {
            (Some(captured), ..) => Outcome::Complete { captured },
            (None, Some((done_bytes, left_bytes)), _) => Outcome::Incomplete { done_bytes, left_bytes },
            (None, None, Some(Seen::AlreadyCopied { captured })) if !is_waiting => Outcome::Unchanged { captured },
            (None, None, seen) => Outcome::Absent(match seen {
                None => Absence::NotSelected,
                Some(Seen::Ready) if self.is_elsewhere => Absence::AtWorkElsewhere,
                Some(Seen::Ready) => Absence::NotStarted,
                Some(Seen::Locked) => Absence::Locked,
                Some(Seen::NoNewPoint | Seen::AlreadyCopied { .. }) => Absence::NoNewPoint,
                Some(Seen::NoWholePoint) => Absence::NoWholePoint,
                Some(Seen::InTarget) => Absence::InTarget,
                Some(Seen::FutureDated) => Absence::FutureDated,
                Some(Seen::Missing) => Absence::Missing,
            }),
        }
    }
}

impl Machines {
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    /// Adds what a look found. New machines join only if `joins` is `true`.
    pub(super) fn see(&mut self, sightings: Vec<Sighting>, joins: bool) {
        for work in self.table.values_mut() {
            work.seen = None;
        }
        for Sighting { machine, seen } in sightings {
            match self.table.get_mut(&machine) {
                Some(work) => work.seen = Some(seen),
                None if joins => {
                    self.table.insert(machine, Work::new(Some(seen)));
                }
                None => {}
            }
        }
    }

    /// Machines that can be copied.
    pub(super) fn ready(&self) -> BTreeSet<MachineName> {
        let ready = |work: &Work| work.captured.is_none() && work.seen == Some(Seen::Ready);
        self.table.iter().filter(|(_, work)| ready(work)).map(|(machine, _)| machine.clone()).collect()
    }

    /// Whether there is a machine, and every machine of the selection that a source has is complete.
    pub(super) fn are_all_in(&self) -> bool {
        let is_in = |work: &Work| work.captured.is_some() || matches!(work.seen, None | Some(Seen::Missing));
        self.table.values().any(|work| work.captured.is_some()) && self.table.values().all(is_in)
    }

    pub(super) fn has_complete(&self) -> bool {
        self.table.values().any(|work| work.captured.is_some())
    }

    pub(super) fn is_complete(&self, machine: &MachineName) -> bool {
        self.table.get(machine).is_some_and(|work| work.captured.is_some())
    }

    pub(super) fn start(&mut self, machines: &BTreeSet<MachineName>) {
        for (machine, work) in &mut self.table {
            work.is_in_sync = machines.contains(machine);
        }
    }

    /// Ends the sync. Returns its machines that are not complete.
    pub(super) fn stop(&mut self) -> Vec<&MachineName> {
        let mut cut_off = Vec::new();
        for (machine, work) in &mut self.table {
            if std::mem::take(&mut work.is_in_sync) && work.captured.is_none() {
                cut_off.push(machine);
            }
        }
        cut_off
    }

    /// The sync could not begin, as another run is at work.
    pub(super) fn leave_to_others(&mut self) {
        for work in self.table.values_mut() {
            work.is_elsewhere = std::mem::take(&mut work.is_in_sync);
        }
    }

    /// The machines that the last look found copied already.
    pub(super) fn already_copied(&self) -> impl Iterator<Item = (&MachineName, Timestamp)> {
        self.table.iter().filter_map(|(machine, work)| match work.seen {
            Some(Seen::AlreadyCopied { captured }) => Some((machine, captured)),
            _ => None,
        })
    }

    pub(super) fn progress(&mut self, machine: MachineName, done_bytes: u64, left_bytes: u64) {
        let work = self.table.entry(machine).or_insert(Work::new(Some(Seen::Ready)));
        work.progress = Some((done_bytes, left_bytes));
    }

    pub(super) fn complete(&mut self, machine: MachineName, captured: Timestamp) {
        let work = self.table.entry(machine).or_insert(Work::new(Some(Seen::Ready)));
        work.captured.get_or_insert(captured);
    }

    /// A backup of a machine has begun since it was seen, and the sync goes on without it.
    pub(super) fn lock(&mut self, machine: &MachineName) {
        if let Some(work) = self.table.get_mut(machine).filter(|work| work.captured.is_none()) {
            (work.seen, work.is_in_sync) = (Some(Seen::Locked), false);
        }
    }

    /// The outcome of each machine. `is_waiting` tells whether the job waited for something new.
    pub(super) fn outcomes(&self, is_waiting: bool) -> BTreeMap<MachineName, Outcome> {
        self.table.iter().map(|(machine, work)| (machine.clone(), work.outcome(is_waiting))).collect()
    }
}
