//! Exports: writes machines as one restore point to one file that needs nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use offsite_core::format::records::{EXPORT_ALIGNMENT_BYTES, ExportEnd, ExportHeader};
use offsite_core::format::{FormatError, Kind, WireFormat, encode_record};
use offsite_core::plan::{Cost, Plan, sync};
use offsite_core::{
    BlockMap, FolderId, Index, MachineName, MachineNumber, MachineState, ObjectId, Origin, PointKind, RestorePoint,
    Sequence, Status, Timestamp,
};
use tokio::sync::Mutex;

use crate::bytes::Bytes;
use crate::commit::room::Room;
use crate::error::within;
use crate::files::free_space;
use crate::files::partial::{Content, Partial, Replace};
use crate::folder::disks::disks_of;
use crate::folder::open_repository::random_bytes;
use crate::mover::{Aliases, Checking, FrameSource, Headers, Output, OutputHeader, Sink, Way, transfer};
use crate::progress::Task;
use crate::reader::job_folder::{JobFolder, PointSelector};
use crate::reader::known_losses::KnownLosses;
use crate::report::{BlockTraffic, ExportReport, ExportedMachine, Tally};
use crate::seams::blocking;
use crate::teller::Control;
use crate::{Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Side, Silent};

/// The id of both objects in every export: the index and the backup file.
const FILE: ObjectId = ObjectId::new(1, 1);
const INDEX: ObjectId = ObjectId::new(1, 2);

