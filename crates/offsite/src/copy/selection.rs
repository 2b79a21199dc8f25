//! What a copy job takes of its source.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use offsite_core::{BlockMap, MachineName, Sequence, Timestamp};

use crate::folder::{JobFolder, PointSelector};
use crate::report::MachineCopy;
use crate::{Error, Result};

/// Which machines of the source a copy job takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    machines: Vec<MachineName>,
    exclude: Vec<MachineName>,
}

impl Selection {
    /// All machines, new ones included.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// These machines only.
    #[must_use]
    pub fn machines(machines: Vec<MachineName>) -> Self {
        Self { machines, exclude: Vec::new() }
    }

    /// Leaves these machines out.
    #[must_use]
    pub fn without(mut self, exclude: Vec<MachineName>) -> Self {
        self.exclude = exclude;
        self
    }

    fn takes(&self, name: &MachineName) -> bool {
        !self.exclude.contains(name) && (self.machines.is_empty() || self.machines.contains(name))
    }

    /// The newest whole state of each selected machine, but for those that the chain has already.
    pub(super) async fn choose(&self, source: &JobFolder, latest: &BlockMap, now: Timestamp) -> Result<Choice> {
        let mut names: Vec<&MachineName> = source.head().machines.iter().filter(|name| self.takes(name)).collect();
        names.sort();
        let mut missing: Vec<MachineName> =
            self.machines.iter().filter(|name| !names.contains(name)).cloned().collect();
        let mut states: BTreeMap<Sequence, BlockMap> = BTreeMap::new();
        let (mut wanted, mut machines) = (BlockMap::empty(), Vec::new());
        let mut selected: Vec<MachineName> = Vec::new();
        for name in names {
            let Some(point) = source.newest_whole(name, now) else {
                missing.push(name.clone());
                continue;
            };
            selected.push(name.clone());
            let state = match states.entry(point.sequence) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(source.state_at(point.sequence).await?),
            };
            let Some(machine) = state.machine(name) else {
                return Err(Error::Defect(format!(
                    "restore point {} lists {name} and does not hold it",
                    point.sequence
                )));
            };
            let copied = latest
                .machine(name)
                .is_some_and(|copied| copied.captured == machine.captured && copied.has_content_of(machine));
            if !copied {
                machines.push(MachineCopy { name: name.clone(), captured: machine.captured, source: point.sequence });
                wanted.insert(name.clone(), machine.clone());
            }
        }
        if selected.is_empty() && source.chain().points().is_empty() {
            // A first backup that was cut off leaves a folder without one.
            source.point(PointSelector::Latest)?;
        }
        if selected.is_empty() {
            return Err(nothing_selected(source, &missing));
        }
        Ok(Choice { wanted, machines, selected, missing })
    }
}

/// What there is to copy.
#[derive(Debug)]
pub(super) struct Choice {
    /// The states to copy.
    pub(super) wanted: BlockMap,
    /// Which these are, and where they come from.
    pub(super) machines: Vec<MachineCopy>,
    /// The machines that the job selects and the source has, changed or not.
    pub(super) selected: Vec<MachineName>,
    /// Selected machines that the source has no whole restore point of.
    pub(super) missing: Vec<MachineName>,
}

fn nothing_selected(source: &JobFolder, missing: &[MachineName]) -> Error {
    Error::UnknownMachine {
        machine: missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        place: format!("job {} in {}", source.job(), source.repository().location()),
        known: source.head().machines.iter().map(ToString::to_string).collect(),
    }
}
