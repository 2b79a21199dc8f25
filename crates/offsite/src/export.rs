//! Exports: one restore point as one file that stands for itself.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use offsite_core::format::index::Index;
use offsite_core::format::records::{EXPORT_ALIGNMENT_BYTES, ExportEnd, ExportHeader};
use offsite_core::format::{FormatError, Kind, encode_record};
use offsite_core::plan::sync;
use offsite_core::{
    BlockMap, MachineName, MachineNumber, MachineState, ObjectId, Origin, PointKind, RestorePoint, Status,
};
use tokio::sync::Mutex;

use crate::folder::{JobFolder, PointSelector};
use crate::mover::{Aliases, Checking, FrameSource, Headers, Output, OutputHeader, Sink, Way, disks_of, transfer};
use crate::open_repository::random_id;
use crate::report::{BlockTraffic, ExportReport, Tally};
use crate::{Error, JobName, OpenRepository, Progress, Result, Silent};

/// The names of the two objects in every export.
const FILE: ObjectId = ObjectId::new(1, 1);
const INDEX: ObjectId = ObjectId::new(1, 2);

/// An export of one restore point.
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
}

impl Export {
    /// The newest restore point of `job`, with all its machines.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            point: PointSelector::Latest,
            machines: Vec::new(),
            progress: Arc::new(Silent),
        }
    }

    /// Which restore point.
    #[must_use]
    pub fn point(mut self, point: PointSelector) -> Self {
        self.point = point;
        self
    }

    /// Only these of its machines; none: all.
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

    /// Writes the export. It is called on threads that may block, and its buffers need not be its own: pieces have about 4 MiB.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], [`Error::UnknownPoint`], [`Error::UnknownMachine`]; [`Error::Damaged`] for a block that is not what was
    /// stored; [`Error::Stream`] if `writer` fails. What was written until then is no export, and an import says so.
    pub fn run(&self, writer: impl Write + Send + 'static) -> BoxFuture<'_, Result<ExportReport>> {
        self.run_to(Sink::new(writer))
    }

    fn run_to(&self, sink: Sink) -> BoxFuture<'_, Result<ExportReport>> {
        Box::pin(async move {
            let (folder, pin) = JobFolder::pinned(&self.repository, &self.job).await?;
            let result = self.run_pinned(&folder, sink).await;
            folder.unpin(pin, result).await
        })
    }

    async fn run_pinned(&self, folder: &JobFolder, mut sink: Sink) -> Result<ExportReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let point = folder.point(self.point)?;
        let names = self.names(point)?;
        let state = folder.state_at(point.sequence).await?.project(|name| names.contains(name));
        let id = random_id()?;
        let header = OutputHeader {
            folder: id,
            sequence: point.sequence,
            time: point.time,
            block_size: folder.chain().block_size(),
            alignment_bytes: EXPORT_ALIGNMENT_BYTES,
            machines: state.machines().keys().cloned().zip((0..).map(MachineNumber)).collect(),
            disks: disks_of(&state),
        };
        let plan = sync(&BlockMap::empty(), &state, header.bounded(u64::MAX), || FILE);
        let machines = header.machines.iter().zip(state.machines().values()).map(|((name, number), machine)| {
            let origin = Some(Origin { folder: folder.id(), sequence: point.sequence });
            let state = MachineState::new(name.clone(), Status::Complete, machine.captured);
            let state = MachineState { origin, ..state };
            (state, *number)
        });
        let index = Index {
            folder: id,
            id: INDEX,
            sequence: point.sequence,
            time: point.time,
            kind: PointKind::Full,
            block_size: header.block_size,
            below: Vec::new(),
            files: plan.files.clone(),
            machines: machines.collect(),
            map: plan.index.clone(),
            spare: BlockMap::empty(),
        };
        let index = index.encode().map_err(defect)?;
        let file_bytes = plan.files.values().sum();
        let record = ExportHeader { id, job: self.job.to_string(), index_bytes: index.len() as u64, file_bytes };
        let alignment = u64::from(EXPORT_ALIGNMENT_BYTES);
        sink.write(vec![encode_record(Kind::Export, &record).map_err(defect)?.into()]).await?;
        sink.pad(alignment).await?;
        sink.write(vec![index.into()]).await?;
        sink.pad(alignment).await?;
        let file_start = sink.bytes();
        let sink = Arc::new(Mutex::new(sink));
        let frames = FrameSource::new(&self.repository, folder.layout(), folder.head());
        let output = Output::stream(Arc::clone(&sink), header);
        let progress = self.progress.as_ref();
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
        Ok(ExportReport {
            sequence: point.sequence,
            time: point.time,
            machines: state.machines().keys().cloned().collect(),
            bytes,
            tally: Tally { planned: plan.cost(), source, target, duration: start.elapsed() },
        })
    }

    /// The machines to export.
    fn names(&self, point: &RestorePoint) -> Result<Vec<MachineName>> {
        let whole = point.machines.iter().filter(|machine| machine.status != Status::Incomplete);
        let whole: Vec<MachineName> = whole.map(|machine| machine.name.clone()).collect();
        if let Some(unknown) = self.machines.iter().find(|name| !whole.contains(name)) {
            return Err(Error::UnknownMachine {
                machine: unknown.to_string(),
                place: format!("restore point {} of job {}", point.sequence, self.job),
                known: whole.iter().map(ToString::to_string).collect(),
            });
        }
        Ok(if self.machines.is_empty() { whole } else { self.machines.clone() })
    }
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
    Error::Defect(error.to_string())
}
