//! Random access to a disk of a snapshot.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use offsite_core::plan::Address;
use offsite_core::{DiskMap, DiskNumber, MachineName, Run};

use crate::mover::Wanted;
use crate::reader::snapshot::shared::Shared;
use crate::{Error, Result};

/// The number of blocks that one call reads at a time.
const READS_AT_ONCE: usize = 4;
/// The largest piece of zeros that is returned at once, in bytes.
const ZEROS_BYTES: usize = 256 << 10;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// Random access to a disk of a [`Snapshot`](crate::Snapshot).
///
/// Each block is compared with its digest before any byte of it is returned. A damaged block fails only the reads that touch it,
/// and the error names machine, disk and block. The readers of a snapshot share its cache of decoded blocks. If several want the
/// same block at once, it is read once.
///
/// A clone is cheap. A reader keeps the pin of its snapshot alive. [`stream`](Self::stream) reads the disk like a file.
#[derive(Clone)]
pub struct DiskReader {
    shared: Arc<Shared>,
    disk: Arc<Disk>,
}

struct Disk {
    machine: MachineName,
    number: DiskNumber,
    map: DiskMap,
}

/// A range of a disk with stored data, or with zeros only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DiskExtent {
    /// The range, in bytes of the disk.
    pub range: Range<u64>,
    /// `true` if blocks of the range are stored. `false` if it contains only zeros.
    pub is_data: bool,
}

/// A part of a block.
struct Piece {
    block: u32,
    /// The part, in bytes of the block.
    range: Range<usize>,
}

impl DiskReader {
    pub(super) fn new(shared: Arc<Shared>, machine: MachineName, number: DiskNumber, map: DiskMap) -> Self {
        Self { shared, disk: Arc::new(Disk { machine, number, map }) }
    }

    /// The size of the disk in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.disk.map.size_bytes()
    }

    /// The ranges of stored data and of zeros, in ascending order.
    ///
    /// They have no gaps, and data and zeros alternate. It reads nothing.
    pub fn extents(&self) -> impl Iterator<Item = DiskExtent> {
        let (size_bytes, block_size) = (self.size_bytes(), self.shared.block_size());
        let mut runs = self.disk.map.runs().iter().peekable();
        std::iter::from_fn(move || {
            let first = runs.next()?;
            let is_data = |run: &Run| matches!(run, Run::Stored { .. });
            let mut end = first.end();
            while let Some(next) = runs.next_if(|next| is_data(next) == is_data(first)) {
                end = next.end();
            }
            let end = end.saturating_mul(block_size.bytes().into()).min(size_bytes);
            Some(DiskExtent { range: block_size.offset(first.first())..end, is_data: is_data(first) })
        })
    }

    /// Reads from `offset` into `buffer`.
    ///
    /// Returns the number of bytes read.
    ///
    /// It fills all of `buffer`, or as much as there is up to the end of the disk. Past the end it returns 0.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the machine, disk and block that differs from what was stored. [`Error::SnapshotExpired`] if the
    /// pin was lost and the block was freed. Errors of the repository. After an error, the content of `buffer` is undefined.
    pub fn read_at<'a>(&'a self, offset: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            let left = usize::try_from(self.size_bytes().saturating_sub(offset)).unwrap_or(usize::MAX);
            let length = buffer.len().min(left);
            let mut rest = &mut buffer[..length];
            let mut at = offset;
            let mut reads = Vec::new();
            while !rest.is_empty() {
                let piece = self.piece(at, rest.len());
                let (part, others) = rest.split_at_mut(piece.range.len());
                at += part.len() as u64;
                rest = others;
                reads.push(self.fill(piece, part).boxed());
            }
            stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect::<()>().await?;
            Ok(length)
        })
    }

    /// The bytes from `offset` on, without a copy.
    ///
    /// It returns at least one byte, and at most those up to the end of the block at `offset`. Past the end of the disk it
    /// returns none.
    ///
    /// # Errors
    /// The same as [`DiskReader::read_at`].
    pub fn bytes_at(&self, offset: u64) -> BoxFuture<'static, Result<Bytes>> {
        let reader = self.clone();
        Box::pin(async move {
            if offset >= reader.size_bytes() {
                return Ok(Bytes::new());
            }
            let piece = reader.piece(offset, usize::MAX);
            match reader.block(piece.block).await? {
                Some(plain) => {
                    reader.part(&plain, &piece)?;
                    Ok(plain.slice(piece.range))
                }
                None => Ok(Bytes::from_static(&ZEROS[..piece.range.len().min(ZEROS_BYTES)])),
            }
        })
    }

    async fn fill(&self, piece: Piece, part: &mut [u8]) -> Result<()> {
        match self.block(piece.block).await? {
            Some(plain) => part.copy_from_slice(self.part(&plain, &piece)?),
            None => part.fill(0),
        }
        Ok(())
    }

    /// The part of the block at `offset` that begins there and has at most `length` bytes.
    ///
    /// `offset` must be on the disk.
    fn piece(&self, offset: u64, length: usize) -> Piece {
        let block_size = self.shared.block_size();
        let block = u32::try_from(offset / u64::from(block_size.bytes())).unwrap_or(u32::MAX);
        let start = usize::try_from(offset - block_size.offset(block)).unwrap_or(usize::MAX);
        let end = block_size.length_at(block, self.size_bytes()) as usize;
        Piece { block, range: start..end.min(start.saturating_add(length)) }
    }

    fn part<'b>(&self, plain: &'b Bytes, piece: &Piece) -> Result<&'b [u8]> {
        let part = plain.get(piece.range.clone());
        part.ok_or_else(|| Error::defect(format!("block {} of {self:?} has {} bytes", piece.block, plain.len())))
    }

    /// The bytes of a block.
    ///
    /// `None` if they are zeros.
    async fn block(&self, block: u32) -> Result<Option<Bytes>> {
        let Disk { machine, number, map } = self.disk.as_ref();
        match map.get(block) {
            Some(Run::Stored { at, .. }) => {
                let address = Address { machine: machine.clone(), disk: *number, block };
                self.shared.block(Wanted { address, at }, map.size_bytes()).await.map(Some)
            }
            Some(Run::Zero { .. }) => Ok(None),
            None => Err(Error::defect(format!("block {block} of {self:?} is in no index"))),
        }
    }
}

impl fmt::Debug for DiskReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DiskReader")
            .field("machine", &self.disk.machine)
            .field("disk", &self.disk.number)
            .field("size_bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use offsite_core::{DiskIdentity, DiskName, ImageFormat};

    use super::*;
    use crate::sample::Sample;
    use crate::{JobName, PointSelector, Snapshot};

    /// No image has such a disk, but an index may.
    #[tokio::test]
    async fn a_disk_of_no_bytes_reads_as_nothing() {
        let sample = Sample::new(1).await;
        let job = JobName::new("nightly").unwrap();
        let snapshot = Snapshot::open(&sample.repository, &job, PointSelector::Latest).await.unwrap();
        let identity = DiskIdentity::new(DiskName::new("vda").unwrap(), ImageFormat::Raw);
        let map = DiskMap::new(identity, 0, 0, 0, Vec::new()).unwrap();
        let machine = sample.point.machines[0].name.clone();
        let reader = DiskReader::new(snapshot.shared(), machine, DiskNumber(0), map);
        assert_eq!((reader.size_bytes(), reader.extents().count()), (0, 0));
        assert_eq!(reader.read_at(0, &mut [1; 9]).await.unwrap(), 0);
        assert_eq!(reader.bytes_at(0).await.unwrap().len(), 0);
    }
}
