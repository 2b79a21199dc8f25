//! The one writer of a job folder.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join;
use offsite_core::format::WireFormat;
use offsite_core::schedule::ClockReading;
use offsite_core::{BlockSize, Chain, CommitId, FolderId, Head, Labels, Lease, MachineName, ObjectId, Role, Timestamp};
use offsite_repository::{ErrorKind, Key, Repository, RepositoryExt};

use crate::claims::holder::Holder;
use crate::claims::lease::{busy, is_over_by_wall_clock, signs_of_life, wait_for_lease};
use crate::claims::pin::remove_silent;
use crate::claims::signs::Signs;
use crate::commit::cleanup::{make_room, remove_orphans};
use crate::commit::clock_rule::ClockRule;
use crate::commit::plan_context::{Minter, PlanContext};
use crate::commit::read_back::Proven;
use crate::commit::rules::{check_successor, check_taking};
use crate::commit::selected::Selected;
use crate::error::Context;
use crate::folder::heads::Heads;
use crate::folder::job_folders::is_headless;
use crate::folder::layout::Layout;
use crate::folder::open_repository::random_bytes;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::headless;
use crate::seams::is_broken;
use crate::{Error, JobName, OpenRepository, Progress, Result};

/// How many commit ids a head remembers: far more than the number of kept heads.
const ANCESTRY_MAX: usize = 64;
/// How many of the newest heads are never removed.
const HEADS_KEPT: u64 = 16;
/// The alignment of frames in bytes if the repository cannot punch holes.
pub(crate) const ALIGNMENT_MIN_BYTES: u32 = 64;

/// The shortest lease. A shorter setting becomes this, as the head counts full seconds, and signs of life cost requests.
const LEASE_DURATION_MIN: Duration = Duration::from_secs(1);

/// The settings of a writer.
#[derive(Debug, Clone)]
pub(crate) struct WriterSettings {
    pub(crate) role: Role,
    /// The block size of a folder without restore points. A folder that has some keeps its own.
    pub(crate) block_size: BlockSize,
    pub(crate) lease_duration: Duration,
    pub(crate) now: Timestamp,
    pub(crate) clock: ClockRule,
}

/// The holder of a job folder's lease. Only its commits succeed.
#[derive(Debug)]
pub(crate) struct Writer {
    repository: OpenRepository,
    layout: Layout,
    heads: Heads,
    head: Head,
    /// The number of the newest head that has a second copy.
    copied: u64,
    /// A head of which it is unknown whether it is committed, and whether it has a second copy of its own.
    doubtful: Option<(Head, bool)>,
    minter: Minter,
    clock: ClockReading,
    /// The policy that leaves nothing to do, for the next commit to note. `None` if there is none.
    settled_policy: Option<u64>,
    /// The time at which compaction came to its end, for the next commit to note.
    compacted: Option<Timestamp>,
    // It is dropped with the writer, which ends the claim and its signs of life.
    _holder: Holder,
    signs: Signs,
    /// Whether this writer has waited for readers that cannot be asked.
    has_waited: bool,
}

