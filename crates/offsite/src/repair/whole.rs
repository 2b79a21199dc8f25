//! Which restore points are whole, and the chain of those that are.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::format::head::{FileState, Head};
use offsite_core::plan::{Files, references};
use offsite_core::{BlockMap, Chain, ObjectId, PointKind, RestorePoint, Sequence};

use super::survey::Survey;
use super::{Basis, LeftOut, Lost, Target};
use crate::indexes::Indexes;
use crate::{Error, Result};

/// What becomes of a head whose chain is known, where the points in `lost` have no index any more.
pub(super) async fn check(survey: &Survey, indexes: &mut Indexes, head: &Head, mut lost: Lost) -> Result<Target> {
    let is_intact = survey.is_head_intact();
    let mut steps: BTreeMap<Sequence, BlockMap> = BTreeMap::new();
    for point in head.chain.all().filter(|point| !lost.contains_key(&point.sequence)).cloned().collect::<Vec<_>>() {
        steps.insert(point.sequence, indexes.step(&point).await?);
    }
    if !is_intact {
        // With the head itself there, a file that is lost touches what it touches; here it is what proves the point.
        for (sequence, step) in &steps {
            if let Some(file) = missing_file(step, &survey.files) {
                lost.insert(
                    *sequence,
                    format!("its backup file {} is lost or cut off", survey.layout.backup_file(file)?),
                );
            }
        }
    }
    let basis = if is_intact { Basis::Head } else { Basis::HeadCopy };
    if lost.is_empty() {
        return Ok(Target { basis, head: head.clone(), is_new: !is_intact, left_out: Vec::new() });
    }
    let (chain, left_out) = pruned(&head.chain, &lost)?;
    let kept: Vec<&BlockMap> = chain.all().filter_map(|point| steps.get(&point.sequence)).collect();
    let mut files = head.files.clone();
    recount(&mut files, &kept, head.alignment_bytes.into());
    let next_sequence = without_spare(head.next_sequence, head.chain.latest());
    let head = Head { chain, files, next_sequence, ..head.clone() };
    Ok(Target { basis, head, is_new: true, left_out })
}

/// The number of the next point, such that nothing of an incomplete machine counts as spare: what arrived of it is not recounted.
pub(super) fn without_spare(next: Sequence, latest: Option<&RestorePoint>) -> Sequence {
    let has_spare = latest.is_some_and(|latest| latest.machines.iter().any(|machine| !machine.is_whole()));
    Sequence(next.0.saturating_add(u64::from(has_spare)))
}

/// A file that a step needs and that is not there as far as it needs it.
pub(super) fn missing_file(step: &BlockMap, files: &BTreeMap<ObjectId, u64>) -> Option<ObjectId> {
    let is_there = |file: ObjectId, end: u64| files.get(&file).is_some_and(|length| end <= *length);
    step.stored()
        .map(|(_, _, _, at)| at)
        .find(|at| !is_there(at.file, at.offset + u64::from(at.length)))
        .map(|at| at.file)
}

/// Counts what `steps` refer to in each file. A file that they do not refer to holds blocks of points that were left out: it stays,
/// and is taken for live as a whole, so that nothing makes room in it.
pub(super) fn recount(files: &mut Files, steps: &[&BlockMap], alignment: u64) {
    let mut live: BTreeMap<ObjectId, u64> = BTreeMap::new();
    for at in references(steps.iter().copied()) {
        *live.entry(at.file).or_default() += u64::from(at.length).next_multiple_of(alignment);
    }
    for (id, FileState { length, live_bytes, .. }) in files.iter_mut() {
        *live_bytes = live.get(id).copied().unwrap_or(*length).min(*length);
    }
}

/// The chain without the points in `lost` and those that need one of them.
pub(super) fn pruned(chain: &Chain, lost: &Lost) -> Result<(Chain, Vec<LeftOut>)> {
    let points = chain.points();
    let is_lost = |point: &RestorePoint| lost.contains_key(&point.sequence);
    let mut kept: BTreeSet<Sequence> = BTreeSet::new();
    for (full, point) in points.iter().enumerate().filter(|(_, point)| point.kind == PointKind::Full && !is_lost(point))
    {
        kept.insert(point.sequence);
        let stands = |kind: PointKind| move |other: &&RestorePoint| other.kind == kind && !is_lost(other);
        kept.extend(points[..full].iter().rev().take_while(stands(PointKind::Rollback)).map(|point| point.sequence));
        kept.extend(points[full + 1..].iter().take_while(stands(PointKind::Increment)).map(|point| point.sequence));
    }
    kept.extend(chain.archives().iter().filter(|point| !is_lost(point)).map(|point| point.sequence));
    let of = |points: &[RestorePoint]| points.iter().filter(|point| kept.contains(&point.sequence)).cloned().collect();
    let left_out = chain.all().filter(|point| !kept.contains(&point.sequence)).map(|point| LeftOut {
        sequence: point.sequence,
        why: lost.get(&point.sequence).cloned().unwrap_or_else(|| "it stands on a point that is lost".to_owned()),
    });
    let left_out = left_out.collect();
    let chain = Chain::with_archives(chain.block_size(), of(chain.archives()), of(points));
    Ok((chain.map_err(|error| Error::Defect(error.to_string()))?, left_out))
}
