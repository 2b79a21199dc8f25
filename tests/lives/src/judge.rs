//! Whether what an operation came to is right.

use std::collections::BTreeMap;
use std::rc::Rc;

use offsite::model::RestorePoint;
use offsite::model::Sequence;
use offsite::model::Status;
use offsite::report::{Carriage, FullFrom, HealedFrom, Operation, OperationReport, Tally, TransformReport};
use offsite::{Budget, Compact, MergeMethod, PlannedOperation, Transforms};
use offsite_repository::ErrorKind;

use crate::keeping::Keeping;
use crate::proof::Proven;
use crate::settings::FOLDERS;
use crate::violation::{Law, Violation, ensure};
use crate::world::{World, words};

/// The points that an operation may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makes {
    /// None.
    None,
    /// One, or the newest anew.
    One,
    /// Any number, in a folder that has none.
    Many,
}

impl World {
    /// Whether an error is one that these folders and what came between explain.
    ///
    /// # Errors
    /// If it is not.
    pub fn judge_error(&self, folders: &[usize], error: &offsite::Error, is_struck: bool) -> Result<(), Violation> {
        let is_intact =
            folders.iter().all(|folder| self.folders[*folder].is_intact() && !self.folders[*folder].was_hurt);
        let false_alarm = |what: &str| Err(Violation::new(Law::NoFalseAlarm, format!("{what}: {}", words(error))));
        match error.innermost() {
            offsite::Error::Defect { .. } => false_alarm("a defect"),
            offsite::Error::Damaged { .. } if is_intact => false_alarm("nothing is damaged"),
            offsite::Error::Repository { source, .. }
                if is_intact && matches!(source.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) =>
            {
                false_alarm("nothing is missing")
            }
            offsite::Error::Busy { .. } => false_alarm("nobody else is at work"),
            offsite::Error::Fenced { .. } if !is_struck => false_alarm("nobody else is at work"),
            _ => Ok(()),
        }
    }

    /// An error of an operation that had to succeed, unless something came between or stands in the way.
    ///
    /// # Errors
    /// That.
    pub fn judge_failure(
        &self,
        what: &str,
        folders: &[usize],
        error: &offsite::Error,
        is_excused: bool,
        is_struck: bool,
    ) -> Result<(), Violation> {
        self.judge_error(folders, error, is_struck)?;
        let is_sound = folders.iter().all(|folder| self.folders[*folder].is_sound());
        ensure(is_excused || is_struck || !is_sound, Law::Succeeds, || format!("{what}: {}", words(error)))
    }

    /// What became of the points of a folder by an operation.
    ///
    /// # Errors
    /// What had to stay as it was.
    pub fn judge_points(
        &self,
        number: usize,
        before: Option<&Rc<Proven>>,
        makes: Makes,
        keeping: &Keeping<'_>,
    ) -> Result<Vec<Sequence>, Violation> {
        let job = FOLDERS[number].job;
        let after = self.proven(number);
        let Some(after) = after else {
            let had = before.is_some();
            ensure(!had, Law::Kept, || format!("{job}: the folder has no head any more"))?;
            return Ok(Vec::new());
        };
        let known: BTreeMap<Sequence, &RestorePoint> =
            before.into_iter().flat_map(|before| before.points()).map(|point| (point.sequence, point)).collect();
        let new: Vec<Sequence> =
            after.points().map(|point| point.sequence).filter(|sequence| !known.contains_key(sequence)).collect();
        let allowed = match makes {
            Makes::None => 0,
            Makes::One => 1,
            Makes::Many if known.is_empty() => usize::MAX,
            Makes::Many => 0,
        };
        ensure(new.len() <= allowed, Law::Points, || format!("{job}: points {new:?} are new"))?;
        for point in after.points() {
            let Some(old) = known.get(&point.sequence) else { continue };
            let is_newest = before
                .and_then(|before| before.head.chain.latest())
                .is_some_and(|latest| latest.sequence == point.sequence);
            if !(makes == Makes::One && is_newest) {
                judge_same_point(job, old, point, keeping.deletes_machines)?;
            }
        }
        keeping.check_kept(job, before.map(Rc::as_ref), &after)?;
        if let Some(before) = before.filter(|_| !keeping.deletes_machines) {
            let held = after.whole();
            let newest = before.newest();
            let lost = newest.keys().find(|name| !held.contains(name));
            ensure(lost.is_none(), Law::Kept, || format!("{job}: no point has {lost:?} any more"))?;
        }
        Ok(new)
    }

