//! Backup files into another file that is there already.

use bytes::Bytes;
use futures::{StreamExt, stream};
use offsite_core::ObjectId;
use offsite_core::plan::{BATCH_BYTES_MAX, Batch, Move};
use offsite_repository::{Extent, Repository};

use super::codec::open_frame;
use super::{FrameSource, IN_FLIGHT, Wanted, frame_in};
use crate::error::Context;
use crate::progress::Progress;
use crate::{Error, Result};

/// What is written with one flush. Far more costs memory, far less costs flushes.
const PATCH_BYTES: u64 = 32 << 20;

/// Carries the blocks of a plan into `file`, each as it is: read once, checked as it was stored, written once, with the padding
/// that belongs to it. What stood at its new place nobody needs, so a run that is cut off leaves nothing to mend.
pub(crate) async fn fold(
    moves: &[Move],
    alignment: u64,
    frames: &FrameSource,
    file: ObjectId,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("folding", moves.iter().map(|step| u64::from(step.from.length)).sum());
    let mut extents: Vec<Extent> = Vec::new();
    let mut pending_bytes = 0;
    let mut reads = stream::iter(batches(moves, alignment))
        .map(|batch| async move { (frames.read(&batch).await, batch) })
        .buffered(IN_FLIGHT);
    while let Some((bytes, batch)) = reads.next().await {
        let bytes = bytes?;
        for step in &moves[batch.items.clone()] {
            let frame = frame_in(&bytes, &batch, step.from)?;
            let wanted = Wanted { address: step.address.clone(), at: step.from };
            let number = frames.number(&step.address.machine)?;
            open_frame(&frame, &wanted, number).map_err(|error| frames.damaged(&wanted, error))?;
            if step.to.file != file || step.to.length != step.from.length {
                return Err(Error::Defect(format!("a fold into {file} that moves a block to {}", step.to.file)));
            }
            let start = usize::try_from(step.from.offset - batch.range.start).unwrap_or(usize::MAX);
            let padded = u64::from(step.from.length).next_multiple_of(alignment);
            let end = start.saturating_add(usize::try_from(padded).unwrap_or(usize::MAX)).min(bytes.len());
            add(&mut extents, step.to.offset, bytes.slice(start..end));
            pending_bytes += padded;
            progress.advance(u64::from(step.from.length));
        }
        if pending_bytes >= PATCH_BYTES {
            pending_bytes = 0;
            patch(frames, file, std::mem::take(&mut extents)).await?;
        }
    }
    patch(frames, file, extents).await?;
    progress.end();
    Ok(())
}

/// Frames that follow each other without a gap are read together; nothing else is read.
fn batches(moves: &[Move], alignment: u64) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (position, step) in moves.iter().enumerate() {
        let start = step.from.offset;
        let end = (start + u64::from(step.from.length)).next_multiple_of(alignment);
        match batches.last_mut() {
            Some(batch)
                if batch.file == step.from.file
                    && batch.range.end == start
                    && end - batch.range.start <= BATCH_BYTES_MAX =>
            {
                batch.range.end = end;
                batch.items.end = position + 1;
            }
            _ => batches.push(Batch { file: step.from.file, range: start..end, items: position..position + 1 }),
        }
    }
    batches
}

fn add(extents: &mut Vec<Extent>, offset: u64, bytes: Bytes) {
    match extents.last_mut() {
        Some(last) if last.end() == offset => last.chunks.push(bytes),
        _ => extents.push(Extent { offset, chunks: vec![bytes] }),
    }
}

async fn patch(frames: &FrameSource, file: ObjectId, mut extents: Vec<Extent>) -> Result<()> {
    if extents.is_empty() {
        return Ok(());
    }
    extents.sort_unstable_by_key(|extent| extent.offset);
    let key = frames.layout.backup_file(file)?;
    let Some(patch) = frames.repository.backend().patch() else {
        return Err(Error::Defect("a fold where nothing can be written into".to_owned()));
    };
    patch.patch(&key, extents).await.while_doing(|| format!("folding into {key} in {}", frames.repository.location()))
}
