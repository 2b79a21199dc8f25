//! Copy jobs: restore points of one repository into an independent chain in another.

mod back_fill;
mod borrow;
mod checkpoints;
mod dry_run;
mod guard;
mod history;
mod legs;
mod look;
mod moment;
mod moments;
mod offer;
mod outages;
mod precedence;
mod request;
mod run;
mod selection;
mod source;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use offsite_core::retention::Policy;
use offsite_core::retry::RetryPolicy;
use offsite_core::schedule::Schedule;
use offsite_core::selection::Choice;
use offsite_core::{BlockMap, BlockSize, FolderId, Head, RestorePoint, Role, Timestamp};

use crate::commit::writer::{Writer, WriterSettings};
use crate::error::within;
use crate::folder::verification_notes::VerificationNotes;
use crate::jobs::transform::{Transforms, carried_out, heal, removes_machines, transform, whole};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{CopyReport, Doubt, MachineReport, Note, OperationReport, SyncOutcome, TransformReport, Unseen};
use crate::teller::Control;
use crate::{DEFAULT_LEASE, Error, Gate, JobName, Lending, OpenGate, OpenRepository, Progress, Result, Silent};

pub use checkpoints::Checkpoints;
pub use dry_run::{PlannedPast, PlannedSync, RunPlan};
pub use history::History;
pub use request::SyncRequest;
pub use selection::Selection;
pub use source::Source;

use outages::Outages;
use selection::SelectionInput;
use source::Sources;

/// A copy job: each run copies the newest restore points of the selected machines into its own chain.
///
/// Then it merges what its retention no longer keeps. The chain in the target depends on nothing of the source. The job transfers
/// only blocks that differ from the chain's newest state. The indexes tell which blocks these are.
///
/// ```
/// use offsite::retention::Simple;
/// use offsite::{CopyJob, JobName, OpenRepository, Timestamp};
///
/// async fn copy(source: &OpenRepository, target: &OpenRepository) -> Result<(), Box<dyn std::error::Error>> {
///     let job = CopyJob::new(JobName::new("Offsite Copy")?, source, JobName::new("nightly")?, target)?
///         .transforms(Simple::new(7)?);
///     let report = job.run(Timestamp::parse("2026-11-22T22:00:00Z")?).await?;
///     for machine in &report.machines {
///         println!("{}: {:?}", machine.name, machine.outcome);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct CopyJob {
    name: JobName,
    sources: Vec<Source>,
    unseen: Vec<Unseen>,
    notes: Vec<Note>,
    min_free_bytes: u64,
    target: OpenRepository,
    selection: Selection,
    lending: Lending,
    transforms: Transforms,
    known_origins: BTreeSet<FolderId>,
    adopts: bool,
    history: History,
    /// The schedule of the job, if slots that it missed are filled.
    fills_slots_of: Option<Schedule>,
    lease_duration: Duration,
    checkpoints: Checkpoints,
    retry: RetryPolicy,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

/// What a look at the sources of a copy job has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Look {
    /// The decision about each selected machine.
    pub choices: Vec<Choice>,
    /// Remarks about what could not be read.
    pub notes: Vec<Note>,
    /// Settings that probably do not do what they were meant to, as of now: machines that no longer appear, and patterns that
    /// match nothing.
    pub doubts: Vec<Doubt>,
}

impl CopyJob {
    /// A job that copies the restore points of `source_job` in `source` to the folder `name` in `target`.
    ///
    /// By default it copies all machines, and keeps 7 restore points.
    ///
    /// # Errors
    /// [`Error::SameRepository`] if source and target are the same repository: such a copy would not be independent.
    pub fn new(name: JobName, source: &OpenRepository, source_job: JobName, target: &OpenRepository) -> Result<Self> {
        Self::of(name, vec![Source::job(source, source_job)], target)
    }

    /// A job that copies the newest state of each machine that any of `sources` has.
    ///
    /// `sources` may be empty, for example if all are [unseen](CopyJob::unseen). Then only the transforms work, and everything
    /// else fails with [`Error::NoSource`].
    ///
    /// # Errors
    /// [`Error::SameRepository`] if a source and the target are the same repository: such a copy would not be independent.
    pub fn of(name: JobName, sources: Vec<Source>, target: &OpenRepository) -> Result<Self> {
        if let Some(source) = sources.iter().find(|source| source.repository().id() == target.id()) {
            let (source_location, target_location) = (source.repository().location(), target.location());
            return Err(Error::SameRepository { source_location, target_location });
        }
        Ok(Self {
            name,
            sources,
            unseen: Vec::new(),
            notes: Vec::new(),
            min_free_bytes: 0,
            target: target.clone(),
            selection: Selection::all(),
            lending: Lending::default(),
            transforms: Transforms::keeping(Policy::default()),
            known_origins: BTreeSet::new(),
            adopts: false,
            history: History::default(),
            fills_slots_of: None,
            lease_duration: DEFAULT_LEASE,
            checkpoints: Checkpoints::default(),
            retry: RetryPolicy::never(),
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        })
    }

