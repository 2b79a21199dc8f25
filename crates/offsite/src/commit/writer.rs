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

/// How many commit ids a head remembers: far more than the heads that are kept.
const ANCESTRY_MAX: usize = 64;
/// How many of the newest heads are never removed.
const HEADS_KEPT: u64 = 16;
/// Frames start at multiples of this where the repository cannot punch holes.
pub(crate) const ALIGNMENT_MIN_BYTES: u32 = 64;

/// Shorter leases are as long as this: the head counts whole seconds, and signs of life cost requests.
const LEASE_DURATION_MIN: Duration = Duration::from_secs(1);

/// What a writer needs to know to start.
#[derive(Debug, Clone)]
pub(crate) struct WriterSettings {
    pub(crate) role: Role,
    /// For a folder without restore points; one that has them keeps its own.
    pub(crate) block_size: BlockSize,
    pub(crate) lease_duration: Duration,
    pub(crate) now: Timestamp,
    pub(crate) clock: ClockRule,
}

/// The holder of a job folder's lease: the only one whose commits win.
#[derive(Debug)]
pub(crate) struct Writer {
    repository: OpenRepository,
    layout: Layout,
    heads: Heads,
    head: Head,
    /// The number of the newest head that has a second copy.
    copied: u64,
    minter: Minter,
    clock: ClockReading,
    /// The policy that the next commit is to note as the one under which nothing is left to be done.
    settled_policy: Option<u64>,
    /// When compaction came to its end, for the next commit to note.
    compacted: Option<Timestamp>,
    // Dropped with the writer: the claim ends, and so do its signs of life.
    _holder: Holder,
    signs: Signs,
    /// Whether this writer has waited for readers that cannot be asked.
    has_waited: bool,
}

