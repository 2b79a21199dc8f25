//! Imports: makes an exported restore point the first of a chain.

mod plan;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use offsite_core::format::backup_file::{BackupFileHeader, region_bytes};
use offsite_core::format::index::INDEX_BYTES_MAX;
use offsite_core::format::records::{EXPORT_ALIGNMENT_BYTES, ExportEnd, ExportHeader};
use offsite_core::format::{ENVELOPE_BYTES, Envelope, FormatError, Kind, WireFormat, decode_record};
use offsite_core::plan::{Address, Cost, Placement, Placer, Plan, sync};
use offsite_core::retention::Flags;
use offsite_core::{BlockMap, Head, Index, MachineName, MachineNumber, ObjectId, PointKind, Role, Status, Timestamp};

use crate::commit::clock_rule::ClockRule;
use crate::commit::new_index::{PointIndex, number_machines};
use crate::commit::point::{Abandoned, Addition, commit_point};
use crate::commit::read_back::check_step;
use crate::commit::room::Room;
use crate::commit::writer::{Writer, WriterSettings};
use crate::error::within;
use crate::folder::disks::disks_of;
use crate::mover::{Output, OutputHeader, Source, receive};
use crate::progress::Task;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::JobFolder;
use crate::report::{BlockTraffic, ImportReport, Tally};
use crate::teller::Control;
use crate::{DEFAULT_LEASE, Error, Gate, JobName, OpenGate, OpenRepository, Progress, Result, Side, Silent};

pub use plan::ImportPlan;

/// Imports an exported restore point.
///
/// The point becomes the full of a chain that has no restore point yet. The chain is a copy job's, as its points come from another
/// chain. A copy job of that name goes on from it, and transfers only blocks that differ.
#[derive(Clone)]
pub struct Import {
    repository: OpenRepository,
    job: JobName,
    lease_duration: Duration,
    progress: Arc<dyn Progress>,
    gate: Arc<dyn Gate>,
}

impl Import {
    /// Imports to the folder of `job` in `repository`.
    #[must_use]
    pub fn new(repository: &OpenRepository, job: JobName) -> Self {
        Self {
            repository: repository.clone(),
            job,
            lease_duration: DEFAULT_LEASE,
            progress: Arc::new(Silent),
            gate: Arc::new(OpenGate),
        }
    }

    /// Reports the progress of the import to `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Passes the block data of the import through `gate`.
    ///
    /// [`Gate`] says what is kept when it ends the import.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Imports the export that `reader` returns, at `now`.
    ///
    /// It reads `reader` to its end. Each block is compared with its digest. The restore point exists only after all of the export
    /// was read.
    ///
    /// # Errors
    /// - [`Error::Damaged`] if the export is cut off or damaged, or is no export. Its source says what is wrong.
    /// - [`Error::Io`] if `reader` fails.
    /// - [`Error::JobHasPoints`] if the job has restore points already.
    /// - [`Error::NoRoom`] if the repository tells its free space, and that is too little for the export.
    /// - [`Error::Busy`] if the job is running already.
    /// - Errors of the repository.
    pub fn run(&self, reader: impl Read + Send + 'static, now: Timestamp) -> BoxFuture<'_, Result<ImportReport>> {
        self.run_from(Source::new(reader), now)
    }

    fn run_from(&self, mut source: Source, now: Timestamp) -> BoxFuture<'_, Result<ImportReport>> {
        within(|error| self.tell(error), async move {
            let (header, index) = start(&mut source).await?;
            self.folder().await?;
            let settings = self.settings(&index, now);
            let mut writer = Writer::open(self.repository.clone(), &self.job, settings, self.progress.as_ref()).await?;
            let result = self.run_with(&mut writer, &mut source, header, index).await;
            writer.close(result).await
        })
    }

