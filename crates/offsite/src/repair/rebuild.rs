//! A head made of indexes alone.
//!
//! For each number of a restore point the newest index counts: ids are given out in order, so it is what the last operation on
//! that point wrote. Which points the chain still had, the indexes do not say. So each point that they describe is taken whose
//! blocks are all there, every one compared with its digest; a point that was let go is back then, whole, until retention lets it
//! go again. One of which a block was released is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use offsite_core::format::head::{FileState, Head, Role};
use offsite_core::format::index::{INDEX_BYTES_MAX, Index};
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, backup_file::BackupFileHeader, decode_record};
use offsite_core::plan::Files;
use offsite_core::{BlockMap, Chain, MachineName, ObjectId, PointKind, RestorePoint, Sequence, StoredBlock};
use offsite_repository::{ErrorKind, RepositoryExt};

use super::survey::Survey;
use super::whole::{missing_file, pruned, recount, without_spare};
use super::{Basis, Lost, Target};
use crate::error::Context;
use crate::indexes::Indexes;
use crate::mover::{FrameSource, Wanted, scrub};
use crate::restore::wanted;
use crate::{Error, Progress, Result};

/// An index that was read, and the point that it describes.
struct Described {
    index: Index,
    point: RestorePoint,
}

/// The head that the indexes of a folder prove. The newest head that can be read gives it what they do not tell.
pub(super) async fn rebuild(survey: &Survey, progress: &dyn Progress) -> Result<Target> {
    let known = survey.newest();
    let mut all: BTreeMap<ObjectId, Described> = BTreeMap::new();
    for id in &survey.indexes {
        if let Some(described) = load(survey, *id).await? {
            all.insert(*id, described);
        }
    }
    // Ids ascend with time; an index of another folder that was put here by hand is no reason to give this one up.
    let folder = known.map(|head| head.folder).or_else(|| all.values().next_back().map(|last| last.index.folder));
    let Some(folder) = folder else { return Err(nothing(survey)) };
    all.retain(|_, described| described.index.folder == folder);
    let Some(block_size) = all.values().next_back().map(|last| last.index.block_size) else {
        return Err(nothing(survey));
    };
    let mut newest: BTreeMap<Sequence, RestorePoint> = BTreeMap::new();
    for described in all.values().filter(|described| described.index.block_size == block_size) {
        let is_there =
            |below: &offsite_core::IndexReference| all.get(&below.id).is_some_and(|found| found.point.index == *below);
        if described.point.below.iter().all(is_there) {
            let flags = known.and_then(|head| head.chain.get(described.point.sequence)).map(|point| point.flags);
            let flags = flags.unwrap_or(described.point.flags);
            newest.insert(described.point.sequence, RestorePoint { flags, ..described.point.clone() });
        }
    }
    let mut left_out = Vec::new();
    let (archives, points) = arranged(newest.into_values().collect(), &mut left_out);
    let chain = Chain::with_archives(block_size, archives, points).map_err(|error| Error::Defect(error.to_string()))?;
    let alignment_bytes = match known {
        Some(head) => head.alignment_bytes,
        None => alignment(survey, folder).await?,
    };
    let files = survey
        .files
        .iter()
        .map(|(id, length)| (*id, FileState { length: *length, live_bytes: *length, retain_until: None }));
    let mut files: Files = files.collect();
    let Some(time_max) = chain.all().map(|point| point.time).max() else { return Err(nothing(survey)) };
    let mut head = Head {
        folder,
        number: 1,
        commit: [0; 16],
        ancestry: Vec::new(),
        boundary: 0,
        epoch: 1,
        sealed_epoch: 0,
        lease: None,
        // A copy's points say what they are copies of.
        role: known.map_or_else(|| role(&chain), |head| head.role),
        alignment_bytes,
        next_sequence: without_spare(next_sequence(&all, known), chain.latest()),
        clock: known.map_or(time_max, |head| head.clock.max(time_max)),
        labels: known.map(|head| head.labels.clone()).unwrap_or_default(),
        machines: machines(&all, known)?,
        last_selected: known.map(|head| head.last_selected.clone()).unwrap_or_default(),
        settled_policy: None,
        compacted: None,
        files: Files::new(),
        chain,
        retired: Vec::new(),
    };
    let mut indexes = Indexes::new(&survey.repository, &survey.layout, folder);
    for (id, described) in all {
        indexes.insert(id, described.index.map);
    }
    let mut steps = BTreeMap::new();
    for point in head.chain.all() {
        steps.insert(point.sequence, indexes.step(point).await?);
    }
    let lost = lost(survey, &head, &steps, progress).await?;
    let (chain, pruned) = pruned(&head.chain, &lost)?;
    left_out.extend(pruned);
    let kept: Vec<&BlockMap> = chain.all().filter_map(|point| steps.get(&point.sequence)).collect();
    recount(&mut files, &kept, alignment_bytes.into());
    if chain.latest().is_none() {
        return Err(nothing(survey));
    }
    (head.chain, head.files) = (chain, files);
    Ok(Target { basis: Basis::Indexes, head, is_new: true, left_out })
}

