//! Compares the objects of a job folder with what a head says, without reading blocks.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::Head;
use offsite_core::format::backup_file::BackupFileHeader;
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, decode_record};
use offsite_core::plan::Address;
use offsite_core::{BlockMap, Chain, MachineName, MachineState, ObjectId, RestorePoint, Run, Sequence, StoredBlock};
use offsite_repository::{ErrorKind, Repository, RepositoryExt};

use crate::claims::holder::{Life, life_of};
use crate::error::Context;
use crate::folder::heads::{Heads, Newest};
use crate::folder::layout::{Layout, head_second_copy_number};
use crate::mover::Flaw;
use crate::report::{Damage, DamageKind, Fault, Note, Touched};
use crate::{Error, OpenRepository, Result};

/// Reads every head. `newest` is the number of the head that counts.
///
/// A damaged older head touches no restore point. A damaged newer one hides what it committed.
pub(crate) async fn heads(heads: &Heads, newest: u64) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    for number in heads.numbers().await? {
        match heads.load(number).await {
            Ok(_) => {}
            Err(Error::Damaged { source, .. }) => {
                let what = DamageKind::Head { fault: Fault::of(source), hides_commit: number > newest };
                damage.push(Damage { object: heads.key(number)?, what, touches: Vec::new() });
            }
            Err(error) if error.repository_kind() == Some(ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(damage)
}

/// Returns a note if the newest second copy of a head is newer than the newest head, unless a run is about to commit that head.
///
/// `copy` is the number of that copy in an earlier listing. Runs that have committed since have a newer head by now.
pub(crate) async fn newer_copy(heads: &Heads, layout: &Layout, copy: Option<u64>) -> Result<Option<Note>> {
    let Some(copy) = copy else { return Ok(None) };
    let Some(Newest { head, .. }) = heads.newest().await? else { return Ok(None) };
    let is_at_work = head.lease.as_ref().is_some_and(|lease| life_of(&lease.holder) == Life::Alive);
    let note = Note::NewerHeadCopy { job: layout.job().clone(), copy, newest: head.number };
    Ok((copy > head.number && !is_at_work).then_some(note))
}

/// Compares the files that `head` lists with those that are there, and reads their headers.
///
/// Returns the damage, the position at which each missing or short file ends, and the number of the newest second copy of a head.
pub(crate) async fn files(
    repository: &OpenRepository,
    layout: &Layout,
    head: &Head,
    states: &[(Sequence, BlockMap)],
) -> Result<(Vec<Damage>, BTreeMap<ObjectId, u64>, Option<u64>)> {
    let (mut damage, mut cut) = (Vec::new(), BTreeMap::new());
    let lengths = repository.list(&layout.backup_files()?).await?;
    let copy = lengths.keys().filter_map(head_second_copy_number).map(|(_, number)| number).max();
    let folds = repository.backend().patch().is_some();
    for (id, file) in &head.files {
        let key = layout.backup_file(*id)?;
        let found = lengths.get(&key);
        let fault = match found {
            None => Some(Fault::Missing),
            // A fold that was cut off may have written past the end. Nothing refers to those bytes, and the next fold writes over
            // them.
            Some(length) if *length < file.length || (*length > file.length && !folds) => {
                Some(Fault::HasBytes { bytes: *length, expected_bytes: file.length })
            }
            Some(_) => None,
        };
        if let Some(fault) = fault {
            // The blocks before the cut are there. Only reading them tells whether they are intact.
            let end = found.copied().unwrap_or(0);
            cut.insert(*id, end);
            let is_lost = |at: &StoredBlock| at.file == *id && end < at.offset + u64::from(at.length);
            let touches = touched_by(&head.chain, states, is_lost);
            damage.push(Damage { object: key, what: DamageKind::File { fault }, touches });
        } else if let Some(fault) = header_fault(repository, layout, head, *id).await? {
            // Frames identify themselves. The header only helps to salvage them.
            damage.push(Damage { object: key, what: DamageKind::FileHeader { fault }, touches: Vec::new() });
        }
    }
    Ok((damage, cut, copy))
}

async fn header_fault(
    repository: &OpenRepository,
    layout: &Layout,
    head: &Head,
    id: ObjectId,
) -> Result<Option<Fault>> {
    let key = layout.backup_file(id)?;
    let read = async |length: u64| match repository.backend().get_range(&key, 0..length).await {
        // The file was listed, and may have been deleted since.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
            Ok(Err(Fault::unreadable(&error)))
        }
        answer => answer.while_doing(|| format!("reading backup file {key}")).map(Ok),
    };
    let length = head.files.get(&id).map_or(0, |file| file.length);
    if length < ENVELOPE_BYTES as u64 {
        return Ok(Some(Fault::TooShort));
    }
    let start = match read(ENVELOPE_BYTES as u64).await? {
        Ok(start) => start,
        Err(fault) => return Ok(Some(fault)),
    };
    let envelope = match Envelope::decode(Kind::BackupFile, &start) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Some(Fault::unreadable(&error))),
    };
    let end = ENVELOPE_BYTES as u64 + envelope.record_bytes;
    if end > length {
        return Ok(Some(Fault::HeaderCutOff));
    }
    let bytes = match read(end).await? {
        Ok(bytes) => bytes,
        Err(fault) => return Ok(Some(fault)),
    };
    Ok(match decode_record::<BackupFileHeader>(Kind::BackupFile, &bytes) {
        Err(error) => Some(Fault::unreadable(&error)),
        Ok(header) if header.folder != head.folder || header.id != id.stored() => Some(Fault::OtherFile),
        Ok(_) => None,
    })
}