    /// Sets the sources that cannot be opened now, each with the reason.
    ///
    /// The job copies from the others. Its reports list what could not be read. A machine that is not seen meanwhile does not
    /// count as gone.
    #[must_use]
    pub fn unseen(mut self, unseen: Vec<Unseen>) -> Self {
        self.unseen = unseen;
        self
    }

    /// Adds notes to the reports, in the words of the caller, for example as [`Note::Custom`].
    #[must_use]
    pub fn notes(mut self, notes: Vec<Note>) -> Self {
        self.notes = notes;
        self
    }

    /// Sets how many bytes must stay free in the target.
    ///
    /// A copy that would leave less is refused ([`Error::NoRoom`]). It has no effect if the target does not tell its free space.
    #[must_use]
    pub fn min_free_bytes(mut self, bytes: u64) -> Self {
        self.min_free_bytes = bytes;
        self
    }

    /// Sets which machines to copy.
    #[must_use]
    pub fn select(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Sets what the job may read at the side of the target, so that it need not cross the link.
    #[must_use]
    pub fn lending(mut self, lending: Lending) -> Self {
        self.lending = lending;
        self
    }

    /// What the transform phase does: retention, merging and all else that can be chosen. A policy, or a count of restore points, stands
    /// for [`Transforms::keeping`] it.
    #[must_use]
    pub fn transforms(mut self, transforms: impl Into<Transforms>) -> Self {
        self.transforms = transforms.into();
        self
    }

    /// Sets how long another host waits for a sign of life before it takes the job over (default: a minute; at most an hour).
    #[must_use]
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = duration;
        self
    }

    /// Sets when a long copy commits what has arrived.
    #[must_use]
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// Sets how a look or a copy waits for a place that cannot be reached (default: it does not wait).
    ///
    /// It waits for a place that does not answer, and for nothing else. What has arrived by then is committed as soon as the target can
    /// be reached. Transforms wait for nothing.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Reports the progress of a run to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data of the copy through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends the copy.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Sets whether to take a machine from a source although its copy came from another job folder that is no source (default:
    /// no).
    ///
    /// Such a machine is otherwise refused with [`Error::OtherOrigin`]. It may be another machine of the same name, from another
    /// host that writes to the same place. After the copy, the new folder is the recorded one.
    #[must_use]
    pub fn adopt(mut self, adopts: bool) -> Self {
        self.adopts = adopts;
        self
    }

    /// Sets how much of its sources' past the job brings while it is new (default: none).
    ///
    /// Each restore point of the past becomes one of the copy, oldest first, with the transforms between. They stand outside the
    /// rule of one point per machine and interval. A run that is cut off leaves the rest to the next one.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// Fills slots of long-term retention that the job missed, from older points that the sources still have (default: no).
    ///
    /// `schedule` is that of the job: in an interval with a restore point, nothing was missed. Each missed slot becomes an archive
    /// beside the chain. It has no effect for archives that are read whole from the source, or that go by date.
    #[must_use]
    pub fn back_fill(mut self, schedule: impl Into<Option<Schedule>>) -> Self {
        self.fills_slots_of = schedule.into();
        self
    }

    /// Sets job folders that are sources as well, and are away now: those on drives that are used in turn.
    #[must_use]
    pub fn known_origins(mut self, folders: impl IntoIterator<Item = FolderId>) -> Self {
        self.known_origins.extend(folders);
        self
    }

    fn selection_input<'a>(&'a self, request: &'a SyncRequest) -> SelectionInput<'a> {
        let Self { sources, selection, target, known_origins, adopts, .. } = self;
        SelectionInput { sources, selection, target, request, known_origins, adopts: *adopts }
    }

    /// Adds to an error where it happened in this job.
    fn tell(&self, error: Error) -> Error {
        let sources = self.sources.iter().map(|source| source.repository().located());
        error.between(sources, &self.target.located()).in_job(&self.name)
    }

    pub(crate) fn name(&self) -> &JobName {
        &self.name
    }