impl Writer {
    /// Takes the lease of a job folder, and removes what dead writers left. Makes the folder if it does not exist.
    ///
    /// # Errors
    /// - [`Error::Busy`] if another run holds the lease.
    /// - [`Error::WrongKindOfJob`] if the folder is of another kind of job.
    /// - [`Error::NameTaken`] if another job has the same name but for case.
    /// - Errors of the repository.
    pub(crate) async fn open(
        repository: OpenRepository,
        job: &JobName,
        settings: WriterSettings,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let layout = Layout::new(job.clone());
        let heads = Heads::new(repository.clone(), layout.clone());
        repository.backend().sweep().await.while_doing(|| format!("cleaning up {}", repository.location()))?;
        let holder = Holder::new()?;
        let longest = Duration::from_secs(Lease::SECS_MAX.into());
        let lease_duration = settings.lease_duration.clamp(LEASE_DURATION_MIN, longest);
        let duration_secs = u32::try_from(lease_duration.as_secs()).unwrap_or(Lease::SECS_MAX);
        let lease = Lease::new(holder.text().to_owned(), duration_secs);
        let committed = heads.newest_intact().await?;
        let unfinished = match &committed {
            Some(head) => heads.unfinished(head).await?,
            None => None,
        };
        let found = unfinished.as_ref().or(committed.as_ref());
        let clock = match found {
            Some(head) => settings.clock.judge(head.clock, settings.now),
            None => ClockReading::Steady { now: settings.now },
        };
        let next = match found {
            None => {
                refuse_same_folder(&repository, job).await?;
                // Another first run may have made these objects. It has its head by now.
                if is_headless(&repository, &layout).await? && heads.newest_intact().await?.is_none() {
                    // The heads are lost, and a repair puts them back. With a first head, all existing objects would become
                    // orphans.
                    return Err(headless(job, &repository.location()));
                }
                first_head(&repository, &settings, Some(lease))?
            }
            Some(head) => {
                refuse_role(job, &repository, head, settings.role)?;
                let sealed_epoch = match is_broken!(WallClockLease) && is_over_by_wall_clock(head, settings.now) {
                    true => head.epoch,
                    false => wait_for_lease(&repository, &layout, &heads, head, progress).await?,
                };
                let epoch = head.epoch.checked_add(u32::from(!is_broken!(NumberReused)));
                let epoch = epoch.ok_or_else(|| used_up(job, "epochs"))?;
                let successor = successor(job, head, clock.mark())?;
                let mut next = successor;
                (next.epoch, next.sealed_epoch, next.lease) = (epoch, sealed_epoch, Some(lease));
                if head.chain.all().next().is_none() {
                    // After a failed first run or the removal of a job, the folder has no fixed block size and kind of job.
                    next.chain = empty_chain(settings.block_size)?;
                    next.role = settings.role;
                }
                if !is_broken!(NumberReused) {
                    check_taking(head, &next, settings.clock.is_trusted)?;
                }
                next
            }
        };
        // The lease of a writer that was cut off during its commit is free now. Its commit is made first, as if it had completed.
        for head in unfinished.iter().chain([&next]) {
            let stored = match (heads.commit(head).await, &committed) {
                (Err(error), Some(newest)) if error.repository_kind() == Some(ErrorKind::NoSpace) => {
                    make_room(&repository, &layout, newest).await?;
                    heads.commit(head).await
                }
                (answer, _) => answer,
            };
            match stored {
                // Another run took the lease between the look and this commit. So this run has not begun.
                Err(Error::Fenced { .. }) => return Err(busy(&repository, &layout, &heads).await?),
                answer => answer?,
            }
        }
        let signs = signs_of_life(repository.clone(), layout.clone(), &next, lease_duration);
        let writer = Self {
            repository,
            layout,
            heads,
            settled_policy: next.settled_policy,
            compacted: next.compacted,
            copied: next.number,
            doubtful: None,
            minter: Minter::new(next.epoch),
            head: next,
            clock,
            _holder: holder,
            signs,
            has_waited: false,
        };
        match writer.put_copy(&writer.head).await {
            // Nothing is lost. The copy before stays, and the coming release makes space.
            Err(error) if error.repository_kind() == Some(ErrorKind::NoSpace) => {}
            answer => answer?,
        }
        if writer.head.chain.all().next().is_none() {
            // The folder belongs to a job again.
            writer.delete(&writer.layout.removed()?).await?;
        }
        // This includes orphans of the writer's own epoch. It has stored nothing yet, but a run whose heads are lost may have had
        // the same epoch before.
        remove_orphans(&writer.repository, &writer.layout, &writer.head, writer.head.epoch).await?;
        Ok(writer)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Returns how this run reads the clock.
    pub(crate) const fn clock(&self) -> ClockReading {
        self.clock
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn repository(&self) -> &OpenRepository {
        &self.repository
    }

    /// Returns a new id. Only this writer uses its epoch, so nobody else ever has the same id (release rule 5).
    pub(crate) fn mint(&mut self) -> ObjectId {
        self.minter.mint()
    }

    /// Returns what makes new ids.
    pub(crate) fn minter(&mut self) -> &mut Minter {
        &mut self.minter
    }

    /// Returns the context that operations are planned in.
    pub(crate) fn plan_context<'a>(&'a mut self, indexes: &'a mut Indexes) -> PlanContext<'a> {
        PlanContext {
            repository: &self.repository,
            head: &self.head,
            stored: &self.head.files,
            indexes,
            minter: &mut self.minter,
        }
    }

    /// Takes over what another folder knows of its machines, for the next commit.
    pub(crate) fn take_over(
        &mut self,
        labels: &BTreeMap<MachineName, Labels>,
        selected: &BTreeMap<MachineName, Timestamp>,
    ) {
        self.head.labels.clone_from(labels);
        self.head.last_selected.clone_from(selected);
    }

    /// Notes the machines that the job selects now, for the next commit.
    pub(crate) fn select(&mut self, selected: &Selected) {
        self.head.last_selected = selected.dates(&self.head, self.head.clock);
    }

    /// Notes the labels of machines, for the next commit. The labels of other machines stay.
    pub(crate) fn label(&mut self, labels: &BTreeMap<MachineName, Labels>) {
        for (name, labels) in labels {
            match labels.is_empty() {
                true => drop(self.head.labels.remove(name)),
                false => drop(self.head.labels.insert(name.clone(), labels.clone())),
            }
        }
    }

    /// Commits a `change` of the head. The chain stays as it is.
    ///
    /// # Errors
    /// The same as [`Heads::commit`]. [`Error::Defect`] if the change would retire something that is still referred to.
    pub(crate) async fn commit(&mut self, change: impl FnOnce(&mut Head)) -> Result<()> {
        self.commit_next(None, change).await
    }

    /// Commits the `proven` chain, and a `change` of the rest of the head. The objects that the new head refers to must be durable
    /// by now.
    ///
    /// # Errors
    /// The same as [`Writer::commit`].
    pub(crate) async fn commit_chain(&mut self, proven: Proven, change: impl FnOnce(&mut Head)) -> Result<()> {
        self.commit_next(Some(proven), change).await
    }

    async fn commit_next(&mut self, proven: Option<Proven>, change: impl FnOnce(&mut Head)) -> Result<()> {
        let mut next = successor(self.layout.job(), &self.head, self.clock.mark())?;
        next.settled_policy = self.settled_policy;
        next.compacted = self.compacted;
        change(&mut next);
        // Only a chain that was opened as a reader opens it is committed.
        (next.chain, next.files) = match proven {
            Some(proven) => proven.into_parts(),
            None => (self.head.chain.clone(), self.head.files.clone()),
        };
        next.labels.retain(|name, _| next.machines.contains(name));
        check_successor(&self.head, &next, self.minter.count())?;
        let is_copied = next.chain != self.head.chain || next.files != self.head.files;
        if is_copied {
            // The copy is stored before the commit, so that each committed chain has its copy. A commit that fails leaves a copy
            // for a while. All that the copy refers to is durable, so nothing is lost if it is taken for committed.
            self.put_copy(&next).await?;
        }
        self.finish(next, is_copied).await
    }

    /// Goes on with a commit whose outcome is unknown. It stores the same head again, unless that head is there.
    ///
    /// # Errors
    /// The same as [`Writer::commit`]. [`Error::Defect`] if there is no such commit.
    pub(crate) async fn finish_commit(&mut self) -> Result<()> {
        match self.doubtful.take() {
            Some((next, is_copied)) => self.finish(next, is_copied).await,
            None => Err(Error::defect("no commit is in doubt".to_owned())),
        }
    }

    /// Returns whether the outcome of the last commit is unknown.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.doubtful.is_some()
    }

    async fn finish(&mut self, next: Head, is_copied: bool) -> Result<()> {
        let committed = self.heads.commit(&next).await;
        if is_broken!(CleanUpOnUnknown) && matches!(committed, Err(Error::CommitUnknown { .. })) {
            self.clean_up_too_early().await?;
        }
        if matches!(committed, Err(Error::CommitUnknown { .. })) {
            self.doubtful = Some((next, is_copied));
            return committed;
        }
        committed?;
        if is_copied {
            let old = std::mem::replace(&mut self.copied, next.number);
            // If this fails, the next writer removes them.
            let _ = self.delete(&self.layout.head_second_copy(next.epoch, old)?).await;
        }
        let trimmed = self.head.boundary + 1..=next.boundary;
        self.head = next;
        for number in trimmed {
            // The commit stands even if an old head stays. The next writer removes it.
            let _ = self.delete(&self.layout.head(number)?).await;
        }
        Ok(())
    }

    /// A known-bad variant: it removes what this writer has written and its last certain commit does not refer to.
    async fn clean_up_too_early(&self) -> Result<()> {
        for id in (1..=self.minter.count()).map(|count| ObjectId::new(self.head.epoch, count)) {
            if !self.head.files.contains_key(&id) && !self.head.chain.indexes().any(|index| index.id == id) {
                self.delete(&self.layout.backup_file(id)?).await?;
                self.delete(&self.layout.index(id)?).await?;
            }
        }
        Ok(())
    }

    /// Lets the next commit note when compaction came to its end. The last such commit is that of the writer's end.
    pub(crate) fn compacted(&mut self, at: Option<Timestamp>) {
        self.compacted = at.or(self.compacted);
    }

    /// Lets the next commit note whether the past of the source is being brought.
    pub(crate) fn bring_history(&mut self, brings: bool) {
        self.head.brings_history = brings;
    }

    /// Lets the next commit note the policy that leaves nothing to do. The last such commit is that of the writer's end.
    pub(crate) fn settle(&mut self, policy: Option<u64>) {
        self.settled_policy = policy.or(self.settled_policy);
    }

    /// Removes the pins of readers that are silent for too long, once in a run. Returns whether there were any.
    pub(crate) async fn remove_silent_pins(&mut self, progress: &dyn Progress) -> Result<bool> {
        if std::mem::replace(&mut self.has_waited, true) {
            return Ok(false);
        }
        remove_silent(&self.repository, &self.layout, progress).await
    }

    /// Returns whether this writer's commit is still the newest.
    pub(crate) async fn is_newest(&self) -> Result<bool> {
        let newest = self.heads.newest().await?;
        Ok(newest.is_some_and(|newest| newest.head.commit == self.head.commit))
    }

    /// Gives the lease back. The caller must drop the writer afterwards.
    pub(crate) async fn give_lease_back(&mut self) -> Result<()> {
        self.signs.stop().await;
        self.commit(|head| head.lease = None).await
    }

    pub(crate) async fn put(&self, key: &Key, bytes: impl Into<Bytes>) -> Result<()> {
        let stored = self.repository.backend().put(key, bytes.into()).await;
        stored.while_doing(|| format!("writing to {}", self.repository.location()))
    }

    /// Stores an empty object, if it is absent.
    pub(crate) async fn put_if_absent(&self, key: &Key) -> Result<()> {
        match self.repository.backend().put(key, Bytes::new()).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            stored => stored.while_doing(|| format!("writing to {}", self.repository.location())),
        }
    }

