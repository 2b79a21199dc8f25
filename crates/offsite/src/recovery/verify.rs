//! Verifying: whether everything that the restore points need is there and intact.

pub(crate) mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use offsite_core::format::WireFormat;
use offsite_core::format::index::Directory;
use offsite_core::{BlockMap, DiskMap, Index, IndexReference, MachineName, ObjectId, RestorePoint, Sequence};
use offsite_repository::{ErrorKind, Key, RepositoryExt};

use crate::error::{Context, within};
use crate::folder::heads::Heads;
use crate::folder::verification_notes::{Place, VerificationNotes};
use crate::mover::{FrameSource, Scrubbed, Wanted, scrub};
use crate::progress::Task;
use crate::reader::job_folder::JobFolder;
use crate::reader::restore::wanted;
use crate::report::{Damage, DamageKind, Fault, Note, Touched, VerifyReport};
use crate::teller::Control;
use crate::{Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Side, Silent};

/// A verification of a job's restore points.
///
/// It checks that all heads, indexes and backup files of the job are there, readable, and as long as they must be. It can also
/// [read blocks](Self::read_data). The verification notes keep what it finds, so the next run of the job puts missing and damaged
/// blocks back.
#[derive(Clone)]
pub struct Verify {
    repository: OpenRepository,
    job: JobName,
    read_data: bool,
    budget_bytes: Option<u64>,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

impl Verify {
    /// Verifies `job` in `repository`. By default it reads no blocks.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            read_data: false,
            budget_bytes: None,
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        }
    }

    /// Sets whether to read blocks and compare them with their digests (default: no).
    ///
    /// It reads every block, or as many as the [budget](Self::budget_bytes) allows.
    #[must_use]
    pub fn read_data(mut self, read_data: bool) -> Self {
        self.read_data = read_data;
        self
    }

    /// Sets about how many bytes of blocks to read. It reads blocks then even if [`Verify::read_data`] is off.
    ///
    /// Each verification continues where the one before it ended. When all blocks have been read, the next one starts over. Blocks
    /// that are written meanwhile are read in this pass or in the next one.
    #[must_use]
    pub fn budget_bytes(mut self, bytes: u64) -> Self {
        self.budget_bytes = Some(bytes);
        self
    }

    /// Reports the progress of the verification to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data of the verification through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends the verification.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Verifies the restore points. Damage is in the report, and is not an error.
    ///
    /// # Errors
    /// - [`Error::UnknownJob`] if the repository does not have the job.
    /// - [`Error::Damaged`] if no head can be read.
    /// - Errors of the repository.
    pub fn run(&self) -> BoxFuture<'_, Result<VerifyReport>> {
        self.run_through(self.gate.as_ref())
    }

    /// The same as [`Verify::run`], but the block data passes through this gate.
    pub(crate) fn run_through<'a>(&'a self, gate: &'a dyn Gate) -> BoxFuture<'a, Result<VerifyReport>> {
        let tell = |error: Error| error.on(Side::Source).at(|| self.repository.located()).in_job(&self.job);
        within(tell, async move {
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let result = self.run_pinned(&folder, gate).await;
            // Without a pin, or after the pin was lost, missing objects may have been released meanwhile.
            let is_held = match &pin {
                Some(pin) => pin.is_held().await,
                None => false,
            };
            let result = match result {
                Ok(report) if !is_held && !report.damage.is_empty() => match folder.is_expired().await {
                    Ok(true) => Err(Error::expired(&self.job)),
                    Ok(false) => Ok(report),
                    Err(outage) => Err(outage),
                },
                result => result,
            };
            folder.unpin(pin, result).await
        })
    }

    async fn run_pinned(&self, folder: &JobFolder, gate: &dyn Gate) -> Result<VerifyReport> {
        let start = Instant::now();
        let points = folder.chain().all().count();
        let mut report = VerifyReport { points: points as u64, ..VerifyReport::default() };
        let heads = Heads::new(self.repository.clone(), folder.layout().clone());
        report.damage.extend(objects::heads(&heads, folder.head().number).await?);
        let (states, unread) = self.verify_indexes(folder, &mut report).await?;
        self.verify_copies(folder, &mut report).await?;
        let (damage, cut, copy) = objects::files(&self.repository, folder.layout(), folder.head(), &states).await?;
        report.files = folder.head().files.len() as u64;
        report.damage.extend(damage);
        let mut blocks: BTreeMap<Place, Wanted> = BTreeMap::new();
        for (_, state) in &states {
            for (name, machine) in state.machines() {
                let wanted = wanted(name, machine.disks.iter()).into_iter();
                blocks.extend(wanted.map(|block| ((block.at.file, block.at.offset), block)));
            }
        }
        report.blocks = blocks.len() as u64;
        // Blocks that are gone were reported with their file.
        let lost = VerificationNotes { cut, ..VerificationNotes::default() };
        let (there, gone): (Vec<_>, Vec<_>) = blocks.into_values().partition(|block| !lost.is_cut_off(&block.at));
        let needed: BTreeSet<ObjectId> = gone.iter().map(|block| block.at.file).collect();
        let cut = lost.cut.into_iter().filter(|(file, _)| needed.contains(file)).collect();
        let found = VerificationNotes { cut, indexes: unread, ..VerificationNotes::default() };
        self.read(folder, &states, there, found, &mut report, gate).await?;
        // A second copy of a head counts only if it is newer than the head that was read.
        let copy = copy.filter(|copy| *copy > folder.head().number);
        report.notes.extend(objects::newer_copy(&heads, folder.layout(), copy).await?);
        report.duration = start.elapsed();
        Ok(report)
    }

    /// Reads the blocks of `there` that are due, and stores the verification notes with what else was `found`.
    ///
    /// The blocks are read in the order of their places, and only as many as the budget allows. A frame that was damaged before and
    /// is not read now stays in the notes while a point has it. It also stays while an index cannot be read, as nobody knows which
    /// frames that index needs.
    async fn read(
        &self,
        folder: &JobFolder,
        states: &[(Sequence, BlockMap)],
        there: Vec<Wanted>,
        mut found: VerificationNotes,
        report: &mut VerifyReport,
        gate: &dyn Gate,
    ) -> Result<()> {
        let before = VerificationNotes::load(&self.repository, folder.layout(), folder.id()).await?;
        if !found.indexes.is_empty() {
            let known: BTreeSet<Place> = there.iter().map(place).collect();
            let hidden = before.damaged.iter().filter(|(place, _)| !known.contains(place));
            found.damaged.extend(hidden.map(|(place, digest)| (*place, *digest)));
        }
        let Share { read_before, due, mut left } = match self.budget_bytes {
            None if !self.read_data => Share { read_before: there, ..Share::default() },
            Some(bytes) => Share::of(there, before.next, bytes),
            None => Share { due: there, ..Share::default() },
        };
        let has_read = self.read_data || self.budget_bytes.is_some();
        let next = if has_read { left.first().map(place) } else { before.next };
        let source = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let progress = Control::new(self.progress.as_ref(), gate).teller(Task::Verify, &self.job);
        let due = Arc::new(due);
        let Scrubbed { flaws, count } = scrub(Arc::clone(&due), &source, progress).await?;
        let (read, not_read) = due.split_at(count.min(due.len()));
        report.is_stopped = !not_read.is_empty();
        report.bytes_read = bytes_of(read);
        report.bytes_left = bytes_of(&left) + bytes_of(not_read);
        // The next verification continues with the first block that was not read.
        let next = not_read.first().map_or(next, |block| Some(place(block)));
        left.splice(0..0, not_read.iter().cloned());
        report.damage.extend(objects::blocks(folder.layout(), folder.chain(), &flaws, states)?);
        let unread: Vec<&Wanted> = read_before.iter().chain(&left).filter(|block| before.names(&block.at)).collect();
        if !unread.is_empty() {
            report.notes.push(Note::NotReadAgain { blocks: unread.len() as u64 });
        }
        let damaged = flaws.iter().map(|flaw| &flaw.block).chain(unread);
        found.next = next;
        found.damaged.extend(damaged.map(|block| (place(block), block.at.digest)));
        if found != before
            && let Err(error) = found.store(&self.repository, folder.layout(), folder.id()).await
        {
            report.notes.push(Note::FindingsNotStored { why: (&error).into() });
        }
        Ok(())
    }

    /// Reads every index. Returns the states of the points with intact indexes, and the indexes that cannot be read.
    async fn verify_indexes(
        &self,
        folder: &JobFolder,
        report: &mut VerifyReport,
    ) -> Result<(Vec<(Sequence, BlockMap)>, BTreeSet<ObjectId>)> {
        let chain = folder.chain();
        let mut indexes = folder.indexes();
        let mut steps: BTreeMap<Sequence, BlockMap> = BTreeMap::new();
        let mut reported = BTreeSet::new();
        let mut unread = BTreeSet::new();
        for point in chain.all() {
            match indexes.step(point).await {
                Ok(step) => drop(steps.insert(point.sequence, step)),
                Err(Error::Damaged { object, source, .. }) => {
                    let key = Key::new(object).map_err(Error::defect)?;
                    if !reported.insert(key.clone()) {
                        continue;
                    }
                    let is_it = |index: &&IndexReference| folder.layout().index(index.id).is_ok_and(|own| own == key);
                    unread.extend(point.indexes().find(is_it).map(|index| index.id));
                    let stands_on_it = |other: &&RestorePoint| {
                        let steps = chain.steps_to(other.sequence).unwrap_or_default();
                        steps.into_iter().flat_map(RestorePoint::indexes).any(|index| is_it(&index))
                    };
                    let touched = chain.all().filter(stands_on_it);
                    let touches = touched.map(|point| Touched { sequence: point.sequence, machine: None }).collect();
                    let what = DamageKind::Index { fault: Fault::of(source) };
                    report.damage.push(Damage { object: key.clone(), what, touches });
                }
                Err(error) => return Err(error),
            }
        }
        let mut states: BTreeMap<Sequence, BlockMap> = BTreeMap::new();
        for point in chain.all() {
            let below = chain.steps_to(point.sequence).unwrap_or_default();
            // The state of the point before the last step is known already in most cases.
            let known = below.iter().rposition(|step| states.contains_key(&step.sequence));
            let start = known.and_then(|position| states.get(&below[position].sequence)).cloned();
            let rest = &below[known.map_or(0, |position| position + 1)..];
            let state = rest.iter().try_fold(start.unwrap_or_default(), |state, step| {
                steps.get(&step.sequence).map(|step| state.overlay(step))
            });
            if let Some(state) = state {
                states.insert(point.sequence, state);
            }
        }
        for (point, state) in chain.all().filter_map(|point| Some((point, states.get(&point.sequence)?))) {
            let is_told = |name: &MachineName| {
                state.machine(name).is_some_and(|machine| machine.disks.values().all(DiskMap::is_full))
            };
            for machine in point.machines.iter().filter(|machine| machine.is_whole() && !is_told(&machine.name)) {
                report.damage.push(Damage {
                    object: folder.layout().index(point.index.id)?,
                    what: DamageKind::IndexGap { machine: machine.name.clone() },
                    touches: vec![Touched { sequence: point.sequence, machine: Some(machine.name.clone()) }],
                });
            }
        }
        Ok((states.into_iter().collect(), unread))
    }

    /// Reads the second copy of every index. A lost copy touches no restore point as long as the index is there.
    async fn verify_copies(&self, folder: &JobFolder, report: &mut VerifyReport) -> Result<()> {
        for reference in folder.chain().indexes() {
            let key = folder.layout().index_second_copy(reference.id)?;
            let fault = match self.repository.backend().get(&key, reference.length).await {
                Err(error) if error.kind() == ErrorKind::NotFound => Fault::Missing,
                Err(error) if error.kind() == ErrorKind::Corrupt => Fault::OtherLength,
                answer => {
                    let bytes = answer.while_doing(|| format!("reading {key}"))?;
                    let found = Directory::decode(&bytes).and_then(|directory| directory.reference(&bytes));
                    match Index::decode(&bytes) {
                        Err(error) => Fault::unreadable(&error),
                        Ok(_) if found.is_ok_and(|found| found.digest == reference.digest) => continue,
                        Ok(_) => Fault::OtherIndex,
                    }
                }
            };
            report.damage.push(Damage { object: key, what: DamageKind::IndexCopy { fault }, touches: Vec::new() });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Verify {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Verify")
            .field("job", &self.job)
            .field("read_data", &self.read_data)
            .finish_non_exhaustive()
    }
}

/// How one verification shares the blocks of a pass with the others, in the order of their places.
#[derive(Default)]
struct Share {
    /// The blocks that earlier verifications of the pass have read.
    read_before: Vec<Wanted>,
    due: Vec<Wanted>,
    /// The blocks that are left for the next verifications.
    left: Vec<Wanted>,
}

impl Share {
    /// Takes blocks from `next` on, as many as there are `bytes` for. It takes at least one, so that each pass ends.
    fn of(mut blocks: Vec<Wanted>, next: Option<Place>, bytes: u64) -> Self {
        let start = next.map_or(0, |next| blocks.partition_point(|block| place(block) < next));
        // If there are no blocks from there on, the pass is over.
        let start = if start == blocks.len() { 0 } else { start };
        let (mut end, mut budget) = (start, bytes);
        for block in &blocks[start..] {
            let length = u64::from(block.at.length);
            if length > budget && end > start {
                break;
            }
            budget = budget.saturating_sub(length);
            end += 1;
        }
        let left = blocks.split_off(end);
        let due = blocks.split_off(start);
        Self { read_before: blocks, due, left }
    }
}

fn place(block: &Wanted) -> Place {
    (block.at.file, block.at.offset)
}

fn bytes_of(blocks: &[Wanted]) -> u64 {
    blocks.iter().map(|block| u64::from(block.at.length)).sum()
}