    /// The job's points in other places that it writes to in turn.
    pub(crate) fn elsewhere(&self) -> &[RestorePoint] {
        &self.transforms.elsewhere
    }

    pub(crate) fn target(&self) -> &OpenRepository {
        &self.target
    }

    /// Copies what is new at `now`, then merges what retention no longer keeps, then gives space back.
    ///
    /// # Errors
    /// [`Error::UnknownJob`] or [`Error::UnknownMachine`] if a source does not have what is selected. [`Error::Busy`] if the job
    /// is running already. [`Error::Damaged`] if no machine can be copied because of damage at the source. Errors of the
    /// repositories. What was committed before the error stays, and so does what had arrived of a copy. The next run needs no
    /// repair.
    pub fn run(&self, now: Timestamp) -> BoxFuture<'_, Result<CopyReport>> {
        within(|error| self.tell(error), async move {
            let request = SyncRequest::at(now);
            let outages = self.outages(request.gate.as_ref());
            let sources = self.pinned(&outages).await?;
            let result = self.run_pinned(&sources, &request, &outages).await;
            sources.unpin(result).await
        })
    }

    /// Looks what a sync would do now with each selected machine.
    ///
    /// It writes nothing.
    ///
    /// # Errors
    /// [`Error::UnknownJob`] if no source is there. [`Error::UnknownPoint`] or [`Error::NothingYet`] if none has a restore point.
    /// Errors of the repositories.
    pub fn look<'a>(&'a self, request: &'a SyncRequest) -> BoxFuture<'a, Result<Look>> {
        within(|error| self.tell(error), async move {
            let outages = self.outages(request.gate.as_ref());
            loop {
                if let Some(answer) = outages.judged(self.look_once(request).await).await {
                    return answer;
                }
            }
        })
    }

    /// The first phase of a run: makes a restore point of what is new.
    ///
    /// The second phase is [`CopyJob::transform`].
    ///
    /// # Errors
    /// The same as [`CopyJob::run`].
    pub fn sync<'a>(&'a self, request: &'a SyncRequest) -> BoxFuture<'a, Result<SyncOutcome>> {
        Box::pin(async move { self.sync_telling(request, &mut Vec::new()).await })
    }

    /// Like [`CopyJob::sync`]. If it fails, `left_out` has what was found of machines that could not be copied.
    pub(crate) fn sync_telling<'a>(
        &'a self,
        request: &'a SyncRequest,
        left_out: &'a mut Vec<MachineReport>,
    ) -> BoxFuture<'a, Result<SyncOutcome>> {
        within(|error| self.tell(error), async move {
            let outages = self.outages(request.gate.as_ref());
            let sources = self.pinned(&outages).await?;
            let result = self.sync_pinned(&sources, request, left_out, &outages).await;
            sources.unpin(result).await
        })
    }

    async fn sync_pinned(
        &self,
        sources: &Sources,
        request: &SyncRequest,
        left_out: &mut Vec<MachineReport>,
        outages: &Outages<'_>,
    ) -> Result<SyncOutcome> {
        let mut writer = self.patient_writer(sources.block_size(), request.now, outages).await?;
        let mut indexes = Indexes::new(&self.target, writer.layout(), writer.head().folder);
        let result = self.past_and_present(&mut writer, &mut indexes, sources, request, left_out, outages).await;
        outages.close(writer, result).await
    }

    /// The second phase of a run: merges what retention no longer keeps, and gives space back.
    ///
    /// `added` is the number of restore points that were added to the chain since the last call. It does nothing if nothing was
    /// ever copied.
    ///
    /// # Errors
    /// [`Error::Busy`] if the job is running already. Errors of the repositories.
    pub fn transform(&self, now: Timestamp, added: u32) -> BoxFuture<'_, Result<TransformReport>> {
        within(|error| self.tell(error), async move {
            let block_size = match JobFolder::open(&self.target, &self.name).await {
                Err(Error::UnknownJob { .. }) => return Ok(TransformReport::default()),
                folder => folder?.chain().block_size(),
            };
            let mut writer = self.writer(block_size, now).await?;
            let result = self.transform_alone(&mut writer, now, added).await;
            writer.close(result).await
        })
    }

    async fn transform_alone(&self, writer: &mut Writer, now: Timestamp, added: u32) -> Result<TransformReport> {
        let mut indexes = Indexes::new(&self.target, writer.layout(), writer.head().folder);
        let reads_whole = whole::waiting(writer.head(), self.transforms.retention.as_ref()).is_some();
        let is_damaged =
            !VerificationNotes::load(&self.target, writer.layout(), writer.head().folder).await?.is_empty();
        let selects = self.transforms.deleted_machines.is_some();
        if !reads_whole && !is_damaged && !selects {
            return self.transform_with(writer, &mut indexes, &[], &self.transforms, now, added).await;
        }
        match Sources::pinned(self).await {
            Ok(sources) => {
                if selects {
                    self.note_selection(writer, &sources, now);
                }
                let folders: Vec<&JobFolder> = sources.folders().collect();
                let result = self.transform_with(writer, &mut indexes, &folders, &self.transforms, now, added).await;
                sources.unpin(result).await
            }
            Err(error) if reads_whole => Err(error),
            Err(error) => {
                let removes_machines = removes_machines(writer.head(), &self.transforms, now);
                let keeping = Transforms { deleted_machines: None, ..self.transforms.clone() };
                let mut report = self.transform_with(writer, &mut indexes, &[], &keeping, now, added).await?;
                if is_damaged {
                    report.notes.push(Note::SourcesNotSearched { why: (&error).into() });
                }
                if removes_machines {
                    report.notes.push(Note::DeselectedKept { why: (&error).into() });
                }
                Ok(report)
            }
        }
    }

    /// Notes which machines are selected: before one of them is removed, and even if there was nothing to copy.
    fn note_selection(&self, writer: &mut Writer, sources: &Sources, now: Timestamp) {
        let request = SyncRequest::at(now);
        let asked = self.selection_input(&request);
        let decided = asked.decide(sources, &BTreeMap::new(), &BTreeMap::new());
        let in_doubt = asked.selected_in_doubt(sources, writer.head());
        writer.select(&selection::selected(sources, decided.iter().map(|(choice, _)| choice), &in_doubt));
    }

    async fn transform_with(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &[&JobFolder],
        settings: &Transforms,
        now: Timestamp,
        added: u32,
    ) -> Result<TransformReport> {
        let control = Control::new(self.progress.as_ref(), self.gate.as_ref());
        let healed = heal(writer, indexes, sources, control).await?;
        let (fulls, notes) = match healed.is_stopped {
            true => (Vec::new(), Vec::new()),
            false => self.make_fulls(writer, indexes, sources, control).await?,
        };
        let mut report = transform(writer, indexes, settings, now, added, control).await?;
        report.is_stopped |= healed.is_stopped;
        report.operations.splice(0..0, healed.operations.into_iter().chain(fulls));
        report.notes.splice(0..0, healed.notes.into_iter().chain(notes));
        Ok(report)
    }

    async fn writer(&self, block_size: BlockSize, now: Timestamp) -> Result<Writer> {
        let clock = self.transforms.clock();
        let settings = WriterSettings { role: Role::Copy, block_size, lease_duration: self.lease_duration, now, clock };
        Writer::open(self.target.clone(), &self.name, settings, self.progress.as_ref()).await
    }

    /// Makes fulls of the flagged increments that must be read whole.
    ///
    /// Returns what was done, and what could not be done as asked.
    async fn make_fulls(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        sources: &[&JobFolder],
        control: Control<'_>,
    ) -> Result<(Vec<OperationReport>, Vec<Note>)> {
        let (mut done, mut notes) = (Vec::new(), Vec::new());
        let mut sources = sources;
        while let Some(sequence) = whole::waiting(writer.head(), self.transforms.retention.as_ref()) {
            let drafted = whole::draft(&mut writer.plan_context(indexes), sources, sequence).await?;
            let (note, reads_source) = (whole::note(&drafted.operation), !drafted.sources.is_empty());
            match carried_out(writer, drafted, control).await {
                Ok(Some(report)) => {
                    notes.extend(note);
                    done.push(report);
                }
                // It is planned again, without what is damaged here.
                Ok(None) => {}
                // It is damaged there: the chain has the point as well.
                Err(error) if error.is_loss() && reads_source => {
                    notes.push(Note::FullNotRead { sequence, why: (&error).into() });
                    sources = &[];
                }
                // The transforms that follow would be stopped at the rest as well.
                Err(Error::Stopped { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok((done, notes))
    }
}

impl std::fmt::Debug for CopyJob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CopyJob")
            .field("name", &self.name)
            .field("sources", &self.sources)
            .field("target", &self.target.location())
            .finish_non_exhaustive()
    }
}

/// The state that the chain's newest point stands for.
async fn latest_state(head: &Head, indexes: &mut Indexes) -> Result<BlockMap> {
    let steps = head.chain.latest().and_then(|point| head.chain.steps_to(point.sequence));
    indexes.state(&steps.unwrap_or_default()).await
}