    /// Stores an index, and its second copy beside the backup files.
    pub(crate) async fn put_index(&self, id: ObjectId, bytes: Bytes) -> Result<()> {
        let (second_copy, index) = (self.layout.index_second_copy(id)?, self.layout.index(id)?);
        try_join(self.put(&second_copy, bytes.clone()), self.put(&index, bytes)).await?;
        Ok(())
    }

    /// Stores the second copy of a head.
    async fn put_copy(&self, head: &Head) -> Result<()> {
        put_head_copy(&self.repository, &self.layout, head).await
    }

    pub(crate) async fn delete(&self, key: &Key) -> Result<()> {
        let deleted = self.repository.backend().delete(key).await;
        deleted.while_doing(|| format!("cleaning up {}", self.repository.location()))
    }
}

/// Stores the second copy of a head. An existing copy of that name is of a commit that was not made, and is replaced.
pub(crate) async fn put_head_copy(repository: &OpenRepository, layout: &Layout, head: &Head) -> Result<()> {
    let key = layout.head_second_copy(head.epoch, head.number)?;
    let bytes = Bytes::from(head.encode().map_err(|error| Error::defect(error.to_string()))?);
    let while_doing = || format!("writing to {}", repository.location());
    let mut stored = repository.backend().put(&key, bytes.clone()).await;
    if stored.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
        repository.backend().delete(&key).await.while_doing(while_doing)?;
        stored = repository.backend().put(&key, bytes).await;
    }
    stored.while_doing(while_doing)
}

