//! From the backup files of a repository into the block cache.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, stream};
use offsite_core::format::frame::Identity;
use offsite_core::plan::batches;
use offsite_core::{DiskNumber, MachineNumber, Sequence};

use super::ahead::Ahead;
use super::codec::{Sealed, open_frame, unseal};
use super::{FrameSource, Wanted, blocking, frame_in};
use crate::cache::Keeper;
use crate::gate::Passage;
use crate::teller::Running;
use crate::{Error, Result};

/// What a copy puts into the cache: blocks that come from folders across a link.
pub(crate) struct Keeping {
    pub(crate) keeper: Keeper,
    /// The numbers of these folders.
    pub(crate) away: BTreeSet<u32>,
}

/// Puts a block into the cache.
pub(super) async fn keep(keeper: &mut Keeper, sealed: &Sealed) {
    let frame = |origin, number| {
        let (machine, disk, sequence) = (MachineNumber(0), DiskNumber(0), Sequence(0));
        let identity = Identity { origin, ordinal: number, machine, disk, block: number, sequence };
        [Bytes::copy_from_slice(&sealed.header(identity).encode()), sealed.payload.clone()]
    };
    keeper.add(sealed.digest, sealed.frame_bytes(), frame).await;
}

/// Reads blocks, and puts those that have their digests into the cache, until it is full.
///
/// Returns how many blocks could not be read or have other digests, and whether the gate ended it.
///
/// # Errors
/// The repository cannot be read.
pub(crate) async fn fill(
    blocks: &[Wanted],
    source: &FrameSource,
    keeper: &mut Keeper,
    progress: &Running<'_>,
) -> Result<(u64, Passage)> {
    let read = |batch: offsite_core::plan::Batch| async move {
        if progress.pass(batch.range.end - batch.range.start).await == Passage::Stop {
            return Ok(None);
        }
        let wanted = blocks[batch.items.clone()].to_vec();
        let bytes = match source.read(&batch).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_loss() => return Ok(Some((wanted.len(), Vec::new()))),
            Err(error) => return Err(error),
        };
        let (source, batch) = (source.clone(), batch.clone());
        let opened = blocking(move || {
            let (mut plain, mut sealed) = (Vec::new(), Vec::new());
            for block in &wanted {
                let (frame, number) = (frame_in(&bytes, &batch, block.at)?, source.number(&block.address.machine)?);
                let is_right = unseal(&frame, block, number, &mut plain).is_ok();
                if let Some((header, start)) = open_frame(&frame, block, number).ok().filter(|_| is_right) {
                    sealed.push(Sealed::of_frame(&header, frame.slice(start..)));
                }
            }
            Ok((wanted.len() - sealed.len(), sealed))
        });
        Ok::<_, Error>(Some(opened.await?))
    };
    let ahead = Ahead::of(std::slice::from_ref(source));
    let mut reads = ahead.ordered(stream::iter(batches(blocks, |block| block.at)), read).boxed();
    let mut damaged = 0;
    while let Some(answer) = reads.next().await {
        let Some((lost, sealed)) = answer? else { return Ok((damaged, Passage::Stop)) };
        damaged += lost as u64;
        for sealed in sealed {
            keep(keeper, &sealed).await;
            progress.advance(sealed.frame_bytes().into());
        }
        if keeper.is_full() {
            break;
        }
    }
    Ok((damaged, Passage::Go))
}
