//! The blocks of a job that are known to be lost, without reading any.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{Digest, MachineName, ObjectId, StoredBlock};
use offsite_repository::RepositoryExt;

use crate::Result;
use crate::error::Context;
use crate::folder::verification_notes::VerificationNotes;
use crate::mover::Wanted;
use crate::reader::job_folder::JobFolder;

/// The blocks of a job that are known to be lost, without reading any.
pub(crate) struct KnownLosses {
    /// The length of each backup file that is there.
    ends: BTreeMap<ObjectId, u64>,
    /// What verification found.
    noted: VerificationNotes,
    /// What else is known.
    lost: BTreeSet<(ObjectId, u64, Digest)>,
}

impl KnownLosses {
    /// What is known of the blocks of `folder`: `lost`, what verification found, and that a file is missing or cut off. Lists the
    /// backup files.
    pub(crate) async fn load(folder: &JobFolder, lost: &[Wanted]) -> Result<Self> {
        let (repository, layout) = (folder.repository(), folder.layout());
        let noted = VerificationNotes::load(repository, layout, folder.id()).await?;
        let listed = repository.backend().list_all(&layout.backup_files()?).await;
        let listed = listed.while_doing(|| format!("listing the backup files of job {}", folder.job()))?;
        let lengths: BTreeMap<_, u64> = listed.into_iter().map(|object| (object.key, object.length)).collect();
        let mut ends: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for id in folder.head().files.keys() {
            ends.extend(lengths.get(&layout.backup_file(*id)?).map(|length| (*id, *length)));
        }
        let lost = lost.iter().map(|block| (block.at.file, block.at.offset, block.at.digest)).collect();
        Ok(Self { ends, noted, lost })
    }

    /// Whether this block is known to be lost.
    pub(crate) fn has(&self, at: &StoredBlock) -> bool {
        self.ends.get(&at.file).is_none_or(|end| at.offset + u64::from(at.length) > *end)
            || self.lost.contains(&(at.file, at.offset, at.digest))
            || self.noted.names(at)
    }

    /// Counts the blocks of each machine that are known to be lost. A machine without one is not in it.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`](crate::Error::SnapshotExpired) if they are not lost but were released meanwhile.
    pub(crate) async fn count<'a>(
        &self,
        folder: &JobFolder,
        blocks: impl Iterator<Item = (&'a MachineName, StoredBlock)>,
    ) -> Result<BTreeMap<MachineName, u64>> {
        let mut lost: BTreeMap<MachineName, u64> = BTreeMap::new();
        for (machine, _) in blocks.filter(|(_, at)| self.has(at)) {
            *lost.entry(machine.clone()).or_default() += 1;
        }
        if !lost.is_empty() {
            folder.refuse_expired().await?;
        }
        Ok(lost)
    }
}