/// Returns the head after `head`, with the same content. Its known time is `mark`.
fn successor(job: &JobName, head: &Head, mark: Timestamp) -> Result<Head> {
    let number = head.number.checked_add(1).ok_or_else(|| used_up(job, "numbers of heads"))?;
    let mut next = head.clone();
    next.number = number;
    next.commit = CommitId::new(random_bytes()?);
    next.ancestry.insert(0, head.commit);
    next.ancestry.truncate(ANCESTRY_MAX);
    next.boundary = number.saturating_sub(HEADS_KEPT).max(head.boundary);
    next.clock = mark;
    Ok(next)
}

/// No writer comes to that end. A head that claims it was made by hand.
pub(crate) fn used_up(job: &JobName, what: &str) -> Error {
    Error::setting(
        "name",
        format!("the {what} of job {job} are used up; its restore points can be read, go on with another job"),
    )
}

fn empty_chain(block_size: BlockSize) -> Result<Chain> {
    Chain::new(block_size, Vec::new()).map_err(|error| Error::defect(error.to_string()))
}

/// Returns the first head of a folder.
pub(crate) fn first_head(repository: &OpenRepository, settings: &WriterSettings, lease: Option<Lease>) -> Result<Head> {
    let granularity = repository.backend_granularity();
    let chain = empty_chain(settings.block_size)?;
    let alignment_bytes = granularity.unwrap_or(ALIGNMENT_MIN_BYTES).max(ALIGNMENT_MIN_BYTES);
    let (folder, commit) = (FolderId::new(random_bytes()?), CommitId::new(random_bytes()?));
    let mut head = Head::new(folder, commit, settings.role, alignment_bytes, settings.now, chain);
    head.lease = lease;
    Ok(head)
}

