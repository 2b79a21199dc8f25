//! Copy jobs: restore points of one repository into an independent chain in another.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offsite_core::format::head::Role;
use offsite_core::plan::{Cost, Placement, Plan, Reclaiming, sync};
use offsite_core::retention::Simple;
use offsite_core::{
    BlockMap, IndexReference, MachineName, MachineState, ObjectId, Origin, PointKind, RestorePoint, Sequence, Status,
    Timestamp,
};

use crate::folder::{JobFolder, PointSelector};
use crate::mover::{FrameSource, Output, OutputHeader, transfer};
use crate::point::{PointIndex, commit_point, number_machines, store_index};
use crate::report::{BlockTraffic, CopyReport, MachineCopy, SyncReport, Tally};
use crate::transform::{Steps, load_steps, plan_merge, transform};
use crate::writer::{Writer, WriterSettings};
use crate::{DEFAULT_LEASE, Error, JobName, OpenRepository, Progress, Result, Silent};

/// Which machines of the source a copy job takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    machines: Vec<MachineName>,
    exclude: Vec<MachineName>,
}

impl Selection {
    /// All machines, new ones included.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// These machines only.
    #[must_use]
    pub fn machines(machines: Vec<MachineName>) -> Self {
        Self { machines, exclude: Vec::new() }
    }

    /// Leaves these machines out.
    #[must_use]
    pub fn without(mut self, exclude: Vec<MachineName>) -> Self {
        self.exclude = exclude;
        self
    }

    fn takes(&self, name: &MachineName) -> bool {
        !self.exclude.contains(name) && (self.machines.is_empty() || self.machines.contains(name))
    }
}

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

/// What the next run of a copy job will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPlan {
    /// The copy, if anything is new.
    pub sync: Option<PlannedSync>,
    /// The merge after it, if one is due.
    pub merge: Option<PlannedMerge>,
    /// Selected machines that the source has no whole restore point of.
    pub missing: Vec<MachineName>,
}

/// A copy that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSync {
    /// The machines, with the states that will be copied.
    pub machines: Vec<MachineCopy>,
    /// Whether the new point will stand alone.
    pub full: bool,
    /// What it costs.
    pub cost: Cost,
}

/// A merge that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMerge {
    /// The points that will be absorbed.
    pub absorbed: Vec<Sequence>,
    /// What it costs.
    pub cost: Cost,
}

/// What there is to copy.
struct Choice {
    wanted: BlockMap,
    machines: Vec<MachineCopy>,
    missing: Vec<MachineName>,
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

    /// What a run at `now` would do. Nothing is written, neither here nor there.
    ///
    /// # Errors
    /// As for [`CopyJob::run`], but for writing.
    pub async fn plan(&self, now: Timestamp) -> Result<RunPlan> {
        let source = JobFolder::open(&self.source, &self.source_job).await?;
        let target = match JobFolder::open(&self.target, &self.name).await {
            Err(Error::UnknownJob { .. }) => None,
            answer => Some(answer?),
        };
        let result = self.plan_with(&source, target.as_ref(), now).await;
        let result = source.unpin(None, result).await;
        match &target {
            Some(target) => target.unpin(None, result).await,
            None => result,
        }
    }

    async fn plan_with(&self, source: &JobFolder, target: Option<&JobFolder>, now: Timestamp) -> Result<RunPlan> {
        let mut steps = Steps::new();
        if let Some(target) = target {
            self.check_block_size(source, target.chain().block_size(), !target.chain().points().is_empty())?;
            for point in target.chain().points() {
                steps.push((point.clone(), load(target, point).await?));
            }
        }
        let latest = state_of(&steps);
        let choice = self.choose(source, &latest, now).await?;
        let known = target.map_or(&[][..], |target| &target.head().machines);
        let alignment_bytes = match target {
            Some(target) => target.head().alignment_bytes,
            None => self.target.backend_granularity().unwrap_or(64).max(64),
        };
        let sequence = target.map_or(Sequence(1), |target| target.head().next_sequence);
        let mut lengths = target.map_or_else(BTreeMap::new, |target| target.head().file_lengths());
        let mut planned_sync = None;
        if !choice.machines.is_empty() {
            let header = self.header([0; 16], sequence, now, source, alignment_bytes, known, &choice);
            // Ids that no writer will ever mint: nothing of this plan is carried out.
            let mut minted = 0;
            let mint = || {
                minted += 1;
                ObjectId::new(u32::MAX, minted)
            };
            let plan = sync(&latest, &choice.wanted, header.placement(&self.target), mint);
            lengths.extend(&plan.files);
            let full = steps.is_empty();
            let cost = plan.cost();
            steps.push((imagined_point(sequence, now, full, &choice), plan.index));
            planned_sync = Some(PlannedSync { machines: choice.machines, full, cost });
        }
        let punches = self.target.backend_granularity().is_some();
        let reclaiming = Reclaiming { alignment: alignment_bytes.into(), lengths: &lengths, punches };
        let merge = plan_merge(&steps, Some(self.keep), reclaiming, now)?.map(|merge| PlannedMerge {
            absorbed: steps[..merge.increments].iter().map(|(point, _)| point.sequence).collect(),
            cost: merge.plan.cost(),
        });
        Ok(RunPlan { sync: planned_sync, merge, missing: choice.missing })
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
        let mut writer = Writer::open(self.target.clone(), &self.name, settings).await?;
        let result = self.run_with(&mut writer, source, now).await;
        writer.close(result).await
    }