/// Exports machines as one restore point in one file.
///
/// By default, each machine is in its newest state, which may be older than the newest restore point. With [`point`](Self::point),
/// all machines are in the state of one point.
///
/// An export is one full restore point with one backup file and its own index. Its last record tells if the file was cut off. It is
/// written from front to back, so it can go into a pipe. `docs/format.md` describes it.
#[derive(Clone)]
pub struct Export {
    repository: OpenRepository,
    job: JobName,
    point: PointSelector,
    machines: Vec<MachineName>,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

impl Export {
    /// Exports the newest state of each machine that `job` in `repository` has.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            point: PointSelector::Latest,
            machines: Vec::new(),
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        }
    }

    /// Sets the restore point (default: the newest state of each machine).
    ///
    /// A point by number has its own machines. A point by time has, of each machine, the newest state that is not later.
    #[must_use]
    pub fn point(mut self, point: PointSelector) -> Self {
        self.point = point;
        self
    }

    /// Sets which machines to export. An empty list stands for all (default: all).
    #[must_use]
    pub fn machines(mut self, machines: Vec<MachineName>) -> Self {
        self.machines = machines;
        self
    }

    /// Reports the progress of the export to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data of the export through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends the export.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Writes the export to `writer`.
    ///
    /// It calls `writer` on threads that may block, in pieces of about 4 MiB, so `writer` needs no buffer of its own.
    ///
    /// # Errors
    /// - [`Error::UnknownJob`], [`Error::UnknownPoint`] or [`Error::UnknownMachine`] for what the repository does not have.
    /// - [`Error::NothingYet`] if no machine is complete. [`Error::Incomplete`] if a requested machine is not.
    /// - [`Error::Damaged`] if a block differs from what was stored.
    /// - [`Error::Io`] if `writer` fails.
    /// - Errors of the repository.
    ///
    /// After an error, `writer` has got only a part of the export. An import of that part fails.
    pub fn run(&self, writer: impl Write + Send + 'static) -> BoxFuture<'_, Result<ExportReport>> {
        self.run_to(Sink::new("writing the export", writer), None)
    }

    /// Writes the export to the file `to`, which must not exist.
    ///
    /// The file gets its name only when it is complete and durable. Until then, it is called `TO.partial`. If the process dies,
    /// that file stays, and the next export to `to` replaces it.
    ///
    /// # Errors
    /// The same as [`Export::run`]. [`Error::ExportFile`] for a path that exists already or cannot be written, or that has
    /// too little space.
    /// [`Error::InRepository`] for a path among a repository's own files. After an error there is no file.
    pub fn save<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<ExportReport>> {
        within(|error| self.tell(error), async move {
            let path = to.to_owned();
            let (partial, file) = blocking(move || Partial::create(&path, Content::Export, Replace::Never)).await??;
            let writer = file.try_clone().map_err(|error| partial.failed(error))?;
            let report = self.run_to(Sink::new("writing the export", writer), Some(to.to_owned())).await?;
            blocking(move || {
                let kept = file.sync_all().map_err(|error| partial.failed(error)).and_then(|()| partial.keep());
                if kept.is_err() {
                    partial.discard();
                }
                kept
            })
            .await??;
            Ok(report)
        })
    }

    /// Writes the export to `sink`. `to` is the path of the file behind it, `None` if there is none.
    fn run_to(&self, sink: Sink<'static>, to: Option<PathBuf>) -> BoxFuture<'_, Result<ExportReport>> {
        within(|error| self.tell(error), async move {
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let result = self.run_pinned(&folder, sink, to).await;
            folder.unpin(pin, result).await
        })
    }

    /// Plans an export.
    ///
    /// It reads indexes and no blocks, and it writes nothing.
    ///
    /// # Errors
    /// The same as [`Export::run`], except errors of reading blocks and of writing. Known damage is no error here: see
    /// [`ExportPlan::lost`].
    pub fn plan(&self) -> BoxFuture<'_, Result<ExportPlan>> {
        self.plan_to(None)
    }

    /// Plans an export to the file `to`. `None` stands for no file.
    fn plan_to(&self, to: Option<PathBuf>) -> BoxFuture<'_, Result<ExportPlan>> {
        within(|error| self.tell(error), async move {
            // It writes nothing, so it makes no pin. What is released meanwhile ends it.
            let folder = JobFolder::open(&self.repository, &self.job).await?;
            let planned = self.plan_in(&folder, to).await;
            folder.unpin(None, planned).await
        })
    }

    async fn plan_in(&self, folder: &JobFolder, to: Option<PathBuf>) -> Result<ExportPlan> {
        let prepared = self.prepare(folder).await?;
        let bytes_max = prepared.bytes_max()?;
        let known = KnownLosses::load(folder, &[]).await?;
        let blocks = prepared.plan.moves.iter().map(|step| (&step.address.machine, step.from));
        Ok(ExportPlan {
            sequence: prepared.sequence,
            time: prepared.time,
            machines: prepared.machines.clone(),
            bytes_max,
            cost: prepared.plan.cost(),
            room: room(bytes_max, to).await?,
            lost: known.count(folder, blocks).await?,
        })
    }

    /// Plans an export to the file `to`, and checks the path. See [`Export::plan`].
    ///
    /// # Errors
    /// The same as [`Export::save`], except errors of reading blocks and of writing. Known damage and a lack of space are no errors
    /// here: see [`ExportPlan::lost`] and [`ExportPlan::room`].
    pub fn plan_save<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<ExportPlan>> {
        let examined = || {
            let path = to.to_owned();
            blocking(move || Partial::examine_in_folder(&path, Content::Export, Replace::Never))
        };
        within(|error| self.tell(error), async move {
            examined().await??;
            self.plan_to(Some(to.to_owned())).await
        })
    }

    fn tell(&self, error: Error) -> Error {
        let error = match error {
            Error::Io { .. } | Error::InRepository { .. } => error.on(Side::Target),
            _ => error.on(Side::Source),
        };
        match error.side() {
            Some(Side::Source) => error.at(|| self.repository.located()).in_job(&self.job),
            _ => error.in_job(&self.job),
        }
    }

    /// Prepares everything of an export but its blocks.
    async fn prepare(&self, folder: &JobFolder) -> Result<Prepared> {
        let points = self.points(folder)?;
        let state = state(folder, &points).await?;
        let newest = points.values().max_by_key(|point| point.sequence);
        let newest = *newest.ok_or_else(|| Error::defect("an export without machines".to_owned()))?;
        let id = FolderId::new(random_bytes()?);
        let header = OutputHeader {
            folder: id,
            sequence: newest.sequence,
            time: newest.time,
            block_size: folder.chain().block_size(),
            alignment_bytes: EXPORT_ALIGNMENT_BYTES,
            machines: state.machines().keys().cloned().zip((0..).map(MachineNumber)).collect(),
            disks: disks_of(&state),
        };
        let plan = sync(&BlockMap::empty(), &state, header.bounded(u64::MAX), || FILE);
        let numbered = header.machines.iter().zip(state.machines().values()).map(|((name, number), machine)| {
            let origin = points.get(name).map(|point| Origin::new(folder.id(), point.sequence));
            let state = MachineState::new(name.clone(), Status::Complete, machine.captured);
            let state = state.with_origin(origin);
            (state, *number)
        });
        let index = Index {
            folder: id,
            id: INDEX,
            sequence: newest.sequence,
            time: newest.time,
            kind: PointKind::Full,
            is_back_filled: false,
            base: None,
            block_size: header.block_size,
            below: Vec::new(),
            files: plan.files.clone(),
            machines: numbered.collect(),
            map: plan.index.clone(),
            spare: BlockMap::empty(),
        };
        let index = index.encode().map_err(defect)?;
        let machines = state.machines().iter().filter_map(|(name, machine)| {
            let sequence = points.get(name)?.sequence;
            Some(ExportedMachine { name: name.clone(), sequence, captured: machine.captured })
        });
        let machines = machines.collect();
        let (sequence, time) = (newest.sequence, newest.time);
        Ok(Prepared { id, job: self.job.to_string(), sequence, time, machines, header, plan, index: index.into() })
    }

    async fn run_pinned(
        &self,
        folder: &JobFolder,
        mut sink: Sink<'static>,
        to: Option<PathBuf>,
    ) -> Result<ExportReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let prepared = self.prepare(folder).await?;
        if let Some(to) = to {
            let room = room(prepared.bytes_max()?, Some(to.clone())).await?;
            if let Some(free) = room.free_bytes.filter(|_| !room.is_enough()) {
                let (needed, free) = (Bytes(room.needed_bytes), Bytes(free));
                let detail = format!("no space left for it: it gets up to {needed}, and {free} are free there");
                return Err(Error::export_file(&to, &detail, Some(ErrorKind::StorageFull.into())));
            }
        }
        let alignment = u64::from(EXPORT_ALIGNMENT_BYTES);
        sink.write(vec![prepared.record()?]).await?;
        sink.pad(alignment).await?;
        sink.write(vec![prepared.index.clone()]).await?;
        sink.pad(alignment).await?;
        let file_start = sink.bytes();
        let sink = Arc::new(Mutex::new(sink));
        let frames = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let Prepared { id, sequence, time, machines, header, plan, .. } = prepared;
        let output = Output::stream(Arc::clone(&sink), header);
        let progress = Control::new(self.progress.as_ref(), self.gate.as_ref()).teller(Task::Export, &self.job);
        let way = Way { headers: Headers::New, checking: Checking::Stored, aliases: &Aliases::new() };
        transfer(&plan.moves, std::slice::from_ref(&frames), way, output, progress).await?;
        let mut sink = sink.lock().await;
        let written = sink.bytes() - file_start;
        let end = ExportEnd { id, frames: plan.moves.len() as u64, bytes: sink.bytes(), checksum: sink.checksum() };
        sink.write(vec![encode_record(Kind::ExportEnd, &end).map_err(defect)?.into()]).await?;
        let bytes = sink.bytes();
        sink.flush().await?;
        let source = BlockTraffic::between(before, self.repository.block_counts());
        let target = BlockTraffic { bytes_written: written, ..BlockTraffic::default() };
        let tally = Tally { planned: plan.cost(), source, target, duration: start.elapsed() };
        Ok(ExportReport { sequence, time, machines, bytes, tally })
    }

    /// Returns the machines to export, each with the restore point that its state is taken from.
    fn points<'a>(&self, folder: &'a JobFolder) -> Result<BTreeMap<MachineName, &'a RestorePoint>> {
        folder.point(self.point)?;
        let names: BTreeSet<&MachineName> = match &self.machines[..] {
            [] => folder.whole_machines(self.point),
            names => names.iter().collect(),
        };
        if names.is_empty() {
            let place = format!("what is to be exported of job {}", self.job);
            return Err(Error::nothing_yet("whole machine", place).at(|| folder.repository().located()));
        }
        names.into_iter().map(|name| Ok((name.clone(), folder.point_of(name, self.point)?))).collect()
    }
}