/// Checks that the folder belongs to this kind of job.
///
/// # Errors
/// [`Error::WrongKindOfJob`] if it belongs to the other kind.
pub(crate) fn refuse_role(job: &JobName, repository: &OpenRepository, head: &Head, role: Role) -> Result<()> {
    // Any job may use a folder without restore points.
    if head.role == role || head.chain.all().next().is_none() {
        return Ok(());
    }
    let (location, role) = (repository.location(), head.role);
    Err(Error::WrongKindOfJob { job: job.clone(), location, role })
}

/// Checks that a new folder is not confused with that of another job, on storage that ignores the case of names.
///
/// # Errors
/// [`Error::NameTaken`] if it would be.
pub(crate) async fn refuse_same_folder(repository: &OpenRepository, job: &JobName) -> Result<()> {
    let jobs = crate::folder::job_folders::names(repository).await?;
    match jobs.iter().find(|other| other.same_folder(job) && *other != job) {
        Some(other) => {
            let (job, location, other) = (job.clone(), repository.location(), other.clone());
            Err(Error::NameTaken { job, location, other })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use offsite_repository::Verb;
    use offsite_repository::testing::{Fault, Faulty, Memory};

    use super::*;
    use crate::{DamagedPart, Silent};

    /// If an object is missing, a writer that took over may have released it. Until that is found out, nothing is called damaged.
    #[tokio::test]
    async fn a_writer_that_cannot_look_tells_of_no_damage() {
        let now = Timestamp::from_unix_secs(1_793_570_400).unwrap();
        let job = JobName::new("second").unwrap();
        let faulty = Faulty::new(Memory::new());
        let repository = OpenRepository::initialise(Arc::new(faulty.clone()), now).await.unwrap();
        let lease_duration = Duration::from_secs(30);
        let damage = || Error::damaged(DamagedPart::File, "second/blocks/1", "memory".to_owned());
        for (is_reachable, expected) in [(true, None), (false, Some(ErrorKind::Unavailable))] {
            let (role, block_size, clock) = (Role::Copy, BlockSize::MiB1, ClockRule::default());
            let settings = WriterSettings { role, block_size, lease_duration, now, clock };
            let writer = Writer::open(repository.clone(), &job, settings, &Silent).await.unwrap();
            if !is_reachable {
                faulty.inject(Fault::after_calls(0, ErrorKind::Unavailable).on(Verb::List));
            }
            let error = writer.close::<()>(Err(damage())).await.unwrap_err();
            assert_eq!(error.repository_kind(), expected, "{error}");
            assert_eq!(error.is_loss(), is_reachable, "{error}");
        }
    }
}
