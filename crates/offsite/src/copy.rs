//! Copy jobs: restore points of one repository into an independent chain in another.

mod dry_run;
mod selection;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offsite_core::format::head::{Head, Role};
use offsite_core::plan::{Plan, sync};
use offsite_core::retention::{Marks, Policy, Regular, Simple, mark};
use offsite_core::{BlockMap, MachineName, MachineNumber, Origin, PointKind, Sequence, Timestamp};

use crate::folder::JobFolder;
use crate::indexes::Indexes;
use crate::mover::{FrameSource, Output, OutputHeader, transfer};
use crate::point::{PointIndex, commit_point, number_machines};
use crate::report::{BlockTraffic, CopyReport, MachineCopy, SyncReport, Tally};
use crate::transform::{MergeMethod, Transforms, transform};
use crate::writer::{Writer, WriterSettings};
use crate::{DEFAULT_LEASE, Error, JobName, OpenRepository, Progress, Result, Silent};

pub use dry_run::{PlannedSync, RunPlan};
pub use selection::Selection;

use dry_run::states;
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
    transforms: Transforms,
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
            transforms: Transforms::keeping(Policy::default()),
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

    /// How many restore points the chain keeps: a policy that only counts.
    #[must_use]
    pub fn keep(self, policy: Simple) -> Self {
        self.retention(Policy { regular: Regular::Simple(policy), ..Policy::default() })
    }

    /// Which restore points are kept, in the chain and as archives beside it.
    #[must_use]
    pub fn retention(mut self, policy: Policy) -> Self {
        self.transforms.retention = Some(policy);
        self
    }

    /// How the oldest increments are merged into the full.
    #[must_use]
    pub fn merge(mut self, method: MergeMethod) -> Self {
        self.transforms.merge = method;
        self
    }

    /// What the transform phase does: retention, merging and all else that can be chosen.
    #[must_use]
    pub fn transforms(mut self, transforms: Transforms) -> Self {
        self.transforms = transforms;
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
        let has_points = writer.head().chain.latest().is_some();
        self.check_block_size(source, writer.head().chain.block_size(), has_points)?;
        let mut indexes = Indexes::new(&self.target, writer.layout(), writer.head().folder);
        let latest = latest_state(writer.head(), &mut indexes).await?;
        let choice = self.selection.choose(source, &latest, now).await?;
        let missing = choice.missing.clone();
        let mut report = None;
        if !choice.machines.is_empty() {
            report = Some(self.sync(writer, &mut indexes, source, &latest, choice).await?);
        }
        drop(latest);
        let added = u32::from(report.is_some());
        let progress = self.progress.as_ref();
        let transform = transform(writer, &mut indexes, &self.transforms, now, added, progress).await?;
        Ok(CopyReport { sync: report, transform, missing })
    }

    /// Copies what was chosen, and commits it as a restore point.
    async fn sync(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        source: &JobFolder,
        latest: &BlockMap,
        choice: Choice,
    ) -> Result<SyncReport> {
        let start = Instant::now();
        let before = (self.source.block_counts(), self.target.block_counts());
        let head = writer.head();
        let full = head.chain.latest().is_none();
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
        let marks = self.marks(writer.head(), time);
        let point = PointIndex {
            id: writer.mint(),
            sequence,
            time,
            kind: if full { PointKind::Full } else { PointKind::Increment },
            origin: Some(origin),
            machines: states(&choice),
            below: Vec::new(),
            stored: None,
            map: plan.index.clone(),
            flags: marks.point,
        };
        let point = commit_point(writer, point, &plan, marks.predecessor).await?;
        let tally = Tally {
            planned: plan.cost(),
            source: BlockTraffic::between(before.0, self.source.block_counts()),
            target: BlockTraffic::between(before.1, self.target.block_counts()),
            duration: start.elapsed(),
        };
        indexes.insert(point.index.id, plan.index);
        Ok(SyncReport { sequence, time, full, machines: choice.machines, tally })
    }

    /// The flags that a point of this time brings.
    fn marks(&self, head: &Head, time: Timestamp) -> Marks {
        let policy = self.transforms.retention.as_ref();
        let Some((gfs, predecessor)) = policy.and_then(|policy| policy.gfs.as_ref()).zip(head.chain.latest()) else {
            return Marks::default();
        };
        let zone = policy.map(|policy| &policy.zone);
        zone.map_or_else(Marks::default, |zone| mark(gfs, zone, predecessor.time, time))
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

/// The state that the chain's newest point stands for.
async fn latest_state(head: &Head, indexes: &mut Indexes) -> Result<BlockMap> {
    let steps = head.chain.latest().and_then(|point| head.chain.steps_to(point.sequence));
    indexes.state(&steps.unwrap_or_default()).await
}

/// The time of the newest of the source's points that are copied, and that point.
fn newest(machines: &[MachineCopy], source: &JobFolder) -> (Timestamp, Origin) {
    let sequence = machines.iter().map(|machine| machine.source).max().unwrap_or(Sequence(0));
    let captured = machines.iter().map(|machine| machine.captured).max();
    let time = source.chain().get(sequence).map(|point| point.time).or(captured);
    (time.unwrap_or(source.head().clock), Origin { folder: source.id(), sequence })
}
