//! Results of a copy that are probably not meant, although nothing has failed.
//!
//! For example, machines no longer appear, disks are lost, patterns match nothing, or a new chain begins although there is one.
//! Each becomes a doubt of the report. A loss becomes a note.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use offsite_core::selection::{Choice, Decision, MachineFilter, Pattern};
use offsite_core::{BlockMap, DiskMap, FolderId, Head, Labels, MachineName, RestorePoint, Status, Timestamp};

use super::CopyJob;
use super::selection::SelectionInput;
use super::source::{Source, Sources};
use crate::reader::job_folder::JobFolder;
use crate::report::{Doubt, Note, PatternKind, PatternPlace};
use crate::{Error, JobName, Result};

/// Where a disk had fewer blocks with data, having lost half of them tells nothing.
const DATA_BLOCKS_MIN: u64 = 64;

/// A machine, with all that it is selected by.
struct Described {
    machine: MachineName,
    labels: Labels,
}

impl SelectionInput<'_> {
    /// What is to be said of `choices`, which a look at the sources led to, beside what becomes of each machine. `head` is that of the
    /// chain, if there is one.
    pub(super) fn doubts<'a>(
        &self,
        open: &Sources,
        head: Option<&Head>,
        choices: impl Iterator<Item = &'a Choice> + Clone,
    ) -> Vec<Doubt> {
        // What is not seen is not gone.
        if !open.are_whole() {
            return Vec::new();
        }
        let mut doubts = self.idle_patterns(open, head);
        let traces: Vec<Traces<'_>> = open.folders().map(Traces::of).collect();
        doubts.extend(choices.clone().filter_map(|choice| left_behind(&traces, choice)));
        doubts.extend(nothing_left(open, choices.clone()));
        if let Some(head) = head {
            let found = open.described();
            let seen = choices.map(|choice| &choice.machine).chain(found.iter().map(|known| &known.machine)).collect();
            doubts.extend(self.vanished(head, seen));
        }
        doubts
    }

    /// The machines of a chain that count as selected though they are not, as something of the selection matches nothing: it may be mistyped,
    /// or a repair of the source has lost the tags, and no copy is to be removed for that.
    pub(super) fn selected_in_doubt(&self, open: &Sources, head: &Head) -> Vec<MachineName> {
        let found = open.described();
        let is_in_doubt =
            !idle_included(&self.selection.include, &found).is_empty() || self.idle_of_sources(&found).next().is_some();
        if is_in_doubt { names(head).into_iter().cloned().collect() } else { Vec::new() }
    }

    /// The patterns of sources that select none of `found`.
    ///
    /// A machine that is named in full is missed as a machine.
    fn idle_of_sources<'a>(&'a self, found: &'a [Described]) -> impl Iterator<Item = &'a Pattern> {
        self.sources.iter().flat_map(Source::patterns).filter(|pattern| {
            pattern.as_name().is_none() && !found.iter().any(|known| pattern.matches(known.machine.as_str()))
        })
    }

    /// Machines that the chain has, that would be selected, and that no source has.
    fn vanished(&self, head: &Head, seen: BTreeSet<&MachineName>) -> Vec<Doubt> {
        let had: BTreeSet<&MachineName> =
            head.chain.points().iter().flat_map(|point| &point.machines).map(|machine| &machine.name).collect();
        let is_selected = |name: &MachineName| {
            let known = described(head, name);
            let is_of = |filter: &MachineFilter| filter.has(&known.machine, &known.labels);
            (self.selection.include.is_empty() || is_of(&self.selection.include)) && !is_of(&self.selection.exclude)
        };
        let gone = had.into_iter().filter(|name| !seen.contains(name) && is_selected(name));
        gone.map(|name| Doubt::Vanished { machine: name.clone() }).collect()
    }

    /// Patterns of the selection that match no machine.
    fn idle_patterns(&self, open: &Sources, head: Option<&Head>) -> Vec<Doubt> {
        let found: Vec<Described> = open.described();
        // A machine that is no longer backed up stays excluded as long as the copy has it.
        let had: Vec<Described> =
            head.map_or_else(Vec::new, |head| names(head).into_iter().map(|name| described(head, name)).collect());
        if found.is_empty() {
            return Vec::new();
        }
        let included = idle_included(&self.selection.include, &found);
        let excluded = single(&self.selection.exclude).into_iter();
        let excluded = excluded.filter(|(_, _, objects)| !matches(objects, &found) && !matches(objects, &had));
        let of_sources = self.idle_of_sources(&found);
        let doubt = |place, pattern: &Pattern| Doubt::IdlePattern { place, pattern: pattern.to_string() };
        included
            .into_iter()
            .map(|(kind, pattern)| doubt(PatternPlace::Include(kind), pattern))
            .chain(excluded.map(|(kind, pattern, _)| doubt(PatternPlace::Exclude(kind), pattern)))
            .chain(of_sources.map(|pattern| doubt(PatternPlace::Source, pattern)))
            .collect()
    }
}

