//! Backup files into a stream of one disk, front to back.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use offsite_core::BlockSize;
use offsite_core::plan::batches;

use super::extract::open_block;
use super::{FrameSource, IN_FLIGHT, Sink, Wanted, blocking, frame_in};
use crate::Result;
use crate::progress::Progress;

/// Writes a disk of `size_bytes` to `sink`, each block checked against its digest first.
///
/// `wanted` are its stored blocks, in the order of the disk; what lies between them is zero.
pub(crate) async fn pour(
    wanted: Arc<Vec<Wanted>>,
    source: &FrameSource,
    (block_size, size_bytes): (BlockSize, u64),
    sink: &mut Sink,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("restoring", wanted.iter().map(|block| u64::from(block.at.length)).sum());
    let wanted = &wanted;
    let mut batches = stream::iter(batches(wanted, |block| block.at))
        .map(|batch| async move {
            let bytes = source.read(&batch).await?;
            let (source, wanted) = (source.clone(), Arc::clone(wanted));
            blocking(move || {
                let blocks = wanted[batch.items.clone()].iter().map(|block| {
                    let mut plain = Vec::new();
                    open_block(
                        &frame_in(&bytes, &batch, block.at)?,
                        block,
                        &source,
                        (block_size, size_bytes),
                        &mut plain,
                    )?;
                    Ok((block.clone(), Bytes::from(plain)))
                });
                blocks.collect::<Result<Vec<_>>>()
            })
            .await
        })
        .buffered(IN_FLIGHT);
    while let Some(blocks) = batches.next().await {
        for (block, plain) in blocks? {
            sink.zeros(block_size.offset(block.address.block).saturating_sub(sink.bytes())).await?;
            sink.write(vec![plain]).await?;
            progress.advance(block.at.length.into());
        }
    }
    sink.zeros(size_bytes.saturating_sub(sink.bytes())).await?;
    sink.flush().await?;
    progress.end();
    Ok(())
}
