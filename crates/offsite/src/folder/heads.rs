//! The commit protocol: numbered heads, created if absent.
//!
//! The head of a job folder is the highest-numbered valid object under `head/`. A commit creates the next number. It was won
//! if its id is in the highest head or in that head's ancestry, and lost if not; `AlreadyExists` alone decides nothing, since
//! it may be this writer's own earlier try.

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
/// The pause after the first try; each later one is twice as long.
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
    /// Heads with greater numbers that are damaged. The highest comes first.
    pub(crate) damaged: Vec<DamagedHead>,
}

impl Heads {
    pub(crate) fn new(repository: OpenRepository, layout: Layout) -> Self {
        Self { repository, layout }
    }

    /// The numbers of the heads that exist, ascending.
    pub(crate) async fn numbers(&self) -> Result<Vec<u64>> {
        let heads = self.repository.backend().list_all(&self.layout.heads()?).await;
        let heads = heads.while_doing(|| format!("looking for the head of job {}", self.layout.job()))?;
        Ok(heads.iter().filter_map(|object| head_number(&object.key)).collect())
    }

    /// The key of a head.
    pub(crate) fn key(&self, number: u64) -> Result<Key> {
        self.layout.head(number)
    }

    /// One head.
    pub(crate) async fn load(&self, number: u64) -> Result<Head> {
        let key = self.key(number)?;
        let invalid = |why: String| FormatError::Invalid { what: "head", why };
        let head = match self.repository.backend().get(&key, HEAD_BYTES_MAX).await {
            // Longer than any head, or unreadable where it lies.
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

    /// The newest head that can be read, if the folder has any.
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
                    // Someone trimmed old heads meanwhile; a newer one is there.
                    Err(error) if error.repository_kind() == Some(ErrorKind::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            match last {
                Some(error) => return Err(error),
                None if is_new => return Ok(None),
                // All that were listed are trimmed, as this process stood still for many commits: look again.
                None => {}
            }
        }
        let source = offsite_repository::Error::new(ErrorKind::Unavailable, "read")
            .with_detail("every head that is listed is gone when it is read");
        Err(source).while_doing(|| format!("looking for the head of job {}", self.layout.job()))
    }

    /// The newest head, if none after it is damaged: what a writer must build on.
    pub(crate) async fn newest_intact(&self) -> Result<Option<Head>> {
        match self.newest().await? {
            // What a device reads wrong once and right the next time is what was stored: its checksum says so.
            Some(Newest { damaged, .. }) if !damaged.is_empty() => self.load(damaged[0].number).await.map(Some),
            newest => Ok(newest.map(|newest| newest.head)),
        }
    }

    /// The second copy at `key`, of the head that has this epoch and number; nothing if it is gone or cannot be read.
    pub(crate) async fn copy(&self, key: &Key, number: (u32, u64)) -> Result<Option<Head>> {
        let read = match self.repository.backend().get(key, HEAD_BYTES_MAX).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => return Ok(None),
            answer => answer.while_doing(|| format!("reading {key}"))?,
        };
        Ok(Head::decode(&read).ok().filter(|head| (head.epoch, head.number) == number))
    }

    /// The head after `head` that only its second copy tells, if it counts: its writer was cut off before the commit, or the heads after
    /// `head` are lost. All that the copy refers to was durable before it was stored.
    ///
    /// It has to follow `head`: a copy of what another writer has overtaken says nothing. A repair's copy has no lease, and is left to the
    /// next repair, as its reason may be gone.
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

    /// Whether `copy` counts, which follows `head`. `blocks` are the objects beside the backup files, and their lengths.
    ///
    /// A merge that was not committed is done again instead. So is all else of which a part is missing, as in a folder that was carried
    /// elsewhere while it was written: `head` is whole there.
    async fn counts(&self, head: &Head, copy: &Head, blocks: &BTreeMap<Key, u64>) -> Result<bool> {
        let indexes = self.repository.list(&self.layout.indexes()?).await?;
        let lists = self.repository.list(&self.layout.release_lists()?).await?;
        for retirement in copy.retired.iter().filter(|retirement| retirement.since > head.number) {
            let is_there = match retirement.what {
                RetiredObject::File(id) => blocks.contains_key(&self.layout.backup_file(id)?),
                RetiredObject::Index(id) => indexes.contains_key(&self.layout.index(id)?),
                RetiredObject::Ranges(id) => lists.contains_key(&self.layout.release_list(id)?),
            };
            if !is_there {
                // It was let go, which comes after the commit: `head` may need it.
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
            // Of the two, a repair makes the other.
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
    /// [`Error::Fenced`] if another writer's commit took the number, [`Error::CommitUnknown`] if that cannot be found out,
    /// and a repository's error if the head was certainly not stored.
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
                // Stored and not to be seen: a repository that breaks its contract, or a request still on its way.
                (None, Ok(())) => {}
            }
        }
        let source = last.unwrap_or_else(|| offsite_repository::Error::new(ErrorKind::Indeterminate, "create"));
        Err(Error::commit_unknown(self.layout.job(), next.number, Box::new(source)))
    }

    /// Whether `next` is committed; `None` if its number is still free.
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
