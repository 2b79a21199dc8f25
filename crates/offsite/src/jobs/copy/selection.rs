//! What a copy job takes from its sources.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use offsite_core::selection::{
    Candidate, Choice as Chosen, CopiedState, Decision, MachineFilter, Pattern, Request, SelectionRules, decide,
};
use offsite_core::{BlockMap, FolderId, Head, Labels, MachineMap, MachineName, Origin, Sequence, Timestamp};

use super::request::SyncRequest;
use super::source::{Source, Sources};
use crate::commit::selected::Selected;
use crate::reader::job_folder::{JobFolder, PointSelector};
use crate::report::{Doubt, ErrorSummary, MachineCopy, MachineOutcome, MachineReport, Note, Reason};
use crate::{Error, ErrorPlace, OpenRepository, Result};

/// Which machines of the sources a copy job copies.
///
/// New machines join by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Selection {
    /// The machines to include, by name, tag or container. An empty filter includes all.
    pub include: MachineFilter,
    /// The machines to exclude. An empty filter excludes none.
    pub exclude: MachineFilter,
}

impl Selection {
    /// Selects all machines.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects these machines only.
    #[must_use]
    pub fn machines(machines: Vec<MachineName>) -> Self {
        Self { include: named(&machines), exclude: MachineFilter::default() }
    }

    /// Sets the machines to include, by name, tag or container.
    ///
    /// An empty filter includes all.
    #[must_use]
    pub fn include(mut self, filter: MachineFilter) -> Self {
        extend(&mut self.include, filter);
        self
    }

    /// Sets the machines to exclude.
    #[must_use]
    pub fn exclude(mut self, filter: MachineFilter) -> Self {
        extend(&mut self.exclude, filter);
        self
    }

    /// Excludes these machines as well.
    #[must_use]
    pub fn without(self, exclude: Vec<MachineName>) -> Self {
        self.exclude(named(&exclude))
    }
}

fn extend(filter: &mut MachineFilter, other: MachineFilter) {
    filter.machines.extend(other.machines);
    filter.containers.extend(other.containers);
    filter.tags.extend(other.tags);
}

fn named(machines: &[MachineName]) -> MachineFilter {
    MachineFilter::default().with_machines(machines.iter().map(|name| Pattern::new(name.as_str())))
}

/// What to copy, and the outcome of machines that are not copied.
pub(super) struct Choice {
    /// The states to copy.
    pub(super) wanted: BlockMap,
    /// Which these are, and where they come from.
    pub(super) machines: Vec<MachineCopy>,
    /// The folder of each.
    pub(super) sources: BTreeMap<MachineName, u32>,
    /// The point of each.
    pub(super) origins: BTreeMap<MachineName, Origin>,
    /// The newest of the times of these points.
    pub(super) time: Option<Timestamp>,
    /// What is known of the selected machines.
    pub(super) labels: BTreeMap<MachineName, Labels>,
    /// The machines that the job selects and of which a source has a state that counts, changed or not.
    pub(super) known: Vec<MachineName>,
    /// The machines that the job selects, whether there is something to copy of them or not.
    pub(super) selected: Selected,
    /// The outcomes of selected machines that are not copied.
    pub(super) others: Vec<MachineReport>,
    /// The first reason why a chosen machine cannot be copied.
    pub(super) failure: Option<Error>,
    /// Further notes for the report.
    pub(super) notes: Vec<Note>,
    /// Doubts for the report.
    pub(super) doubts: Vec<Doubt>,
}

/// A state that is taken.
pub(super) struct Taken {
    /// The folder that has it, by its position among the open ones.
    pub(super) folder: usize,
    /// The point in it.
    pub(super) sequence: Sequence,
    /// The folder and the point as they are stored.
    pub(super) origin: Origin,
    /// `true` if it is newer than what the chain has of the machine.
    is_new: bool,
}

/// The input of a selection.
#[derive(Clone, Copy)]
pub(super) struct SelectionInput<'a> {
    pub(super) sources: &'a [Source],
    pub(super) selection: &'a Selection,
    pub(super) target: &'a OpenRepository,
    pub(super) request: &'a SyncRequest,
    /// Folders that are sources too, and away now.
    pub(super) known_origins: &'a BTreeSet<FolderId>,
    /// `true` if a machine may be taken from another folder than its copy came from, even if that is no source.
    pub(super) adopts: bool,
}