/// The patterns that select none of `found`, each with its kind.
///
/// A machine that is named in full is missed as a machine.
fn idle_included<'a>(include: &'a MachineFilter, found: &[Described]) -> Vec<(PatternKind, &'a Pattern)> {
    let is_missed = |kind, pattern: &Pattern| kind == PatternKind::Machines && pattern.as_name().is_some();
    let idle = single(include)
        .into_iter()
        .filter(|(kind, pattern, filter)| !is_missed(*kind, pattern) && !matches(filter, found));
    idle.map(|(kind, pattern, _)| (kind, pattern)).collect()
}

fn matches(filter: &MachineFilter, machines: &[Described]) -> bool {
    machines.iter().any(|known| filter.has(&known.machine, &known.labels))
}

/// That the sources have machines, and that none of them is chosen.
fn nothing_left<'a>(open: &Sources, mut choices: impl Iterator<Item = &'a Choice>) -> Option<Doubt> {
    let is_left_out = choices.next().is_none() && !open.described().is_empty();
    is_left_out.then_some(Doubt::NothingSelected)
}

/// Each pattern alone, with its kind.
fn single(filter: &MachineFilter) -> Vec<(PatternKind, &Pattern, MachineFilter)> {
    let MachineFilter { machines, containers, tags, .. } = filter;
    let none = MachineFilter::default;
    let machines = machines.iter().map(|it| (PatternKind::Machines, it, none().with_machines([it.clone()])));
    let containers = containers.iter().map(|it| (PatternKind::Containers, it, none().with_containers([it.clone()])));
    let tags = tags.iter().map(|it| (PatternKind::Tags, it, none().with_tags([it.clone()])));
    machines.chain(containers).chain(tags).collect()
}

fn described(head: &Head, name: &MachineName) -> Described {
    Described { machine: name.clone(), labels: head.labels.get(name).cloned().unwrap_or_default() }
}

/// The machines of a folder's points.
fn names(head: &Head) -> BTreeSet<&MachineName> {
    head.chain.all().flat_map(|point| &point.machines).map(|machine| &machine.name).collect()
}

impl Sources {
    /// Each machine of the folders.
    fn described(&self) -> Vec<Described> {
        let machines = |folder: &JobFolder| {
            let head = folder.head();
            names(head).into_iter().map(|name| described(head, name)).collect::<Vec<_>>()
        };
        self.folders().flat_map(machines).collect()
    }
}

/// What is to be said of a machine without which newer restore points of its job go on.
fn left_behind(traces: &[Traces<'_>], choice: &Choice) -> Option<Doubt> {
    let Choice { machine, decision, .. } = choice;
    if !matches!(decision, Decision::AlreadyCopied { .. } | Decision::TooOld { .. }) {
        return None;
    }
    let newest = traces.iter().filter_map(|traces| Some((traces.captured.get(machine)?, traces)));
    let (_, traces) = newest.max_by_key(|(captured, _)| **captured)?;
    if !traces.has_left_behind(machine) {
        return None;
    }
    let last = traces.last(machine).and_then(|place| traces.points.get(place));
    Some(Doubt::LeftBehind {
        machine: machine.clone(),
        job: traces.folder.job().clone(),
        location: traces.folder.repository().location(),
        last: last.map(|point| (point.sequence, point.time)),
    })
}

/// Where in a folder its machines are.
struct Traces<'a> {
    folder: &'a JobFolder,
    /// Oldest first.
    points: Vec<&'a RestorePoint>,
    /// The places of the points that were made with each machine, ascending.
    made: BTreeMap<&'a MachineName, Vec<usize>>,
    /// When each machine was in its newest state.
    captured: BTreeMap<&'a MachineName, Timestamp>,
}

