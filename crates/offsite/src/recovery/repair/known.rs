//! The known state of each restore point: from the indexes that can be read, and otherwise from older indexes of the same point.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{BlockMap, Chain, MachineName, MachineState, RestorePoint, Sequence};

use super::reading::{Reading, Readings, is_whole};
use crate::commit::read_back::paths;
use crate::report::{IndexLoss, Loss};

/// What is known of a chain.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What each point changes.
    pub(super) steps: BTreeMap<Sequence, Reading>,
    /// The state of each point.
    pub(super) states: BTreeMap<Sequence, Reading>,
    /// The machines of points whose state is known from elsewhere.
    pub(super) rescued: BTreeSet<(Sequence, MachineName)>,
}

/// The states of points that other indexes tell.
pub(super) type Elsewhere = BTreeMap<Sequence, BlockMap>;

impl Known {
    /// Collects what `readings` say of `chain`.
    ///
    /// If they say nothing of a machine of a point, its state in `elsewhere` counts. `stands_on` gets the point before, the point,
    /// and the base that its index names. It says whether the point is known to stand on the point before, or on none. Otherwise,
    /// only the machines count whose blocks the point's own indexes say completely.
    pub(super) fn of(
        chain: &Chain,
        readings: &Readings,
        elsewhere: &Elsewhere,
        stands_on: impl Fn(Option<&RestorePoint>, &RestorePoint, Option<Sequence>) -> bool,
    ) -> Self {
        let mut known = Self::default();
        for path in paths(chain) {
            let mut state = Reading::default();
            let mut before: Option<&RestorePoint> = None;
            for point in path {
                let mut step = Reading::default();
                for reference in point.indexes() {
                    match readings.get(reference) {
                        Some(reading) => step.follow(reading),
                        None => step.follow(&Reading::nothing(IndexLoss::NotThere { index: reference.id })),
                    }
                }
                let mut step = step.of_point(point);
                if !stands_on(before, point, step.base) {
                    state.follow(&Reading::nothing(Loss::BaseIndex));
                    // The index of such a point does not say that it stands alone.
                    step.is_accepted &= before.is_some();
                }
                before = Some(point);
                state.follow(&step);
                for MachineState { name, captured, .. } in point.machines.iter().filter(|machine| machine.is_whole()) {
                    let found = elsewhere.get(&point.sequence).and_then(|state| state.machine(name));
                    let found = found.filter(|found| found.captured == *captured && is_whole(found));
                    if let (Some(_), Some(found)) = (state.why_unread(name), found) {
                        state.learn(name.clone(), found.clone());
                        known.rescued.insert((point.sequence, name.clone()));
                    }
                }
                known.steps.insert(point.sequence, step);
                known.states.insert(point.sequence, state.clone());
            }
        }
        known
    }

    /// Returns the states that are completely known, to stand in for others.
    pub(super) fn into_elsewhere(self) -> Elsewhere {
        let states = self.states.into_iter();
        states.map(|(sequence, state)| (sequence, state.map)).collect()
    }
}

#[cfg(test)]
mod tests {
    use offsite_core::{BlockSize, IndexReference, MachineMap, ObjectId, PointKind, Status, Timestamp};

    use super::*;

    fn time(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs).unwrap()
    }

    /// If the point was made anew, a state of the same number can be another one. It does not count as the machine's state there.
    #[test]
    fn only_the_very_state_of_a_machine_is_known_from_elsewhere() {
        let name = MachineName::new("web01").unwrap();
        let machines = vec![MachineState::new(name.clone(), Status::Complete, time(7))];
        let index = IndexReference::new(ObjectId::new(1, 1), 9, offsite_core::Digest([9; 32]));
        let point = RestorePoint::new(Sequence(1), time(7), PointKind::Full, machines, index);
        let chain = Chain::new(BlockSize::MiB1, vec![point]).unwrap();
        for (captured, is_rescued) in [(time(7), true), (time(6), false)] {
            let mut state = BlockMap::empty();
            state.insert(name.clone(), MachineMap::new(captured, BTreeMap::new()));
            let elsewhere = Elsewhere::from([(Sequence(1), state)]);
            // The index is lost.
            let known = Known::of(&chain, &Readings::default(), &elsewhere, |_, _, _| true);
            assert_eq!(known.rescued.contains(&(Sequence(1), name.clone())), is_rescued, "{captured}");
        }
    }
}
