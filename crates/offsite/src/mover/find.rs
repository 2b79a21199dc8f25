//! Finds frames without an index, by their headers.

use offsite_core::format::frame::{HEADER_BYTES, Header};
use offsite_core::{ObjectId, StoredBlock};
use offsite_repository::{ErrorKind, RepositoryExt};

use super::FrameSource;
use crate::Result;
use crate::error::{Context, Within};

/// The number of bytes that are read at once.
const WINDOW_BYTES: u64 = 4 << 20;

/// A frame with an intact header. Its payload has not been checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) at: StoredBlock,
}

/// Returns the frames of a backup file in the order of their places, whether a point needs them or not.
///
/// Bytes of a payload are not taken for a frame while the header before it is intact.
pub(crate) async fn find(source: &FrameSource, file: ObjectId, length: u64, alignment: u64) -> Result<Vec<Found>> {
    let key = source.layout.backup_file(file)?;
    let mut found = Vec::new();
    let mut start = 0;
    while start + HEADER_BYTES as u64 <= length {
        let end = length.min(start + WINDOW_BYTES);
        let window = match source.repository.backend().get_range(&key, start..end).await {
            // The file was cut off. The frames before the cut have been found.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => break,
            answer => source.told(answer.while_doing(|| format!("reading backup file {key}")).of_object(&key))?,
        };
        let mut offset = start;
        while let Some(bytes) = usize::try_from(offset - start).ok().and_then(|from| window.get(from..))
            && bytes.len() >= HEADER_BYTES
        {
            let mut next = offset + alignment;
            if let Ok(header) = Header::decode(bytes) {
                let frame_bytes = header.frame_bytes();
                if offset + u64::from(frame_bytes) <= length {
                    let at = StoredBlock { file, offset, length: frame_bytes, digest: header.digest };
                    found.push(Found { header, at });
                    next = (offset + u64::from(frame_bytes)).next_multiple_of(alignment);
                }
            }
            offset = next;
        }
        start = offset;
    }
    Ok(found)
}
