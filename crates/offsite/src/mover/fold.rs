//! Writes blocks of backup files into another, existing file.

use bytes::Bytes;
use futures::future::try_join;
use futures::{Stream, StreamExt};
use offsite_core::ObjectId;
use offsite_core::plan::{BATCH_BYTES_MAX, Batch, Move};
use offsite_repository::{Extent, Repository};

use super::ahead::Ahead;
use super::codec::open_frame;
use super::{FrameSource, Wanted, frame_in};
use crate::error::Context;
use crate::progress::Step;
use crate::teller::{Running, Teller};
use crate::{Error, Result};

/// The number of bytes that are written with one flush. Far more takes memory, and far less takes flushes.
const PATCH_BYTES: u64 = 32 << 20;

/// Writes the blocks of a plan into `file`, each as it is, with its padding. Each is read once, checked as it was stored, and
/// written once.
///
/// Nobody needs the bytes at its new place. So after a cut-off run, nothing has to be repaired.
pub(crate) async fn fold(
    moves: &[Move],
    alignment: u64,
    frames: &FrameSource,
    file: ObjectId,
    progress: Teller<'_>,
) -> Result<()> {
    let progress = progress.begin(Step::Transfer, moves.iter().map(|step| u64::from(step.from.length)).sum());
    let passed = progress.passed(batches(moves, alignment));
    let ahead = Ahead::of(std::slice::from_ref(frames));
    let mut reads = Box::pin(ahead.ordered(passed, |batch: Result<Batch>| async move {
        let batch = batch?;
        Ok((frames.read(&batch).await?, batch))
    }));
    let fold = Fold { moves, alignment, frames, file, progress: &progress };
    let mut lot = fold.next_lot(&mut reads).await?;
    while !lot.is_empty() {
        // While one lot is made durable, the next one is read and checked.
        let ((), next) = try_join(patch(frames, file, lot), fold.next_lot(&mut reads)).await?;
        lot = next;
    }
    drop(reads);
    progress.end();
    Ok(())
}

/// What is moved, from where and to where.
struct Fold<'a> {
    moves: &'a [Move],
    alignment: u64,
    frames: &'a FrameSource,
    file: ObjectId,
    progress: &'a Running<'a>,
}

impl Fold<'_> {
    /// Returns what is written with the next flush. It is empty at the end.
    async fn next_lot(&self, reads: &mut (impl Stream<Item = Result<(Bytes, Batch)>> + Unpin)) -> Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut lot_bytes = 0;
        while lot_bytes < PATCH_BYTES
            && let Some(read) = reads.next().await
        {
            let (bytes, batch) = read?;
            for step in &self.moves[batch.items.clone()] {
                let frame = frame_in(&bytes, &batch, step.from)?;
                let wanted = Wanted { address: step.address.clone(), at: step.from };
                let number = self.frames.number(&step.address.machine)?;
                open_frame(&frame, &wanted, number).map_err(|error| self.frames.damaged(&wanted, error))?;
                if step.to.file != self.file || step.to.length != step.from.length {
                    let (file, to) = (self.file, step.to.file);
                    return Err(Error::defect(format!("a fold into {file} that moves a block to {to}")));
                }
                let start = usize::try_from(step.from.offset - batch.range.start).unwrap_or(usize::MAX);
                let padded = u64::from(step.from.length).next_multiple_of(self.alignment);
                let end = start.saturating_add(usize::try_from(padded).unwrap_or(usize::MAX)).min(bytes.len());
                add(&mut extents, step.to.offset, bytes.slice(start..end));
                lot_bytes += padded;
                let (address, bytes) = (&step.address, u64::from(step.from.length));
                self.progress.advance_disk(&address.machine, address.disk, bytes);
            }
        }
        Ok(extents)
    }
}

/// Frames without a gap between them are read together. No other bytes are read.
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
        _ => extents.push(Extent::new(offset, vec![bytes])),
    }
}

async fn patch(frames: &FrameSource, file: ObjectId, mut extents: Vec<Extent>) -> Result<()> {
    extents.sort_unstable_by_key(|extent| extent.offset);
    let key = frames.layout.backup_file(file)?;
    let Some(patch) = frames.repository.backend().patch() else {
        return Err(Error::defect("a fold where nothing can be written into".to_owned()));
    };
    patch
        .write_extents(&key, extents)
        .await
        .while_doing(|| format!("folding into {key} in {}", frames.repository.location()))
}

#[cfg(test)]
mod tests {
    use offsite_core::plan::Address;
    use offsite_core::{Digest, DiskNumber, MachineName, StoredBlock};

    use super::*;

    #[test]
    fn frames_without_a_gap_between_them_are_read_together() {
        let step = |file: u32, offset: u64, length: u32| {
            let from = StoredBlock { file: ObjectId::new(1, file), offset, length, digest: Digest([0; 32]) };
            let machine = MachineName::new("web01").unwrap();
            Move { address: Address { machine, disk: DiskNumber(0), block: 0 }, source: 0, from, to: from }
        };
        let moves = [step(1, 64, 60), step(1, 128, 64), step(1, 256, 1), step(2, 320, 64), step(2, 384, 4 << 20)];
        let batch = |file, range, items| Batch { file: ObjectId::new(1, file), range, items };
        let expected = [
            batch(1, 64..192, 0..2),
            batch(1, 256..320, 2..3),
            batch(2, 320..384, 3..4),
            batch(2, 384..384 + (4 << 20), 4..5),
        ];
        assert_eq!(batches(&moves, 64), expected, "in requests that are not too long");
    }
}