impl<'a> Traces<'a> {
    fn of(folder: &'a JobFolder) -> Self {
        let points: Vec<&RestorePoint> = folder.chain().all().collect();
        let mut made: BTreeMap<&MachineName, Vec<usize>> = BTreeMap::new();
        let mut captured: BTreeMap<&MachineName, Timestamp> = BTreeMap::new();
        for (place, point) in points.iter().enumerate() {
            for state in &point.machines {
                let newest = captured.entry(&state.name).or_insert(state.captured);
                *newest = state.captured.max(*newest);
                if state.status != Status::Carried {
                    made.entry(&state.name).or_default().push(place);
                }
            }
        }
        Self { folder, points, made, captured }
    }

    /// The place of the last point that was made with a machine.
    fn last(&self, machine: &MachineName) -> Option<usize> {
        self.made.get(machine)?.last().copied()
    }

    /// Whether points go on without a machine.
    ///
    /// Several may be backed up one after the other into one folder, or some of them more rarely than others: so it is missed
    /// once there are more points without it than there were between two with it.
    fn has_left_behind(&self, machine: &MachineName) -> bool {
        // It is carried along only.
        let Some(last) = self.last(machine) else { return true };
        let since = self.points.len().saturating_sub(last + 1);
        let rhythm =
            self.made.get(machine).into_iter().flat_map(|places| places.windows(2).map(|pair| pair[1] - pair[0]));
        let rhythm = rhythm.max();
        // Whether a machine that was in the last point with it is in a later one.
        let companions = self.points.get(last).into_iter().flat_map(|point| &point.machines);
        let is_followed = companions.into_iter().any(|state| self.last(&state.name) > Some(last));
        match is_followed {
            true => since >= rhythm.unwrap_or(1),
            false => rhythm.is_some_and(|rhythm| since >= 2 * rhythm),
        }
    }
}

/// Disks of `wanted` that have lost more than half of what the newest copy has of them, or are not there any more.
pub(super) fn lost_disks(latest: &BlockMap, wanted: &BlockMap) -> Vec<Note> {
    let mut lost = Vec::new();
    for (name, found) in wanted.machines() {
        let had = latest.machine(name).into_iter().flat_map(|machine| &machine.disks);
        for (number, had) in had {
            let (machine, disk, captured) = (name.clone(), *number, found.captured);
            let Some(now) = found.disks.get(number) else {
                lost.push(Note::DiskGone { machine, disk, size_bytes: had.size_bytes(), captured });
                continue;
            };
            let (before_bytes, now_bytes) = (had.size_bytes(), now.size_bytes());
            let (before_blocks, now_blocks) = (data_blocks(had), data_blocks(now));
            if now_bytes < before_bytes.div_ceil(2) {
                lost.push(Note::DiskShrunk { machine, disk, before_bytes, now_bytes, captured });
            } else if before_blocks >= DATA_BLOCKS_MIN && 2 * now_blocks < before_blocks {
                lost.push(Note::DiskEmptied { machine, disk, before_blocks, now_blocks, captured });
            }
        }
    }
    lost
}

/// Blocks that are not zero.
fn data_blocks(disk: &DiskMap) -> u64 {
    disk.stored().count() as u64
}

impl CopyJob {
    /// Job folders in the target that may be this job's, under a former name.
    ///
    /// If the target has no folder of this job yet, these are the folders with copies from this job's sources. A run would start
    /// with a new full, although one of those chains could be continued. Otherwise the result is empty.
    ///
    /// # Errors
    /// The errors of the repositories.
    pub fn forerunners(&self) -> BoxFuture<'_, Result<Vec<JobName>>> {
        Box::pin(async move {
            match JobFolder::open(&self.target, &self.name).await {
                Err(Error::UnknownJob { .. }) => {}
                folder => return folder.map(|_| Vec::new()),
            }
            let others = self.target.job_folders().await?.jobs;
            if others.is_empty() || self.sources.is_empty() {
                return Ok(Vec::new());
            }
            let sources = Sources::opened(self).await?;
            let origins: BTreeSet<FolderId> = sources.folders().map(JobFolder::id).collect();
            sources.unpin(Ok(())).await?;
            let mut forerunners = Vec::new();
            for other in others {
                // One that cannot be read is no reason to hold up this job.
                let Ok(folder) = JobFolder::open(&self.target, &other).await else { continue };
                let mut machines = folder.chain().all().flat_map(|point| &point.machines);
                if machines.any(|machine| machine.origin.is_some_and(|origin| origins.contains(&origin.folder))) {
                    forerunners.push(other);
                }
            }
            Ok(forerunners)
        })
    }
}
