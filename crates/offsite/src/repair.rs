//! Repair: a job folder that lost its head, or indexes, gets them back from what else is stored.
//!
//! The second copies beside the backup files say what the head and the indexes said (see `docs/format.md`, section 15). An index that is
//! lost with its copy is made again from the headers of frames, as far as the head proves it. Where there is no head and no copy of one,
//! the indexes alone tell, as far as the blocks prove it. What nothing proves is left out and named; nothing is made up, and no data is deleted.

mod mend;
mod rebuild;
mod salvage;
mod survey;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use offsite_core::format::head::Head;
use offsite_core::{Sequence, Timestamp};

use crate::holder::{Life, life_of};
use crate::indexes::Indexes;
use crate::layout::Layout;
use crate::lease::{busy_with, is_silent};
use crate::open_repository::random_id;
use crate::writer::{put_head_copy, used_up};
use crate::{Error, JobName, OpenRepository, Progress, Result, Silent};

use mend::{Mended, mend};
use survey::Survey;

/// A repaired head's number and epoch are by so much above all that were seen. No writer that still works commits so often that it
/// could come past them: every commit that changes the chain leaves a copy, and those were seen.
const NUMBERS_SKIPPED: u64 = 1 << 16;
const EPOCHS_SKIPPED: u32 = 1 << 10;

/// A repair of a job's folder.
#[derive(Clone)]
pub struct Repair {
    repository: OpenRepository,
    job: JobName,
    progress: Arc<dyn Progress>,
}

/// What a repaired folder's restore points are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The newest head, which is intact.
    Head,
    /// The second copy of the newest head.
    HeadCopy,
    /// The indexes alone; every block was read and compared with its digest.
    Indexes,
}

/// A restore point that a repair could not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its number.
    pub sequence: Sequence,
    /// What of it is lost.
    pub why: String,
}

/// What a repair found and did; or would do, if it was only planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// What tells the restore points.
    pub basis: Basis,
    /// The newest heads that cannot be read.
    pub damaged_heads: Vec<String>,
    /// Objects that were put back from their second copies, or the other way round.
    pub restored: Vec<String>,
    /// Indexes that were lost with their second copies and made again from the headers of frames. Each is what it was, to the last byte: the
    /// head knows its checksum.
    pub salvaged: Vec<String>,
    /// The restore points that the folder has now.
    pub points: Vec<Sequence>,
    /// Those that it had, and that nothing proves any more. Their backup files stay where they are.
    pub left_out: Vec<LeftOut>,
    /// The number of the head that was written; none: the newest is right.
    pub head: Option<u64>,
}

impl RepairReport {
    /// Whether there was nothing to repair; then nothing was written.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.restored.is_empty() && self.salvaged.is_empty() && self.head.is_none()
    }
}

/// What a folder is to become.
struct Target {
    basis: Basis,
    head: Head,
    /// Whether `head` differs from the newest one that can be read.
    is_new: bool,
    left_out: Vec<LeftOut>,
}

