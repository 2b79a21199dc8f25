//! Proof that a file is dead, before it is let go.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{BlockMap, Coverage, ObjectId};

use super::draft::Draft;
use crate::indexes::Indexes;
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
    for point in draft.chain.all() {
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
    for point in draft.chain.all() {
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
