//! Copy jobs: restore points of one repository into an independent chain in another.

mod dry_run;
mod offer;
mod selection;

use std::sync::Arc;
use std::time::{Duration, Instant};

use offsite_core::format::head::{Head, Role};
use offsite_core::retention::{Policy, Regular, Simple};
use offsite_core::{BlockMap, PointKind, Timestamp};

use crate::folder::JobFolder;
use crate::indexes::Indexes;
use crate::mover::{Checking, FrameSource, Headers, Output, transfer};
use crate::point::commit_point;
use crate::report::{BlockTraffic, CopyReport, OperationReport, SyncReport, Tally};
use crate::transform::{Drafting, MergeMethod, Transforms, carry_out, transform, whole};
use crate::writer::{Writer, WriterSettings};
use crate::{DEFAULT_LEASE, Error, JobName, OpenRepository, Progress, Result, Silent};

pub use dry_run::{PlannedSync, RunPlan};
pub use selection::Selection;

use offer::{NewPoint, Offer};

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
        let head = writer.head().clone();
        let offer = self.offer(&head, source, &latest, now, &mut || writer.mint()).await?;
        drop(latest);
        let Offer { stored, selected, missing } = offer;
        let mut report = None;
        if let Some(stored) = stored {
            report = Some(self.store(writer, &mut indexes, source, stored).await?);
        }
        writer.select(&selected);
        let added = u32::from(report.is_some());
        let progress = self.progress.as_ref();
        let (fulls, notes) = self.make_fulls(writer, &mut indexes, source).await?;
        let mut transform = transform(writer, &mut indexes, &self.transforms, now, added, progress).await?;
        transform.operations.splice(0..0, fulls);
        transform.notes.splice(0..0, notes);
        Ok(CopyReport { sync: report, transform, missing })
    }

    /// Copies what was chosen, and commits it as a restore point.
    async fn store(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        source: &JobFolder,
        stored: NewPoint,
    ) -> Result<SyncReport> {
        let start = Instant::now();
        let before = (self.source.block_counts(), self.target.block_counts());
        let NewPoint { point, plan, header, predecessor, machines } = stored;
        let (sequence, time, full) = (point.sequence, point.time, point.kind == PointKind::Full);
        let frames = FrameSource::new(&self.source, source.layout(), source.head());
        let output = Output::new(&self.target, writer.layout(), header);
        transfer(&plan.moves, &frames, Headers::New, Checking::Stored, output, self.progress.as_ref()).await?;
        let map = point.map.clone();
        let point = commit_point(writer, None, point, &plan, predecessor).await?;
        let tally = Tally {
            planned: plan.cost(),
            source: BlockTraffic::between(before.0, self.source.block_counts()),
            target: BlockTraffic::between(before.1, self.target.block_counts()),
            duration: start.elapsed(),
        };
        indexes.insert(point.index.id, map);
        Ok(SyncReport { sequence, time, full, machines, tally })
    }

    /// Makes fulls of the flagged increments that are to be read whole; what was done, and what could not be done as asked.
    async fn make_fulls(
        &self,
        writer: &mut Writer,
        indexes: &mut Indexes,
        source: &JobFolder,
    ) -> Result<(Vec<OperationReport>, Vec<String>)> {
        let (mut done, mut notes) = (Vec::new(), Vec::new());
        while let Some(sequence) = whole::waiting(writer.head(), self.transforms.retention.as_ref()) {
            let head = writer.head().clone();
            let draft = {
                let mut mint = || writer.mint();
                let indexes = &mut *indexes;
                let mut drafting = Drafting { repository: &self.target, head: &head, indexes, mint: &mut mint };
                whole::draft(&mut drafting, source, sequence).await?
            };
            notes.extend(whole::note(&draft.operation));
            done.push(carry_out(writer, draft, self.progress.as_ref()).await?);
        }
        Ok((done, notes))
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

/// The state that the chain's newest point stands for.
async fn latest_state(head: &Head, indexes: &mut Indexes) -> Result<BlockMap> {
    let steps = head.chain.latest().and_then(|point| head.chain.steps_to(point.sequence));
    indexes.state(&steps.unwrap_or_default()).await
}
