//! Mapping: makes a seed the start of a copy job's chain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use offsite_core::format::FormatError;
use offsite_core::plan::{Address, Cost, Files, Move, Placer, Plan};
use offsite_core::{
    BlockMap, Chain, Head, MachineName, MachineNumber, ObjectId, RestorePoint, Role, Sequence, Status, StoredBlock,
    Timestamp,
};

use crate::commit::clock_rule::ClockRule;
use crate::commit::draft::{BlockViews, Outline, commit};
use crate::commit::dry_run::DryRun;
use crate::commit::new_index::{NewIndex, PointIndex, encode_index};
use crate::commit::plan_context::Minter;
use crate::commit::room::Room;
use crate::commit::writer::{Writer, WriterSettings};
use crate::error::within;
use crate::folder::disks::{Disks, disks_of};
use crate::mover::{Aliases, Checking, FrameSource, Headers, Output, OutputHeader, Wanted, Way, transfer};
use crate::progress::{Step, Task};
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::{JobFolder, PointSelector};
use crate::reader::known_losses::KnownLosses;
use crate::report::{BlockTraffic, MapReport, Tally};
use crate::teller::Control;
use crate::{DEFAULT_LEASE, DamagedPart, Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Silent};

/// Maps a seed: takes over a job folder of a carried repository as the chain of a copy job.
///
/// All restore points of the seed are taken over, whatever their kind. Each block is compared with its digest on the way. The next
/// run of the copy job transfers only what has changed since. The seed may be the folder of a backup job or of a copy job. The new
/// chain is always a copy job's.
#[derive(Clone)]
pub struct MapSeed {
    repository: OpenRepository,
    job: JobName,
    seed: OpenRepository,
    seed_job: JobName,
    lease_duration: Duration,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

/// What mapping a seed will take over and cost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MapPlan {
    /// The number of restore points that are taken over.
    pub points: u64,
    /// The number of the newest restore point.
    pub sequence: Sequence,
    /// The time of the newest restore point.
    pub time: Timestamp,
    /// The cost: what is read from the seed, and what is written to the repository.
    pub cost: Cost,
    /// The space that the map needs, and the space that there is. A map does not begin without enough space.
    pub room: Room,
    /// The number of blocks of each machine in the seed that are known to be lost: a verification found them, or their file is
    /// missing or cut off. If there are any, the map fails.
    pub lost: BTreeMap<MachineName, u64>,
}

impl MapPlan {
    /// Returns `true` if nothing of the seed is known to be lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }
}

/// The restore points of a seed, and the frames that they refer to.
struct Contents {
    steps: Vec<(RestorePoint, BlockMap)>,
    /// The frames by place, each once.
    frames: BTreeMap<(ObjectId, u64), Wanted>,
    /// The oldest point that refers to each file.
    first: BTreeMap<ObjectId, (Sequence, Timestamp)>,
    /// The disks in the state of each point.
    disks: BTreeMap<Sequence, Disks>,
}

impl MapSeed {
    /// Maps the folder of `seed_job` in `seed` to the copy job `job` in `repository`.
    ///
    /// # Errors
    /// [`Error::SameRepository`] if `seed` and `repository` are the same repository: a copy beside its original does not protect
    /// it.
    pub fn new(repository: &OpenRepository, job: JobName, seed: &OpenRepository, seed_job: JobName) -> Result<Self> {
        if repository.id() == seed.id() {
            let (source_location, target_location) = (seed.location(), repository.location());
            return Err(Error::SameRepository { source_location, target_location });
        }
        Ok(Self {
            repository: repository.clone(),
            job,
            seed: seed.clone(),
            seed_job,
            lease_duration: DEFAULT_LEASE,
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        })
    }