impl Writer {
    /// Takes the lease of a job folder, making the folder if need be, and removes what dead writers left.
    ///
    /// # Errors
    /// [`Error::Busy`] if another run holds it, [`Error::WrongKindOfJob`] if the folder is another kind of job's, [`Error::NameTaken`] if
    /// the name is another job's but for case.
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
                // What is there may be another first run's, which has its head by now.
                if is_headless(&repository, &layout).await? && heads.newest_intact().await?.is_none() {
                    // Heads are lost, and a repair brings them back. A first head would make all that is there an orphan.
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
                    // A first run that failed, or a job that was removed, binds nobody to its block size or kind.
                    next.chain = empty_chain(settings.block_size)?;
                    next.role = settings.role;
                }
                if !is_broken!(NumberReused) {
                    check_taking(head, &next, settings.clock.is_trusted)?;
                }
                next
            }
        };
        // The lease of a writer that was cut off as it committed is free by now: its commit is made first, as if it had come to its end.
        for head in unfinished.iter().chain([&next]) {
            let stored = match (heads.commit(head).await, &committed) {
                (Err(error), Some(newest)) if error.repository_kind() == Some(ErrorKind::NoSpace) => {
                    make_room(&repository, &layout, newest).await?;
                    heads.commit(head).await
                }
                (answer, _) => answer,
            };
            match stored {
                // Another run was faster between the look at the lease and its taking: this one has not begun.
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
            minter: Minter::new(next.epoch),
            head: next,
            clock,
            _holder: holder,
            signs,
            has_waited: false,
        };
        match writer.put_copy(&writer.head).await {
            // Nothing is lost: the copy before it stays, and room is made by the release to come.
            Err(error) if error.repository_kind() == Some(ErrorKind::NoSpace) => {}
            answer => answer?,
        }
        if writer.head.chain.all().next().is_none() {
            // The folder is a job's again.
            writer.delete(&writer.layout.removed()?).await?;
        }
        // Those of this epoch too: this writer, which alone has it, has stored nothing yet. A run whose heads are lost may have had it before.
        remove_orphans(&writer.repository, &writer.layout, &writer.head, writer.head.epoch).await?;
        Ok(writer)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// What this run makes of the present.
    pub(crate) const fn clock(&self) -> ClockReading {
        self.clock
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn repository(&self) -> &OpenRepository {
        &self.repository
    }

    /// A new id. Its epoch is this writer's alone, so nobody else has it or ever will (release rule 5).
    pub(crate) fn mint(&mut self) -> ObjectId {
        self.minter.mint()
    }

    /// What names new objects.
    pub(crate) fn minter(&mut self) -> &mut Minter {
        &mut self.minter
    }

    /// What operations are planned on.
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

    /// Takes note of the machines that the job selects now, for the next commit.
    pub(crate) fn select(&mut self, selected: &Selected) {
        self.head.last_selected = selected.dates(&self.head, self.head.clock);
    }

    /// Takes note of what is known of machines, for the next commit. Machines that nothing is known of now are as they were.
    pub(crate) fn label(&mut self, labels: &BTreeMap<MachineName, Labels>) {
        for (name, labels) in labels {
            match labels.is_empty() {
                true => drop(self.head.labels.remove(name)),
                false => drop(self.head.labels.insert(name.clone(), labels.clone())),
            }
        }
    }

    /// Commits what `change` makes of the head, whose chain stays as it is.
    ///
    /// # Errors
    /// As for [`Heads::commit`]; [`Error::Defect`] if the change would retire what is still referred to.
    pub(crate) async fn commit(&mut self, change: impl FnOnce(&mut Head)) -> Result<()> {
        self.commit_next(None, change).await
    }

    /// Commits `proven`, and what `change` makes of the rest of the head. What the new head refers to must be durable by now.
    ///
    /// # Errors
    /// As for [`Writer::commit`].
    pub(crate) async fn commit_chain(&mut self, proven: Proven, change: impl FnOnce(&mut Head)) -> Result<()> {
        self.commit_next(Some(proven), change).await
    }

    async fn commit_next(&mut self, proven: Option<Proven>, change: impl FnOnce(&mut Head)) -> Result<()> {
        let mut next = successor(self.layout.job(), &self.head, self.clock.mark())?;
        next.settled_policy = self.settled_policy;
        next.compacted = self.compacted;
        change(&mut next);
        // Only a chain that was opened as a reader opens it is ever committed.
        (next.chain, next.files) = match proven {
            Some(proven) => proven.into_parts(),
            None => (self.head.chain.clone(), self.head.files.clone()),
        };
        next.labels.retain(|name, _| next.machines.contains(name));
        check_successor(&self.head, &next, self.minter.count())?;
        let is_copied = next.chain != self.head.chain || next.files != self.head.files;
        if is_copied {
            // Before the commit, so that a chain that is committed always has its copy. What is not committed has one too, for a
            // while: all that it refers to is durable, so taking it for committed loses nothing.
            self.put_copy(&next).await?;
        }
        let committed = self.heads.commit(&next).await;
        if is_broken!(CleanUpOnUnknown) && matches!(committed, Err(Error::CommitUnknown { .. })) {
            self.clean_up_too_early().await?;
        }
        committed?;
        if is_copied {
            let old = std::mem::replace(&mut self.copied, next.number);
            // The next writer looks for those that are left.
            let _ = self.delete(&self.layout.head_second_copy(next.epoch, old)?).await;
        }
        let trimmed = self.head.boundary + 1..=next.boundary;
        self.head = next;
        for number in trimmed {
            // The commit stands whatever becomes of an old head; the next writer looks for those that are left.
            let _ = self.delete(&self.layout.head(number)?).await;
        }
        Ok(())
    }

    /// A known-bad variant: removes what this writer wrote and its last certain commit does not refer to.
    async fn clean_up_too_early(&self) -> Result<()> {
        for id in (1..=self.minter.count()).map(|count| ObjectId::new(self.head.epoch, count)) {
            if !self.head.files.contains_key(&id) && !self.head.chain.indexes().any(|index| index.id == id) {
                self.delete(&self.layout.backup_file(id)?).await?;
                self.delete(&self.layout.index(id)?).await?;
            }
        }
        Ok(())
    }

    /// Lets the next commit, at the latest that of the writer's end, note when compaction came to its end.
    pub(crate) fn compacted(&mut self, at: Option<Timestamp>) {
        self.compacted = at.or(self.compacted);
    }

    /// Lets the next commit, at the latest that of the writer's end, note the policy under which nothing is left to be done.
    pub(crate) fn settle(&mut self, policy: Option<u64>) {
        self.settled_policy = policy.or(self.settled_policy);
    }

    /// Removes, once in a run, the pins of readers that are silent for too long; whether there were any.
    pub(crate) async fn remove_silent_pins(&mut self, progress: &dyn Progress) -> Result<bool> {
        if std::mem::replace(&mut self.has_waited, true) {
            return Ok(false);
        }
        remove_silent(&self.repository, &self.layout, progress).await
    }

    /// Whether this writer's commit is still the newest.
    pub(crate) async fn is_newest(&self) -> Result<bool> {
        let newest = self.heads.newest().await?;
        Ok(newest.is_some_and(|newest| newest.head.commit == self.head.commit))
    }

    /// Gives the lease back. Nothing may follow but dropping the writer.
    pub(crate) async fn give_lease_back(&mut self) -> Result<()> {
        self.signs.stop().await;
        self.commit(|head| head.lease = None).await
    }

    pub(crate) async fn put(&self, key: &Key, bytes: impl Into<Bytes>) -> Result<()> {
        let stored = self.repository.backend().put(key, bytes.into()).await;
        stored.while_doing(|| format!("writing to {}", self.repository.location()))
    }

    /// Stores an empty object, which may be there already.
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

/// Stores the second copy of a head; one of that name that is there already is of a commit that was not made.
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

/// The head after `head`, so far with the same content. Time is known up to `mark`.
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

/// No writer comes to that end; a head that claims it was made by hand.
pub(crate) fn used_up(job: &JobName, what: &str) -> Error {
    Error::setting(
        "name",
        format!("the {what} of job {job} are used up; its restore points can be read, go on with another job"),
    )
}

fn empty_chain(block_size: BlockSize) -> Result<Chain> {
    Chain::new(block_size, Vec::new()).map_err(|error| Error::defect(error.to_string()))
}

/// The head of a folder that begins.
pub(crate) fn first_head(repository: &OpenRepository, settings: &WriterSettings, lease: Option<Lease>) -> Result<Head> {
    let granularity = repository.backend_granularity();
    let chain = empty_chain(settings.block_size)?;
    let alignment_bytes = granularity.unwrap_or(ALIGNMENT_MIN_BYTES).max(ALIGNMENT_MIN_BYTES);
    let (folder, commit) = (FolderId::new(random_bytes()?), CommitId::new(random_bytes()?));
    let mut head = Head::new(folder, commit, settings.role, alignment_bytes, settings.now, chain);
    head.lease = lease;
    Ok(head)
}

/// Holds that the folder is this kind of job's.
///
/// # Errors
/// [`Error::Settings`] if it is the other kind's.
pub(crate) fn refuse_role(job: &JobName, repository: &OpenRepository, head: &Head, role: Role) -> Result<()> {
    // A folder without restore points is any job's.
    if head.role == role || head.chain.all().next().is_none() {
        return Ok(());
    }
    let (location, role) = (repository.location(), head.role);
    Err(Error::WrongKindOfJob { job: job.clone(), location, role })
}

/// Holds that a new folder is not taken for that of another job where names differ by case alone.
///
/// # Errors
/// [`Error::NameTaken`].
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

    /// What a run misses may be the doing of a writer that took over: before that is known, nothing is called damaged.
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