    /// Returns the existing folder of the job, if an import may go there. `None` if there is no folder yet.
    async fn folder(&self) -> Result<Option<JobFolder>> {
        match JobFolder::open(&self.repository, &self.job).await {
            Ok(folder) => {
                self.refuse_points(folder.chain().latest().is_some())?;
                Ok(Some(folder))
            }
            Err(Error::UnknownJob { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn settings(&self, index: &Index, now: Timestamp) -> WriterSettings {
        let (block_size, lease_duration) = (index.block_size, self.lease_duration);
        WriterSettings { role: Role::Copy, block_size, lease_duration, now, clock: ClockRule::default() }
    }

    fn tell(&self, error: Error) -> Error {
        let error = if matches!(error, Error::Io { .. }) { error.on(Side::Source) } else { error.on(Side::Target) };
        match error.side() {
            Some(Side::Target) => error.at(|| self.repository.located()).in_job(&self.job),
            _ => error.in_job(&self.job),
        }
    }

    async fn run_with(
        &self,
        writer: &mut Writer,
        source: &mut Source,
        header: ExportHeader,
        index: Index,
    ) -> Result<ImportReport> {
        let start = Instant::now();
        let before = self.repository.block_counts();
        let head = writer.head().clone();
        self.refuse_points(head.chain.latest().is_some())?;
        let block_size = index.block_size;
        let Prepared { header: output_header, mut plan, cost, numbers } =
            self.prepare(&head, &header, &index, || writer.mint());
        Room::of(&self.repository, &cost, 0).await?.require(&self.repository, Task::Import)?;
        let names: Vec<_> = index.machines.iter().map(|(state, _)| state.name.clone()).collect();
        let theirs: BTreeMap<_, _> = index.machines.iter().map(|(state, number)| (&state.name, *number)).collect();
        let file_start = source.bytes();
        let layout = writer.layout().clone();
        let mut output = Output::new(&self.repository, &layout, output_header);
        let received = async {
            if header.file_bytes > 0 {
                let position = file_header(source, &header).await?;
                let numbers = |name: &_| theirs.get(name).copied().zip(numbers.get(name).copied());
                let plain_bytes = |address: &Address| {
                    let disk = index.map.machine(&address.machine)?.disks.get(&address.disk)?;
                    Some(block_size.length_at(address.block, disk.size_bytes()))
                };
                let progress = Control::new(self.progress.as_ref(), self.gate.as_ref()).teller(Task::Import, &self.job);
                receive(&plan.moves, source, position, numbers, plain_bytes, &mut output, progress).await?;
                let left = (file_start + header.file_bytes).saturating_sub(source.bytes());
                source.read("export", left).await?;
            }
            let file_bytes = source.bytes() - file_start;
            end(source, &header, plan.moves.len() as u64).await?;
            Ok(file_bytes)
        };
        let file_bytes = match received.await {
            Ok(file_bytes) => file_bytes,
            Err(error) => {
                output.abort().await;
                return Err(error);
            }
        };
        output.finish().await?;
        let point = PointIndex {
            id: writer.mint(),
            sequence: writer.head().next_sequence,
            time: index.time,
            kind: PointKind::Full,
            base: None,
            machines: index.machines.into_iter().map(|(state, _)| state).collect(),
            map: plan.index.clone(),
            stack: None,
            spare: BlockMap::empty(),
            flags: Flags::NONE,
            is_back_filled: false,
        };
        check_step(&BlockMap::empty(), &plan.index, &index.map)?;
        let mut indexes = Indexes::new(&self.repository, &layout, writer.head().folder);
        plan.moves = Vec::new();
        let addition = Addition {
            rollback: None,
            point,
            plan,
            predecessor_flags: Flags::NONE,
            spare: &BlockMap::empty(),
            abandoned: Abandoned::default(),
        };
        let point = commit_point(writer, &mut indexes, addition).await?;
        let source = BlockTraffic { bytes_read: file_bytes, ..BlockTraffic::default() };
        let target = BlockTraffic::between(before, self.repository.block_counts());
        let tally = Tally { planned: cost, source, target, duration: start.elapsed() };
        Ok(ImportReport { job: header.job, sequence: point.sequence, time: point.time, machines: names, tally })
    }

    /// Prepares what an export brings to the folder of this head.
    fn prepare(&self, head: &Head, header: &ExportHeader, index: &Index, mint: impl FnMut() -> ObjectId) -> Prepared {
        let names = index.machines.iter().map(|(state, _)| &state.name);
        let (_, numbers) = number_machines(&head.machines, names.clone());
        let output_header = OutputHeader {
            folder: head.folder,
            sequence: head.next_sequence,
            time: index.time,
            block_size: index.block_size,
            alignment_bytes: head.alignment_bytes,
            machines: names.map(|name| (name.clone(), numbers[name])).collect(),
            disks: disks_of(&index.map),
        };
        let plan = sync(&BlockMap::empty(), &index.map, output_header.placement(&self.repository), mint);
        let mut cost = plan.cost();
        // The export is read completely, in one pass.
        (cost.bytes_read, cost.read_requests) = (header.file_bytes, 0);
        Prepared { header: output_header, plan, cost, numbers }
    }

    fn refuse_points(&self, has_points: bool) -> Result<()> {
        if !has_points {
            return Ok(());
        }
        let (job, location) = (&self.job, self.repository.location());
        Err(Error::JobHasPoints { job: job.clone(), location })
    }
}

impl std::fmt::Debug for Import {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Import").field("job", &self.job).finish_non_exhaustive()
    }
}

/// What an export brings, before its blocks are read.
struct Prepared {
    header: OutputHeader,
    plan: Plan,
    cost: Cost,
    /// The number of each machine in this folder.
    numbers: BTreeMap<MachineName, MachineNumber>,
}

/// Reads the header and the index.
async fn start(source: &mut Source) -> Result<(ExportHeader, Index)> {
    let header = record(source, Kind::Export).await?;
    let header: ExportHeader = decode_record(Kind::Export, &header).map_err(Error::bad_export)?;
    if header.index_bytes > INDEX_BYTES_MAX {
        let (bytes, limit_bytes) = (header.index_bytes, INDEX_BYTES_MAX);
        return Err(Error::bad_export(FormatError::Long { what: "index", bytes, limit_bytes }));
    }
    let alignment = u64::from(EXPORT_ALIGNMENT_BYTES);
    source.skip_padding(alignment).await?;
    let bytes = source.read("index", header.index_bytes).await?;
    let index = Index::decode(&bytes).map_err(Error::bad_export)?;
    source.skip_padding(alignment).await?;
    let is_one_full = index.folder == header.id
        && index.kind == PointKind::Full
        && index.below.is_empty()
        && !index.machines.is_empty()
        && index.machines.iter().all(|(state, _)| state.status == Status::Complete)
        && index.map.is_full();
    if !is_one_full {
        return Err(invalid("its index is not that of one full restore point"));
    }
    // The place of each frame must follow from the frames before it. Then one pass is enough to read them.
    let names = index.machines.iter().map(|(state, _)| state.name.as_str());
    let first_offset = region_bytes(names, alignment);
    let mut placer = Placer::new(Placement { first_offset, alignment, file_bytes_max: u64::MAX });
    for (_, _, _, at) in index.map.stored() {
        if at.offset > INDEX_BYTES_MAX.saturating_mul(1 << 16)
            || placer.place(at.length, || at.file) != (at.file, at.offset)
        {
            return Err(invalid("its frames are not in the order of its index"));
        }
    }
    if placer.into_files() != index.files
        || index.files.values().sum::<u64>() != header.file_bytes
        || index.files.len() > 1
    {
        return Err(invalid("its backup file is not as long as it says"));
    }
    Ok((header, index))
}

/// Reads the header of the backup file. Returns its length in bytes.
async fn file_header(source: &mut Source, header: &ExportHeader) -> Result<u64> {
    let before = source.bytes();
    let found = record(source, Kind::BackupFile).await?;
    let found: BackupFileHeader = decode_record(Kind::BackupFile, &found).map_err(Error::bad_export)?;
    if found.folder != header.id {
        return Err(invalid("its backup file is another export's"));
    }
    Ok(source.bytes() - before)
}

/// Reads the last record. Checks that it matches what was read, and that nothing follows.
async fn end(source: &mut Source, header: &ExportHeader, frames: u64) -> Result<()> {
    let expected = ExportEnd { id: header.id, frames, bytes: source.bytes(), checksum: source.checksum() };
    if read_end(source).await? != expected {
        return Err(Error::bad_export(FormatError::Checksum("export")));
    }
    source.end().await
}

async fn read_end(source: &mut Source) -> Result<ExportEnd> {
    let found = record(source, Kind::ExportEnd).await?;
    decode_record(Kind::ExportEnd, &found).map_err(Error::bad_export)
}

/// Reads one record with its envelope.
async fn record(source: &mut Source, kind: Kind) -> Result<Vec<u8>> {
    let mut bytes = source.read("export", ENVELOPE_BYTES as u64).await?.to_vec();
    let envelope = Envelope::decode(kind, &bytes).map_err(Error::bad_export)?;
    bytes.extend_from_slice(&source.read("export", envelope.record_bytes).await?);
    Ok(bytes)
}

fn invalid(why: &str) -> Error {
    Error::bad_export(FormatError::Invalid { what: "export", why: why.to_owned() })
}
