//! Repair: puts the lost head or the lost indexes of a job folder back.
//!
//! Where the head is intact, or a second copy of it is, that head says which restore points there are:
//!
//! - The second copies beside the backup files stand in for a lost head and for lost indexes (`docs/format.md`, section 15).
//! - An index that is lost together with its second copy is made again from the headers of frames. It counts only if the head
//!   proves it.
//!
//! Without any head, the repair finds the restore points in the indexes alone.
//!
//! A repair decides about each machine of each restore point. It keeps what is intact. It leaves out what nothing proves, and names
//! it in the report. It makes nothing up. It deletes no data unless the caller asks for it. The report also lists the damage that a
//! verification would find afterwards.

mod described;
mod keep;
mod known;
mod mend;
mod reading;
mod rebuild;
mod salvage;
mod settle;
mod survey;

use std::collections::BTreeSet;
use std::sync::Arc;

use described::{elsewhere, stands_on};
use futures::future::BoxFuture;
use known::{Elsewhere, Known};
use mend::{Mended, mend, mend_copies, put_new};
use offsite_core::{CommitId, Head, IndexReference, MachineName, ObjectId, Retirement, Sequence};
use offsite_repository::Key;
use rebuild::{nothing_whole, rebuild};
use settle::{Target, place, prove, settle};
use survey::Survey;

use crate::claims::holder::{Life, life_of};
use crate::claims::lease::{busy_with, is_silent};
use crate::commit::new_index::NewIndex;
use crate::commit::writer::{put_head_copy, used_up};
use crate::error::within;
use crate::folder::layout::Layout;
use crate::folder::open_repository::random_bytes;
use crate::folder::verification_notes::VerificationNotes;
use crate::mover::{Flaw, Wanted};
use crate::progress::Wait;
use crate::reader::restore::wanted;
use crate::recovery::verify::objects;
use crate::report::{Fault, Loss, Note};
use crate::{Damage, Error, JobName, OpenRepository, Progress, Result, Side, Silent};

/// The head's number and epoch after a repair exceed the greatest that were seen by these amounts.
///
/// A writer that is still at work cannot commit so often that it comes past them: every commit that changes the chain leaves a
/// second copy of the head, and the repair saw those.
const NUMBERS_SKIPPED: u64 = 1 << 16;
const EPOCHS_SKIPPED: u32 = 1 << 10;

/// A repair of the folder of a job.
///
/// It puts lost heads and indexes back from their second copies, from the headers of frames, or from the indexes alone. It keeps
/// each machine of each restore point that is intact, and lists the others as [left out](RepairReport::left_out).
#[derive(Clone)]
pub struct Repair {
    repository: OpenRepository,
    job: JobName,
    discards: bool,
    progress: Arc<dyn Progress>,
}

/// Where a repair learns which restore points the folder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Basis {
    /// The newest head, which is intact.
    Head,
    /// The second copy of the newest head.
    HeadCopy,
    /// The indexes alone. Every block was read and compared with its digest.
    Indexes,
}

/// A restore point that a repair could not keep, or one machine of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeftOut {
    /// The number of the restore point.
    pub sequence: Sequence,
    /// The name of the machine. `None` if no machine of the point is left, so that the point no longer exists.
    pub machine: Option<MachineName>,
    /// The losses, at least one. For a point that no longer exists, these are the different losses of its machines.
    pub why: Vec<Loss>,
}

/// A backup file that no restore point needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Unneeded {
    /// The key of the file.
    pub object: Key,
    /// The length of the file in bytes.
    pub bytes: u64,
}