    /// Reports the progress of the map to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data of the map through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends the map.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Maps the seed at `now`.
    ///
    /// Nothing of it is visible until all of it is verified and durable.
    ///
    /// # Errors
    /// - [`Error::JobHasPoints`] if the job has restore points already.
    /// - [`Error::Damaged`] if the seed is damaged. It names the damaged part.
    /// - [`Error::UnknownJob`] or [`Error::UnknownPoint`] if the seed has no restore points.
    /// - [`Error::NoRoom`] if the repository tells its free space, and that is too little for the seed.
    /// - [`Error::Busy`] if the job is running already.
    /// - Errors of the repositories.
    pub fn run(&self, now: Timestamp) -> BoxFuture<'_, Result<MapReport>> {
        within(|error| self.tell(error), async move {
            let (seed, pin) = JobFolder::pinned(&self.seed, &self.seed_job).await?;
            let result = self.run_pinned(&seed, now).await;
            seed.unpin(pin, result).await
        })
    }

    /// Plans mapping the seed at `now`.
    ///
    /// It reads the seed's indexes and no blocks, and it writes nothing.
    ///
    /// # Errors
    /// The same as [`MapSeed::run`], except errors of reading blocks and of writing. Known damage and a lack of space are no errors
    /// here: see [`MapPlan::lost`] and [`MapPlan::room`].
    pub fn plan(&self, now: Timestamp) -> BoxFuture<'_, Result<MapPlan>> {
        within(|error| self.tell(error), async move {
            // It writes nothing, so it makes no pin. What is released meanwhile ends it.
            let seed = JobFolder::open(&self.seed, &self.seed_job).await?;
            let planned = self.plan_of(&seed, now).await;
            seed.unpin(None, planned).await
        })
    }

    async fn plan_of(&self, seed: &JobFolder, now: Timestamp) -> Result<MapPlan> {
        let contents = self.contents(seed).await?;
        let (folder, settings) = (self.folder().await?, self.settings(seed, now));
        let head = DryRun::next_head(&self.repository, &self.job, &settings, folder.as_ref()).await?;
        let mut minter = Minter::imagined();
        let mut plan = Plan::default();
        for new in self.new_files(seed, &head, &contents, &mut minter) {
            new.add_to(&mut plan);
        }
        let newest = seed.chain().latest();
        let (sequence, time) = newest.map_or((Sequence(0), now), |point| (point.sequence, point.time));
        let cost = plan.cost();
        let room = Room::of(&self.repository, &cost, 0).await?;
        let known = KnownLosses::load(seed, &[]).await?;
        let lost = known.count(seed, plan.moves.iter().map(|step| (&step.address.machine, step.from))).await?;
        Ok(MapPlan { points: contents.steps.len() as u64, sequence, time, cost, room, lost })
    }

    fn tell(&self, error: Error) -> Error {
        error.between([self.seed.located()], &self.repository.located()).in_job(&self.job)
    }

    async fn run_pinned(&self, seed: &JobFolder, now: Timestamp) -> Result<MapReport> {
        let contents = self.contents(seed).await?;
        let settings = self.settings(seed, now);
        let mut writer = Writer::open(self.repository.clone(), &self.job, settings, self.progress.as_ref()).await?;
        let result = self.run_with(&mut writer, seed, contents).await;
        writer.close(result).await
    }

    /// Reads the contents of the seed, and checks that they can be taken over.
    async fn contents(&self, seed: &JobFolder) -> Result<Contents> {
        seed.point(PointSelector::Latest)?;
        if let Some(head) = seed.damaged_heads().first() {
            return Err(damaged_seed(seed).because(format!("what it committed last is lost: {head}")));
        }
        self.folder().await?;
        contents(seed).await
    }

    /// Returns the existing folder of the job, if a seed may become its chain. `None` if there is no folder yet.
    async fn folder(&self) -> Result<Option<JobFolder>> {
        match JobFolder::open(&self.repository, &self.job).await {
            Ok(folder) => {
                refuse_points(folder.chain(), &self.job, &self.repository)?;
                Ok(Some(folder))
            }
            Err(Error::UnknownJob { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn settings(&self, seed: &JobFolder, now: Timestamp) -> WriterSettings {
        WriterSettings {
            role: Role::Copy,
            block_size: seed.chain().block_size(),
            lease_duration: self.lease_duration,
            now,
            clock: ClockRule::default(),
        }
    }

    async fn run_with(&self, writer: &mut Writer, seed: &JobFolder, contents: Contents) -> Result<MapReport> {
        let start = Instant::now();
        let before = (self.seed.block_counts(), self.repository.block_counts());
        refuse_points(&writer.head().chain.clone(), &self.job, &self.repository)?;
        let mut head = writer.head().clone();
        head.machines = seed.head().machines.clone();
        let plan = self.carry(writer, seed, &contents).await?;
        let files = plan.files_after(&Files::new(), head.alignment_bytes.into());
        let places: BTreeMap<_, _> =
            plan.moves.iter().map(|step| ((step.from.file, step.from.offset), step.to)).collect();
        let mut indexes = Indexes::new(&self.repository, writer.layout(), head.folder);
        let mut new: Vec<NewIndex> = Vec::new();
        let mut points: BTreeMap<Sequence, RestorePoint> = BTreeMap::new();
        for (point, step) in contents.steps {
            let map = step.relocated(|_, _, _, at| places.get(&(at.file, at.offset)).copied().unwrap_or(at));
            let index = PointIndex {
                id: writer.mint(),
                sequence: point.sequence,
                time: point.time,
                kind: point.kind,
                base: seed.chain().base_of(point.sequence, point.kind),
                // A machine that was backed up to the seed has no origin. The next copy takes it from any source that has it.
                machines: point.machines.clone(),
                map,
                stack: None,
                spare: BlockMap::empty(),
                flags: point.flags,
                is_back_filled: point.is_back_filled,
            };
            let index = encode_index(&head, index, &files)?;
            index.open(&mut indexes)?;
            points.insert(index.point.sequence, index.point.clone());
            new.push(index);
        }
        let take = |points: &mut BTreeMap<Sequence, RestorePoint>, from: &[RestorePoint]| -> Vec<RestorePoint> {
            from.iter().filter_map(|point| points.remove(&point.sequence)).collect()
        };
        let count = points.len() as u64;
        let (archives, points) = (take(&mut points, seed.chain().archives()), take(&mut points, seed.chain().points()));
        let newest = points.last().map(|point| (point.sequence, point.time));
        let (sequence, time) = newest.ok_or_else(|| Error::defect("a seed without points".to_owned()))?;
        let chain = Chain::with_archives(seed.chain().block_size(), archives, points);
        let chain = chain.map_err(|error| damaged_seed(seed).because(error))?;
        let next_sequence = seed.head().next_sequence;
        let last_selected = seed.head().last_selected.clone();
        let labels = seed.head().labels.clone();
        let maps: Vec<BlockMap> = new.iter().map(|index| index.map().clone()).collect();
        let views = BlockViews { after: maps.iter().collect(), ..BlockViews::default() };
        writer.take_over(&labels, &last_selected);
        let outline = Outline {
            machines: Some(head.machines),
            next_sequence: Some(next_sequence),
            ..Outline::new(plan, Ok(chain), new, views)
        };
        let draft = writer.plan_context(&mut indexes).draft(outline).await?;
        let planned = draft.plan.cost();
        commit(writer, draft).await?;
        let tally = Tally {
            planned,
            source: BlockTraffic::between(before.0, self.seed.block_counts()),
            target: BlockTraffic::between(before.1, self.repository.block_counts()),
            duration: start.elapsed(),
        };
        Ok(MapReport { points: count, sequence, time, tally })
    }

    /// The new files and what is copied into each. Each file of the seed becomes one or more new files.
    fn new_files(&self, seed: &JobFolder, head: &Head, contents: &Contents, minter: &mut Minter) -> Vec<NewFile> {
        let machines: Vec<_> = seed.head().machines.iter().cloned().zip((0..).map(MachineNumber)).collect();
        let new_file = |(file, (sequence, time)): (&ObjectId, &(Sequence, Timestamp))| {
            let header = OutputHeader {
                folder: head.folder,
                sequence: *sequence,
                time: *time,
                block_size: seed.chain().block_size(),
                alignment_bytes: head.alignment_bytes,
                machines: machines.clone(),
                disks: contents.disks.get(sequence).cloned().unwrap_or_default(),
            };
            let mut placer = Placer::new(header.placement(&self.repository));
            let blocks = contents.frames.range((*file, 0)..=(*file, u64::MAX));
            let moves = blocks.map(|(_, block)| {
                let (file, offset) = placer.place(block.at.length, || minter.mint());
                let to = StoredBlock { file, offset, ..block.at };
                Move { address: block.address.clone(), source: 0, from: block.at, to }
            });
            let moves = moves.collect();
            NewFile { header, moves, files: placer.into_files() }
        };
        contents.first.iter().map(new_file).collect()
    }

    /// Copies every frame into the new files, and makes these durable.
    async fn carry(&self, writer: &mut Writer, seed: &JobFolder, contents: &Contents) -> Result<Plan> {
        let frames = FrameSource::new(&self.seed, seed.layout(), seed.head());
        let layout = writer.layout().clone();
        let head = writer.head().clone();
        let mut plan = Plan::default();
        let mut files = Vec::new();
        for new in self.new_files(seed, &head, contents, writer.minter()) {
            let first = plan.moves.len();
            files.push((new.header.clone(), first..first + new.moves.len()));
            new.add_to(&mut plan);
        }
        Room::of(&self.repository, &plan.cost(), 0).await?.require(&self.repository, Task::Map)?;
        let progress = Control::new(self.progress.as_ref(), self.gate.as_ref()).teller(Task::Map, &self.job);
        let progress =
            progress.begin(Step::Transfer, contents.frames.values().map(|block| u64::from(block.at.length)).sum());
        for (header, moves) in files {
            let output = Output::new(&self.repository, &layout, header);
            let way = Way { headers: Headers::New, checking: Checking::Digest, aliases: &Aliases::new() };
            transfer(&plan.moves[moves], std::slice::from_ref(&frames), way, output, progress.part()).await?;
        }
        progress.end();
        Ok(plan)
    }
}

/// The backup files that take over the frames of one file of the seed.
struct NewFile {
    header: OutputHeader,
    moves: Vec<Move>,
    files: BTreeMap<ObjectId, u64>,
}

impl NewFile {
    fn add_to(self, plan: &mut Plan) {
        plan.moves.extend(self.moves);
        plan.files.extend(self.files);
    }
}

impl std::fmt::Debug for MapSeed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MapSeed")
            .field("job", &self.job)
            .field("seed", &self.seed.location())
            .field("seed_job", &self.seed_job)
            .finish_non_exhaustive()
    }
}

fn refuse_points(chain: &Chain, job: &JobName, repository: &OpenRepository) -> Result<()> {
    if chain.latest().is_none() {
        return Ok(());
    }
    let location = repository.location();
    Err(Error::JobHasPoints { job: job.clone(), location })
}

/// The machines that a point has complete. The blocks of other machines are of no use to anyone.
fn whole(point: &RestorePoint) -> impl Iterator<Item = &offsite_core::MachineState> {
    point.machines.iter().filter(|machine| machine.status != Status::Incomplete)
}

/// Reads all indexes of a seed.
///
/// A seed comes from outside. So this checks that each point has all its blocks, and that each frame holds one block only.
async fn contents(seed: &JobFolder) -> Result<Contents> {
    let mut indexes = seed.indexes();
    let mut contents =
        Contents { steps: Vec::new(), frames: BTreeMap::new(), first: BTreeMap::new(), disks: BTreeMap::new() };
    for point in seed.chain().all() {
        let step = indexes.step(point).await?;
        for (name, disk, block, at) in step.stored() {
            let address = Address { machine: name.clone(), disk, block };
            let known =
                contents.frames.entry((at.file, at.offset)).or_insert_with(|| Wanted { address: address.clone(), at });
            if known.address != address || known.at != at {
                return Err(damaged(seed, point, format!("two blocks lie at {} of {}", at.offset, at.file)));
            }
            contents.first.entry(at.file).or_insert((point.sequence, point.time));
        }
        contents.steps.push((point.clone(), step));
    }
    for point in seed.chain().all() {
        let state = indexes.state(&seed.chain().steps_to(point.sequence).unwrap_or_default()).await?;
        for machine in whole(point) {
            let disks = state.machine(&machine.name).map(|machine| &machine.disks);
            if disks.is_none_or(|disks| !disks.values().all(offsite_core::DiskMap::is_full)) {
                return Err(damaged(seed, point, format!("machine {} is not whole", machine.name)));
            }
        }
        let mut disks = disks_of(&state);
        disks.retain(|name, _| whole(point).any(|machine| machine.name == *name));
        contents.disks.insert(point.sequence, disks);
    }
    Ok(contents)
}

fn damaged(seed: &JobFolder, point: &RestorePoint, why: String) -> Error {
    let object = format!("restore point {} of job {}", point.sequence, seed.job());
    let why = FormatError::Invalid { what: "index", why };
    Error::damaged(DamagedPart::Seed, object, seed.repository().located()).in_job(seed.job()).because(why)
}

fn damaged_seed(seed: &JobFolder) -> Error {
    let object = format!("the seed of job {}", seed.job());
    Error::damaged(DamagedPart::Seed, object, seed.repository().located()).in_job(seed.job())
}
