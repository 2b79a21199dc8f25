//! Exports: machines as one restore point in one file that stands for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use offsite_core::format::records::{EXPORT_ALIGNMENT_BYTES, ExportEnd, ExportHeader};
use offsite_core::format::{FormatError, Kind, WireFormat, encode_record};
use offsite_core::plan::{Cost, Plan, sync};
use offsite_core::{
    BlockMap, FolderId, Index, MachineName, MachineNumber, MachineState, ObjectId, Origin, PointKind, RestorePoint,
    Sequence, Status, Timestamp,
};
use tokio::sync::Mutex;

use crate::error::within;
use crate::files::partial::{Content, Partial, Replace};
use crate::folder::disks::disks_of;
use crate::folder::open_repository::random_bytes;
use crate::mover::{Aliases, Checking, FrameSource, Headers, Output, OutputHeader, Sink, Way, transfer};
use crate::progress::Task;
use crate::reader::job_folder::{JobFolder, PointSelector};
use crate::report::{BlockTraffic, ExportReport, ExportedMachine, Tally};
use crate::seams::blocking;
use crate::teller::Control;
use crate::{Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Side, Silent};

/// The names of the two objects in every export.
const FILE: ObjectId = ObjectId::new(1, 1);
const INDEX: ObjectId = ObjectId::new(1, 2);

