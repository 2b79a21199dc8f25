//! One block out of a backup file, for whoever reads a disk here and there.

use bytes::Bytes;
use offsite_core::BlockSize;
use offsite_core::format::FormatError;
use offsite_core::plan::Batch;

use super::extract::open_block;
use super::{FrameSource, Wanted, blocking, frame_in};
use crate::error::causes;
use crate::{Error, Result};

/// The plain bytes of a block of a disk of `size_bytes`, checked against its digest.
///
/// # Errors
/// [`Error::Damaged`] names the block, also if its file is gone or cut off; those of the repository.
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

/// A file that has not the block any more, as damage of the block.
fn lost(wanted: &Wanted, source: &FrameSource, error: Error) -> Error {
    let why = match error {
        Error::Repository { source, .. } => source.to_string(),
        Error::Damaged { source: Some(source), .. } => causes(source.as_ref()),
        other => other.to_string(),
    };
    source.damaged(wanted, FormatError::Invalid { what: "backup file", why })
}
