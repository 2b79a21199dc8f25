//! The verification notes: where the next verification continues, and which damaged frames, cut files and unreadable indexes were
//! found.
//!
//! The notes are one small object with a number that grows, so nobody needs the lease to write them. They are advice: because of
//! them, a copy may transfer blocks again that it already has. A lost file is one finding, however many frames it had.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::format::records::VerificationRecord;
use offsite_core::format::{Kind, decode_record, encode_record};
use offsite_core::{BlockMap, Digest, FolderId, MachineName, ObjectId, StoredBlock};
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};

use crate::error::Context;
use crate::folder::layout::{Layout, verification_number};
use crate::{Error, OpenRepository, Result};

/// The greatest length of notes that are read, in bytes.
const BYTES_MAX: u64 = (4 << 20) + 4096;
/// The largest number of damaged frames in the notes. A chain with more cannot be healed block by block.
const DAMAGED_MAX: usize = 50_000;
/// The largest number of lost or cut files in the notes.
const CUT_MAX: usize = 50_000;

/// The largest number of unreadable indexes in the notes.
const INDEXES_MAX: usize = 50_000;

/// The place of a frame: its file, and its offset there in bytes.
pub(crate) type Place = (ObjectId, u64);

/// The verification notes of a job folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct VerificationNotes {
    /// Where the next verification continues. `None` if it starts from the beginning.
    pub(crate) next: Option<Place>,
    /// The damaged frames, with the digests of the blocks that they should hold.
    pub(crate) damaged: BTreeMap<Place, Digest>,
    /// The files that are missing or cut off, with the position in bytes at which each ends now. Frames that end later are lost.
    pub(crate) cut: BTreeMap<ObjectId, u64>,
    /// The indexes that could not be read.
    pub(crate) indexes: BTreeSet<ObjectId>,
}

impl VerificationNotes {
    /// Whether this frame is known to be damaged. A frame that was written to the same place since is another one.
    pub(crate) fn names(&self, at: &StoredBlock) -> bool {
        self.is_cut_off(at) || self.damaged.get(&(at.file, at.offset)) == Some(&at.digest)
    }

    /// Whether this frame is known to be lost, as its file is missing or cut off.
    pub(crate) fn is_cut_off(&self, at: &StoredBlock) -> bool {
        self.cut.get(&at.file).is_some_and(|end| at.offset + u64::from(at.length) > *end)
    }

    /// Whether no frame is known to be damaged or lost.
    pub(crate) fn is_empty(&self) -> bool {
        self.damaged.is_empty() && self.cut.is_empty()
    }

    /// The files with known damage.
    pub(crate) fn files(&self) -> BTreeSet<ObjectId> {
        self.damaged.keys().map(|(file, _)| *file).chain(self.cut.keys().copied()).collect()
    }

    /// The blocks of `map` without known damage, in their own places.
    pub(crate) fn sound(&self, map: &BlockMap) -> BlockMap {
        if self.is_empty() { map.clone() } else { map.picked(|_, _, _, at| (!self.names(&at)).then_some(at)) }
    }

    /// The machines with known damage in `map`, each with the number of its damaged blocks.
    pub(crate) fn machines(&self, map: &BlockMap) -> BTreeMap<MachineName, u64> {
        let mut machines = BTreeMap::new();
        for (name, ..) in map.stored().filter(|(_, _, _, at)| self.names(at)) {
            *machines.entry(name.clone()).or_default() += 1;
        }
        machines
    }

    /// Reads the newest notes of this folder. If they cannot be read, they are empty: the next verification finds the same damage
    /// again.
    pub(crate) async fn load(repository: &OpenRepository, layout: &Layout, folder: FolderId) -> Result<Self> {
        let notes = numbered(repository, layout).await?;
        Ok(Self::newest_of(&notes, repository, layout, folder).await?.unwrap_or_default().0)
    }