/// What an export will contain and cost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ExportPlan {
    /// The number of the newest restore point that a machine's state is taken from.
    pub sequence: Sequence,
    /// The time of that restore point, which becomes the time of the export.
    pub time: Timestamp,
    /// The machines, sorted by name.
    pub machines: Vec<ExportedMachine>,
    /// The largest possible length of the export in bytes. The export is at most 32 bytes shorter.
    pub bytes_max: u64,
    /// The cost: what is read, and what is written to the backup file in the export.
    pub cost: Cost,
    /// The space that the export needs, and the space that there is beside its file. An export to a file does not begin without
    /// enough space. Of a pipe, nothing is known.
    pub room: Room,
    /// The number of blocks of each machine that are known to be lost: a verification found them, or their file is missing or cut
    /// off. If there are any, the export fails.
    pub lost: BTreeMap<MachineName, u64>,
}

impl ExportPlan {
    /// Returns `true` if nothing of it is known to be lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }
}

/// An export whose blocks have not been read yet.
struct Prepared {
    id: FolderId,
    job: String,
    sequence: Sequence,
    time: Timestamp,
    machines: Vec<ExportedMachine>,
    header: OutputHeader,
    plan: Plan,
    index: bytes::Bytes,
}

impl Prepared {
    fn file_bytes(&self) -> u64 {
        self.plan.files.values().sum()
    }

