//! The restore points that a run's step makes.

use std::collections::BTreeMap;

use offsite_core::plan::Plan;
use offsite_core::retention::Flags;
use offsite_core::{
    BlockMap, MachineName, MachineState, ObjectId, PointKind, RestorePoint, Sequence, Status, Stored, Timestamp,
};

use super::method::Making;
use crate::commit::new_index::PointIndex;
use crate::commit::read_back::check_step;
use crate::commit::stack::stacked;
use crate::reader::indexes::Indexes;
use crate::{Error, Result};

/// Where a run's points go.
pub(super) struct Place<'a> {
    /// The number of the new point.
    pub(super) sequence: Sequence,
    pub(super) now: Timestamp,
    /// The points whose steps lead to the newest state, and that state.
    pub(super) steps: &'a [&'a RestorePoint],
    pub(super) latest: &'a BlockMap,
}

/// A run's new point, and what the newest point becomes if it does not stay what it is.
pub(super) struct Points {
    pub(super) point: PointIndex,
    pub(super) rollback: Option<PointIndex>,
}

impl Place<'_> {
    /// The points that `plan`, whose index is the step that the run has stored, makes.
    pub(super) async fn points(
        &self,
        making: Making,
        plan: &Plan,
        indexes: &mut Indexes,
        mut mint: impl FnMut() -> ObjectId,
    ) -> Result<Points> {
        let mut point = PointIndex {
            id: mint(),
            sequence: self.sequence,
            time: self.now,
            kind: making.kind(),
            base: self.steps.last().filter(|_| making == Making::Increment).map(|latest| latest.sequence),
            machines: self.machines(making, &plan.index),
            map: plan.index.clone(),
            stack: None,
            spare: BlockMap::empty(),
            flags: Flags::NONE,
            is_back_filled: false,
        };
        match making {
            Making::Increment => return Ok(Points { point, rollback: None }),
            Making::ActiveFull => {
                let carried = self.latest.machines().iter().filter(|(name, _)| plan.index.machine(name).is_none());
                for (name, machine) in carried.filter(|(name, _)| lists(&point.machines, name)) {
                    point.map.insert(name.clone(), machine.clone());
                }
                return Ok(Points { point, rollback: None });
            }
            Making::SyntheticFull | Making::ReverseFull => {}
        }
        let state = self.latest.overlay(&plan.index).project(|name| lists(&point.machines, name));
        let (map, stack) = stacked(indexes, self.steps, &plan.index, Stored::of(&state)).await?;
        (point.map, point.stack) = (map, Some(stack));
        let rollback = if making == Making::ReverseFull { Some(self.rollback(&state, mint())?) } else { None };
        Ok(Points { point, rollback })
    }

    /// The full that was the newest point, as the step back to it from `state`.
    ///
    /// Its rows say where its blocks lie and have always lain.
    fn rollback(&self, state: &BlockMap, id: ObjectId) -> Result<PointIndex> {
        let [full] = self.steps else {
            return Err(Error::defect("a reverse-incremental run that does not start from a full".to_owned()));
        };
        let full = (*full).clone();
        let map = state.diff(self.latest);
        check_step(state, &map, self.latest)?;
        Ok(PointIndex {
            id,
            sequence: full.sequence,
            time: full.time,
            kind: PointKind::Rollback,
            base: Some(self.sequence),
            machines: full.machines,
            map,
            stack: None,
            spare: BlockMap::empty(),
            flags: full.flags,
            is_back_filled: false,
        })
    }

    /// The machines of the new point: those of the run; of a full also those that it carries.
    fn machines(&self, making: Making, step: &BlockMap) -> Vec<MachineState> {
        let mut machines: BTreeMap<MachineName, MachineState> = BTreeMap::new();
        if making != Making::Increment {
            let known = self.steps.iter().flat_map(|point| &point.machines);
            for machine in known.filter(|machine| machine.status != Status::Incomplete) {
                machines.insert(machine.name.clone(), machine.clone().with_status(Status::Carried));
            }
        }
        for name in step.machines().keys() {
            let state = MachineState::new(name.clone(), Status::Complete, self.now);
            machines.insert(name.clone(), state);
        }
        machines.into_values().collect()
    }
}

fn lists(machines: &[MachineState], name: &MachineName) -> bool {
    machines.iter().any(|machine| machine.name == *name)
}