impl SelectionInput<'_> {
    /// What the job selects, in the terms of the decisions.
    pub(super) fn rules(&self) -> SelectionRules {
        SelectionRules::new(self.sources.iter().map(Source::scope).collect())
            .with_include(self.selection.include.clone())
            .with_exclude(self.selection.exclude.clone())
    }

    /// What the chain has of each machine, with what is known of where it came from.
    pub(super) fn judged(
        &self,
        open: &Sources,
        copied: &BTreeMap<MachineName, CopiedState>,
    ) -> BTreeMap<MachineName, CopiedState> {
        // What cannot be looked at now may be the folder that a copy came from.
        let is_gone = |state: &CopiedState| open.are_whole() && self.left_origin(open, state).is_some();
        let judge =
            |(name, state): (&MachineName, &CopiedState)| (name.clone(), state.with_origin_gone(is_gone(state)));
        copied.iter().map(judge).collect()
    }

    /// Decides about each selected machine, and finds the state to take.
    ///
    /// A machine in `had` that is not in `copied` is taken even if it has not changed since.
    pub(super) fn decide(
        &self,
        open: &Sources,
        had: &BTreeMap<MachineName, CopiedState>,
        copied: &BTreeMap<MachineName, CopiedState>,
    ) -> Vec<(Chosen, Option<Taken>)> {
        let selection = self.rules();
        let (candidates, places) = open.candidates(self.request.moment.as_ref());
        let SyncRequest { range, take, .. } = *self.request;
        let (had, copied) = (self.judged(open, had), self.judged(open, copied));
        let request = Request::new(self.target.id(), &copied, range).with_take(take);
        let place = |choice: &Chosen| match choice.decision {
            Decision::Take { candidate } => candidates.get(candidate).zip(places.get(candidate)),
            _ => None,
        };
        let copied_before = |candidate: &Candidate, candidates: &[Candidate]| {
            had.get(&candidate.machine).is_none_or(|had| had.is_before(candidate, candidates))
        };
        let origin = |choice: Chosen| {
            let place = place(&choice).map(|(candidate, place)| Taken {
                folder: place.folder,
                sequence: place.sequence,
                origin: Origin::new(candidate.folder, candidate.sequence),
                is_new: copied_before(candidate, &candidates),
            });
            (choice, place)
        };
        decide(&selection, &candidates, &request).into_iter().map(origin).collect()
    }

    /// The states to copy to a chain with these blocks. `had` is what the chain has.
    ///
    /// A machine that is not in `copied` is taken even if it has not changed since, for example for a full that is read whole.
    pub(super) async fn choose(
        &self,
        open: &Sources,
        had: &BTreeMap<MachineName, CopiedState>,
        copied: &BTreeMap<MachineName, CopiedState>,
        head: &Head,
    ) -> Result<Choice> {
        let block_size = head.chain.block_size();
        let decided = self.decide(open, had, copied);
        let labels = open.labels();
        let in_doubt = self.selected_in_doubt(open, head);
        let mut choice = Choice {
            wanted: BlockMap::empty(),
            machines: Vec::new(),
            sources: BTreeMap::new(),
            origins: BTreeMap::new(),
            time: None,
            labels: BTreeMap::new(),
            known: Vec::new(),
            selected: selected(open, decided.iter().map(|(choice, _)| choice), &in_doubt),
            others: Vec::new(),
            failure: None,
            notes: Vec::new(),
            doubts: self.doubts(open, Some(head), decided.iter().map(|(choice, _)| choice)),
        };
        let mut states: BTreeMap<(usize, Sequence), BlockMap> = BTreeMap::new();
        let mut damaged: BTreeMap<(usize, Sequence), ErrorSummary> = BTreeMap::new();
        for (Chosen { machine, decision, future_dated, .. }, place) in decided {
            choice.notes.extend(future_dated.map(|earliest| Note::FutureDated { machine: machine.clone(), earliest }));
            let outcome = outcome(open, decision);
            if !matches!(
                decision,
                Decision::Missing | Decision::InTarget | Decision::Incomplete | Decision::FutureDated { .. }
            ) {
                choice.known.push(machine.clone());
                choice.labels.insert(machine.clone(), labels.get(&machine).cloned().unwrap_or_default());
            }
            let Some(Taken { folder: number, sequence, origin, is_new }) = place else {
                choice.others.push(MachineReport { name: machine, outcome });
                continue;
            };
            let Some(folder) = open.get(number) else { continue };
            // A full that is read whole has those too that have not changed and are not asked for.
            let is_read_again = had.contains_key(&machine) && !copied.contains_key(&machine);
            if !is_read_again && self.request.machines.as_ref().is_some_and(|only| !only.contains(&machine)) {
                continue;
            }
            let mut absent = |machine, why: Reason, error: Option<Error>| {
                choice.failure = choice.failure.take().or(error);
                choice.others.push(MachineReport { name: machine, outcome: MachineOutcome::Absent { why } });
            };
            let of_source = folder.chain().block_size();
            if of_source != block_size {
                let error = Error::setting(
                    "name",
                    format!(
                        "the copy has blocks of {block_size}, its source {} has {of_source}; copy it under another job name",
                        folder.job()
                    ),
                );
                let (job, source, copy) = (folder.job().clone(), of_source, block_size);
                absent(machine, Reason::OtherBlockSize { job, source, copy }, Some(error));
                continue;
            }
            if let Some(why) = damaged.get(&(number, sequence)) {
                absent(machine, Reason::Failed(why.clone()), None);
                continue;
            }
            let state = match states.entry((number, sequence)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => match folder.state_at(sequence).await {
                    Ok(state) => unknown.insert(state),
                    Err(error) if error.is_loss() && !folder.is_expired().await? => {
                        damaged.insert((number, sequence), (&error).into());
                        absent(machine, (&error).into(), Some(error));
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let Some(found) = state.machine(&machine) else {
                return Err(Error::defect(format!("restore point {sequence} lists {machine} and does not hold it")));
            };
            if let Some(had) = had.get(&machine) {
                let is_it = had.captured == found.captured && had.origin.is_none_or(|known| known == origin);
                if !is_it && !is_new {
                    // A source that has lost its newest points does not turn the copy back.
                    let outcome = MachineOutcome::Unchanged { captured: had.captured };
                    choice.others.push(MachineReport { name: machine, outcome });
                    continue;
                }
                if let Some(known) = self.other_origin(open, had) {
                    let (job, location, found) = (folder.job().clone(), folder.repository().location(), folder.id());
                    let name = machine.to_string();
                    let error = Error::OtherOrigin { machine: name, job: job.clone(), location, known, found };
                    absent(machine, Reason::OtherOrigin { job, known, found }, open.are_whole().then_some(error));
                    continue;
                }
                if had.captured > found.captured {
                    choice.notes.push(Note::ClockWentBack {
                        machine: machine.clone(),
                        job: folder.job().clone(),
                        sequence,
                        captured: found.captured,
                        copied: had.captured,
                    });
                }
            }
            let time = folder.chain().get(sequence).map(|point| point.time);
            choice.time = choice.time.max(time);
            choice.wanted.insert(machine.clone(), found.clone());
            choice.sources.insert(machine.clone(), u32::try_from(number).unwrap_or(u32::MAX));
            choice.origins.insert(machine.clone(), origin);
            choice.machines.push(MachineCopy {
                name: machine,
                captured: found.captured,
                source: sequence,
                job: folder.job().clone(),
                location: folder.repository().location(),
            });
        }
        choice.known.extend(in_doubt);
        Ok(choice)
    }

    /// The job folder that the copy of a machine came from, if that is no source: then a source's machine of this name may be
    /// another one.
    fn left_origin(&self, open: &Sources, had: &CopiedState) -> Option<FolderId> {
        let known = had.origin?.folder;
        let is_source = open.folders().any(|open| open.id() == known) || self.known_origins.contains(&known);
        (!is_source).then_some(known)
    }

    /// The same, if the job takes no machines over.
    pub(super) fn other_origin(&self, open: &Sources, had: &CopiedState) -> Option<FolderId> {
        self.left_origin(open, had).filter(|_| !self.adopts)
    }

    /// The error of a selection of which no source has anything. It is no error if patterns match nothing or exclude everything:
    /// the doubts report that.
    pub(super) fn nothing(&self, open: &Sources, choice: &Choice) -> Option<Error> {
        if let Some(error) = no_points(open) {
            return Some(error);
        }
        // What is waited for, dated in the future, or not copied for another reason is there.
        let is_missing =
            |report: &MachineReport| matches!(report.outcome, MachineOutcome::Absent { why: Reason::Missing });
        let is_known = !choice.known.is_empty() || choice.others.iter().any(|report| !is_missing(report));
        if is_known || open.locked().next().is_some() {
            return None;
        }
        let known: BTreeSet<String> =
            open.folders().flat_map(|folder| &folder.head().machines).map(ToString::to_string).collect();
        let place = places(open);
        let missing: Vec<String> = choice.others.iter().map(|report| report.name.to_string()).collect();
        match (missing.is_empty(), known.is_empty()) {
            (true, true) => Some(Error::nothing_yet("restore point", place)),
            (true, false) => None,
            // A source has had it, and has no restore point of it now.
            (false, _) if missing.iter().any(|name| known.contains(name)) => None,
            (false, _) => {
                let (machine, known) = (missing.join(", "), known.into_iter().collect());
                Some(Error::UnknownMachine { machine, place, known, at: ErrorPlace::default() })
            }
        }
    }
}

/// The error of sources that have no restore point, and none in the making: a first backup that was cut off leaves a folder without
/// one.
pub(super) fn no_points(open: &Sources) -> Option<Error> {
    if open.locked().next().is_some() || open.folders().any(|folder| folder.chain().all().next().is_some()) {
        return None;
    }
    let folders: Vec<&JobFolder> = open.folders().collect();
    match folders[..] {
        [folder] => folder.point(PointSelector::Latest).err(),
        _ => Some(Error::nothing_yet("restore point", places(open))),
    }
}

/// The jobs that are looked at, and where they are.
fn places(open: &Sources) -> String {
    let places = open.folders().map(|folder| format!("job {} in {}", folder.job(), folder.repository().location()));
    places.collect::<Vec<_>>().join(", ")
}

/// What the chain has of each machine, given its newest state `latest`.
pub(super) fn copied(head: &Head, latest: &BlockMap) -> BTreeMap<MachineName, CopiedState> {
    let had = |(name, machine): (&MachineName, &MachineMap)| {
        let captured = machine.captured;
        (name.clone(), CopiedState::new(captured, origin_in(head, name, captured)))
    };
    latest.machines().iter().map(had).collect()
}

/// Where the state of a machine in a chain came from.
pub(super) fn origin_in(head: &Head, name: &MachineName, captured: Timestamp) -> Option<Origin> {
    let states = head.chain.all().rev().filter_map(|point| point.machine(name));
    states.filter(|state| state.is_whole() && state.captured == captured).find_map(|state| state.origin)
}

/// The machines that the job selects, by these decisions and by what is `in_doubt`.
pub(super) fn selected<'a>(
    open: &Sources,
    decided: impl Iterator<Item = &'a Chosen>,
    in_doubt: &[MachineName],
) -> Selected {
    let is_there = |choice: &&Chosen| choice.decision != Decision::Missing;
    let decided = decided.filter(is_there).map(|choice| &choice.machine);
    Selected { machines: decided.chain(in_doubt).cloned().collect(), are_all: open.are_whole() }
}

/// The outcome of a machine after a decision not to copy it.
fn outcome(open: &Sources, decision: Decision) -> MachineOutcome {
    let locked = open.locked().next().cloned();
    match decision {
        Decision::Locked { .. } => MachineOutcome::Waiting { job: locked },
        Decision::Missing if locked.is_some() => MachineOutcome::Waiting { job: locked },
        Decision::AlreadyCopied { captured } => MachineOutcome::Unchanged { captured },
        Decision::TooOld { captured } => MachineOutcome::Absent { why: Reason::TooOld { captured } },
        Decision::FutureDated { captured } => {
            MachineOutcome::Absent { why: Reason::FutureDated { earliest: Some(captured) } }
        }
        Decision::InTarget => MachineOutcome::Absent { why: Reason::InTarget },
        Decision::Incomplete => MachineOutcome::Absent { why: Reason::NoWholePoint },
        _ => MachineOutcome::Absent { why: Reason::Missing },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_and_what_is_left_out_adds_up_in_any_order() {
        let name = |name: &str| MachineName::new(name).unwrap();
        let tag = MachineFilter::default().with_tags([Pattern::new("gold")]);
        let both = Selection::machines(vec![name("a")]).exclude(tag.clone()).without(vec![name("b")]);
        assert_eq!(both.exclude, Selection::all().without(vec![name("b")]).exclude(tag.clone()).exclude);
        assert_eq!((both.exclude.machines.len(), both.exclude.tags.len()), (1, 1));
        let included = both.include(tag).include;
        assert_eq!((included.machines.len(), included.tags.len()), (1, 1));
    }
}