    /// The same as [`VerificationNotes::load`], for the folder's writer. It also removes older notes that a cut-off verification
    /// has left.
    pub(crate) async fn load_and_tidy(repository: &OpenRepository, layout: &Layout, folder: FolderId) -> Result<Self> {
        let notes = numbered(repository, layout).await?;
        let Some((noted, position)) = Self::newest_of(&notes, repository, layout, folder).await? else {
            return Ok(Self::default());
        };
        for (key, _) in &notes[..position] {
            let _ = repository.backend().delete(key).await;
        }
        Ok(noted)
    }

    /// Returns the newest of these that can be read, and its position.
    async fn newest_of(
        notes: &[(Key, u64)],
        repository: &OpenRepository,
        layout: &Layout,
        folder: FolderId,
    ) -> Result<Option<(Self, usize)>> {
        for (position, (key, _)) in notes.iter().enumerate().rev() {
            let bytes = match repository.backend().get(key, BYTES_MAX).await {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => continue,
                answer => answer.while_doing(|| format!("reading what verification found of job {}", layout.job()))?,
            };
            let Ok(record) = decode_record::<VerificationRecord>(Kind::VerificationNotes, &bytes) else { continue };
            if record.folder != folder {
                continue;
            }
            let damaged = record.damaged.into_iter();
            let noted = Self {
                next: record.next.map(|(file, offset)| (ObjectId::from_stored(file), offset)),
                damaged: damaged
                    .map(|(file, offset, digest)| ((ObjectId::from_stored(file), offset), Digest(digest)))
                    .collect(),
                cut: record.cut.into_iter().map(|(file, end)| (ObjectId::from_stored(file), end)).collect(),
                indexes: record.indexes.into_iter().map(ObjectId::from_stored).collect(),
            };
            return Ok(Some((noted, position)));
        }
        Ok(None)
    }

    /// Stores the notes. Then it removes older notes as far as it can, as only the newest count.
    ///
    /// # Errors
    /// Errors of the repository. `AlreadyExists` means that another verification has ended at the same time.
    pub(crate) async fn store(&self, repository: &OpenRepository, layout: &Layout, folder: FolderId) -> Result<()> {
        let record = VerificationRecord {
            folder,
            next: self.next.map(|(file, offset)| (file.stored(), offset)),
            damaged: self
                .damaged
                .iter()
                .take(DAMAGED_MAX)
                .map(|((file, offset), digest)| (file.stored(), *offset, digest.0))
                .collect(),
            cut: self.cut.iter().take(CUT_MAX).map(|(file, end)| (file.stored(), *end)).collect(),
            indexes: self.indexes.iter().take(INDEXES_MAX).map(|id| id.stored()).collect(),
        };
        let bytes =
            encode_record(Kind::VerificationNotes, &record).map_err(|error| Error::defect(error.to_string()))?;
        let older = numbered(repository, layout).await?;
        let number = older.last().map_or(0, |(_, number)| *number).saturating_add(1);
        let while_doing = || format!("noting what verification found of job {}", layout.job());
        repository.backend().put(&layout.verification(number)?, bytes.into()).await.while_doing(while_doing)?;
        for (key, _) in older {
            let _ = repository.backend().delete(&key).await;
        }
        Ok(())
    }
}

/// Returns the objects with notes, the oldest first.
async fn numbered(repository: &OpenRepository, layout: &Layout) -> Result<Vec<(Key, u64)>> {
    let listed = repository.backend().list_all(&layout.verifications()?).await;
    let listed = listed.while_doing(|| format!("looking for what verification found of job {}", layout.job()))?;
    let named =
        listed.into_iter().filter_map(|object| verification_number(&object.key).map(|number| (object.key, number)));
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_ends_where_a_cut_file_ends_is_there() {
        let file = ObjectId::new(1, 1);
        let noted = VerificationNotes { cut: BTreeMap::from([(file, 1_000)]), ..VerificationNotes::default() };
        let frame = |offset| StoredBlock { file, offset, length: 200, digest: Digest([0; 32]) };
        assert!(!noted.is_cut_off(&frame(800)) && noted.is_cut_off(&frame(801)));
    }
}
