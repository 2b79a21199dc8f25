//! Writes new backup files.

use offsite_core::FolderId;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use offsite_core::format::backup_file::{BackupFileHeader, DiskLabel, MachineLabel, region_bytes};
use offsite_core::format::frame::Identity;
use offsite_core::plan::Placement;
use offsite_core::{BlockSize, DiskNumber, MachineName, MachineNumber, ObjectId, Sequence, Timestamp};
use offsite_repository::{ObjectWriter, Repository};

use super::codec::Sealed;
use tokio::sync::Mutex;

use super::stream::{Sink, SinkWriter};
use crate::error::{Context, Within};
use crate::folder::disks::DiskSummary;
use crate::folder::disks::Disks;
use crate::folder::layout::Layout;
use crate::{Error, OpenRepository, Result, Side};

/// The greatest length of a backup file in bytes if holes cannot be punched. The space of such a file comes back only when all of
/// it is superseded or moved. So compaction needs free space for one file at a time.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// About the number of bytes that are handed to the repository at once.
const WRITE_BYTES: u64 = 4 << 20;

/// The header fields that all backup files of a restore point share.
#[derive(Debug, Clone)]
pub(crate) struct OutputHeader {
    pub(crate) folder: FolderId,
    pub(crate) sequence: Sequence,
    pub(crate) time: Timestamp,
    pub(crate) block_size: BlockSize,
    pub(crate) alignment_bytes: u32,
    pub(crate) machines: Vec<(MachineName, MachineNumber)>,
    /// The disks of these machines in the restore point, as far as they are known.
    pub(crate) disks: Disks,
}

impl OutputHeader {
    /// Returns how frames are laid out in these files.
    pub(crate) fn placement(&self, repository: &OpenRepository) -> Placement {
        let object_bytes_max = repository.backend().limits().object_bytes_max;
        let punches = repository.backend_granularity().is_some();
        self.bounded(if punches { object_bytes_max } else { object_bytes_max.min(FILE_BYTES_MAX) })
    }

    /// Returns how frames are laid out in files of at most `file_bytes_max` bytes.
    pub(crate) fn bounded(&self, file_bytes_max: u64) -> Placement {
        Placement { first_offset: self.first_offset(), alignment: self.alignment_bytes.into(), file_bytes_max }
    }

    fn first_offset(&self) -> u64 {
        region_bytes(self.machines.iter().map(|(name, _)| name.as_str()), self.alignment_bytes.into())
    }

    /// Returns the start of a file: its header, and zeros up to its first frame.
    pub(super) fn region(&self, id: ObjectId) -> Result<Bytes> {
        let disk = |disk: &DiskSummary| DiskLabel::new(disk.number, &disk.identity, disk.size_bytes);
        let machine = |(name, number): &(MachineName, MachineNumber)| MachineLabel {
            number: number.0,
            name: name.as_str().to_owned(),
            disks: self.disks.get(name).into_iter().flatten().map(disk).collect(),
        };
        let header = BackupFileHeader {
            folder: self.folder,
            id: id.stored(),
            sequence: self.sequence.0,
            time_unix_secs: self.time.unix_secs(),
            block_bytes: self.block_size.bytes(),
            alignment_bytes: self.alignment_bytes,
            machines: self.machines.iter().map(machine).collect(),
        };
        let bytes = header.encode().map_err(|error| Error::defect(error.to_string()))?;
        let region = self.first_offset();
        if bytes.len() as u64 != region {
            return Err(Error::defect(format!("a header of {} bytes in a region of {region}", bytes.len())));
        }
        Ok(Bytes::from(bytes))
    }
}

/// The backup files of one restore point, written one after the other.
pub(crate) struct Output<'a> {
    destination: Destination<'a>,
    header: OutputHeader,
    open: Option<OpenFile>,
}

/// Where backup files are written to.
enum Destination<'a> {
    Folder(&'a OpenRepository, &'a Layout),
    /// The one file of an export.
    Stream(Arc<Mutex<Sink<'static>>>),
}

impl Destination<'_> {
    async fn create(&self, id: ObjectId) -> Result<Box<dyn ObjectWriter>> {
        match self {
            Self::Stream(sink) => Ok(Box::new(SinkWriter(Arc::clone(sink)))),
            Self::Folder(repository, layout) => {
                let writer = repository.backend().create(&layout.backup_file(id)?).await;
                writer.while_doing(|| format!("creating a backup file in {}", repository.location())).on(Side::Target)
            }
        }
    }

    fn writing(&self) -> String {
        match self {
            Self::Folder(repository, _) => format!("writing a backup file to {}", repository.location()),
            Self::Stream(_) => "writing the export".to_owned(),
        }
    }
}

struct OpenFile {
    id: ObjectId,
    writer: Box<dyn ObjectWriter>,
    /// The position of the next byte in the file. The bytes in `pending` count as written.
    end: u64,
    ordinal: u32,
    pending: Vec<Bytes>,
    pending_bytes: u64,
}

