//! The moments of the sources' past.
//!
//! A moment is a restore point of a source, known by its job folder and its number. At a moment, each machine is in the newest
//! state that a source had of it by then. So a copy of a moment has the machines of that restore point, and of other jobs and
//! of machines that are backed up more rarely what came before.

use std::collections::BTreeMap;

use offsite_core::selection::{Age, Candidate, CopiedState};
use offsite_core::{MachineName, RepositoryId, RestorePoint, Sequence, Status, Timestamp};

use super::moment::Moment;
use super::selection::SelectionInput;
use super::source::Sources;

/// The moments at which a selected machine came into a state that the sources still have, oldest first.
pub(super) struct Moments {
    moments: Vec<(Moment, Vec<usize>)>,
    candidates: Vec<Candidate>,
}

/// A time, and the how manieth point of a folder at this time it is.
type When = (Timestamp, usize);
/// The number of a folder, and a point of it.
type Found = (usize, Sequence, Age);

impl Moments {
    /// What is dated after `now` is none of them.
    pub(super) fn of(asked: &SelectionInput<'_>, open: &Sources, target: RepositoryId, now: Timestamp) -> Self {
        let rules = asked.rules();
        let (candidates, places) = open.candidates(None);
        let mut states: BTreeMap<(usize, Sequence), Vec<usize>> = BTreeMap::new();
        for (number, (candidate, place)) in candidates.iter().zip(&places).enumerate() {
            let is_there = !candidate.is_locked && candidate.status != Status::Incomplete;
            if is_there && candidate.repository != target && candidate.captured <= now && rules.has(candidate) {
                states.entry((place.folder, place.sequence)).or_default().push(number);
            }
        }
        // By time, and of one folder by number. Points that several folders made at one time are one moment.
        let mut found: BTreeMap<When, Vec<Found>> = BTreeMap::new();
        for (number, folder) in open.folders().enumerate() {
            let (mut time, mut nth) = (Timestamp::MIN, 0);
            let is_meant =
                |(point, _): &(&RestorePoint, Age)| point.time <= now && states.contains_key(&(number, point.sequence));
            for (point, age) in Age::of_all(folder.chain().all()).filter(is_meant) {
                nth = if point.time > time { 0 } else { nth + 1 };
                time = point.time.max(time);
                found.entry((time, nth)).or_default().push((number, point.sequence, age));
            }
        }
        let mut until: Vec<Option<Age>> = vec![None; open.folders().count()];
        let moment = |((time, _), points): (When, Vec<Found>)| {
            let mut own = Vec::new();
            for (folder, sequence, age) in points {
                until[folder] = until[folder].max(Some(age));
                own.extend(states.get(&(folder, sequence)).into_iter().flatten().copied());
            }
            (Moment::new(time, until.clone()), own)
        };
        let moments = found.into_iter().map(moment).collect();
        Self { moments, candidates }
    }

    /// All of them.
    pub(super) fn into_moments(self) -> Vec<Moment> {
        self.moments.into_iter().map(|(moment, _)| moment).collect()
    }

    /// The moments that brought something which is newer than what is `copied`.
    pub(super) fn after(self, copied: &BTreeMap<MachineName, CopiedState>) -> Vec<Moment> {
        let Self { moments, candidates } = self;
        let is_new = |number: &usize| {
            let Some(candidate) = candidates.get(*number) else { return false };
            copied.get(&candidate.machine).is_none_or(|copied| copied.is_before(candidate, &candidates))
        };
        let is_pending = |(_, own): &(Moment, Vec<usize>)| own.iter().any(is_new);
        moments.into_iter().filter(is_pending).map(|(moment, _)| moment).collect()
    }
}
