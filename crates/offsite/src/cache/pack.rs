//! Packs: frames one after the other, without a header of their own.

use bytes::Bytes;
use offsite_core::{Digest, ObjectId, StoredBlock};
use offsite_repository::{ObjectWriter, Repository};

use crate::error::Context;
use crate::folder::layout::Layout;
use crate::{OpenRepository, Result};

/// About the number of bytes that are handed to the place at once.
const WRITE_BYTES: u64 = 4 << 20;

/// A pack that is being written.
pub(super) struct Pack {
    pub(super) id: ObjectId,
    /// The frames so far, in the order in which they lie in the pack.
    pub(super) rows: Vec<StoredBlock>,
    /// The length of the pack so far, in bytes.
    pub(super) bytes: u64,
    writer: Box<dyn ObjectWriter>,
    pending: Vec<Bytes>,
    pending_bytes: u64,
}

impl Pack {
    pub(super) async fn begin(place: &OpenRepository, layout: &Layout, id: ObjectId) -> Result<Self> {
        let writer = place.backend().create(&layout.backup_file(id)?).await;
        let writer = writer.while_doing(|| format!("writing to the cache in {}", place.location()))?;
        Ok(Self { id, rows: Vec::new(), bytes: 0, writer, pending: Vec::new(), pending_bytes: 0 })
    }

    pub(super) async fn append(&mut self, digest: Digest, frame: [Bytes; 2]) -> Result<()> {
        let bytes: usize = frame.iter().map(Bytes::len).sum();
        let length = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.rows.push(StoredBlock { file: self.id, offset: self.bytes, length, digest });
        self.bytes += u64::from(length);
        self.pending_bytes += u64::from(length);
        self.pending.extend(frame);
        if self.pending_bytes >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        self.pending_bytes = 0;
        match std::mem::take(&mut self.pending) {
            pending if pending.is_empty() => Ok(()),
            pending => self.writer.write(pending).await.while_doing(|| "writing to the cache".to_owned()),
        }
    }

    /// Ends the pack. Returns its id and its frames.
    pub(super) async fn finish(mut self) -> Result<(ObjectId, Vec<StoredBlock>)> {
        self.flush().await?;
        self.writer.finish().await.while_doing(|| "writing to the cache".to_owned())?;
        Ok((self.id, self.rows))
    }

    pub(super) async fn abort(self) {
        let _ = self.writer.abort().await;
    }
}
