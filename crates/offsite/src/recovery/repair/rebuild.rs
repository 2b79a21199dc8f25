//! Makes a head from the indexes alone.
//!
//! For each number of a restore point, the newest index counts. The indexes do not say which points the chain still had. So every
//! point that they describe is taken, with the machines that have all their blocks. A point that retention removed
//! comes back if it is whole, until retention removes it again.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{Chain, CommitId, FileState, FolderId, Head, MachineName, RestorePoint, Role, Sequence};

use super::described::{All, arranged, states_elsewhere};
use super::known::Elsewhere;
use super::reading::Readings;
use super::survey::Survey;
use super::{LeftOut, NUMBERS_SKIPPED};
use crate::report::IndexLoss;
use crate::{DamagedPart, Error, ErrorPlace, Result};

/// A head that was made from the indexes of a folder.
pub(super) struct Rebuilt {
    /// The head, with all points that the indexes describe, and all backup files.
    pub(super) head: Head,
    pub(super) readings: Readings,
    /// What older indexes say of the same points.
    pub(super) elsewhere: Elsewhere,
    /// The points whose predecessor is not known.
    pub(super) baseless: BTreeSet<Sequence>,
    /// The indexes that do not even tell their restore point.
    pub(super) unreadable: Vec<IndexLoss>,
}

/// Makes a head from the indexes of a folder. The newest head that can be read adds what the indexes do not tell.
pub(super) async fn rebuild(survey: &Survey) -> Result<Rebuilt> {
    let known = survey.newest();
    let mut all = All::of(survey).await?;
    let unreadable = std::mem::take(&mut all.unreadable);
    // Ids ascend with time, so the last index says which folder this is. An index of another folder, put here by hand, does not
    // stop the repair.
    let folder = known.map(|head| head.folder).or_else(|| all.indexes.values().next_back().map(|last| last.folder));
    let Some(folder) = folder else { return Err(nothing(survey, &unreadable)) };
    let mut of_folder = all.indexes.values().rev().filter(|index| index.folder == folder);
    let Some(block_size) = of_folder.next().map(|last| last.block_size) else {
        return Err(nothing(survey, &unreadable));
    };
    all.retain(folder, block_size);
    let flagged = |point: RestorePoint| {
        let flags = known.and_then(|head| head.chain.get(point.sequence)).map(|point| point.flags);
        let flags = flags.unwrap_or(point.flags);
        point.with_flags(flags)
    };
    let (chain, baseless) = arranged(block_size, all.newest(|_| true).into_iter().map(flagged).collect())?;
    let alignment_bytes = match known {
        Some(head) => head.alignment_bytes,
        None => alignment(survey, folder).await?,
    };
    let files = survey.files.iter();
    let files = files.map(|(id, length)| (*id, FileState::new(*length, *length)));
    let Some(time_max) = chain.all().map(|point| point.time).max() else { return Err(nothing(survey, &unreadable)) };
    // The points of a copy say what they are copies of.
    let role = known.map_or_else(|| role(&chain), |head| head.role);
    let clock = known.map_or(time_max, |head| head.clock.max(time_max));
    let mut head = Head::new(folder, CommitId::new([0; 16]), role, alignment_bytes, clock, chain);
    head.next_sequence = next_sequence(&all, known);
    head.labels = known.map(|head| head.labels.clone()).unwrap_or_default();
    head.machines = machines(&all, known)?;
    head.last_selected = known.map(|head| head.last_selected.clone()).unwrap_or_default();
    head.files = files.collect();
    let elsewhere = states_elsewhere(&all, block_size, known)?;
    Ok(Rebuilt { head, readings: all.readings(), elsewhere, baseless, unreadable })
}

