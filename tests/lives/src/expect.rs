//! What a copy is to bring, told from what the sources hold.

use offsite::model::FolderId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use offsite::SyncRequest;
use offsite::model::Labels;
use offsite::model::MachineName;
use offsite::model::Origin;
use offsite::model::Sequence;
use offsite::model::Status;
use offsite::model::Timestamp;
use offsite::schedule::PointRange;
use offsite::selection::Take;
use offsite_simulation::machines::machine;

use crate::proof::Proven;
use crate::settings::FOLDERS;
use crate::world::World;

/// What a copy is asked for.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The present.
    now: Timestamp,
    range: PointRange,
    take: Take,
    /// Only these machines. `None` stands for all that are selected.
    only: Option<BTreeSet<MachineName>>,
    /// Whether machines are taken from folders that they did not come from.
    pub adopts: bool,
}

impl Asking {
    /// The newest state of each machine.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let SyncRequest { range, take, machines, .. } = SyncRequest::at(now);
        Self { now, range, take, only: machines, adopts: false }
    }

    /// The same, of machines that came from other folders too.
    #[must_use]
    pub fn adopting(self, adopts: bool) -> Self {
        Self { adopts, ..self }
    }

    /// By a number: the newest states or the next ones, of all times or some, of all machines or some.
    #[must_use]
    pub fn numbered(now: Timestamp, number: u32) -> Self {
        const DAY: i64 = 86_400;
        let plain = Self::at(now);
        if number < 6 {
            return plain;
        }
        let before = |days: i64| Timestamp::from_unix_secs(now.unix_secs() - days * DAY).unwrap_or(Timestamp::MIN);
        let range = match number / 2 % 5 {
            0 => PointRange { not_before: before(1), ..plain.range },
            1 => PointRange { not_before: before(10), ..plain.range },
            2 => PointRange { not_after: before(1), ..plain.range },
            _ => plain.range,
        };
        let take = if number.is_multiple_of(2) { Take::Newest } else { Take::Next };
        let only = (number / 10 % 3 == 2).then(|| ["vm1", "vm3"].into_iter().map(machine).collect());
        Self { range, take, only, ..plain }
    }

    /// As the engine is asked.
    #[must_use]
    pub fn request(&self) -> SyncRequest {
        SyncRequest::at(self.now).range(self.range).take(self.take).machines(self.only.clone())
    }
}

/// What a copy at one moment has to do.
#[derive(Debug, Default)]
pub struct Expected {
    /// What becomes of each machine that is selected and that a source has whole.
    pub offered: BTreeMap<MachineName, Offered>,
    /// Whether all sources can be read, so that nothing else is to be had.
    pub is_certain: bool,
    /// Whether there is any source at all.
    pub has_source: bool,
    /// The folders that may be read.
    pub folders: BTreeSet<usize>,
    /// What they know of each machine.
    pub labels: BTreeMap<MachineName, Labels>,
}

/// What there is of a machine.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    /// Its whole states, none dated ahead.
    states: Vec<State>,
    /// The time of the state that is to be copied. `None` if what is there is the newest.
    pub due: Option<Timestamp>,
    /// Whether it came from a folder that is no source, so that it may be another machine.
    pub is_strange: bool,
}

/// A state of a machine in a point of a source.
#[derive(Debug, Clone)]
struct State {
    folder: usize,
    sequence: Sequence,
    status: Status,
    captured: Timestamp,
    is_intact: bool,
}

/// What a chain has of a machine.
#[derive(Debug, Clone, Copy)]
struct Had {
    captured: Timestamp,
    origin: Option<Origin>,
}

impl World {
    /// What a copy to a folder finds.
    #[must_use]
    pub fn expected(&self, number: usize, asking: &Asking) -> Expected {
        let mut expected = Expected { is_certain: true, ..Expected::default() };
        let select = &self.copy_settings(number).select;
        let now = asking.now;
        expected.labels = self.labels(number);
        let mut ids = BTreeMap::new();
        for spec in self.sources(number) {
            for folder in spec.folders() {
                if let Some(proven) = self.proven(folder) {
                    ids.insert(folder, proven.head.folder);
                }
                expected.folders.insert(folder);
                if FOLDERS[folder].place == FOLDERS[number].place {
                    continue;
                }
                expected.is_certain &= self.folders[folder].is_sound();
                let Some(proven) = self.proven(folder) else { continue };
                expected.has_source |= proven.head.chain.latest().is_some();
                let lost = proven.lost();
                for point in proven.points() {
                    let wanted = point.machines.iter().filter(|machine| {
                        let name = machine.name.as_str();
                        let labels = expected.labels.get(&machine.name);
                        machine.is_whole() && machine.captured <= now && spec.has(name) && select.has(name, labels)
                    });
                    for machine in wanted {
                        let is_intact = !lost.contains(&(point.sequence, machine.name.clone()));
                        let (status, captured) = (machine.status, machine.captured);
                        let state = State { folder, sequence: point.sequence, status, captured, is_intact };
                        expected.offered.entry(machine.name.clone()).or_default().states.push(state);
                    }
                }
            }
        }
        let target = self.proven(number);
        for (name, offered) in &mut expected.offered {
            let had = target.as_ref().and_then(|target| had(target, name));
            offered.decide(had, &ids, asking);
            offered.due = offered.due.filter(|_| asking.only.as_ref().is_none_or(|only| only.contains(name)));
        }
        let not_after = asking.range.not_after;
        expected.offered.retain(|_, offered| offered.states.iter().any(|state| state.captured <= not_after));
        expected
    }

