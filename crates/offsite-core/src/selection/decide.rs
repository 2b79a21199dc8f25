//! From candidates to decisions.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Candidate, Choice, Decision, Request, Selection, Take};
use crate::{MachineName, Status, Timestamp};

/// What becomes of each selected machine, by name.
///
/// Every machine that a source has and the selection takes is in the answer once, and so is every machine that the selection
/// names without wildcards.
#[must_use]
pub fn decide(selection: &Selection, candidates: &[Candidate], request: &Request<'_>) -> Vec<Choice> {
    let mut machines: BTreeMap<MachineName, Vec<usize>> =
        selection.named().map(|machine| (machine, Vec::new())).collect();
    for (place, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| selection.has(candidate)) {
        machines.entry(candidate.machine.clone()).or_default().push(place);
    }
    let choices = machines.into_iter().map(|(machine, places)| {
        let own = Own { candidates, places, copied: request.copied.get(&machine).copied() };
        Choice { decision: own.decide(request), machine }
    });
    choices.collect()
}

/// The candidates of one machine.
struct Own<'a> {
    candidates: &'a [Candidate],
    places: Vec<usize>,
    copied: Option<Timestamp>,
}

impl Own<'_> {
    fn decide(mut self, request: &Request<'_>) -> Decision {
        if self.places.is_empty() {
            return Decision::Missing;
        }
        self.retain(|candidate| candidate.repository != request.target);
        if self.places.is_empty() {
            return Decision::InTarget;
        }
        // What a backup is still writing is not yet whole, and will be.
        self.retain(|candidate| candidate.is_locked || candidate.status == Status::Complete);
        if self.places.is_empty() {
            return Decision::Incomplete;
        }
        let earliest = self.times().min();
        self.retain(|candidate| candidate.captured <= request.range.not_after);
        let Some(newest) = self.times().max() else {
            return earliest.map_or(Decision::Incomplete, |captured| Decision::FutureDated { captured });
        };
        let copied = self.copied;
        self.retain(|candidate| copied.is_none_or(|copied| candidate.captured > copied));
        if let Some(captured) = copied.filter(|_| self.places.is_empty()) {
            return Decision::AlreadyCopied { captured };
        }
        self.retain(|candidate| candidate.captured >= request.range.not_before);
        // Fulls and increments of one time differ in nothing that is copied; the order makes the choice the same each time.
        let key = |place: &usize| {
            let candidate = &self.candidates[*place];
            let Candidate { captured, is_locked, repository, folder, sequence, .. } = candidate;
            (*captured, !*is_locked, Reverse(*repository), Reverse(*folder), *sequence)
        };
        let chosen = match request.take {
            Take::Next if copied.is_some() => {
                let first = self.times().min();
                let is_first = |place: &&usize| Some(self.candidates[**place].captured) == first;
                self.places.iter().filter(is_first).max_by_key(|place| key(place))
            }
            Take::Newest | Take::Next => self.places.iter().max_by_key(|place| key(place)),
        };
        match chosen.map(|place| (*place, &self.candidates[*place])) {
            None => Decision::TooOld { captured: newest },
            Some((_, candidate)) if candidate.is_locked => Decision::Locked { captured: candidate.captured },
            Some((candidate, _)) => Decision::Take { candidate },
        }
    }

    fn retain(&mut self, keeps: impl Fn(&Candidate) -> bool) {
        self.places.retain(|place| keeps(&self.candidates[*place]));
    }

    fn times(&self) -> impl Iterator<Item = Timestamp> {
        self.places.iter().map(|place| self.candidates[*place].captured)
    }
}