/// Returns the points and machines whose state has a block that `is_lost` names.
fn touched_by(chain: &Chain, states: &[(Sequence, BlockMap)], is_lost: impl Fn(&StoredBlock) -> bool) -> Vec<Touched> {
    let mut touched = BTreeSet::new();
    for (sequence, state) in states {
        let Some(point) = chain.get(*sequence) else { continue };
        for (name, machine) in state.machines().iter().filter(|(name, _)| is_restorable(point, name)) {
            if machine.disks.values().any(|disk| disk.stored().any(|(_, at)| is_lost(&at))) {
                touched.insert(Touched { sequence: *sequence, machine: Some(name.clone()) });
            }
        }
    }
    touched.into_iter().collect()
}

/// Whether a machine can be restored from a point. If its copy was cut off, the state below is an earlier point's.
fn is_restorable(point: &RestorePoint, name: &MachineName) -> bool {
    point.machine(name).is_some_and(MachineState::is_whole)
}

/// Returns one entry for each damaged block, with the points whose state still has it.
pub(crate) fn blocks(
    layout: &Layout,
    chain: &Chain,
    flaws: &[Flaw],
    states: &[(Sequence, BlockMap)],
) -> Result<Vec<Damage>> {
    let damage = flaws.iter().map(|flaw| {
        let address = &flaw.block.address;
        let touches = states.iter().filter(|(sequence, state)| {
            let disk = state.machine(&address.machine).and_then(|machine| machine.disks.get(&address.disk));
            let in_point = chain.get(*sequence).is_some_and(|point| is_restorable(point, &address.machine));
            in_point
                && disk.and_then(|disk| disk.get(address.block))
                    == Some(Run::Stored { block: address.block, at: flaw.block.at })
        });
        let touches = touches
            .map(|(sequence, _)| Touched { sequence: *sequence, machine: Some(address.machine.clone()) })
            .collect();
        let Address { machine, disk, block } = address.clone();
        let what = DamageKind::Block { machine, disk, block, fault: flaw.fault.clone() };
        Ok(Damage { object: layout.backup_file(flaw.block.at.file)?, what, touches })
    });
    damage.collect()
}
