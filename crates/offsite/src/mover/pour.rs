//! Backup files into a stream of one disk, front to back.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use offsite_core::BlockSize;
use offsite_core::plan::{Batch, batches};

use super::around::{Lost, around_loss};
use super::extract::open_block;
use super::{FrameSource, IN_FLIGHT, Sink, Wanted, blocking, frame_in};
use crate::Result;
use crate::progress::Step;
use crate::teller::Teller;

/// Writes a disk of `size_bytes` to `sink`, each block checked against its digest first.
///
/// `wanted` are its stored blocks, in the order of the disk; what lies between them is zero. Blocks that are lost are returned: before
/// anything behind the first is written, or, with `goes_on`, after all of the disk is, with zeros in their place.
pub(crate) async fn pour(
    wanted: Arc<Vec<Wanted>>,
    source: &FrameSource,
    (block_size, size_bytes): (BlockSize, u64),
    sink: &mut Sink<'_>,
    goes_on: bool,
    progress: Teller<'_>,
) -> Result<Lost> {
    let progress = progress.begin(Step::Transfer, wanted.iter().map(|block| u64::from(block.at.length)).sum());
    let wanted = &wanted;
    let open = |batch: Batch| async move {
        let bytes = source.read(&batch).await?;
        let (source, wanted) = (source.clone(), Arc::clone(wanted));
        blocking(move || {
            let open = |block: &Wanted| {
                let mut plain = Vec::new();
                let frame = frame_in(&bytes, &batch, block.at)?;
                open_block(&frame, block, &source, (block_size, size_bytes), &mut plain)?;
                Ok(Bytes::from(plain))
            };
            wanted[batch.items.clone()].iter().map(open).collect::<Result<Vec<_>>>()
        })
        .await
    };
    let open = &open;
    let mut batches = Box::pin(
        progress
            .passed(batches(wanted, |block| block.at))
            .map(|batch| async move {
                let batch = batch?;
                let items = batch.items.clone();
                around_loss(wanted, batch, open).await.map(|(done, error)| (items, done, error))
            })
            .buffered(IN_FLIGHT),
    );
    let mut lost = Lost::default();
    while let Some(batch) = batches.next().await {
        let (items, done, error) = batch?;
        lost.explain(error);
        for (block, plain) in wanted[items].iter().zip(done) {
            match plain {
                Some(plain) => {
                    sink.zeros(block_size.offset(block.address.block).saturating_sub(sink.bytes())).await?;
                    sink.write(vec![plain]).await?;
                }
                None if goes_on => lost.add(block),
                None => {
                    lost.add(block);
                    return Ok(lost);
                }
            }
            progress.advance(block.at.length.into());
        }
    }
    sink.zeros(size_bytes.saturating_sub(sink.bytes())).await?;
    sink.flush().await?;
    drop(batches);
    progress.end();
    Ok(lost)
}