/// What a repair found and did. A plan says what a repair would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RepairReport {
    /// Where the repair learnt which restore points there are.
    pub basis: Basis,
    /// The damaged heads after the newest one that can be read.
    pub damaged_heads: Vec<Key>,
    /// The keys of objects that were put back from their second copies, and of second copies that were made again.
    pub restored: Vec<Key>,
    /// The keys of indexes that were lost together with their second copies, and were made again from the headers of frames.
    ///
    /// Each is the lost index to the last byte, as the head knows its checksum.
    pub salvaged: Vec<Key>,
    /// The keys of new indexes. A restore point gets one if it depended on something that is lost. The new index has what is still
    /// known of the point.
    pub rewritten: Vec<Key>,
    /// The numbers of the restore points that the folder has now.
    pub points: Vec<Sequence>,
    /// The restore points that could not be kept, and the lost machines of other restore points. Their backup files stay where they
    /// are.
    pub left_out: Vec<LeftOut>,
    /// The backup files that hold only what this repair or an earlier one left out. They stay, unless [`Repair::discard`] is on.
    pub unneeded: Vec<Unneeded>,
    /// The damage that a repair cannot mend: what a verification without reading blocks reports afterwards, and the blocks that are
    /// known to be damaged.
    ///
    /// If `basis` is [`Basis::Indexes`], the repair has read every block. Otherwise, earlier verifications have found the damaged
    /// blocks.
    pub damage: Vec<Damage>,
    /// Remarks, for example about indexes that belong to no restore point.
    pub notes: Vec<Note>,
    /// The number of the head that was written. `None` if the newest head is right as it is.
    pub head: Option<u64>,
}

impl LeftOut {
    /// Returns the losses in words.
    #[must_use]
    pub fn reason(&self) -> String {
        self.why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl RepairReport {
    /// Returns `true` if there was nothing to repair. Nothing was written then.
    ///
    /// There may still be [`damage`](Self::damage).
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.restored.is_empty() && self.salvaged.is_empty() && self.head.is_none()
    }
}

impl Repair {
    /// Repairs the folder of `job` in `repository`.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self { repository: repository.clone(), job, discards: false, progress: Arc::new(Silent) }
    }

    /// Sets whether to discard the backup files that hold only what a repair left out (default: no).
    ///
    /// [`RepairReport::unneeded`] lists them. The next run of the job deletes them once no reader needs them. Their blocks are lost
    /// then, even if a lost index is found again.
    #[must_use]
    pub fn discard(mut self, discards: bool) -> Self {
        self.discards = discards;
        self
    }

