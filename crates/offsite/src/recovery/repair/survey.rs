//! What a job folder still has.

use offsite_core::FolderId;
use std::collections::{BTreeMap, BTreeSet};

use offsite_core::Head;
use offsite_core::format::backup_file::BackupFileHeader;
use offsite_core::format::{ENVELOPE_BYTES, Envelope, Kind, decode_record};
use offsite_core::{ObjectId, StoredBlock};
use offsite_repository::{ErrorKind, Key, RepositoryExt};

use crate::error::Context;
use crate::folder::heads::Heads;
use crate::folder::layout::{Layout, head_second_copy_number, index_second_copy_id};
use crate::{Error, OpenRepository, Result};

/// The objects of a job folder, without the content of indexes and backup files.
pub(super) struct Survey {
    pub(super) repository: OpenRepository,
    pub(super) layout: Layout,
    pub(super) heads: Heads,
    /// The number of the newest head, whether it can be read or not. `None` if there is no head.
    newest_number: Option<u64>,
    /// The newest head that can be read. `None` if there is none.
    head: Option<Head>,
    /// The keys of the heads with greater numbers, which cannot be read.
    pub(super) damaged_heads: Vec<Key>,
    /// The newest second copy of a head that can be read. `None` if there is none.
    copy: Option<Head>,
    /// The epoch and the number of the newest second copy that cannot be read. `None` if there is none.
    damaged_copy: Option<(u32, u64)>,
    /// The indexes that have an object or a second copy.
    pub(super) indexes: BTreeSet<ObjectId>,
    /// The backup files with their lengths in bytes.
    pub(super) files: BTreeMap<ObjectId, u64>,
    pub(super) number_max: u64,
    pub(super) epoch_max: u32,
}

impl Survey {
    pub(super) async fn of(repository: &OpenRepository, layout: &Layout) -> Result<Self> {
        let heads = Heads::new(repository.clone(), layout.clone());
        let mut survey = Self {
            repository: repository.clone(),
            layout: layout.clone(),
            heads,
            newest_number: None,
            head: None,
            damaged_heads: Vec::new(),
            copy: None,
            damaged_copy: None,
            indexes: BTreeSet::new(),
            files: BTreeMap::new(),
            number_max: 0,
            epoch_max: 0,
        };
        survey.look_at_heads().await?;
        let mut copies = BTreeMap::new();
        for (key, length) in repository.list(&layout.backup_files()?).await? {
            if let Some(number) = head_second_copy_number(&key) {
                copies.insert(number, key);
            } else if let Some(id) = index_second_copy_id(&key) {
                survey.indexes.insert(id);
            } else if let Some(id) = ObjectId::parse(key.name()) {
                survey.files.insert(id, length);
            }
        }
        survey.look_at_copies(copies).await?;
        for (key, _) in repository.list(&layout.indexes()?).await? {
            survey.indexes.extend(ObjectId::parse(key.name()));
        }
        let mut ids: BTreeSet<ObjectId> = survey.indexes.iter().chain(survey.files.keys()).copied().collect();
        for (key, _) in repository.list(&layout.release_lists()?).await? {
            ids.extend(ObjectId::parse(key.name()));
        }
        let renewals = repository.list(&layout.lease_renewals()?).await?;
        let epochs = renewals.keys().filter_map(|key| key.name().get(..10)?.parse().ok());
        survey.epoch_max = ids.iter().map(|id| id.epoch()).chain(epochs).fold(survey.epoch_max, u32::max);
        Ok(survey)
    }

    async fn look_at_heads(&mut self) -> Result<()> {
        let numbers = self.heads.numbers().await?;
        self.newest_number = numbers.last().copied();
        for number in numbers.into_iter().rev() {
            self.number_max = self.number_max.max(number);
            match self.heads.load(number).await {
                Ok(head) => {
                    self.epoch_max = self.epoch_max.max(head.epoch);
                    self.head = Some(head);
                    break;
                }
                Err(Error::Damaged { .. }) => self.damaged_heads.push(self.heads.key(number)?),
                Err(error) if error.repository_kind() == Some(ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn look_at_copies(&mut self, copies: BTreeMap<(u32, u64), Key>) -> Result<()> {
        for ((epoch, number), key) in copies.into_iter().rev() {
            (self.epoch_max, self.number_max) = (self.epoch_max.max(epoch), self.number_max.max(number));
            match self.heads.copy(&key, (epoch, number)).await? {
                Some(head) => {
                    self.copy = Some(head);
                    break;
                }
                None => self.damaged_copy = self.damaged_copy.max(Some((epoch, number))),
            }
        }
        Ok(())
    }

    /// Fails if a run has committed a head since.
    pub(super) async fn refuse_newer_heads(&self) -> Result<()> {
        match self.heads.numbers().await?.last().copied() == self.newest_number {
            true => Ok(()),
            false => Err(Error::fenced(self.layout.job())),
        }
    }

    /// Returns the header of a backup file. `None` if it cannot be read, or is that of another file.
    pub(super) async fn file_header(&self, id: ObjectId, folder: FolderId) -> Result<Option<BackupFileHeader>> {
        let key = self.layout.backup_file(id)?;
        let read = async |length: u64| match self.repository.backend().get_range(&key, 0..length).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
            answer => answer.while_doing(|| format!("reading {key}")).map(Some),
        };
        let Some(start) = read(ENVELOPE_BYTES as u64).await? else { return Ok(None) };
        let Ok(envelope) = Envelope::decode(Kind::BackupFile, &start) else { return Ok(None) };
        let Some(bytes) = read(ENVELOPE_BYTES as u64 + envelope.record_bytes).await? else { return Ok(None) };
        let header = decode_record::<BackupFileHeader>(Kind::BackupFile, &bytes).ok();
        Ok(header.filter(|header| header.folder == folder && header.id == id.stored()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.number_max == 0 && self.indexes.is_empty() && self.files.is_empty()
    }

    /// Whether the backup file of a frame is there, and long enough for the frame.
    pub(super) fn has(&self, at: &StoredBlock) -> bool {
        let end = at.offset.saturating_add(at.length.into());
        self.files.get(&at.file).is_some_and(|length| end <= *length)
    }

    /// Returns the newest head that can be read, from the heads and their second copies.
    pub(super) fn newest(&self) -> Option<&Head> {
        [&self.head, &self.copy]
            .into_iter()
            .flatten()
            .max_by_key(|head| (head.epoch, head.number, head.lease.is_none()))
    }

    /// Whether any head can be read, second copies aside.
    pub(super) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Whether the newest that can be read is a head itself, with no damaged head after it.
    pub(super) fn is_head_intact(&self) -> bool {
        let is_own = self.head.as_ref().zip(self.newest()).is_some_and(|(head, newest)| head.number == newest.number);
        is_own && self.damaged_heads.is_empty()
    }

    /// Whether a commit may have happened that neither a head nor a second copy tells.
    ///
    /// Every commit that changes the chain leaves a second copy of the head. So a lost head is no reason for doubt as long as the
    /// copies are there.
    pub(super) fn is_doubtful(&self) -> bool {
        let Some(newest) = self.newest() else { return true };
        self.damaged_copy.is_some_and(|copy| copy > (newest.epoch, newest.number))
            || (!self.damaged_heads.is_empty() && self.copy.is_none())
    }

    /// Whether the newest second copy says of the chain what `head` says.
    pub(super) fn has_copy_of(&self, head: &Head) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.chain == head.chain && copy.files == head.files)
    }
}