impl Repair {
    /// A repair of the folder of `job`.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self { repository: repository.clone(), job, progress: Arc::new(Silent) }
    }

    /// Tells `progress` how far it is.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// What a repair would do. Nothing is written.
    ///
    /// # Errors
    /// As for [`Repair::run`], but for those of writing.
    pub fn plan(&self) -> BoxFuture<'_, Result<RepairReport>> {
        Box::pin(async move { self.repair(None).await })
    }

    /// Repairs the folder. It may be cut off anywhere, and run again; a second run finds nothing to do.
    ///
    /// # Errors
    /// [`Error::UnknownJob`] if there is no such folder; [`Error::Busy`] if a run of the job may be at work: the repaired head is
    /// one that no older writer can commit after; [`Error::Settings`] if nothing is left to repair from; those of the repository.
    pub fn run(&self, now: Timestamp) -> BoxFuture<'_, Result<RepairReport>> {
        Box::pin(async move { self.repair(Some(now)).await })
    }

    async fn repair(&self, now: Option<Timestamp>) -> Result<RepairReport> {
        let layout = Layout::new(self.job.clone());
        let survey = Survey::of(&self.repository, &layout).await?;
        if survey.is_empty() {
            let known = self.repository.jobs().await?.iter().map(ToString::to_string).collect();
            return Err(Error::UnknownJob { job: self.job.to_string(), location: self.repository.location(), known });
        }
        if now.is_some() {
            self.wait_for_lease(&survey).await?;
        }
        let folder = survey.newest().map_or([0; 16], |head| head.folder);
        let mut indexes = Indexes::new(&self.repository, &layout, folder);
        let mut mended = Mended::default();
        let progress = self.progress.as_ref();
        let target = match survey.newest().filter(|_| !survey.is_doubtful()) {
            Some(head) => {
                let lost = mend(&survey, &mut indexes, head, now.is_some(), &mut mended, progress).await?;
                whole::check(&survey, &mut indexes, head, lost).await?
            }
            None => {
                let rebuilt = rebuild::rebuild(&survey, progress).await?;
                let mut indexes = Indexes::new(&self.repository, &layout, rebuilt.head.folder);
                mend(&survey, &mut indexes, &rebuilt.head, now.is_some(), &mut mended, progress).await?;
                rebuilt
            }
        };
        let Target { basis, head, is_new, left_out } = target;
        let mut report = RepairReport {
            basis,
            damaged_heads: survey.damaged_heads.clone(),
            restored: mended.restored,
            salvaged: mended.salvaged,
            points: head.chain.all().map(|point| point.sequence).collect(),
            left_out,
            head: None,
        };
        if is_new {
            let next = self.successor(&survey, head, now)?;
            report.head = Some(next.number);
            if now.is_some() {
                survey.heads.commit(&next).await?;
                put_head_copy(&self.repository, &layout, &next).await?;
            }
        } else if !survey.has_copy_of(&head) {
            report.restored.push(layout.head_copy(head.epoch, head.number)?.to_string());
            if now.is_some() {
                put_head_copy(&self.repository, &layout, &head).await?;
            }
        }
        Ok(report)
    }

    /// The repaired head: no writer that was at work can commit after it.
    fn successor(&self, survey: &Survey, head: Head, now: Option<Timestamp>) -> Result<Head> {
        let number = survey.number_max.checked_add(NUMBERS_SKIPPED);
        let number = number.ok_or_else(|| used_up(&self.job, "numbers of heads"))?;
        let epoch = survey.epoch_max.checked_add(EPOCHS_SKIPPED);
        let epoch = epoch.ok_or_else(|| used_up(&self.job, "epochs"))?;
        let mut ancestry = head.ancestry.clone();
        if survey.newest().is_some_and(|newest| newest.commit == head.commit) {
            // What the newest head or its copy says has happened, whether its writer knows or not.
            ancestry.insert(0, head.commit);
        }
        Ok(Head {
            number,
            epoch,
            // Nor is any still in the middle of writing into a file that a merge will write into.
            sealed_epoch: survey.epoch_max,
            ancestry,
            commit: random_id()?,
            boundary: number - 1,
            lease: None,
            clock: now.map_or(head.clock, |now| head.clock.max(now)),
            ..head
        })
    }

    /// Returns once no writer can be at work, as far as it can be known.
    async fn wait_for_lease(&self, survey: &Survey) -> Result<()> {
        let Some(lease) = survey.newest().and_then(|head| head.lease.as_ref()) else { return Ok(()) };
        let is_free = match life_of(&lease.holder) {
            Life::Dead => true,
            Life::Alive => false,
            Life::Unknown => {
                self.progress.note(&format!(
                    "job {} was held by a run on another host, or before a restart; waiting {} s for a sign of its life",
                    self.job,
                    lease.silence().as_secs()
                ));
                is_silent(&self.repository, &survey.layout, &survey.heads, lease.silence()).await?
            }
        };
        if is_free { Ok(()) } else { Err(busy_with(&self.repository, &survey.layout, Some(lease))) }
    }
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Repair").field("job", &self.job).finish_non_exhaustive()
    }
}

/// Points that cannot be kept, by number, each with the reason.
type Lost = BTreeMap<Sequence, String>;