    /// The record at the start of the export.
    fn record(&self) -> Result<bytes::Bytes> {
        let (index_bytes, file_bytes) = (self.index.len() as u64, self.file_bytes());
        let record = ExportHeader { id: self.id, job: self.job.clone(), index_bytes, file_bytes };
        Ok(encode_record(Kind::Export, &record).map_err(defect)?.into())
    }

    /// The largest possible length of the export in bytes.
    fn bytes_max(&self) -> Result<u64> {
        let end = ExportEnd { id: self.id, frames: u64::MAX, bytes: u64::MAX, checksum: u64::MAX };
        let end = encode_record(Kind::ExportEnd, &end).map_err(defect)?.len() as u64;
        Ok(self.start_bytes()? + self.file_bytes() + end)
    }

    /// The number of bytes before the backup file.
    fn start_bytes(&self) -> Result<u64> {
        let alignment = u64::from(EXPORT_ALIGNMENT_BYTES);
        let record = (self.record()?.len() as u64).next_multiple_of(alignment);
        Ok(record + (self.index.len() as u64).next_multiple_of(alignment))
    }
}

/// Returns the space that an export of `bytes_max` needs, and the free space where the file `to` is to be. `None` stands for no file.
async fn room(bytes_max: u64, to: Option<PathBuf>) -> Result<Room> {
    let free = move || {
        let folder = to.as_deref().map(|to| to.parent().filter(|folder| !folder.as_os_str().is_empty()));
        folder.and_then(|folder| free_space::free_bytes(folder.unwrap_or(Path::new("."))))
    };
    Ok(Room { needed_bytes: bytes_max, free_bytes: blocking(free).await?, min_free_bytes: 0 })
}

/// Returns the state of each machine at its point.
async fn state(folder: &JobFolder, points: &BTreeMap<MachineName, &RestorePoint>) -> Result<BlockMap> {
    let (mut indexes, mut state) = (folder.indexes(), BlockMap::empty());
    let numbers: BTreeSet<Sequence> = points.values().map(|point| point.sequence).collect();
    for sequence in numbers {
        let steps = folder.chain().steps_to(sequence).unwrap_or_default();
        let at_point = indexes.state(&steps).await?;
        for (name, point) in points.iter().filter(|(_, point)| point.sequence == sequence) {
            state.insert(name.clone(), folder.machine_in(&at_point, name, point)?);
        }
    }
    Ok(state)
}

impl std::fmt::Debug for Export {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Export")
            .field("job", &self.job)
            .field("point", &self.point)
            .field("machines", &self.machines)
            .finish_non_exhaustive()
    }
}

fn defect(error: FormatError) -> Error {
    Error::defect(error.to_string())
}
