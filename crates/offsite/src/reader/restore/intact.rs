//! The newest restore point in which a machine is intact, as far as that is known without reading its blocks.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{Digest, MachineName, ObjectId, Sequence, StoredBlock, Timestamp};
use offsite_repository::RepositoryExt;

use super::target::find_disk;
use crate::error::Context;
use crate::folder::verification_notes::VerificationNotes;
use crate::mover::Wanted;
use crate::reader::disk_selector::DiskSelector;
use crate::reader::job_folder::JobFolder;
use crate::{PointSelector, Result};

/// The blocks of a job that are known to be lost, without reading any.
pub(super) struct KnownLosses {
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
    pub(super) async fn load(folder: &JobFolder, lost: &[Wanted]) -> Result<Self> {
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
    pub(super) fn has(&self, at: &StoredBlock) -> bool {
        self.ends.get(&at.file).is_none_or(|end| at.offset + u64::from(at.length) > *end)
            || self.lost.contains(&(at.file, at.offset, at.digest))
            || self.noted.names(at)
    }

    /// The newest point in which nothing of the machine, or of that disk of it, is known to be lost.
    pub(super) async fn newest_intact(
        &self,
        folder: &JobFolder,
        machine: &MachineName,
        disk: Option<&DiskSelector>,
    ) -> Result<Option<(Sequence, Timestamp)>> {
        let mut indexes = folder.indexes();
        for point in folder.chain().all().rev() {
            let is_whole = folder.point_of(machine, PointSelector::Sequence(point.sequence)).is_ok();
            if !is_whole {
                continue;
            }
            let state = match indexes.state(&folder.chain().steps_to(point.sequence).unwrap_or_default()).await {
                Err(error) if error.is_loss() => continue,
                answer => answer?,
            };
            let Ok(mut map) = folder.machine_in(&state, machine, point) else { continue };
            if let Some(wanted) = disk {
                let Ok(chosen) = find_disk(machine, &map.disks, wanted) else { continue };
                map.disks.retain(|number, _| *number == chosen);
            }
            if !map.disks.values().any(|disk| disk.stored().any(|(_, at)| self.has(&at))) {
                return Ok(Some((point.sequence, point.time)));
            }
        }
        Ok(None)
    }
}
