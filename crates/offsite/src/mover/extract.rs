//! Backup files into disk images.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use offsite_core::format::FormatError;
use offsite_core::plan::batches;
use offsite_core::{BlockSize, DiskNumber};

use super::codec::unseal;
use super::{FrameSource, IN_FLIGHT, Wanted, blocking, frame_in};
use crate::image::DiskSink;
use crate::progress::Progress;
use crate::{Error, Result};

thread_local! {
    static PLAIN: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writes the wanted blocks to the images of their disks, each checked against its digest first.
///
/// `wanted` is ordered by file and offset, so that each file is read once and in order; blocks that are zero are not in it,
/// as a new image is zero. `sink_of` tells a disk's image and its size in bytes.
pub(crate) async fn extract(
    wanted: Arc<Vec<Wanted>>,
    source: &FrameSource,
    block_size: BlockSize,
    sink_of: impl Fn(DiskNumber) -> Option<(Arc<dyn DiskSink>, u64)>,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("restoring", wanted.iter().map(|block| u64::from(block.at.length)).sum());
    let sink_of = &sink_of;
    let wanted = &wanted;
    stream::iter(batches(wanted, |block| block.at))
        .map(|batch| async move {
            let bytes = source.read(&batch).await?;
            let (source, wanted) = (source.clone(), Arc::clone(wanted));
            let sinks: Vec<_> = wanted[batch.items.clone()]
                .iter()
                .map(|block| {
                    sink_of(block.address.disk).ok_or_else(|| Error::Defect("a disk without an image".to_owned()))
                })
                .collect::<Result<_>>()?;
            let length: u64 = wanted[batch.items.clone()].iter().map(|block| u64::from(block.at.length)).sum();
            blocking(move || {
                PLAIN.with_borrow_mut(|plain| {
                    for (block, (sink, size_bytes)) in wanted[batch.items.clone()].iter().zip(sinks) {
                        let frame = frame_in(&bytes, &batch, block.at)?;
                        open_block(&frame, block, &source, (block_size, size_bytes), plain)?;
                        sink.write_at(plain, block_size.offset(block.address.block))?;
                    }
                    Ok(())
                })
            })
            .await?;
            Ok::<u64, Error>(length)
        })
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|length| {
            progress.advance(length);
            std::future::ready(Ok(()))
        })
        .await?;
    progress.end();
    Ok(())
}

/// Writes the plain bytes of a frame to `plain`, if they are the block that is wanted of a disk of `size_bytes`.
pub(super) fn open_block(
    frame: &[u8],
    block: &Wanted,
    source: &FrameSource,
    (block_size, size_bytes): (BlockSize, u64),
    plain: &mut Vec<u8>,
) -> Result<()> {
    let number = source.number(&block.address.machine)?;
    unseal(frame, block, number, plain).map_err(|error| source.damaged(block, error))?;
    // A longer one would be written over the next.
    if plain.len() as u64 == u64::from(block_size.length_at(block.address.block, size_bytes)) {
        return Ok(());
    }
    let why = "its block has not the length that the disk has it in".to_owned();
    Err(source.damaged(block, FormatError::Invalid { what: "frame", why }))
}
