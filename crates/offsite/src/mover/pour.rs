//! Writes backup files into a stream of one disk, from front to back.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use offsite_core::BlockSize;
use offsite_core::plan::{Batch, batches};

use super::ahead::Ahead;
use super::around::{Lost, around_loss};
use super::extract::open_block;
use super::{FrameSource, Sink, Wanted, blocking, frame_in};
use crate::Result;
use crate::progress::Step;
use crate::teller::Teller;

/// Writes a disk of `size_bytes` to `sink`. Each block is compared with its digest first.
///
/// `wanted` has the stored blocks in the order of the disk. Everything between them is zero. Returns the lost blocks. Without
/// `goes_on`, it ends at the first lost block and writes nothing after it. With it, it writes the complete disk, with zeros for
/// lost blocks.
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
    let ahead = Ahead::of(std::slice::from_ref(source));
    let passed = progress.passed(batches(wanted, |block| block.at));
    let mut batches = Box::pin(ahead.ordered(passed, |batch: Result<Batch>| async move {
        let batch = batch?;
        let items = batch.items.clone();
        around_loss(wanted, batch, open).await.map(|(done, error)| (items, done, error))
    }));
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