    /// What the folders that a copy may read know of machines, beside their disks.
    fn labels(&self, number: usize) -> BTreeMap<MachineName, Labels> {
        let mut all: BTreeMap<MachineName, Labels> = BTreeMap::new();
        let folders: BTreeSet<usize> = self.sources(number).iter().flat_map(|spec| spec.folders()).collect();
        let is_source = |folder: &usize| FOLDERS[*folder].place != FOLDERS[number].place;
        for proven in folders.into_iter().filter(is_source).filter_map(|folder| self.proven(folder)) {
            for (name, labels) in &proven.head.labels {
                let joined = all.get(name).map_or_else(|| labels.clone(), |known| known.union(labels));
                all.insert(name.clone(), joined);
            }
        }
        all
    }
}

/// The newest whole state of a machine that a chain goes on from, and what it is a copy of.
fn had(target: &Rc<Proven>, name: &MachineName) -> Option<Had> {
    let captured = *target.newest().get(name)?;
    let states = target.points().rev().filter_map(|point| point.machine(name));
    let origin = states.filter(|state| state.captured == captured).find_map(|state| state.origin);
    Some(Had { captured, origin })
}

impl Offered {
    fn decide(&mut self, had: Option<Had>, ids: &BTreeMap<usize, FolderId>, asking: &Asking) {
        let origin = had.and_then(|had| had.origin);
        let is_known = |origin: Origin| ids.values().any(|id| *id == origin.folder);
        self.is_strange = origin.is_some_and(|origin| !is_known(origin)) && !asking.adopts;
        let takes_next = asking.take == Take::Next && had.is_some();
        let PointRange { not_before, not_after } = asking.range;
        let is_asked = |state: &&State| (not_before..=not_after).contains(&state.captured);
        let is_new = |state: &&State| had.is_none_or(|had| self.is_new(state, had, ids));
        let mut chosen: BTreeMap<usize, &State> = BTreeMap::new();
        for state in self.states.iter().filter(is_asked).filter(is_new) {
            let best = chosen.entry(state.folder).or_insert(state);
            let is_better = if takes_next { state.sequence < best.sequence } else { state.sequence > best.sequence };
            if is_better {
                *best = state;
            }
        }
        let times = chosen.values().map(|state| state.captured);
        self.due = if takes_next { times.min() } else { times.max() };
    }

    /// In the folder that was copied from, numbers tell what is new, unless it gave them again; elsewhere, and of what is carried, times do.
    fn is_new(&self, state: &State, had: Had, ids: &BTreeMap<usize, FolderId>) -> bool {
        let origin = had.origin.filter(|origin| ids.get(&state.folder) == Some(&origin.folder));
        let Some(origin) = origin.filter(|_| state.status == Status::Complete) else {
            return state.captured > had.captured;
        };
        let is_another = self.states.iter().any(|other| {
            (other.folder, other.sequence) == (state.folder, origin.sequence)
                && other.status == Status::Complete
                && other.captured != had.captured
        });
        if is_another { state.captured > had.captured } else { state.sequence > origin.sequence }
    }

    /// Whether a source has the machine as it was at a time.
    #[must_use]
    pub fn has(&self, captured: Timestamp) -> bool {
        self.states.iter().any(|state| state.captured == captured)
    }

    /// Whether every source that has the machine as it was at a time has it intact.
    #[must_use]
    pub fn is_intact_at(&self, captured: Timestamp) -> bool {
        self.states.iter().filter(|state| state.captured == captured).all(|state| state.is_intact)
    }

    /// Whether all that is to be copied of it is intact.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.due.is_none_or(|captured| self.is_intact_at(captured))
    }
}

impl Expected {
    /// Whether all that is to be copied is intact.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.offered.values().all(Offered::is_intact)
    }
}