    async fn run_with(&self, writer: &mut Writer, source: &JobFolder, now: Timestamp) -> Result<CopyReport> {
        let has_points = !writer.head().chain.points().is_empty();
        self.check_block_size(source, writer.head().chain.block_size(), has_points)?;
        let mut steps = load_steps(writer).await?;
        let latest = state_of(&steps);
        let choice = self.choose(source, &latest, now).await?;
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
        let header =
            self.header(head.folder, head.next_sequence, time, source, head.alignment_bytes, &head.machines, &choice);
        let sequence = header.sequence;
        let placement: Placement = header.placement(&self.target);
        let plan: Plan = sync(latest, &choice.wanted, placement, || writer.mint());
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

    #[expect(clippy::too_many_arguments, reason = "each is one field of the header, and both callers have them apart")]
    fn header(
        &self,
        folder: [u8; 16],
        sequence: Sequence,
        time: Timestamp,
        source: &JobFolder,
        alignment_bytes: u32,
        known: &[MachineName],
        choice: &Choice,
    ) -> OutputHeader {
        let (_, numbers) = number_machines(known, choice.machines.iter().map(|machine| &machine.name));
        let machines = choice.machines.iter().map(|machine| (machine.name.clone(), numbers[&machine.name]));
        let block_size = source.chain().block_size();
        OutputHeader { folder, sequence, time, block_size, alignment_bytes, machines: machines.collect() }
    }

    /// The newest whole state of each selected machine, but for those that the chain has already.
    async fn choose(&self, source: &JobFolder, latest: &BlockMap, now: Timestamp) -> Result<Choice> {
        let mut names: Vec<&MachineName> =
            source.head().machines.iter().filter(|name| self.selection.takes(name)).collect();
        names.sort();
        let mut missing: Vec<MachineName> =
            self.selection.machines.iter().filter(|name| !names.contains(name)).cloned().collect();
        let mut states: BTreeMap<Sequence, BlockMap> = BTreeMap::new();
        let (mut wanted, mut machines) = (BlockMap::empty(), Vec::new());
        let mut whole = 0;
        for name in names {
            let Some(point) = source.newest_whole(name, now) else {
                missing.push(name.clone());
                continue;
            };
            whole += 1;
            let state = match states.entry(point.sequence) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(source.state_at(point.sequence).await?),
            };
            let Some(machine) = state.machine(name) else {
                return Err(Error::Defect(format!(
                    "restore point {} lists {name} and does not hold it",
                    point.sequence
                )));
            };
            let copied = latest
                .machine(name)
                .is_some_and(|copied| copied.captured == machine.captured && same_disks(copied, machine));
            if !copied {
                machines.push(MachineCopy { name: name.clone(), captured: machine.captured, source: point.sequence });
                wanted.insert(name.clone(), machine.clone());
            }
        }
        if whole == 0 && source.chain().points().is_empty() {
            // A first backup that was cut off leaves a folder without one.
            source.point(PointSelector::Latest)?;
        }
        if whole == 0 {
            return Err(nothing_selected(source, &missing));
        }
        Ok(Choice { wanted, machines, missing })
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

fn state_of(steps: &Steps) -> BlockMap {
    steps.iter().fold(BlockMap::empty(), |state, (_, step)| state.overlay(step))
}

fn same_disks(left: &offsite_core::MachineMap, right: &offsite_core::MachineMap) -> bool {
    left.disks.keys().eq(right.disks.keys())
        && left.disks.values().zip(right.disks.values()).all(|(left, right)| left.same_content(right))
}

async fn load(folder: &JobFolder, point: &RestorePoint) -> Result<BlockMap> {
    let index = crate::folder::load_index(folder.repository(), folder.layout(), folder.head(), point).await?;
    Ok(index.map)
}

/// The time of the newest of the source's points that are copied, and that point.
fn newest(machines: &[MachineCopy], source: &JobFolder) -> (Timestamp, Origin) {
    let sequence = machines.iter().map(|machine| machine.source).max().unwrap_or(Sequence(0));
    let captured = machines.iter().map(|machine| machine.captured).max();
    let time = source.chain().get(sequence).map(|point| point.time).or(captured);
    (time.unwrap_or(source.head().clock), Origin { folder: source.id(), sequence })
}

fn nothing_selected(source: &JobFolder, missing: &[MachineName]) -> Error {
    Error::UnknownMachine {
        machine: missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        place: format!("job {} in {}", source.job(), source.repository().location()),
        known: source.head().machines.iter().map(ToString::to_string).collect(),
    }
}

/// The point that a sync would make, as far as a merge after it looks at points.
fn imagined_point(sequence: Sequence, time: Timestamp, full: bool, choice: &Choice) -> RestorePoint {
    let machines = choice.machines.iter().map(|machine| MachineState {
        name: machine.name.clone(),
        status: Status::Complete,
        captured: machine.captured,
    });
    RestorePoint {
        sequence,
        time,
        kind: if full { PointKind::Full } else { PointKind::Increment },
        machines: machines.collect(),
        index: IndexReference { id: ObjectId::new(u32::MAX, 0), length: 0, directory_checksum: 0 },
        stored_blocks: 0,
        stored_bytes: 0,
        origin: None,
    }
}
