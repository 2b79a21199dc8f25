//! Writes backup files into disk images.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use offsite_core::format::FormatError;
use offsite_core::plan::{Batch, batches};
use offsite_core::{BlockSize, DiskNumber};

use super::ahead::Ahead;
use super::around::{Lost, around_loss};
use super::codec::unseal;
use super::{FrameSource, Wanted, blocking, frame_in};
use crate::image::{DiskSink, failed};
use crate::progress::Step;
use crate::teller::Teller;
use crate::{Error, Result};

thread_local! {
    static PLAIN: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writes the wanted blocks to the images of their disks. Each block is compared with its digest first.
///
/// `wanted` is ordered by file and offset, so that each file is read once and in order. It has no blocks of zeros, as the images
/// are zero there. `sink_of` returns the image of a disk and its size in bytes.
///
/// Returns the lost blocks. The images are zero there. Without `goes_on`, it ends as soon as there are some. With it, it writes all
/// others first.
pub(crate) async fn extract(
    wanted: Arc<Vec<Wanted>>,
    source: &FrameSource,
    block_size: BlockSize,
    sink_of: impl Fn(DiskNumber) -> Option<(Arc<dyn DiskSink>, u64)> + Sync,
    goes_on: bool,
    progress: Teller<'_>,
) -> Result<Lost> {
    let progress = progress.begin(Step::Transfer, wanted.iter().map(|block| u64::from(block.at.length)).sum());
    let sink_of =
        |block: &Wanted| sink_of(block.address.disk).ok_or_else(|| Error::defect("a disk without an image".to_owned()));
    let (sink_of, wanted) = (&sink_of, &wanted);
    let write = |batch: Batch| async move {
        let bytes = source.read(&batch).await?;
        let (source, wanted) = (source.clone(), Arc::clone(wanted));
        let sinks: Vec<_> = wanted[batch.items.clone()].iter().map(sink_of).collect::<Result<_>>()?;
        blocking(move || {
            PLAIN.with_borrow_mut(|plain| {
                let blocks = wanted[batch.items.clone()].iter().zip(sinks);
                let write = |(block, (sink, size_bytes)): (&Wanted, (Arc<dyn DiskSink>, u64))| {
                    let frame = frame_in(&bytes, &batch, block.at)?;
                    open_block(&frame, block, &source, (block_size, size_bytes), plain)?;
                    let written = sink.write_at(block_size.offset(block.address.block), plain);
                    written.map_err(|error| not_written(sink.as_ref(), error))
                };
                blocks.map(write).collect::<Result<Vec<()>>>()
            })
        })
        .await
    };
    let write = &write;
    let ahead = Ahead::of(std::slice::from_ref(source));
    let passed = progress.passed(batches(wanted, |block| block.at));
    let mut batches = Box::pin(ahead.unordered(passed, |batch: Result<Batch>| async move {
        let batch = batch?;
        let items = batch.items.clone();
        around_loss(wanted, batch, write).await.map(|(done, error)| (items, done, error))
    }));
    let mut lost = Lost::default();
    while let Some(batch) = batches.next().await {
        let (items, done, error) = batch?;
        lost.explain(error);
        let not_done = wanted[items.clone()].iter().zip(done).filter(|(_, done)| done.is_none());
        not_done.for_each(|(block, _)| lost.add(block));
        if !lost.blocks.is_empty() && !goes_on {
            return Ok(lost);
        }
        progress.advance(wanted[items].iter().map(|block| u64::from(block.at.length)).sum());
    }
    for block in &lost.blocks {
        let ((sink, size_bytes), number) = (sink_of(block)?, block.address.block);
        let start = block_size.offset(number);
        let end = start + u64::from(block_size.length_at(number, size_bytes));
        if !sink.is_zeroed() {
            blocking(move || write_zeros(sink.as_ref(), start..end)).await?;
        }
    }
    drop(batches);
    progress.end();
    Ok(lost)
}

/// Makes a range of a disk read as zeros. It blocks.
pub(crate) fn write_zeros(sink: &dyn DiskSink, range: Range<u64>) -> Result<()> {
    sink.write_zeros(range).map_err(|error| not_written(sink, error))
}

fn not_written(sink: &dyn DiskSink, error: io::Error) -> Error {
    failed(&sink.location(), "it cannot be written", error)
}

/// Writes the plain bytes of a frame to `plain`. Fails if they are not the wanted block of a disk of `size_bytes`.
pub(super) fn open_block(
    frame: &[u8],
    block: &Wanted,
    source: &FrameSource,
    (block_size, size_bytes): (BlockSize, u64),
    plain: &mut Vec<u8>,
) -> Result<()> {
    let number = source.number(&block.address.machine)?;
    unseal(frame, block, number, plain).map_err(|error| source.damaged(block, error))?;
    // A longer block would be written over the next one.
    if plain.len() as u64 == u64::from(block_size.length_at(block.address.block, size_bytes)) {
        return Ok(());
    }
    let why = "its block has not the length that the disk has it in".to_owned();
    Err(source.damaged(block, FormatError::Invalid { what: "frame", why }))
}
