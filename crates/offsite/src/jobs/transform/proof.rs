//! Whether a range is free, before it is written over.

use std::collections::BTreeMap;

use offsite_core::Head;
use offsite_core::plan::Plan;

use super::room::{READ_BYTES_MAX, index_bytes};
use crate::commit::rules::check_patched;
use crate::reader::indexes::Indexes;
use crate::{Error, Result};

/// Holds that what `plan` writes into files that are there, it writes where no point of the committed chain has a block
/// (release rule 2: where a crash cuts it off, and where it is carried on late, nobody needs what is torn).
///
/// Where the indexes are too long to be read for each merge, what [`room`](super::room) has proven of its few pages is all there is.
///
/// # Errors
/// [`Error::Defect`] names the file.
pub(super) async fn patched_ranges_are_free(head: &Head, indexes: &mut Indexes, plan: &Plan) -> Result<()> {
    let Some(file) = plan.patched.keys().next() else { return Ok(()) };
    check_patched(head, *file)?;
    let alignment = plan.alignment;
    let length = head.files.get(file).map_or(0, |file| file.length);
    // Where written frames start, with their ends. Past the file's end nothing was ever committed.
    let written = plan.moves.iter().map(|step| step.to).filter(|to| to.offset < length);
    let written: BTreeMap<u64, u64> = written.map(|to| (to.offset, to.offset + u64::from(to.length))).collect();
    if written.is_empty() || index_bytes(head) > READ_BYTES_MAX {
        return Ok(());
    }
    for point in head.chain.all() {
        for (_, _, _, at) in indexes.step(point).await?.stored().filter(|(_, _, _, at)| at.file == *file) {
            let end = at.offset + u64::from(at.length).next_multiple_of(alignment.max(1));
            if written.range(..end).next_back().is_some_and(|(_, written_end)| *written_end > at.offset) {
                return Err(Error::defect(format!(
                    "restore point {} needs {} at {}, which would be written over",
                    point.sequence, at.file, at.offset
                )));
            }
        }
    }
    Ok(())
}
