//! Copy jobs: restore points of one repository into an independent chain in another.

mod dry_run;
mod selection;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offsite_core::format::head::Role;
use offsite_core::plan::{Plan, sync};
use offsite_core::retention::Simple;
use offsite_core::{
    BlockMap, MachineName, MachineNumber, MachineState, Origin, PointKind, RestorePoint, Sequence, Status, Timestamp,
};

use crate::folder::JobFolder;
use crate::mover::{FrameSource, Output, OutputHeader, transfer};
use crate::point::{PointIndex, commit_point, number_machines, store_index};
use crate::report::{BlockTraffic, CopyReport, MachineCopy, SyncReport, Tally};
use crate::transform::{Steps, load_steps, transform};
use crate::writer::{Writer, WriterSettings};
use crate::{DEFAULT_LEASE, Error, JobName, OpenRepository, Progress, Result, Silent};

pub use dry_run::{PlannedMerge, PlannedSync, RunPlan};
pub use selection::Selection;

use selection::Choice;

/// A copy job: each run copies the newest restore points of the selected machines into its own chain, and merges what its
/// retention no longer asks for.
///
/// The chain in the target depends on nothing of the source. Only blocks that differ from the chain's newest state are
/// carried; which ones, the indexes tell.
#[derive(Clone)]
pub struct CopyJob {
    name: JobName,
    source: OpenRepository,
    source_job: JobName,
    target: OpenRepository,
    selection: Selection,
    keep: Simple,
    lease_duration: Duration,
    progress: Arc<dyn Progress>,
}

impl CopyJob {
    /// A job that copies the restore points of `source_job` in `source` to the folder `name` in `target`. It takes all
    /// machines and keeps 7 restore points, unless told otherwise.
    ///
    /// # Errors
    /// [`Error::SameRepository`]: a copy beside its original is no copy.
    pub fn new(name: JobName, source: &OpenRepository, source_job: JobName, target: &OpenRepository) -> Result<Self> {
        if source.id() == target.id() {
            let (source_location, target_location) = (source.location(), target.location());
            return Err(Error::SameRepository { source_location, target_location });
        }
        Ok(Self {
            name,
            source: source.clone(),
            source_job,
            target: target.clone(),
            selection: Selection::all(),
            keep: Simple::default(),
            lease_duration: DEFAULT_LEASE,
            progress: Arc::new(Silent),
        })
    }

    /// Which machines are copied.
    #[must_use]
    pub fn select(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// How many restore points the chain keeps.
    #[must_use]
    pub fn keep(mut self, policy: Simple) -> Self {
        self.keep = policy;
        self
    }

    /// How long another host waits for a sign of life before it takes the job over (default: a minute).
    #[must_use]
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = duration;
        self
    }

    /// Tells `progress` how far a run is.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Copies what is new at `now`, then merges what retention no longer asks for, then gives its space back.
    ///
    /// # Errors
    /// [`Error::UnknownJob`] or [`Error::UnknownMachine`] for a source without what was selected; [`Error::Busy`] if the job is
    /// running already; [`Error::Damaged`] if a block of the source is; those of the repositories. What was committed before the
    /// error stays; the next run needs no repair.
    pub async fn run(&self, now: Timestamp) -> Result<CopyReport> {
        let (source, pin) = JobFolder::pinned(&self.source, &self.source_job).await?;
        let result = self.run_pinned(&source, now).await;
        source.unpin(pin, result).await
    }

    async fn run_pinned(&self, source: &JobFolder, now: Timestamp) -> Result<CopyReport> {
        let settings = WriterSettings {
            role: Role::Copy,
            block_size: source.chain().block_size(),
            lease_duration: self.lease_duration,
            now,
        };
        let mut writer = Writer::open(self.target.clone(), &self.name, settings, self.progress.as_ref()).await?;
        let result = self.run_with(&mut writer, source, now).await;
        writer.close(result).await
    }

    async fn run_with(&self, writer: &mut Writer, source: &JobFolder, now: Timestamp) -> Result<CopyReport> {
        let has_points = !writer.head().chain.points().is_empty();
        self.check_block_size(source, writer.head().chain.block_size(), has_points)?;
        let mut steps = load_steps(writer).await?;
        let latest = state_of(&steps);
        let choice = self.selection.choose(source, &latest, now).await?;
        let missing = choice.missing.clone();
        let mut report = None;
        if !choice.machines.is_empty() {
            let (point, step, sync) = self.sync(writer, source, &latest, choice).await?;
            steps.push((point, step));
            report = Some(sync);
        }
        let transform = transform(writer, &steps, Some(self.keep), now).await?;
        Ok(CopyReport { sync: report, transform, missing })
    }

