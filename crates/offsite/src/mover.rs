//! The mover: the one room that block bytes pass through.
//!
//! Block bytes take one of these ways:
//!
//! - [`ingest`]: from an image to backup files
//! - [`copy`]: from the backup files of sources to new backup files
//! - [`transfer`]: from backup files to new backup files, or to an export
//! - [`receive`]: from an export to backup files
//! - [`fold`]: from backup files into another, existing one
//! - [`extract`]: from backup files to images
//! - [`pour`]: from backup files to a stream
//! - [`scrub`]: from backup files to nowhere, to see whether they are intact
//!
//! [`load`] reads one block, and [`find`] only headers. [`clone_frames`] moves nothing itself: the repository makes new backup
//! files.
//!
//! Each of the eight ways is a bounded pipeline. Reading, hashing, compressing and writing overlap, so both cores work.
//!
//! - The ways from images and exports have at most [`IN_FLIGHT`] batches of [`BATCH_BYTES`] under way, on blocking threads. A batch
//!   holds its plain bytes and its payloads. With the batch that is being written, that is at most 2 x (6 + 1) x 4 MiB = 56 MiB,
//!   whatever the size of the disk.
//! - The ways from backup files read as far [`ahead`] as the repositories have streams for, and as all ways of the process together
//!   have room for: 48 MiB.
//!
//! The process takes more, as its allocator keeps memory for each thread: the command peaks below 256 MiB.

mod ahead;
mod around;
mod clone;
mod codec;
mod copy;
mod detour;
mod extract;
mod find;
mod fold;
mod ingest;
mod keep;
mod load;
mod output;
mod pace;
mod pour;
mod receive;
mod scrub;
mod stream;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use ahead::GivesWay;
pub(crate) use around::Lost;
pub(crate) use clone::clone_frames;
pub(crate) use codec::DEFAULT_LEVEL;
pub(crate) use copy::{Copied, EndedLeg, EndedLegs, Ending, Leg, Route, copy, relay};
pub(crate) use extract::{extract, write_zeros};
pub(crate) use find::{Found, find};
pub(crate) use fold::fold;
pub(crate) use ingest::{IngestDisk, Ingested, bytes_to_read, ingest};
pub(crate) use keep::{Keeping, fill};
pub(crate) use load::load;
pub(crate) use output::{Output, OutputHeader};
pub(crate) use pace::Pace;
pub(crate) use pour::pour;
pub(crate) use receive::receive;
pub(crate) use scrub::{Flaw, Scrubbed, scrub};
pub(crate) use stream::{Sink, Source};
pub(crate) use transfer::{Aliases, Checking, Headers, Way, transfer};

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offsite_core::Head;
use offsite_core::plan::{Address, Batch};
use offsite_core::{MachineName, MachineNumber, StoredBlock};
use offsite_repository::{Counts, ErrorKind, Key, RepositoryExt};

use crate::cache::{CacheRun, MACHINE};
use crate::error::{Context, Within};
use crate::folder::layout::Layout;
use crate::{DamagedPart, Error, OpenRepository, Result};

/// The number of batches that are under way at once, of images, of exports and of places that do not say how many are worthwhile. It
/// keeps two cores busy while one batch waits for the disk.
const IN_FLIGHT: usize = 6;
/// The number of plain bytes in a batch. A batch of one larger block has more.
const BATCH_BYTES: u32 = 4 << 20;

/// A stored block, and the block that it should be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) address: Address,
    pub(crate) at: StoredBlock,
}

/// A job folder that frames are read from.
#[derive(Debug, Clone)]
pub(crate) struct FrameSource {
    repository: OpenRepository,
    layout: Layout,
    numbers: BTreeMap<MachineName, MachineNumber>,
}

impl FrameSource {
    pub(crate) fn new(repository: &OpenRepository, layout: &Layout, head: &Head) -> Self {
        let numbers = head.machines.iter().cloned().zip((0..).map(MachineNumber)).collect();
        Self { repository: repository.clone(), layout: layout.clone(), numbers }
    }

    /// The packs of a block cache.
    pub(crate) fn of_cache(run: &CacheRun) -> Self {
        let numbers = MachineName::new(MACHINE).into_iter().map(|name| (name, MachineNumber(0))).collect();
        Self { repository: run.place.clone(), layout: run.layout().clone(), numbers }
    }

    /// Returns the number of a machine in the frames of this folder.
    fn number(&self, machine: &MachineName) -> Result<MachineNumber> {
        let number = self.numbers.get(machine).copied();
        number.ok_or_else(|| Error::defect(format!("machine {machine} has no number in job {}", self.layout.job())))
    }

    /// Reads the bytes of a batch.
    async fn read(&self, batch: &Batch) -> Result<Bytes> {
        let key = self.layout.backup_file(batch.file)?;
        let bytes = match self.repository.backend().get_range(&key, batch.range.clone()).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                return Err(self.damaged_file(&key).because(error));
            }
            answer => self.told(answer.while_doing(|| format!("reading backup file {key}")).of_object(&key))?,
        };
        if bytes.len() as u64 != batch.range.end - batch.range.start {
            let why = "the repository returned fewer bytes than were asked for";
            return Err(self.damaged_file(&key).because(why));
        }
        Ok(bytes)
    }

    fn damaged_file(&self, key: &Key) -> Error {
        Error::damaged(DamagedPart::File, key, self.repository.located()).in_job(self.layout.job())
    }

    /// Returns the error about a frame that differs from what the index says.
    fn damaged(&self, wanted: &Wanted, source: offsite_core::format::FormatError) -> Error {
        let Address { machine, disk, block } = wanted.address.clone();
        let object = format!("{}/blocks/{}", self.layout.job(), wanted.at.file);
        let part = DamagedPart::Block { machine, disk, block };
        Error::damaged(part, object, self.repository.located()).in_job(self.layout.job()).because(source)
    }

    /// Adds to an answer where it came from.
    fn told<T>(&self, answer: Result<T>) -> Result<T> {
        answer.at(|| self.repository.located()).in_job(self.layout.job())
    }
}

/// Returns what was read from and written to backup files of the folders' repositories so far. Each repository counts once.
pub(crate) fn block_counts(sources: &[FrameSource]) -> Counts {
    let mut counted = BTreeSet::new();
    let own = sources.iter().filter(|source| counted.insert(source.repository.id()));
    own.fold(Counts::default(), |mut sum, source| {
        sum += source.repository.block_counts();
        sum
    })
}

/// Returns the bytes of one frame from those of its batch.
fn frame_in(bytes: &Bytes, batch: &Batch, at: StoredBlock) -> Result<Bytes> {
    let start = usize::try_from(at.offset - batch.range.start).unwrap_or(usize::MAX);
    let end = start.saturating_add(at.length as usize);
    if end > bytes.len() {
        return Err(Error::defect(format!("a frame at {} lies outside its batch", at.offset)));
    }
    Ok(bytes.slice(start..end))
}

/// Runs `work` on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    crate::seams::blocking(work).await?
}
