//! What a copy is to bring, told from what the sources hold.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use offsite::core::{MachineName, Origin, Sequence, Status, Timestamp};

use crate::proof::Proven;
use crate::settings::FOLDERS;
use crate::world::World;

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
}

/// What there is of a machine.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    /// Its whole states, none dated ahead.
    states: Vec<State>,
    /// The time of the state that is to be copied; none: what is there is the newest.
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
    /// What a copy to a folder finds at `now`.
    #[must_use]
    pub fn expected(&self, number: usize, now: Timestamp) -> Expected {
        let mut expected = Expected { is_certain: true, ..Expected::default() };
        let select = &self.copy_settings(number).select;
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
                        machine.is_whole() && machine.captured <= now && spec.has(name) && select.has(name)
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
            offered.decide(had, &ids);
        }
        expected
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
    fn decide(&mut self, had: Option<Had>, ids: &BTreeMap<usize, [u8; 16]>) {
        let origin = had.and_then(|had| had.origin);
        self.is_strange = origin.is_some_and(|origin| !ids.values().any(|id| *id == origin.folder));
        let mut newest: BTreeMap<usize, &State> = BTreeMap::new();
        for state in self.states.iter().filter(|state| had.is_none_or(|had| self.is_new(state, had, ids))) {
            let best = newest.entry(state.folder).or_insert(state);
            if state.sequence > best.sequence {
                *best = state;
            }
        }
        self.due = newest.values().map(|state| state.captured).max();
    }

    /// In the folder that was copied from, numbers tell what is new, unless it gave them again; elsewhere, and of what is carried, times do.
    fn is_new(&self, state: &State, had: Had, ids: &BTreeMap<usize, [u8; 16]>) -> bool {
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

    /// Whether no source has the machine in a later state.
    #[must_use]
    pub fn is_newest(&self, captured: Timestamp) -> bool {
        self.states.iter().map(|state| state.captured).max() == Some(captured)
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
