//! Archives with blocks of their own.
//!
//! The indexes tell which archive needs its own blocks: one with a file that another point refers to. So the next run does what
//! an interrupted one left undone, and an archive that is independent stays as it is.

use std::collections::BTreeSet;

use offsite_core::plan::relocate;
use offsite_core::{BlockMap, Chain, ObjectId, PointKind, RestorePoint, Sequence};

use super::draft::DraftedOperation;
use super::stack::rewritten;
use crate::commit::draft::BlockViews;
use crate::commit::plan_context::PlanContext;
use crate::folder::disks::disks_of;
use crate::folder::verification_notes::VerificationNotes;
use crate::report::{Carriage, Note, Operation};
use crate::{Error, Result};

/// The oldest archive that shares a backup file with another point, and not only for blocks that are known to be damaged: those
/// cannot be copied.
pub(super) async fn sharing(context: &mut PlanContext<'_>, noted: &VerificationNotes) -> Result<Option<Sequence>> {
    let chain = &context.head.chain;
    for archive in chain.archives() {
        let own = listed(context, archive).await?;
        let mut shares = false;
        for other in chain.all().filter(|other| other.sequence != archive.sequence) {
            shares |= !listed(context, other).await?.is_disjoint(&own);
        }
        // What an index lists may be hidden by another above it; only what is referred to counts.
        if shares && refers_to_shared(context, archive, noted).await? {
            return Ok(Some(archive.sequence));
        }
    }
    Ok(None)
}

/// Of each archive with known damage, what the report is to say: its damaged blocks stay where they are.
pub(super) async fn left_sharing(context: &mut PlanContext<'_>, noted: &VerificationNotes) -> Result<Vec<Note>> {
    let mut notes = Vec::new();
    if noted.is_empty() {
        return Ok(notes);
    }
    for archive in context.head.chain.archives() {
        for (machine, blocks) in noted.machines(&context.indexes.step(archive).await?) {
            notes.push(Note::ArchiveShares { sequence: archive.sequence, machine, blocks });
        }
    }
    Ok(notes)
}

/// The files that a point's indexes list.
async fn listed(context: &mut PlanContext<'_>, point: &RestorePoint) -> Result<BTreeSet<ObjectId>> {
    let mut files = BTreeSet::new();
    for index in point.indexes() {
        files.extend(context.indexes.files(index, point).await?);
    }
    Ok(files)
}

async fn refers_to_shared(
    context: &mut PlanContext<'_>,
    archive: &RestorePoint,
    noted: &VerificationNotes,
) -> Result<bool> {
    let own = noted.sound(&context.indexes.step(archive).await?).files();
    for other in context.head.chain.all().filter(|other| other.sequence != archive.sequence) {
        if !context.indexes.step(other).await?.files().is_disjoint(&own) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives an archive its own copy of each of its blocks that is not known to be damaged.
pub(super) async fn draft(
    context: &mut PlanContext<'_>,
    sequence: Sequence,
    noted: &VerificationNotes,
) -> Result<DraftedOperation> {
    let chain = context.head.chain.clone();
    let Some(archive) = chain.archives().iter().find(|archive| archive.sequence == sequence) else {
        return Err(Error::defect(format!("{sequence} is no archive")));
    };
    let own = context.indexes.step(archive).await?;
    let mut others: Vec<BlockMap> = Vec::new();
    for other in chain.all().filter(|other| other.sequence != sequence) {
        others.push(context.indexes.step(other).await?);
    }
    let header = context.header(archive, disks_of(&own), own.machines().keys());
    let placement = header.placement(context.repository);
    let reclaiming = context.reclaiming();
    let others_of: Vec<&BlockMap> = others.iter().collect();
    let relocation =
        relocate(&[&own], &others_of, |at| !noted.names(at), placement, || context.minter.mint(), reclaiming);
    let mut plan = relocation.plan;
    let carriage = context.carriage(&plan, noted);
    plan.cloned = carriage == Carriage::Cloned;
    let map = relocation.indexes.iter().fold(own.clone(), |own, new| own.overlay(new));
    let files = plan.files_after(&context.head.files, context.head.alignment_bytes.into());
    let index = rewritten(context, archive, PointKind::Full, map.clone(), &files).await?;
    let archives = chain.archives().iter().map(|old| if old.sequence == sequence { &index.point } else { old });
    let next = Chain::with_archives(chain.block_size(), archives.cloned().collect(), chain.points().to_vec());
    let operation = Operation::MakeIndependent { sequence, carriage };
    let before = others.iter().chain([&own]).collect();
    let views = BlockViews { before, after: others.iter().chain([&map]).collect(), others: Vec::new() };
    let draft = context.draft_operation(operation, plan, next, vec![index], views).await?;
    Ok(DraftedOperation { header: Some(header), ..draft })
}
