//! Plans an import.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use offsite_core::format::records::ExportHeader;
use offsite_core::plan::Cost;
use offsite_core::{Index, Sequence, Timestamp};

use super::{Import, invalid, read_end, start};
use crate::commit::dry_run::DryRun;
use crate::commit::plan_context::Minter;
use crate::commit::room::Room;
use crate::error::within;
use crate::mover::Source;
use crate::report::ExportedMachine;
use crate::seams::blocking;
use crate::{Error, Result};

/// What an export contains, and what its import will store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportPlan {
    /// The name of the job that was exported, as the export says.
    pub job: String,
    /// The number of the restore point in that job.
    pub exported: Sequence,
    /// The number that the restore point gets here.
    pub sequence: Sequence,
    /// The time of the restore point.
    pub time: Timestamp,
    /// The machines, sorted by name, each with the restore point of the exported job that its state was taken from.
    pub machines: Vec<ExportedMachine>,
    /// The length of the export in bytes.
    pub bytes: u64,
    /// The cost: what is read of the backup file in the export, and what is written here.
    pub cost: Cost,
    /// The space that the import needs, and the space that there is. An import does not begin without enough space.
    pub room: Room,
}

impl Import {
    /// Plans an import of the export that `reader` returns from its current position.
    ///
    /// It reads the header, the index and the end of the export, and none of its blocks. So it does not find damaged blocks. It
    /// writes nothing.
    ///
    /// It skips the blocks, so `reader` must be able to seek, as a file can. To plan the import of an export that comes through a
    /// pipe, save it to a file first.
    ///
    /// # Errors
    /// The same as [`Import::run`], except errors of reading blocks and of writing. A lack of space is no error here: see
    /// [`ImportPlan::room`].
    pub fn plan(&self, reader: impl Read + Seek + Send + 'static, now: Timestamp) -> BoxFuture<'_, Result<ImportPlan>> {
        let reader = Shared(Arc::new(Mutex::new(reader)));
        within(|error| self.tell(error), async move {
            let mut source = Source::new(reader.clone());
            let (header, index) = start(&mut source).await?;
            let bytes = end(reader, &header, &index, source.bytes()).await?;
            let (folder, settings) = (self.folder().await?, self.settings(&index, now));
            let head = DryRun::next_head(&self.repository, &self.job, &settings, folder.as_ref()).await?;
            let mut minter = Minter::imagined();
            let cost = self.prepare(&head, &header, &index, || minter.mint()).cost;
            let room = Room::of(&self.repository, &cost, 0).await?;
            let (exported, sequence, time) = (index.sequence, head.next_sequence, index.time);
            let machines = index.machines.into_iter().map(|(state, _)| {
                let sequence = state.origin.map_or(exported, |origin| origin.sequence);
                ExportedMachine { name: state.name, sequence, captured: state.captured }
            });
            let machines = machines.collect();
            Ok(ImportPlan { job: header.job, exported, sequence, time, machines, bytes, cost, room })
        })
    }
}

/// Checks that the export ends where it must end, and that nothing follows. Its start has `start_bytes`. Returns the length of the
/// export in bytes.
async fn end<R: Read + Seek + Send + 'static>(
    reader: Shared<R>,
    header: &ExportHeader,
    index: &Index,
    start_bytes: u64,
) -> Result<u64> {
    let (seeker, file_bytes) = (reader.clone(), header.file_bytes);
    blocking(move || seeker.skip(file_bytes)).await?.map_err(|error| Error::io("reading the export", error))?;
    let mut rest = Source::new(reader);
    let found = read_end(&mut rest).await?;
    let (frames, before) = (index.map.stored().count() as u64, start_bytes.saturating_add(file_bytes));
    if (found.id, found.frames, found.bytes) != (header.id, frames, before) {
        return Err(invalid("its end is that of another export"));
    }
    let bytes = before + rest.bytes();
    rest.end().await?;
    Ok(bytes)
}

/// A reader that two owners share: one reads, the other seeks.
struct Shared<R>(Arc<Mutex<R>>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Read + Seek> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn skip(&self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        self.lock().seek(SeekFrom::Current(bytes)).map(drop)
    }
}

impl<R: Read + Seek> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buffer)
    }
}