fn nothing(survey: &Survey) -> Error {
    Error::Settings(format!(
        "nothing in the folder of job {} in {} proves a restore point: no head, no index and no second copy of them can be read; \
         the blocks alone do not tell which of them belong together",
        survey.layout.job(),
        survey.repository.location()
    ))
}

/// The index, or its second copy.
async fn load(survey: &Survey, id: ObjectId) -> Result<Option<Described>> {
    for key in [survey.layout.index(id)?, survey.layout.twin(id)?] {
        let bytes = match survey.repository.backend().get(&key, INDEX_BYTES_MAX).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => continue,
            answer => answer.while_doing(|| format!("reading {key}"))?,
        };
        let Ok(index) = Index::decode(&bytes) else { continue };
        if let (true, Ok(point)) = (index.id == id, index.point(&bytes)) {
            return Ok(Some(Described { index, point }));
        }
    }
    Ok(None)
}

/// Points in order, as archives and chain; what stands on nothing is left out. Fulls before another full on which nothing
/// stands are archives.
fn arranged(points: Vec<RestorePoint>, left_out: &mut Vec<super::LeftOut>) -> (Vec<RestorePoint>, Vec<RestorePoint>) {
    let mut chain: Vec<RestorePoint> = Vec::new();
    let mut waiting: Vec<RestorePoint> = Vec::new();
    let mut drop_point = |point: RestorePoint| {
        left_out
            .push(super::LeftOut { sequence: point.sequence, why: "no full that it stands on is known".to_owned() });
    };
    for point in points {
        match point.kind {
            PointKind::Rollback => waiting.push(point),
            PointKind::Full => {
                chain.append(&mut waiting);
                chain.push(point);
            }
            PointKind::Increment => {
                waiting.drain(..).for_each(&mut drop_point);
                if chain.is_empty() { drop_point(point) } else { chain.push(point) }
            }
        }
    }
    waiting.into_iter().for_each(drop_point);
    let is_alone = |pair: &[RestorePoint]| pair.iter().all(|point| point.kind == PointKind::Full);
    let archives = chain.windows(2).take_while(|pair| is_alone(pair)).count();
    let points = chain.split_off(archives);
    (chain, points)
}

