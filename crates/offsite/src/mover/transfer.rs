//! Backup files into backup files.

use bytes::Bytes;
use futures::{StreamExt, stream};
use offsite_core::MachineNumber;
use offsite_core::plan::{Batch, Move, batches};

use super::codec::{Sealed, open_frame, unseal};
use super::output::Output;
use super::{FrameSource, IN_FLIGHT, Wanted, blocking, frame_in};
use crate::progress::Progress;
use crate::{Error, Result};

/// How much is checked of a frame that is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checking {
    /// That it is what was stored, by its header and checksums.
    Stored,
    /// Also the digest of the plain block: for frames that somebody else may have made.
    Digest,
}

/// Carries the blocks of a plan: each is read once, checked as it was stored, and written once, at the place planned for it.
///
/// Payloads are not decompressed: what was stored is what is stored again, under a new header.
pub(crate) async fn transfer(
    moves: &[Move],
    source: &FrameSource,
    target_number: impl Fn(&Move) -> Result<MachineNumber>,
    output: &mut Output<'_>,
    checking: Checking,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("copying", moves.iter().map(|step| u64::from(step.from.length)).sum());
    let mut reads = stream::iter(batches(moves, |step| step.from))
        .map(|batch| async move {
            let bytes = match source.read(&batch).await {
                Ok(bytes) if checking == Checking::Digest => check(moves, source, &batch, bytes).await,
                answer => answer,
            };
            (bytes, batch)
        })
        .buffered(IN_FLIGHT);
    while let Some((bytes, batch)) = reads.next().await {
        let bytes = bytes?;
        for step in &moves[batch.items.clone()] {
            let frame = frame_in(&bytes, &batch, step.from)?;
            let wanted = Wanted { address: step.address.clone(), at: step.from };
            let number = source.number(&step.address.machine)?;
            let (header, start) =
                open_frame(&frame, &wanted, number).map_err(|error| source.damaged(&wanted, error))?;
            let sealed = Sealed {
                codec: header.codec,
                plain_bytes: header.plain_bytes,
                payload: frame.slice(start..),
                payload_checksum: header.payload_checksum,
                digest: header.digest,
            };
            if sealed.frame_bytes() != step.to.length {
                return Err(Error::Defect(format!("a frame of {} bytes was planned", step.to.length)));
            }
            let place = (step.to.file, step.to.offset);
            output.append(place, target_number(step)?, step.address.disk, step.address.block, sealed).await?;
            progress.advance(u64::from(step.from.length));
        }
    }
    progress.end();
    Ok(())
}

/// Compares every block of a batch with its digest.
async fn check(moves: &[Move], source: &FrameSource, batch: &Batch, bytes: Bytes) -> Result<Bytes> {
    let moves = moves[batch.items.clone()].iter();
    let wanted: Vec<_> = moves.map(|step| Wanted { address: step.address.clone(), at: step.from }).collect();
    let (source, batch) = (source.clone(), batch.clone());
    blocking(move || {
        let mut plain = Vec::new();
        for block in &wanted {
            let frame = frame_in(&bytes, &batch, block.at)?;
            let number = source.number(&block.address.machine)?;
            unseal(&frame, block, number, &mut plain).map_err(|error| source.damaged(block, error))?;
        }
        Ok(bytes)
    })
    .await
}
