//! Proof that a file is dead, before it is let go, and that a range is free, before it is written over.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::format::head::Head;
use offsite_core::{BlockMap, Coverage, ObjectId};

use super::draft::Draft;
use super::room::{READ_BYTES_MAX, index_bytes};
use crate::indexes::Indexes;
use crate::rules::check_patched;
use crate::{Error, Result};

/// Holds that no point of the chain after `draft` refers to a file that the draft lets go of (release rule 4).
///
/// That nothing of a file is live is told by a count in the head; here the indexes decide. Only those that name the file are
/// looked at, and of other points only the blocks of their rows, so the proof costs what the file's blocks cost.
///
/// # Errors
/// [`Error::Defect`] names the file.
pub(super) async fn files_are_dead(indexes: &mut Indexes, draft: &Draft) -> Result<()> {
    let dead: BTreeSet<ObjectId> = draft.plan.retired.files.keys().copied().collect();
    if dead.is_empty() {
        return Ok(());
    }
    let mut rows: BTreeMap<ObjectId, BlockMap> = BTreeMap::new();
    for point in draft.proven.chain().all() {
        for reference in point.indexes() {
            if rows.contains_key(&reference.id) {
                continue;
            }
            let files = indexes.files(reference, point).await?;
            let mut own = BlockMap::empty();
            if files.iter().any(|file| dead.contains(file)) {
                own = indexes.map(reference, point).await?.picked(|_, _, _, at| dead.contains(&at.file).then_some(at));
            }
            rows.insert(reference.id, own);
        }
    }
    let coverage = rows.values().map(Coverage::of).fold(Coverage::default(), Coverage::union);
    for point in draft.proven.chain().all() {
        let part = indexes.part(point, &coverage).await?;
        if let Some((_, _, _, at)) = part.stored().find(|(_, _, _, at)| dead.contains(&at.file)) {
            return Err(Error::Defect(format!(
                "restore point {} needs {}, which would be released",
                point.sequence, at.file
            )));
        }
    }
    Ok(())
}

/// Holds that what `draft` writes into files that are there, it writes where no point of the committed chain has a block
/// (release rule 2: where a crash cuts it off, and where it is carried on late, nobody needs what is torn).
///
/// Where the indexes are too long to be read for each merge, what [`room`](super::room) has proven of its few pages is all there is.
///
/// # Errors
/// [`Error::Defect`] names the file.
pub(super) async fn patched_ranges_are_free(head: &Head, indexes: &mut Indexes, draft: &Draft) -> Result<()> {
    let Some(file) = draft.plan.patched.keys().next() else { return Ok(()) };
    check_patched(head, *file)?;
    let alignment = draft.plan.alignment;
    let length = head.files.get(file).map_or(0, |file| file.length);
    // Where written frames start, with their ends. Past the file's end nothing was ever committed.
    let written = draft.plan.moves.iter().map(|step| step.to).filter(|to| to.offset < length);
    let written: BTreeMap<u64, u64> = written.map(|to| (to.offset, to.offset + u64::from(to.length))).collect();
    if written.is_empty() || index_bytes(head) > READ_BYTES_MAX {
        return Ok(());
    }
    for point in head.chain.all() {
        for (_, _, _, at) in indexes.step(point).await?.stored().filter(|(_, _, _, at)| at.file == *file) {
            let end = at.offset + u64::from(at.length).next_multiple_of(alignment.max(1));
            if written.range(..end).next_back().is_some_and(|(_, written_end)| *written_end > at.offset) {
                return Err(Error::Defect(format!(
                    "restore point {} needs {} at {}, which would be written over",
                    point.sequence, at.file, at.offset
                )));
            }
        }
    }
    Ok(())
}
