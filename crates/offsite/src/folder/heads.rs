//! The commit protocol: numbered heads that are created if absent.
//!
//! The head of a job folder is the valid object under `head/` with the greatest number. A commit creates the next number. The
//! commit has happened if its id is in the newest head, or in that head's ancestry. `AlreadyExists` alone decides nothing, as an
//! earlier try of the same writer may have stored the head.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use offsite_core::format::head::HEAD_BYTES_MAX;
use offsite_core::format::{FormatError, WireFormat};
use offsite_core::{Head, ObjectId, RetiredObject};
use offsite_repository::{ErrorKind, Key, RepositoryExt};
use tokio::time::sleep;

use crate::error::Context;
use crate::folder::layout::{Layout, head_number, head_second_copy_number};
use crate::report::DamagedHead;
use crate::seams::is_broken;
use crate::{DamagedPart, Error, OpenRepository, Result};

/// How often a commit with an unknown outcome is looked up and tried again.
const TRIES: u32 = 5;
/// The pause after the first try. Each later pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The heads of one job folder.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    repository: OpenRepository,
    layout: Layout,
}

/// The newest head that can be read.
#[derive(Debug, Clone)]
pub(crate) struct Newest {
    pub(crate) head: Head,
    /// The damaged heads with greater numbers, the greatest first.
    pub(crate) damaged: Vec<DamagedHead>,
}

impl Heads {
    pub(crate) fn new(repository: OpenRepository, layout: Layout) -> Self {
        Self { repository, layout }
    }

    /// Returns the numbers of the existing heads in ascending order.
    pub(crate) async fn numbers(&self) -> Result<Vec<u64>> {
        let heads = self.repository.backend().list_all(&self.layout.heads()?).await;
        let heads = heads.while_doing(|| format!("looking for the head of job {}", self.layout.job()))?;
        Ok(heads.iter().filter_map(|object| head_number(&object.key)).collect())
    }

    /// Returns the key of a head.
    pub(crate) fn key(&self, number: u64) -> Result<Key> {
        self.layout.head(number)
    }

    /// Reads one head.
    pub(crate) async fn load(&self, number: u64) -> Result<Head> {
        let key = self.key(number)?;
        let invalid = |why: String| FormatError::Invalid { what: "head", why };
        let head = match self.repository.backend().get(&key, HEAD_BYTES_MAX).await {
            // It is longer than any head, or the storage cannot read it.
            Err(error) if error.kind() == ErrorKind::Corrupt => Err(invalid(error.to_string())),
            answer => Head::decode(&answer.while_doing(|| format!("reading the head of job {}", self.layout.job()))?),
        };
        let head = head.and_then(|head| match head.number {
            found if found == number => Ok(head),
            found => Err(invalid(format!("it is number {found}"))),
        });
        head.map_err(|source| {
            let error = Error::damaged(DamagedPart::Head, &key, self.repository.located());
            error.in_job(self.layout.job()).because(source)
        })
    }

