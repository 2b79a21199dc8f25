//! The decision about each machine.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use super::{Candidate, Choice, CopiedState, Decision, Request, SelectionRules, Take};
use crate::{FolderId, MachineName, RepositoryId, Status, Timestamp};

/// Decides about each selected machine.
///
/// The result is sorted by name.
///
/// It has one entry for each selected machine of a source, and one for each machine that the selection names without wildcards.
/// The [module](super) lists the rules and has an example.
#[must_use]
pub fn decide(selection: &SelectionRules, candidates: &[Candidate], request: &Request<'_>) -> Vec<Choice> {
    let mut machines: BTreeMap<MachineName, Vec<usize>> =
        selection.named().map(|machine| (machine, Vec::new())).collect();
    for (place, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| selection.has(candidate)) {
        machines.entry(candidate.machine.clone()).or_default().push(place);
    }
    let choices = machines.into_iter().map(|(machine, places)| {
        let mut own = Own { candidates, places, copied: request.copied.get(&machine), future_dated: None };
        let decision = own.decide(request);
        let future_dated = own.future_dated.filter(|_| !matches!(decision, Decision::FutureDated { .. }));
        Choice { machine, decision, future_dated }
    });
    choices.collect()
}

/// The candidates of one machine.
struct Own<'a> {
    candidates: &'a [Candidate],
    places: Vec<usize>,
    copied: Option<&'a CopiedState>,
    future_dated: Option<Timestamp>,
}

impl Own<'_> {
    fn decide(&mut self, request: &Request<'_>) -> Decision {
        if self.places.is_empty() {
            return Decision::Missing;
        }
        self.retain(|candidate| candidate.repository != request.target);
        if self.places.is_empty() {
            return Decision::InTarget;
        }
        // What a backup is still writing is not yet whole, and will be.
        self.retain(|candidate| candidate.is_locked || candidate.status != Status::Incomplete);
        if self.places.is_empty() {
            return Decision::Incomplete;
        }
        let copied = self.copied;
        let candidates = self.candidates;
        let is_new = |one: &Candidate| copied.is_none_or(|copied| copied.is_before(one, candidates));
        let not_after = request.range.not_after;
        self.future_dated =
            self.all().filter(|one| one.captured > not_after && is_new(one)).map(|one| one.captured).min();
        let earliest = self.all().map(|one| one.captured).min();
        self.retain(|candidate| candidate.captured <= not_after);
        let Some(newest) = self.all().map(|one| one.captured).max() else {
            return earliest.map_or(Decision::Incomplete, |captured| Decision::FutureDated { captured });
        };
        self.retain(is_new);
        if let Some(copied) = copied.filter(|_| self.places.is_empty()) {
            return Decision::AlreadyCopied { captured: copied.captured };
        }
        self.retain(|candidate| candidate.captured >= request.range.not_before);
        // Of each folder one, by numbers; of those one, by time. The rest of the order makes the choice the same each time.
        let mut of_folders: BTreeMap<(RepositoryId, FolderId), usize> = BTreeMap::new();
        let takes_first = request.take == Take::Next && copied.is_some();
        for place in &self.places {
            let one = &self.candidates[*place];
            let best = of_folders.entry((one.repository, one.folder)).or_insert(*place);
            let order = one.age.cmp(&self.candidates[*best].age);
            if order == (if takes_first { Ordering::Less } else { Ordering::Greater }) {
                *best = *place;
            }
        }
        let key = |place: &usize| {
            let Candidate { captured, is_locked, repository, folder, .. } = &self.candidates[*place];
            (*captured, !*is_locked, Reverse(*repository), Reverse(*folder))
        };
        let first = of_folders.values().map(|place| self.candidates[*place].captured).min();
        let is_due = |place: &usize| !takes_first || Some(self.candidates[*place].captured) == first;
        let chosen = of_folders.into_values().filter(is_due).max_by_key(key);
        match chosen.map(|place| (place, &self.candidates[place])) {
            None => Decision::TooOld { captured: newest },
            Some((_, candidate)) if candidate.is_locked => Decision::Locked { captured: candidate.captured },
            Some((candidate, _)) => Decision::Take { candidate },
        }
    }

    fn retain(&mut self, keeps: impl Fn(&Candidate) -> bool) {
        self.places.retain(|place| keeps(&self.candidates[*place]));
    }

    fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.places.iter().map(|place| &self.candidates[*place])
    }
}
