//! Archives with blocks of their own.
//!
//! Which archive needs them, the indexes tell: one whose files another point refers to. So what a cut-off run left undone the
//! next one does, and an archive that is independent stays as it is.

use std::collections::BTreeSet;

use offsite_core::plan::relocate;
use offsite_core::{BlockMap, Chain, ObjectId, PointKind, RestorePoint, Sequence};

use super::draft::{Draft, Drafting, Says};
use super::stack::rewritten;
use crate::folder::disks::disks_of;
use crate::folder::findings::Findings;
use crate::report::{Carriage, Operation};
use crate::{Error, Result};

/// The oldest archive that shares a backup file with another point, and not only for blocks that are known to be damaged: those
/// cannot be copied.
pub(super) async fn sharing(drafting: &mut Drafting<'_>, findings: &Findings) -> Result<Option<Sequence>> {
    let chain = &drafting.head.chain;
    for archive in chain.archives() {
        let own = listed(drafting, archive).await?;
        let mut shares = false;
        for other in chain.all().filter(|other| other.sequence != archive.sequence) {
            shares |= !listed(drafting, other).await?.is_disjoint(&own);
        }
        // What an index lists may be hidden by another above it; only what is referred to counts.
        if shares && refers_to_shared(drafting, archive, findings).await? {
            return Ok(Some(archive.sequence));
        }
    }
    Ok(None)
}

/// Of each archive with known damage, what the report is to say: its damaged blocks stay where they are.
pub(super) async fn left_sharing(drafting: &mut Drafting<'_>, findings: &Findings) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if findings.is_empty() {
        return Ok(notes);
    }
    for archive in drafting.head.chain.archives() {
        for (machine, blocks) in findings.machines(&drafting.indexes.step(archive).await?) {
            let blocks = if blocks == 1 { "1 damaged block".to_owned() } else { format!("{blocks} damaged blocks") };
            notes.push(format!(
                "archive {} has {blocks} of machine {machine}, of which no copy could be made; once intact again, they are copied to files \
                 of the archive's own",
                archive.sequence
            ));
        }
    }
    Ok(notes)
}

/// The files that a point's indexes list.
async fn listed(drafting: &mut Drafting<'_>, point: &RestorePoint) -> Result<BTreeSet<ObjectId>> {
    let mut files = BTreeSet::new();
    for index in point.indexes() {
        files.extend(drafting.indexes.files(index, point).await?);
    }
    Ok(files)
}

async fn refers_to_shared(drafting: &mut Drafting<'_>, archive: &RestorePoint, findings: &Findings) -> Result<bool> {
    let own = findings.sound(&drafting.indexes.step(archive).await?).files();
    for other in drafting.head.chain.all().filter(|other| other.sequence != archive.sequence) {
        if !drafting.indexes.step(other).await?.files().is_disjoint(&own) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives an archive its own copy of each of its blocks that is not known to be damaged.
pub(super) async fn draft(drafting: &mut Drafting<'_>, sequence: Sequence, findings: &Findings) -> Result<Draft> {
    let chain = drafting.head.chain.clone();
    let Some(archive) = chain.archives().iter().find(|archive| archive.sequence == sequence) else {
        return Err(Error::defect(format!("{sequence} is no archive")));
    };
    let own = drafting.indexes.step(archive).await?;
    let mut others: Vec<BlockMap> = Vec::new();
    for other in chain.all().filter(|other| other.sequence != sequence) {
        others.push(drafting.indexes.step(other).await?);
    }
    let header = drafting.header(archive, disks_of(&own), own.machines().keys());
    let placement = header.placement(drafting.repository);
    let reclaiming = drafting.reclaiming();
    let others_of: Vec<&BlockMap> = others.iter().collect();
    let relocation =
        relocate(&[&own], &others_of, |at| !findings.names(at), placement, &mut *drafting.mint, reclaiming);
    let mut plan = relocation.plan;
    let carriage = drafting.carriage(&plan, findings);
    plan.cloned = carriage == Carriage::Cloned;
    let map = relocation.indexes.iter().fold(own.clone(), |own, new| own.overlay(new));
    let files = plan.files_after(&drafting.head.files, drafting.head.alignment_bytes.into());
    let index = rewritten(drafting, archive, PointKind::Full, map.clone(), &files).await?;
    let archives = chain.archives().iter().map(|old| if old.sequence == sequence { &index.point } else { old });
    let next = Chain::with_archives(chain.block_size(), archives.cloned().collect(), chain.points().to_vec());
    let operation = Operation::MakeIndependent { sequence, carriage };
    let before = others.iter().chain([&own]).collect();
    let says = Says { before, after: others.iter().chain([&map]).collect(), others: Vec::new() };
    let draft = drafting.draft(operation, plan, next, vec![index], says).await?;
    Ok(Draft { header: Some(header), ..draft })
}
