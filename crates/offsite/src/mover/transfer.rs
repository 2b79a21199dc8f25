//! Backup files into backup files.

use futures::{StreamExt, stream};
use offsite_core::MachineNumber;
use offsite_core::plan::{Move, batches};

use super::codec::{Sealed, open_frame};
use super::output::Output;
use super::{FrameSource, IN_FLIGHT, Wanted, frame_in};
use crate::progress::Progress;
use crate::{Error, Result};

/// Carries the blocks of a plan: each is read once, checked as it was stored, and written once, at the place planned for it.
///
/// Payloads are not decompressed: what was stored is what is stored again, under a new header.
pub(crate) async fn transfer(
    moves: &[Move],
    source: &FrameSource,
    target_number: impl Fn(&Move) -> Result<MachineNumber>,
    output: &mut Output<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("copying", moves.iter().map(|step| u64::from(step.from.length)).sum());
    let mut reads = stream::iter(batches(moves, |step| step.from))
        .map(|batch| async move { (source.read(&batch).await, batch) })
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
