//! Reads one block of a backup file, for readers of single places in a disk.

use bytes::Bytes;
use offsite_core::BlockSize;
use offsite_core::format::FormatError;
use offsite_core::plan::Batch;

use super::extract::open_block;
use super::{FrameSource, Wanted, blocking, frame_in};
use crate::error::causes;
use crate::{Error, Result};

/// Returns the plain bytes of a block of a disk of `size_bytes`. They are compared with the digest.
///
/// # Errors
/// - [`Error::Damaged`] if the block is damaged, or its file is missing or cut off. It names the block.
/// - Errors of the repository.
pub(crate) async fn load(
    wanted: Wanted,
    source: &FrameSource,
    (block_size, size_bytes): (BlockSize, u64),
) -> Result<Bytes> {
    let at = wanted.at;
    let batch = Batch { file: at.file, range: at.offset..at.offset + u64::from(at.length), items: 0..1 };
    let bytes = match source.read(&batch).await {
        Err(error) if error.is_loss() => return Err(lost(&wanted, source, error)),
        answer => answer?,
    };
    let source = source.clone();
    blocking(move || {
        let mut plain = Vec::new();
        let frame = frame_in(&bytes, &batch, wanted.at)?;
        open_block(&frame, &wanted, &source, (block_size, size_bytes), &mut plain)?;
        Ok(Bytes::from(plain))
    })
    .await
}

/// Returns the damage of the block if its file no longer has it.
fn lost(wanted: &Wanted, source: &FrameSource, error: Error) -> Error {
    let why = match error {
        Error::Repository { source, .. } => source.to_string(),
        Error::Damaged { source: Some(source), .. } => causes(source.as_ref()),
        other => other.to_string(),
    };
    source.damaged(wanted, FormatError::Invalid { what: "backup file", why })
}
