//! What an import will store, without doing it.

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
use crate::commit::writer::refuse_same_folder;
use crate::error::within;
use crate::mover::Source;
use crate::report::ExportedMachine;
use crate::seams::blocking;
use crate::{Error, Result};

/// What an export holds, and what importing it would store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportPlan {
    /// The job that it was exported from, as it says itself.
    pub job: String,
    /// The number that the restore point had there.
    pub exported: Sequence,
    /// The number that it gets here.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// The machines, by name, each with the restore point of the other job that its state was taken from.
    pub machines: Vec<ExportedMachine>,
    /// The length of the export.
    pub bytes: u64,
    /// What is read of the backup file in the export, and written here.
    pub cost: Cost,
    /// The room that it needs, and that there is: without enough of it, it is not begun.
    pub room: Room,
}

impl Import {
    /// What [`Import::run`] would store at `now` of what `reader` has from where it stands. It reads header, index and end of the
    /// export and none of its blocks, and writes nothing.
    ///
    /// The plan skips the blocks, so it takes what can seek: a file. What comes in a pipe is gone once it was read; save it to plan its
    /// import. Damaged blocks only the import finds.
    ///
    /// # Errors
    /// As for [`Import::run`], but for reading blocks and for writing. Whether there is room is in [`ImportPlan::room`], and no error.
    pub fn plan(&self, reader: impl Read + Seek + Send + 'static, now: Timestamp) -> BoxFuture<'_, Result<ImportPlan>> {
        let reader = Shared(Arc::new(Mutex::new(reader)));
        within(|error| self.tell(error), async move {
            let mut source = Source::new(reader.clone());
            let (header, index) = start(&mut source).await?;
            let bytes = end(reader, &header, &index, source.bytes()).await?;
            let head = match self.folder().await? {
                Some(folder) => Some(folder.head_for_next_run().await?),
                None => {
                    refuse_same_folder(&self.repository, &self.job).await?;
                    None
                }
            };
            let head = DryRun::next_head(&self.repository, &self.settings(&index, now), head)?;
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

/// Holds that an export whose start has `start_bytes` has its end where that must be, and nothing after it. Returns the length of the
/// export.
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

/// A reader in two hands: one reads, the other seeks.
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