/// The points that have a block which is not there to the last bit.
async fn lost(
    survey: &Survey,
    head: &Head,
    steps: &BTreeMap<Sequence, BlockMap>,
    progress: &dyn Progress,
) -> Result<Lost> {
    let mut lost = Lost::new();
    let mut blocks: BTreeMap<(ObjectId, u64), Wanted> = BTreeMap::new();
    for (sequence, step) in steps {
        if let Some(file) = missing_file(step, &survey.files) {
            lost.insert(*sequence, format!("its backup file {} is lost or cut off", survey.layout.backup_file(file)?));
            continue;
        }
        for (name, machine) in step.machines() {
            let wanted = wanted(name, machine.disks.iter()).into_iter();
            blocks.extend(wanted.map(|block| ((block.at.file, block.at.offset), block)));
        }
    }
    let source = FrameSource::new(&survey.repository, &survey.layout, head);
    let flaws = scrub(Arc::new(blocks.into_values().collect()), &source, progress).await?;
    let flawed: BTreeSet<(ObjectId, u64)> =
        flaws.iter().map(|flaw| (flaw.block.at.file, flaw.block.at.offset)).collect();
    let is_flawed = |at: &StoredBlock| flawed.contains(&(at.file, at.offset));
    for (sequence, step) in steps {
        if step.stored().any(|(_, _, _, at)| is_flawed(&at)) {
            lost.entry(*sequence).or_insert_with(|| "a block of it is damaged or was released".to_owned());
        }
    }
    Ok(lost)
}

fn role(chain: &Chain) -> Role {
    let is_copied = |point: &RestorePoint| point.machines.iter().any(|machine| machine.origin.is_some());
    if chain.all().any(is_copied) { Role::Copy } else { Role::Backup }
}

fn next_sequence(all: &BTreeMap<ObjectId, Described>, known: Option<&Head>) -> Sequence {
    let highest = all.values().map(|described| described.index.sequence.0).max().unwrap_or(0);
    Sequence(known.map_or(0, |head| head.next_sequence.0).max(highest.saturating_add(1)))
}

/// The machines by number. One that no index names any more has frames of no point; it keeps its number under another name.
fn machines(all: &BTreeMap<ObjectId, Described>, known: Option<&Head>) -> Result<Vec<MachineName>> {
    let mut machines = known.map(|head| head.machines.clone()).unwrap_or_default();
    let states = all.values().flat_map(|described| &described.index.machines);
    let numbers: BTreeMap<u32, &MachineName> = states.map(|(state, number)| (number.0, &state.name)).collect();
    let count = numbers.keys().next_back().map_or(0, |last| u64::from(*last) + 1);
    if count > MACHINES_MAX {
        return Err(Error::Settings(format!("an index claims {count} machines; that is damage, or made by hand")));
    }
    for number in machines.len() as u64..count {
        let name = u32::try_from(number).ok().and_then(|number| numbers.get(&number).map(|name| (*name).clone()));
        let unknown = MachineName::new(&format!("unknown-{number}"));
        machines.push(match name {
            Some(name) => name,
            None => unknown.map_err(|error| Error::Defect(error.to_string()))?,
        });
    }
    Ok(machines)
}

/// More machines than a job ever has.
const MACHINES_MAX: u64 = 1 << 20;

/// What frames are aligned to, as the backup files say.
async fn alignment(survey: &Survey, folder: [u8; 16]) -> Result<u32> {
    for id in survey.files.keys().rev() {
        let key = survey.layout.backup_file(*id)?;
        let read = async |length: u64| match survey.repository.backend().get_range(&key, 0..length).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
            answer => answer.while_doing(|| format!("reading {key}")).map(Some),
        };
        let Some(start) = read(ENVELOPE_BYTES as u64).await? else { continue };
        let Ok(envelope) = Envelope::decode(Kind::BackupFile, &start) else { continue };
        let Some(bytes) = read(ENVELOPE_BYTES as u64 + envelope.record_bytes).await? else { continue };
        match decode_record::<BackupFileHeader>(Kind::BackupFile, &bytes) {
            Ok(header) if header.folder == folder && header.alignment_bytes.is_power_of_two() => {
                return Ok(header.alignment_bytes);
            }
            _ => {}
        }
    }
    Ok(survey.repository.backend_granularity().unwrap_or(crate::writer::ALIGNMENT_MIN_BYTES))
}
