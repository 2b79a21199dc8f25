//! What a copy is to bring, told from what the sources hold.

use std::collections::{BTreeMap, BTreeSet};

use offsite::core::{MachineName, Sequence, Timestamp};

use crate::settings::FOLDERS;
use crate::world::World;

/// What a copy at one moment has to do.
#[derive(Debug, Default)]
pub struct Expected {
    /// The newest state of each selected machine that a source has whole, and where that is.
    pub offered: BTreeMap<MachineName, Offered>,
    /// Whether all sources can be read, so that nothing else is to be had.
    pub is_certain: bool,
    /// Whether there is any source at all.
    pub has_source: bool,
    /// The folders that may be read.
    pub folders: BTreeSet<usize>,
}

/// The newest state of a machine.
#[derive(Debug, Clone)]
pub struct Offered {
    /// When the machine was like that.
    pub captured: Timestamp,
    /// The folders and points that have it.
    pub places: Vec<(usize, Sequence)>,
    /// Whether all of it is intact in each of these.
    pub is_intact: bool,
}

impl World {
    /// What a copy to a folder finds at `now`.
    #[must_use]
    pub fn expected(&self, number: usize, now: Timestamp) -> Expected {
        let mut expected = Expected { is_certain: true, ..Expected::default() };
        let select = &self.copy_settings(number).select;
        for spec in self.sources(number) {
            for folder in spec.folders() {
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
                        expected.offer(&machine.name, machine.captured, (folder, point.sequence), is_intact);
                    }
                }
            }
        }
        expected
    }
}

impl Expected {
    fn offer(&mut self, name: &MachineName, captured: Timestamp, place: (usize, Sequence), is_intact: bool) {
        let fresh = Offered { captured, places: Vec::new(), is_intact: true };
        let known = self.offered.entry(name.clone()).or_insert_with(|| fresh.clone());
        if captured > known.captured {
            *known = fresh;
        }
        if captured == known.captured {
            known.places.push(place);
            known.is_intact &= is_intact;
        }
    }

    /// Whether all that is offered is intact.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.offered.values().all(|offered| offered.is_intact)
    }
}