    /// Whether all was done as it was planned, and nothing was noted that should not be.
    ///
    /// # Errors
    /// What was not.
    pub fn judge_transform(&mut self, number: usize, report: &TransformReport) -> Result<(), Violation> {
        let job = FOLDERS[number].job;
        for OperationReport { operation, tally, .. } in &report.operations {
            judge_tally(&format!("{job}: {operation:?}"), tally)?;
            self.did(deed(operation), 1);
        }
        self.did("bytes released", report.released.bytes);
        self.did("releases held by readers", u64::from(report.released.held_bytes > 0));
        Ok(())
    }
}

/// Whether a tally kept to its plan.
///
/// # Errors
/// If not.
pub fn judge_tally(what: &str, tally: &Tally) -> Result<(), Violation> {
    ensure(tally.kept_to_plan(), Law::Planned, || format!("{what}: {tally:?}"))
}

/// Whether transforms did what was planned for them.
///
/// # Errors
/// What they did else.
pub fn judge_operations(
    job: &str,
    transforms: &Transforms,
    planned: &[PlannedOperation],
    report: &TransformReport,
) -> Result<(), Violation> {
    let planned: Vec<_> = planned.iter().map(|planned| (&planned.operation, planned.cost.bytes_written)).collect();
    let done: Vec<_> =
        report.operations.iter().map(|done| (&done.operation, done.tally.planned.bytes_written)).collect();
    // How long a reader is waited for that gives no sign of life, no plan knows; the time that compaction may take goes by meanwhile.
    let is_timed = matches!(transforms.compact, Some(Compact { budget: Some(Budget::Duration(_)), .. }));
    let is_compaction = |operation: &(&Operation, u64)| matches!(operation, (Operation::Compact { .. }, _));
    let are_left = is_timed && planned.starts_with(&done) && planned[done.len()..].iter().all(is_compaction);
    ensure(planned == done || are_left, Law::Planned, || format!("{job}: planned {planned:?}, done {done:?}"))
}

/// A point that was there before is what it was; as a full, it may carry more machines.
fn judge_same_point(
    job: &str,
    old: &RestorePoint,
    new: &RestorePoint,
    deletes_machines: bool,
) -> Result<(), Violation> {
    let what = || format!("{job}: point {}", old.sequence);
    ensure(old.time == new.time, Law::Points, || format!("{} was of {}, is of {}", what(), old.time, new.time))?;
    for machine in &old.machines {
        match new.machine(&machine.name) {
            None => ensure(deletes_machines, Law::Kept, || format!("{} has {} no more", what(), machine.name))?,
            Some(found) => {
                let is_same = found.status == machine.status && found.captured == machine.captured;
                // What arrived of a machine is let go, and the state before is carried in its place.
                let is_carried = machine.status == Status::Incomplete && found.status == Status::Carried;
                ensure(is_same || is_carried, Law::Points, || format!("{}: {machine:?} became {found:?}", what()))?;
            }
        }
    }
    let more = new.machines.iter().filter(|machine| old.machine(&machine.name).is_none());
    for machine in more {
        ensure(machine.status == Status::Carried, Law::Points, || format!("{} has got {machine:?}", what()))?;
    }
    Ok(())
}

/// The name of an operation, for counting.
fn deed(operation: &Operation) -> &'static str {
    match operation {
        Operation::Heal { from: HealedFrom::Chain, .. } => "healings from the chain's own blocks",
        Operation::Heal { .. } => "healings from a source",
        Operation::Merge { method: MergeMethod::Fold, archived: Some(_), .. } => "folds beside an archive",
        Operation::Merge { archived: Some(_), .. } => "adoptions beside an archive",
        Operation::Merge { method: MergeMethod::Fold, .. } => "folds",
        Operation::Merge { .. } => "adoptions",
        Operation::RemoveArchive { .. } => "archives removed",
        Operation::MarkAgain { .. } => "archives flagged again",
        Operation::StandIn { .. } => "flags moved to intact points",
        Operation::BackFill { .. } => "slots filled that were missed",
        Operation::MakeIndependent { carriage: Carriage::Cloned, .. } => "archives made independent by cloning",
        Operation::MakeIndependent { .. } => "archives made independent by moving",
        Operation::MakeFull { from: FullFrom::Source, .. } => "fulls read from the source",
        Operation::MakeFull { .. } => "fulls made of the chain",
        Operation::RemoveMachines { .. } => "machines removed",
        Operation::Compact { carriage: Carriage::Cloned, .. } => "pieces compacted by cloning",
        Operation::Compact { .. } => "pieces compacted by moving",
        Operation::RemovePoints { archived, .. } if archived.is_empty() => "chains and rollbacks removed",
        Operation::RemovePoints { .. } => "chains removed beside archives",
        _ => "other operations",
    }
}