/// An export of machines: each in its newest state, which may be older than the newest restore point, or all as one point has them.
///
/// What is written is one full restore point in one file, with its own index, and an end that tells a file that was cut off. It is
/// written front to back, so it may go into a pipe. `docs/format.md` describes it.
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
    /// The newest state of each machine that `job` holds.
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

    /// The states at this restore point: by number, those that it has; by time, of each machine the newest that is not newer.
    #[must_use]
    pub fn point(mut self, point: PointSelector) -> Self {
        self.point = point;
        self
    }

    /// Only these machines. An empty list takes all.
    #[must_use]
    pub fn machines(mut self, machines: Vec<MachineName>) -> Self {
        self.machines = machines;
        self
    }

    /// Tells `progress` how far the export is.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Lets the block data of the export through `gate`. [`Gate`] says what is kept when it ends there.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Writes the export. It is called on threads that may block, and its buffers need not be its own: pieces have about 4 MiB.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], [`Error::UnknownPoint`], [`Error::UnknownMachine`]; [`Error::NothingYet`] if no machine is whole, [`Error::Incomplete`] if one that was
    /// asked for is not; [`Error::Damaged`] for a block that is not what was
    /// stored; [`Error::Io`] if `writer` fails. What was written until then is no export, and an import says so.
    pub fn run(&self, writer: impl Write + Send + 'static) -> BoxFuture<'_, Result<ExportReport>> {
        self.run_to(Sink::new("writing the export", writer))
    }

    /// Writes the export to the file `to`, which must not exist. The file has its name only once it is whole and durable; until then, and
    /// if the process dies, it is called `TO.partial`, which the next export to `to` replaces.
    ///
    /// # Errors
    /// As [`Export::run`]; [`Error::ExportFile`] for a path that is taken or cannot be written, [`Error::InRepository`] for one
    /// among a repository's own files. After an error there is no file.
    pub fn save<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<ExportReport>> {
        within(|error| self.tell(error), async move {
            let path = to.to_owned();
            let (partial, file) = blocking(move || Partial::create(&path, Content::Export, Replace::Never)).await??;
            let writer = file.try_clone().map_err(|error| partial.failed(error))?;
            let report = self.run(writer).await?;
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

    fn run_to(&self, sink: Sink<'static>) -> BoxFuture<'_, Result<ExportReport>> {
        within(|error| self.tell(error), async move {
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let result = self.run_pinned(&folder, sink).await;
            folder.unpin(pin, result).await
        })
    }

    /// What an export now would have and cost. It reads indexes and no blocks, and writes nothing.
    ///
    /// # Errors
    /// As for [`Export::run`], but for reading blocks and for writing.
    pub fn plan(&self) -> BoxFuture<'_, Result<ExportPlan>> {
        Box::pin(async move {
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let planned = async {
                let prepared = self.prepare(&folder).await?;
                let end = ExportEnd { id: prepared.id, frames: u64::MAX, bytes: u64::MAX, checksum: u64::MAX };
                let end = encode_record(Kind::ExportEnd, &end).map_err(defect)?.len() as u64;
                Ok(ExportPlan {
                    sequence: prepared.sequence,
                    time: prepared.time,
                    machines: prepared.machines.clone(),
                    bytes_max: prepared.start_bytes()? + prepared.file_bytes() + end,
                    cost: prepared.plan.cost(),
                })
            };
            let planned = planned.await;
            folder.unpin(pin, planned).await.map_err(|error| self.tell(error))
        })
    }

    /// What [`Export::save`] to `to` would write, as [`Export::plan`] tells it, if there can be such a file.
    ///
    /// # Errors
    /// As for [`Export::save`], but for reading blocks and for writing.
    pub fn plan_save<'a>(&'a self, to: &'a Path) -> BoxFuture<'a, Result<ExportPlan>> {
        let examined = || {
            let path = to.to_owned();
            blocking(move || Partial::examine_in_folder(&path, Content::Export, Replace::Never))
        };
        within(|error| self.tell(error), async move {
            examined().await??;
            self.plan().await
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

    /// All of an export but its blocks.
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

    async fn run_pinned(&self, folder: &JobFolder, mut sink: Sink<'static>) -> Result<ExportReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let prepared = self.prepare(folder).await?;
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
        sink.write(vec![Bytes::from(encode_record(Kind::ExportEnd, &end).map_err(defect)?)]).await?;
        let bytes = sink.bytes();
        sink.flush().await?;
        let source = BlockTraffic::between(before, self.repository.block_counts());
        let target = BlockTraffic { bytes_written: written, ..BlockTraffic::default() };
        let tally = Tally { planned: plan.cost(), source, target, duration: start.elapsed() };
        Ok(ExportReport { sequence, time, machines, bytes, tally })
    }

    /// The machines to export, each with the restore point that its state is taken from.
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

/// What an export would have and cost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ExportPlan {
    /// The newest of the restore points that the machines' states are taken from.
    pub sequence: Sequence,
    /// Its time, which is the time of the export.
    pub time: Timestamp,
    /// The machines, by name.
    pub machines: Vec<ExportedMachine>,
    /// The export is no longer than this, and at most 32 bytes shorter.
    pub bytes_max: u64,
    /// What is read, and written to the backup file in the export.
    pub cost: Cost,
}

/// An export whose blocks were not read yet.
struct Prepared {
    id: FolderId,
    job: String,
    sequence: Sequence,
    time: Timestamp,
    machines: Vec<ExportedMachine>,
    header: OutputHeader,
    plan: Plan,
    index: Bytes,
}

impl Prepared {
    fn file_bytes(&self) -> u64 {
        self.plan.files.values().sum()
    }

    /// The record that the export begins with.
    fn record(&self) -> Result<Bytes> {
        let (index_bytes, file_bytes) = (self.index.len() as u64, self.file_bytes());
        let record = ExportHeader { id: self.id, job: self.job.clone(), index_bytes, file_bytes };
        Ok(encode_record(Kind::Export, &record).map_err(defect)?.into())
    }

    /// The bytes before the backup file.
    fn start_bytes(&self) -> Result<u64> {
        let alignment = u64::from(EXPORT_ALIGNMENT_BYTES);
        let record = (self.record()?.len() as u64).next_multiple_of(alignment);
        Ok(record + (self.index.len() as u64).next_multiple_of(alignment))
    }
}

/// The states of machines, each at its point.
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