    /// Reports the progress of the repair to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Plans a repair. It writes nothing.
    ///
    /// # Errors
    /// The same as [`Repair::run`], except errors of writing.
    pub fn plan(&self) -> BoxFuture<'_, Result<RepairReport>> {
        within(|error| self.tell(error), self.repair(false))
    }

    /// Repairs the folder.
    ///
    /// A repair that was cut off can be run again. After a repair that has ended, another one finds nothing to do.
    ///
    /// # Errors
    /// - [`Error::UnknownJob`] if there is no such folder.
    /// - [`Error::Busy`] if a run of the job may be at work. It could not commit after the repaired head.
    /// - [`Error::Damaged`] if nothing is left to repair from.
    /// - Errors of the repository.
    pub fn run(&self) -> BoxFuture<'_, Result<RepairReport>> {
        within(|error| self.tell(error), self.repair(true))
    }

    fn tell(&self, error: Error) -> Error {
        error.on(Side::Target).at(|| self.repository.located()).in_job(&self.job)
    }

    async fn repair(&self, writes: bool) -> Result<RepairReport> {
        let layout = Layout::new(self.job.clone());
        let survey = Survey::of(&self.repository, &layout).await?;
        if survey.is_empty() {
            let known = self.repository.jobs().await?.iter().map(ToString::to_string).collect();
            return Err(Error::unknown_job(&self.job, self.repository.location(), known));
        }
        if writes {
            self.wait_for_lease(&survey).await?;
        }
        let mut mended = Mended::default();
        let (mut target, notes) = self.target(&survey, writes, &mut mended).await?;
        let discarded = if self.discards { target.discard() } else { Vec::new() };
        let mut report = RepairReport {
            basis: target.basis,
            damaged_heads: survey.damaged_heads.clone(),
            restored: mended.restored,
            salvaged: mended.salvaged,
            rewritten: Vec::new(),
            points: target.head.chain.all().map(|point| point.sequence).collect(),
            left_out: target.left_out.clone(),
            unneeded: unneeded(&layout, &target)?,
            damage: Vec::new(),
            notes,
            head: None,
        };
        for NewIndex { point, bytes, .. } in &target.new_indexes {
            report.rewritten.push(layout.index(point.index.id)?);
            if writes {
                put_new(&survey, point.index.id, bytes.clone()).await?;
            }
        }
        let is_mended = target.is_new || !report.is_intact();
        let known = self.known_damage(&survey, &target, is_mended, writes).await?;
        if target.is_new {
            let mut next = self.successor(&survey, &target.head)?;
            let since = next.number;
            next.retired.extend(discarded.into_iter().map(|(what, bytes)| Retirement::new(since, what, bytes)));
            report.head = Some(next.number);
            if writes {
                // As every writer, a repair commits only a chain that it has opened as a reader opens it.
                (next.chain, next.files) = prove(&survey, &target).await?.into_parts();
                survey.refuse_newer_heads().await?;
                // The second copy is written first, as every writer does it. So each committed chain has one.
                put_head_copy(&self.repository, &layout, &next).await?;
                survey.heads.commit(&next).await?;
            }
        } else if !survey.has_copy_of(&target.head) {
            report.restored.push(layout.head_second_copy(target.head.epoch, target.head.number)?);
            if writes {
                put_head_copy(&self.repository, &layout, &target.head).await?;
            }
        }
        report.damage = objects::heads(&survey.heads, report.head.unwrap_or(target.head.number)).await?;
        let (files, cut, _) = objects::files(&self.repository, &layout, &target.head, &target.states).await?;
        report.damage.extend(files);
        let is_there = |flaw: &Flaw| {
            let at = &flaw.block.at;
            cut.get(&at.file).is_none_or(|end| at.offset + u64::from(at.length) <= *end)
        };
        let known: Vec<Flaw> = known.into_iter().filter(is_there).collect();
        report.damage.extend(objects::blocks(&layout, &target.head.chain, &known, &target.states)?);
        Ok(report)
    }

    /// Returns what the folder is to become, and notes about it. If it `writes`, it also puts back indexes whose second copy is
    /// there.
    async fn target(&self, survey: &Survey, writes: bool, mended: &mut Mended) -> Result<(Target, Vec<Note>)> {
        let progress = self.progress.as_ref();
        let epoch = survey.epoch_max.checked_add(EPOCHS_SKIPPED).ok_or_else(|| used_up(&self.job, "epochs"))?;
        if let Some(head) = survey.newest().filter(|_| !survey.is_doubtful()) {
            let basis = if survey.is_head_intact() { Basis::Head } else { Basis::HeadCopy };
            let readings = mend(survey, head, writes, mended, progress).await?;
            let elsewhere = match readings.accept(head.chain.indexes()) {
                true => Elsewhere::new(),
                false => elsewhere(survey, head).await?,
            };
            let known = Known::of(&head.chain, &readings, &elsewhere, |_, _, _| true);
            let target = settle(survey, basis, head, &readings, &known, epoch, progress).await?;
            return Ok((target, Vec::new()));
        }
        let rebuilt = rebuild(survey).await?;
        let head = &rebuilt.head;
        let stands =
            |before: Option<&_>, point: &_, base| stands_on(survey.newest(), &rebuilt.baseless, before, (point, base));
        let known = Known::of(&head.chain, &rebuilt.readings, &rebuilt.elsewhere, stands);
        let target = settle(survey, Basis::Indexes, head, &rebuilt.readings, &known, epoch, progress).await?;
        if target.head.chain.latest().is_none() {
            return Err(nothing_whole(survey, &target.left_out));
        }
        let is_new = |reference: &&IndexReference| target.new_indexes.iter().any(|new| new.point.index == **reference);
        let there = target.head.chain.indexes().filter(|reference| !is_new(reference));
        mend_copies(survey, there, target.head.folder, writes, mended).await?;
        Ok((target, rebuilt.unreadable.into_iter().map(|why| Note::IndexUnassigned { why }).collect()))
    }

    /// Returns the blocks of kept points that are known to be damaged.
    ///
    /// If it `writes`, it adds those that this repair found to the verification notes, so that the next copy brings them again.
    async fn known_damage(&self, survey: &Survey, target: &Target, is_mended: bool, writes: bool) -> Result<Vec<Flaw>> {
        let before = VerificationNotes::load(&self.repository, &survey.layout, target.head.folder).await?;
        let mut damaged: Vec<Flaw> = target.flaws.clone();
        let found = damaged.iter().map(|flaw| (place(&flaw.block), flaw.block.at.digest));
        let mut noted = match target.basis {
            // All blocks were read, so older notes say nothing more.
            Basis::Indexes => VerificationNotes::default(),
            Basis::Head | Basis::HeadCopy => before.clone(),
        };
        noted.damaged.extend(found);
        if is_mended {
            noted.indexes.clear();
        }
        if writes && noted != before {
            noted.store(&self.repository, &survey.layout, target.head.folder).await?;
        }
        if target.basis != Basis::Indexes {
            let mut seen: BTreeSet<_> = damaged.iter().map(|flaw| place(&flaw.block)).collect();
            let machines = target.states.iter().flat_map(|(_, state)| state.machines());
            let blocks = machines.flat_map(|(name, machine)| wanted(name, machine.disks.iter()));
            let is_known = |block: &Wanted| before.names(&block.at) && seen.insert(place(block));
            let known = blocks.filter(is_known);
            damaged.extend(known.map(|block| Flaw { block, fault: Fault::FoundBefore, is_gone: false }));
            damaged.sort_by_key(|flaw| place(&flaw.block));
        }
        Ok(damaged)
    }

    /// Returns the repaired head. Its chain is yet to be proven. No writer that was at work can commit after it.
    fn successor(&self, survey: &Survey, head: &Head) -> Result<Head> {
        let mut head = head.clone();
        let number = survey.number_max.checked_add(NUMBERS_SKIPPED);
        let number = number.ok_or_else(|| used_up(&self.job, "numbers of heads"))?;
        let epoch = survey.epoch_max.checked_add(EPOCHS_SKIPPED);
        let epoch = epoch.ok_or_else(|| used_up(&self.job, "epochs"))?;
        if survey.newest().is_some_and(|newest| newest.commit == head.commit) {
            // A commit has happened if the newest head or its copy says so, whether its writer knows that or not.
            head.ancestry.insert(0, head.commit);
        }
        (head.number, head.boundary, head.epoch) = (number, number - 1, epoch);
        // No such writer may still write into a file that a merge will write into.
        head.sealed_epoch = survey.epoch_max;
        head.commit = CommitId::new(random_bytes()?);
        head.lease = None;
        // The head keeps the time that the chain knows. If the clock is wrong, the next run finds out.
        Ok(head)
    }

    /// Returns when no writer can be at work, as far as that can be known.
    async fn wait_for_lease(&self, survey: &Survey) -> Result<()> {
        let Some(lease) = survey.newest().and_then(|head| head.lease.as_ref()) else { return Ok(()) };
        let is_free = match life_of(&lease.holder) {
            Life::Dead => true,
            Life::Alive => false,
            Life::Unknown => {
                self.progress.wait(&Wait::Lease { job: &self.job, holder: &lease.holder, at_most: lease.silence() });
                is_silent(&self.repository, &survey.layout, &survey.heads, lease.silence()).await?
            }
        };
        if is_free { Ok(()) } else { Err(busy_with(&self.repository, &survey.layout, Some(lease))) }
    }
}

fn unneeded(layout: &Layout, target: &Target) -> Result<Vec<Unneeded>> {
    let told = |(id, bytes): (&ObjectId, &u64)| Ok(Unneeded { object: layout.backup_file(*id)?, bytes: *bytes });
    target.unneeded.iter().map(told).collect()
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Repair").field("job", &self.job).finish_non_exhaustive()
    }
}