    /// Returns the newest head that can be read. `None` if the folder has no head.
    pub(crate) async fn newest(&self) -> Result<Option<Newest>> {
        for _ in 0..TRIES {
            let mut damaged = Vec::new();
            let mut last = None;
            let numbers = self.numbers().await?;
            let is_new = numbers.is_empty();
            for number in numbers.into_iter().rev() {
                match self.load(number).await {
                    Ok(head) => return Ok(Some(Newest { head, damaged })),
                    Err(error @ Error::Damaged { .. }) => {
                        damaged.push(DamagedHead {
                            number,
                            key: self.key(number)?,
                            location: self.repository.location(),
                            why: (&error).into(),
                        });
                        last.get_or_insert(error);
                    }
                    // Another process has trimmed old heads meanwhile. There is a newer one.
                    Err(error) if error.repository_kind() == Some(ErrorKind::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            match last {
                Some(error) => return Err(error),
                None if is_new => return Ok(None),
                // All listed heads were trimmed, as this process stood still for many commits. Look again.
                None => {}
            }
        }
        let source = offsite_repository::Error::new(ErrorKind::Unavailable, "read")
            .with_detail("every head that is listed is gone when it is read");
        Err(source).while_doing(|| format!("looking for the head of job {}", self.layout.job()))
    }

    /// Returns the newest head, which a writer must build on. Fails if a later head is damaged.
    pub(crate) async fn newest_intact(&self) -> Result<Option<Head>> {
        match self.newest().await? {
            // Read it again. A device may return wrong bytes once and the right ones later, and the checksum tells which are right.
            Some(Newest { damaged, .. }) if !damaged.is_empty() => self.load(damaged[0].number).await.map(Some),
            newest => Ok(newest.map(|newest| newest.head)),
        }
    }

    /// Reads the second copy at `key` of the head with this epoch and number. `None` if it is gone or cannot be read.
    pub(crate) async fn copy(&self, key: &Key, number: (u32, u64)) -> Result<Option<Head>> {
        let read = match self.repository.backend().get(key, HEAD_BYTES_MAX).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => return Ok(None),
            answer => answer.while_doing(|| format!("reading {key}"))?,
        };
        Ok(Head::decode(&read).ok().filter(|head| (head.epoch, head.number) == number))
    }

    /// Returns the head after `head` that only its second copy tells, if that copy counts. `None` otherwise.
    ///
    /// Its writer was cut off before the commit, or the heads after `head` are lost. The objects that the copy refers to were
    /// durable before the copy was stored.
    ///
    /// The copy has to follow `head`. A copy that another writer has overtaken does not count. A repair's copy has no lease. It is
    /// left to the next repair, as the reason for that repair may be gone.
    pub(crate) async fn unfinished(&self, head: &Head) -> Result<Option<Head>> {
        let blocks = self.repository.list(&self.layout.backup_files()?).await?;
        let copies = blocks.keys().filter_map(|key| Some((head_second_copy_number(key)?, key)));
        let mut later: Vec<_> = copies.filter(|((_, number), _)| *number > head.number).collect();
        later.sort_unstable();
        for (number, key) in later.into_iter().rev() {
            let copy = self.copy(key, number).await?;
            let follows = |copy: &Head| copy.folder == head.folder && copy.ancestry.contains(&head.commit);
            if let Some(copy) = copy.filter(|copy| follows(copy) && copy.lease.is_some()) {
                return Ok(if self.counts(head, &copy, &blocks).await? { Some(copy) } else { None });
            }
        }
        Ok(None)
    }

    /// Whether `copy`, which follows `head`, counts. `blocks` has the objects beside the backup files, with their lengths in bytes.
    ///
    /// A copy of a merge does not count, as the merge is done again. A copy does not count either if an object that it refers to is
    /// missing, as in a folder that was carried elsewhere while it was written. There, `head` has all its objects.
    async fn counts(&self, head: &Head, copy: &Head, blocks: &BTreeMap<Key, u64>) -> Result<bool> {
        let indexes = self.repository.list(&self.layout.indexes()?).await?;
        let lists = self.repository.list(&self.layout.release_lists()?).await?;
        for retirement in copy.retired.iter().filter(|retirement| retirement.since > head.number) {
            let is_there = match retirement.what {
                RetiredObject::File(id) => blocks.contains_key(&self.layout.backup_file(id)?),
                RetiredObject::Index(id) => indexes.contains_key(&self.layout.index(id)?),
                RetiredObject::Ranges { list, .. } => lists.contains_key(&self.layout.release_list(list)?),
            };
            if !is_there {
                // It was released, which happens only after the commit. So `head` may need it.
                return Ok(true);
            }
        }
        if copy.next_sequence <= head.next_sequence {
            return Ok(false);
        }
        let is_whole = |length: Option<&u64>, wanted: u64| length.is_some_and(|length| *length >= wanted);
        for (id, file) in &copy.files {
            let is_known = head.files.get(id).is_some_and(|known| known.length >= file.length);
            if !is_known && !is_whole(blocks.get(&self.layout.backup_file(*id)?), file.length) {
                return Ok(false);
            }
        }
        let known: BTreeSet<ObjectId> = head.chain.indexes().map(|index| index.id).collect();
        for index in copy.chain.indexes().filter(|index| !known.contains(&index.id)) {
            // One of the two is enough, as a repair makes the other.
            let one = indexes.get(&self.layout.index(index.id)?);
            if !is_whole(one, index.length)
                && !is_whole(blocks.get(&self.layout.index_second_copy(index.id)?), index.length)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Commits `next`.
    ///
    /// # Errors
    /// - [`Error::Fenced`] if another writer's commit took the number.
    /// - [`Error::CommitUnknown`] if the outcome cannot be found out.
    /// - An error of the repository if the head was certainly not stored.
    pub(crate) async fn commit(&self, next: &Head) -> Result<()> {
        let key = self.layout.head(next.number)?;
        let bytes = Bytes::from(next.encode().map_err(|error| Error::defect(error.to_string()))?);
        let mut last = None;
        for attempt in 0..TRIES {
            let stored = self.repository.backend().put(&key, bytes.clone()).await;
            if is_broken!(BoundaryNotChecked) && stored.is_ok() {
                return Ok(());
            }
            if is_broken!(ConflictTakenForLoss)
                && stored.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists)
            {
                return Err(Error::fenced(self.layout.job()));
            }
            match (self.is_committed(next).await?, stored) {
                (Some(true), _) => return Ok(()),
                (Some(false), _) => return Err(Error::fenced(self.layout.job())),
                (None, Err(error)) => match error.kind() {
                    ErrorKind::AlreadyExists | ErrorKind::Indeterminate | ErrorKind::Unavailable => {
                        last = Some(error);
                        sleep(FIRST_PAUSE * 2_u32.pow(attempt)).await;
                    }
                    // The repository says that nothing was stored.
                    _ => {
                        return Err(error).while_doing(|| {
                            format!("committing job {} in {}", self.layout.job(), self.repository.location())
                        });
                    }
                },
                // It was stored and cannot be seen. The repository breaks its contract, or a request is still on its way.
                (None, Ok(())) => {}
            }
        }
        let source = last.unwrap_or_else(|| offsite_repository::Error::new(ErrorKind::Indeterminate, "create"));
        Err(Error::commit_unknown(self.layout.job(), next.number, Box::new(source)))
    }

    /// Returns whether `next` is committed. `None` if its number is still free.
    async fn is_committed(&self, next: &Head) -> Result<Option<bool>> {
        let unknown = |error: Error| match error {
            Error::Repository { source, .. } => Error::commit_unknown(self.layout.job(), next.number, source),
            other => other,
        };
        let Some(Newest { head, .. }) = self.newest().await.map_err(unknown)? else { return Ok(None) };
        if head.commit == next.commit || head.ancestry.contains(&next.commit) {
            return Ok(Some(true));
        }
        Ok((head.number >= next.number).then_some(false))
    }
}