/// The error if no index can be read.
pub(super) fn nothing(survey: &Survey, unreadable: &[IndexLoss]) -> Error {
    let heads = heads(survey);
    let indexes = match unreadable {
        [] => format!("{heads}, and no index or second copy of one can be read"),
        [first, ..] => format!("{heads}, and none of {} indexes can be read; {first}", unreadable.len()),
    };
    unproven(survey).because(format!("{indexes}; the blocks alone do not tell which of them belong together"))
}

/// The error if indexes can be read, but each machine of each point that they describe has lost something.
pub(super) fn nothing_whole(survey: &Survey, left_out: &[LeftOut]) -> Error {
    let points: Vec<String> = left_out.iter().map(|left| format!("#{}: {}", left.sequence, left.reason())).collect();
    let heads = heads(survey);
    unproven(survey).because(format!(
        "{heads}; indexes can be read, but none of the restore points that they describe is there: {}",
        points.join("; ")
    ))
}

fn unproven(survey: &Survey) -> Error {
    let object = format!("the folder of job {}", survey.layout.job());
    Error::damaged(DamagedPart::Folder, object, survey.repository.located()).in_job(survey.layout.job())
}

/// Says what is known of the heads if they do not tell the restore points.
fn heads(survey: &Survey) -> String {
    match survey.newest() {
        None => "no head can be read".to_owned(),
        Some(head) => {
            format!("head {} may not be the last one, as later ones are damaged: it cannot be relied on", head.number)
        }
    }
}

fn role(chain: &Chain) -> Role {
    let is_copied = |point: &RestorePoint| point.machines.iter().any(|machine| machine.origin.is_some());
    if chain.all().any(is_copied) { Role::Copy } else { Role::Backup }
}

/// The number of the next restore point.
///
/// It skips numbers: lost points may have had the next ones. A copy takes the number of a point for its content, so no number may
/// be used twice.
fn next_sequence(all: &All, known: Option<&Head>) -> Sequence {
    let highest = all.indexes.values().map(|described| described.point.sequence.0).max().unwrap_or(0);
    let next = known.map_or(0, |head| head.next_sequence.0).max(highest.saturating_add(1));
    Sequence(next.saturating_add(NUMBERS_SKIPPED))
}

/// The machines by number. A machine that no index names any more has frames of no point. Its number stays in use under another
/// name.
fn machines(all: &All, known: Option<&Head>) -> Result<Vec<MachineName>> {
    let mut machines = known.map(|head| head.machines.clone()).unwrap_or_default();
    let states = all.indexes.values().flat_map(|described| &described.machines);
    let numbers: BTreeMap<u32, &MachineName> = states.map(|(state, number)| (number.0, &state.name)).collect();
    let count = numbers.keys().next_back().map_or(0, |last| u64::from(*last) + 1);
    if count > MACHINES_MAX {
        let (part, object, at) = (DamagedPart::Folder, "an index".to_owned(), ErrorPlace::default());
        let error = Error::Damaged { part, object, at, source: None };
        return Err(error.because(format!("it claims {count} machines; that is damage, or made by hand")));
    }
    for number in machines.len() as u64..count {
        let name = u32::try_from(number).ok().and_then(|number| numbers.get(&number).map(|name| (*name).clone()));
        let unknown = MachineName::new(&format!("unknown-{number}"));
        machines.push(match name {
            Some(name) => name,
            None => unknown.map_err(|error| Error::defect(error.to_string()))?,
        });
    }
    Ok(machines)
}

/// More machines than a job ever has.
const MACHINES_MAX: u64 = 1 << 20;

/// The alignment of frames in bytes, as the backup files say.
async fn alignment(survey: &Survey, folder: FolderId) -> Result<u32> {
    for id in survey.files.keys().rev() {
        let header = survey.file_header(*id, folder).await?;
        if let Some(header) = header.filter(|header| header.alignment_bytes.is_power_of_two()) {
            return Ok(header.alignment_bytes);
        }
    }
    Ok(survey.repository.backend_granularity().unwrap_or(crate::commit::writer::ALIGNMENT_MIN_BYTES))
}
