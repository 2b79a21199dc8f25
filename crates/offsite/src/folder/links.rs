//! Backup files with other hard links. Such a link is a copy of the repository, and must stay as it is.

use std::collections::BTreeSet;

use offsite_core::ObjectId;
use offsite_core::plan::Retired;
use offsite_repository::{ErrorKind, Repository};

use crate::error::Context;
use crate::folder::layout::Layout;
use crate::{OpenRepository, Result};

/// Whether a backup file has another name outside of the repository. A missing file has none.
pub(crate) async fn is_linked(repository: &OpenRepository, layout: &Layout, file: ObjectId) -> Result<bool> {
    let Some(links) = repository.backend().links() else { return Ok(false) };
    let key = layout.backup_file(file)?;
    match links.is_linked(&key).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(false),
        answer => answer.while_doing(|| format!("looking whether others share {key} in {}", repository.location())),
    }
}

/// Notes which of the files with retired ranges are shared.
pub(crate) async fn note_linked(repository: &OpenRepository, layout: &Layout, retired: &mut Retired) -> Result<()> {
    let files: BTreeSet<ObjectId> = retired.ranges.keys().chain(retired.files.keys()).copied().collect();
    for file in files {
        if is_linked(repository, layout, file).await? {
            retired.linked.insert(file);
        }
    }
    Ok(())
}
