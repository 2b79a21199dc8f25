//! The filter: which pages of a repository's indexes may have what a look-up looks for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite_core::{FolderId, IndexReference, RepositoryId};

use super::segment::{self, Builder, Name};
use crate::Result;
use crate::seams::blocking;

/// The segments of one repository, in a folder of this host.
///
/// Nothing fails because of it. Where the folder cannot be used, each look-up reads all pages.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    folder: PathBuf,
}

impl Filter {
    /// The filter of a repository below `folder`.
    pub(crate) fn new(folder: &Path, repository: RepositoryId) -> Self {
        Self { folder: folder.join(repository.to_string()) }
    }

    /// The pages of an index that may have one of `keys`, which ascend. `None` if the filter does not know the index.
    pub(super) async fn candidates(
        &self,
        folder: FolderId,
        index: IndexReference,
        keys: &Arc<Vec<u64>>,
    ) -> Result<Option<Vec<u32>>> {
        let (path, keys, name) = (self.folder.clone(), Arc::clone(keys), Name { folder, index });
        blocking(move || segment::candidates(&path, &name, &keys)).await
    }

    /// A segment to note the digests of an index in. `None` if none can be made.
    pub(super) fn builder(&self, folder: FolderId, index: IndexReference) -> Option<Builder> {
        std::fs::create_dir_all(&self.folder).ok()?;
        Builder::new(&self.folder, &Name { folder, index })
    }

    /// Removes the segments of indexes that are not among `needed`. If `needed` has not all folders (`is_all`), the segments of
    /// folders that it does not name stay.
    pub(super) async fn sweep(&self, needed: Vec<(FolderId, IndexReference)>, is_all: bool) -> Result<()> {
        let path = self.folder.clone();
        let known: BTreeSet<String> = needed.iter().map(|(folder, _)| segment::prefix(*folder)).collect();
        let needed: BTreeSet<String> =
            needed.into_iter().map(|(folder, index)| Name { folder, index }.file()).collect();
        blocking(move || {
            let is_of_known = |name: &str| known.iter().any(|prefix| name.starts_with(prefix));
            segment::sweep(&path, |name| needed.contains(name) || (!is_all && !is_of_known(name)));
        })
        .await
    }
}