impl<'a> Output<'a> {
    pub(crate) fn new(repository: &'a OpenRepository, layout: &'a Layout, header: OutputHeader) -> Self {
        Self { destination: Destination::Folder(repository, layout), header, open: None }
    }

    /// Writes the only file into an export.
    pub(crate) fn stream(sink: Arc<Mutex<Sink<'static>>>, header: OutputHeader) -> Self {
        Self { destination: Destination::Stream(sink), header, open: None }
    }

    /// Appends a frame at its planned place.
    pub(super) async fn append(
        &mut self,
        (file, offset): (ObjectId, u64),
        machine: MachineNumber,
        disk: DiskNumber,
        block: u32,
        sealed: Sealed,
    ) -> Result<()> {
        let sequence = self.header.sequence;
        let open = self.at(file, offset).await?;
        let identity = Identity { origin: file, ordinal: open.ordinal, machine, disk, block, sequence };
        let header = Bytes::copy_from_slice(&sealed.header(identity).encode());
        self.push([header, sealed.payload]).await
    }

    /// Appends a frame as it is, at its planned place.
    pub(super) async fn append_frame(&mut self, (file, offset): (ObjectId, u64), frame: Bytes) -> Result<()> {
        self.at(file, offset).await?;
        self.push([frame]).await
    }

    /// Returns the machines that the files' headers name, with their numbers.
    pub(super) fn machines(&self) -> &[(MachineName, MachineNumber)] {
        &self.header.machines
    }

    /// Returns the open file. It is the requested one, and ends where the next frame was planned.
    async fn at(&mut self, file: ObjectId, offset: u64) -> Result<&OpenFile> {
        if self.open.as_ref().is_none_or(|open| open.id != file) {
            self.finish().await?;
            self.start(file).await?;
        }
        match &self.open {
            Some(open) if open.end == offset => Ok(open),
            Some(open) => Err(Error::defect(format!("a frame planned at {offset} would lie at {}", open.end))),
            None => Err(Error::defect("no backup file is open".to_owned())),
        }
    }

    async fn push<const PARTS: usize>(&mut self, frame: [Bytes; PARTS]) -> Result<()> {
        let alignment = u64::from(self.header.alignment_bytes);
        let Some(open) = &mut self.open else { return Err(Error::defect("no backup file is open".to_owned())) };
        open.ordinal += 1;
        frame.into_iter().for_each(|part| open.push(part));
        open.pad(alignment);
        if open.pending_bytes >= WRITE_BYTES {
            open.flush().await.while_doing(|| self.destination.writing()).on(Side::Target)?;
        }
        Ok(())
    }

    /// Makes the appended frames durable and visible.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        match self.cut() {
            Some(file) => file.finish().await,
            None => Ok(()),
        }
    }

    /// Ends the open file, so that frames that follow go into another one. `None` if no file is open.
    pub(crate) fn cut(&mut self) -> Option<Unfinished> {
        self.open.take().map(|file| Unfinished { file, writing: self.destination.writing() })
    }

    /// Drops what was not finished, and gives its space back.
    pub(crate) async fn abort(&mut self) {
        if let Some(open) = self.open.take() {
            // If this fails, the next writer removes the remains.
            let _ = open.writer.abort().await;
        }
    }

    async fn start(&mut self, id: ObjectId) -> Result<()> {
        let region = self.header.region(id)?;
        let writer = self.destination.create(id).await?;
        let mut open = OpenFile { id, writer, end: 0, ordinal: 0, pending: Vec::new(), pending_bytes: 0 };
        open.push(region);
        self.open = Some(open);
        Ok(())
    }
}

/// A file that gets no more frames, and is not durable yet.
pub(crate) struct Unfinished {
    file: OpenFile,
    /// What an error of it says.
    writing: String,
}

impl Unfinished {
    /// Makes the frames of the file durable and visible.
    pub(crate) async fn finish(self) -> Result<()> {
        let Self { mut file, writing } = self;
        file.flush().await.while_doing(|| writing.clone()).on(Side::Target)?;
        file.writer.finish().await.while_doing(|| writing).on(Side::Target)
    }
}

impl OpenFile {
    fn push(&mut self, bytes: Bytes) {
        self.end += bytes.len() as u64;
        self.pending_bytes += bytes.len() as u64;
        self.pending.push(bytes);
    }

    /// Appends zeros up to the next multiple of `alignment`.
    fn pad(&mut self, alignment: u64) {
        let missing = self.end.next_multiple_of(alignment) - self.end;
        if missing > 0 {
            self.push(BytesMut::zeroed(usize::try_from(missing).unwrap_or_default()).freeze());
        }
    }

    async fn flush(&mut self) -> offsite_repository::Result<()> {
        self.pending_bytes = 0;
        match std::mem::take(&mut self.pending) {
            pending if pending.is_empty() => Ok(()),
            pending => self.writer.write(pending).await,
        }
    }
}
