//! What a runner must remember of a job between two starts.

use std::collections::BTreeMap;

use offsite_core::phase::Past;
use offsite_core::schedule::Schedule;
use offsite_core::{Chain, MachineName, RepositoryId, RestorePoint, Sequence, Status, Timestamp, Transferred};

use super::outcome::{LastRun, past};
use crate::reader::job_folder::JobFolder;
use crate::report::{MachineOutcome, Reason};

/// What a runner remembers of a job between two starts.
///
/// The default is nothing.
///
/// The chain tells the rest. Without a memory, a runner assumes that the interval of the chain's newest restore point was the
/// last one that was closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Memory {
    /// The restore point that was closed last. `None` if it is unknown.
    pub last: Option<LastRun>,
    /// The interval whose restore point is open. `None` if there is none.
    pub open: Option<OpenInterval>,
    /// The number of restore points that were added to the chain, and that no transform has counted yet.
    pub added: u32,
}

/// An interval in which a sync has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OpenInterval {
    /// The time at which the interval starts.
    pub start: Timestamp,
    /// The time at which the next interval starts.
    pub end: Timestamp,
    /// The identity of the target repository. If drives are used in turn, each has its own chain.
    pub target: RepositoryId,
    /// The number of the chain's newest point before the first sync. Later points belong to this interval.
    pub after: Sequence,
}

/// What an interval has brought to a chain so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// The newest point of the interval.
    pub(super) point: Option<Sequence>,
    /// How many points there are.
    pub(super) points: u32,
    /// Machines that are whole, and when they were in that state.
    pub(super) copied: BTreeMap<MachineName, Timestamp>,
    /// How far machines came that are not, and when they were in that state.
    pub(super) partial: BTreeMap<MachineName, (Timestamp, Transferred)>,
}

/// The target as it is at one moment.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: RepositoryId,
    /// `None` if nothing was copied to it yet.
    pub(super) folder: Option<JobFolder>,
    /// The newest states that the job has in other places that it writes to in turn.
    pub(super) elsewhere: BTreeMap<MachineName, Timestamp>,
}

/// When each machine was in its newest state that `points` have whole, of machines that count.
pub(super) fn newest_states<'a>(
    points: impl Iterator<Item = &'a RestorePoint>,
    counts: impl Fn(&MachineName) -> bool,
) -> BTreeMap<MachineName, Timestamp> {
    let mut newest: BTreeMap<MachineName, Timestamp> = BTreeMap::new();
    for machine in
        points.flat_map(|point| &point.machines).filter(|machine| machine.is_whole() && counts(&machine.name))
    {
        let known = newest.entry(machine.name.clone()).or_insert(machine.captured);
        *known = machine.captured.max(*known);
    }
    newest
}

impl Target {
    fn chain(&self) -> Option<&Chain> {
        self.folder.as_ref().map(JobFolder::chain)
    }

    /// When each machine that the job selected last was in its newest state that is there whole.
    pub(super) fn newest_states(&self) -> BTreeMap<MachineName, Timestamp> {
        let mut newest = self.elsewhere.clone();
        let Some(folder) = &self.folder else { return newest };
        let selected = &folder.head().last_selected;
        let last = selected.values().max().copied();
        let is_selected = |name: &MachineName| selected.get(name).copied() == last;
        for (name, captured) in newest_states(folder.chain().all(), is_selected) {
            let known = newest.entry(name).or_insert(captured);
            *known = captured.max(*known);
        }
        newest
    }

    /// The number of the newest point; 0 if there is none.
    pub(super) fn newest(&self) -> Sequence {
        self.chain().and_then(Chain::latest).map_or(Sequence(0), |point| point.sequence)
    }

    /// What an interval has brought; nothing, if it began with another target.
    pub(super) fn arrived(&self, open: &OpenInterval) -> Arrived {
        let mut arrived = Arrived::default();
        if self.id != open.target {
            return arrived;
        }
        for point in self.chain().into_iter().flat_map(Chain::points).filter(|point| point.sequence > open.after) {
            arrived.point = Some(point.sequence);
            arrived.points = arrived.points.saturating_add(1);
            for machine in &point.machines {
                let name = machine.name.clone();
                match machine.status {
                    Status::Complete => {
                        arrived.partial.remove(&name);
                        arrived.copied.insert(name, machine.captured);
                    }
                    Status::Incomplete => {
                        arrived.partial.insert(name, (machine.captured, machine.transferred));
                    }
                    Status::Carried => {}
                }
            }
        }
        // While the past is being brought, no machine has come to the present.
        if self.folder.as_ref().is_some_and(|folder| folder.head().brings_history) {
            arrived.copied.clear();
        }
        arrived
    }
}

impl Memory {
    /// What the state machine is to know, given the target.
    pub(super) fn past(&self, schedule: &Schedule, target: Option<&Target>, now: Timestamp) -> Past {
        let last = self.last.clone().or_else(|| {
            // With an open interval, the newest point may be of that one; then nothing was closed before.
            let point = target.filter(|_| self.open.is_none())?.chain()?.latest()?;
            let outcome = |state: &offsite_core::MachineState| match state.status {
                Status::Incomplete => MachineOutcome::Incomplete {
                    captured: Some(state.captured),
                    transferred: state.transferred,
                    why: Reason::TransferEnded,
                },
                _ => MachineOutcome::Complete { captured: state.captured },
            };
            let machines = point.machines.iter().map(|state| (state.name.clone(), outcome(state))).collect();
            let time = point.time.min(now);
            Some(LastRun::new(schedule.span_at(time), machines).with_finished(true))
        });
        let is_current = |open: &&OpenInterval| open.start <= now && now < open.end;
        let copied = match (self.open.as_ref().filter(is_current), target) {
            (Some(open), Some(target)) => target.arrived(open).copied,
            _ => BTreeMap::new(),
        };
        Past::default().with_last(last.as_ref().map(past)).with_copied(copied)
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use offsite_core::schedule::Span;

    use super::*;
    use crate::JobName;
    use crate::report::ErrorSummary;

    #[test]
    fn a_memory_is_read_as_it_was_written() {
        let time = |secs| Timestamp::from_unix_secs(secs).unwrap();
        let name = |text| MachineName::new(text).unwrap();
        let transferred = Transferred::new(3, u64::MAX);
        let why = Reason::Failed(ErrorSummary::new("the network is down", true));
        let job = Some(JobName::new("nightly").unwrap());
        let machines = [
            (name("web01"), MachineOutcome::Complete { captured: time(5) }),
            (name("db01"), MachineOutcome::Incomplete { captured: None, transferred, why }),
            (name("db02"), MachineOutcome::Absent { why: Reason::BackupAtWork { job } }),
        ];
        let last = LastRun::new(Span::new(time(0), time(86_400)), machines.into()).with_finished(true);
        let open = OpenInterval {
            start: time(86_400),
            end: time(172_800),
            target: RepositoryId::new([0xa1; 16]),
            after: Sequence(7),
        };
        let memory = Memory { last: Some(last), open: Some(open), added: 2 };
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory, "{text}");
        assert_eq!(serde_json::from_str::<Memory>(&text.replace("web01", "web/01")).ok(), None, "no such name");
    }
}