    /// Copies what was chosen, and commits it as a restore point.
    async fn sync(
        &self,
        writer: &mut Writer,
        source: &JobFolder,
        latest: &BlockMap,
        choice: Choice,
    ) -> Result<(RestorePoint, BlockMap, SyncReport)> {
        let start = Instant::now();
        let before = (self.source.block_counts(), self.target.block_counts());
        let head = writer.head();
        let full = head.chain.points().is_empty();
        let (time, origin) = newest(&choice.machines, source);
        let sequence = head.next_sequence;
        let header = OutputHeader {
            folder: head.folder,
            sequence,
            time,
            block_size: source.chain().block_size(),
            alignment_bytes: head.alignment_bytes,
            machines: numbered(&head.machines, &choice),
        };
        let placement = header.placement(&self.target);
        let plan = sync(latest, &choice.wanted, placement, || writer.mint());
        self.carry(writer, source, &plan, header).await?;
        let mut lengths = writer.head().file_lengths();
        lengths.extend(&plan.files);
        let machines = choice.machines.iter().map(|machine| MachineState {
            name: machine.name.clone(),
            status: Status::Complete,
            captured: machine.captured,
        });
        let index = PointIndex {
            id: writer.mint(),
            sequence,
            time,
            kind: if full { PointKind::Full } else { PointKind::Increment },
            origin: Some(origin),
            machines: machines.collect(),
            map: plan.index.clone(),
        };
        let point = store_index(writer, index, &lengths).await?;
        commit_point(writer, point.clone(), &plan.files).await?;
        let tally = Tally {
            planned: plan.cost(),
            source: BlockTraffic::between(before.0, self.source.block_counts()),
            target: BlockTraffic::between(before.1, self.target.block_counts()),
            duration: start.elapsed(),
        };
        let report = SyncReport { sequence, time, full, machines: choice.machines, tally };
        Ok((point, plan.index, report))
    }

    /// Carries the plan's blocks into new files, durably.
    async fn carry(&self, writer: &Writer, source: &JobFolder, plan: &Plan, header: OutputHeader) -> Result<()> {
        let numbers: BTreeMap<_, _> = header.machines.iter().cloned().collect();
        let frames = FrameSource::new(&self.source, source.layout(), source.head());
        let mut output = Output::new(&self.target, writer.layout(), header);
        let number = |step: &offsite_core::plan::Move| {
            let number = numbers.get(&step.address.machine).copied();
            number.ok_or_else(|| Error::Defect(format!("machine {} has no number", step.address.machine)))
        };
        match transfer(&plan.moves, &frames, number, &mut output, self.progress.as_ref()).await {
            Ok(()) => output.finish().await,
            Err(error) => {
                output.abort().await;
                Err(error)
            }
        }
    }

    fn check_block_size(
        &self,
        source: &JobFolder,
        block_size: offsite_core::BlockSize,
        has_points: bool,
    ) -> Result<()> {
        let of_source = source.chain().block_size();
        if has_points && of_source != block_size {
            return Err(Error::Settings(format!(
                "copy job {} has blocks of {block_size}, its source {} has {of_source}; copy it under another job name",
                self.name, self.source_job
            )));
        }
        Ok(())
    }
}

impl std::fmt::Debug for CopyJob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CopyJob")
            .field("name", &self.name)
            .field("source", &self.source.location())
            .field("source_job", &self.source_job)
            .field("target", &self.target.location())
            .finish_non_exhaustive()
    }
}

/// The machines that a choice copies, with their numbers in a folder that knows these already.
fn numbered(known: &[MachineName], choice: &Choice) -> Vec<(MachineName, MachineNumber)> {
    let (_, numbers) = number_machines(known, choice.machines.iter().map(|machine| &machine.name));
    choice.machines.iter().map(|machine| (machine.name.clone(), numbers[&machine.name])).collect()
}

fn state_of(steps: &Steps) -> BlockMap {
    steps.iter().fold(BlockMap::empty(), |state, (_, step)| state.overlay(step))
}

/// The time of the newest of the source's points that are copied, and that point.
fn newest(machines: &[MachineCopy], source: &JobFolder) -> (Timestamp, Origin) {
    let sequence = machines.iter().map(|machine| machine.source).max().unwrap_or(Sequence(0));
    let captured = machines.iter().map(|machine| machine.captured).max();
    let time = source.chain().get(sequence).map(|point| point.time).or(captured);
    (time.unwrap_or(source.head().clock), Origin { folder: source.id(), sequence })
}
