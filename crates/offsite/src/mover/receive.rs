//! Writes the frames of an export into backup files.

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use offsite_core::format::FormatError;
use offsite_core::plan::{Address, Batch, Move, batches};
use offsite_core::{MachineName, MachineNumber};

use super::codec::{Sealed, open_frame, unseal};
use super::output::Output;
use super::stream::Source;
use super::{IN_FLIGHT, Wanted, blocking, frame_in};
use crate::progress::Step;
use crate::teller::Teller;
use crate::{Error, Result};

/// Reads the frames of a plan from a stream, which is at position `start` of their backup file. Each frame is compared with its
/// digest, and written at its planned place.
///
/// The moves are in the order of the file, with nothing but padding between them. `numbers` returns the number of a machine in the
/// stream and in this folder. `plain_bytes` returns the length of the block at an address in bytes.
pub(crate) async fn receive(
    moves: &[Move],
    source: &mut Source,
    start: u64,
    numbers: impl Fn(&MachineName) -> Option<(MachineNumber, MachineNumber)> + Sync,
    plain_bytes: impl Fn(&Address) -> Option<u32> + Sync,
    output: &mut Output<'_>,
    progress: Teller<'_>,
) -> Result<()> {
    let progress = progress.begin(Step::Transfer, moves.iter().map(|step| u64::from(step.from.length)).sum());
    let numbered = |step: &Move| {
        let numbers = numbers(&step.address.machine);
        numbers.ok_or_else(|| Error::defect(format!("machine {} has no number", step.address.machine)))
    };
    let passed = progress.passed(batches(moves, |step| step.from)).boxed();
    let reads = stream::unfold((source, start, passed), read_next);
    let mut checked = reads
        .map(|read| {
            let wanted = read.as_ref().ok().map(|(_, batch)| {
                let moves = moves[batch.items.clone()].iter();
                moves
                    .map(|step| {
                        let wanted = Wanted { address: step.address.clone(), at: step.from };
                        Ok((wanted, numbered(step)?.0, plain_bytes(&step.address)))
                    })
                    .collect::<Result<Vec<_>>>()
            });
            async move {
                let (bytes, batch) = read?;
                let wanted = wanted.transpose()?.unwrap_or_default();
                let items = batch.items.clone();
                let sealed = blocking(move || {
                    let mut plain = Vec::new();
                    let sealed = wanted.iter().map(|(block, number, plain_bytes)| {
                        let frame = frame_in(&bytes, &batch, block.at)?;
                        unseal(&frame, block, *number, &mut plain).map_err(Error::bad_export)?;
                        let (header, start) = open_frame(&frame, block, *number).map_err(Error::bad_export)?;
                        // The digest is right, but a restore would write past the block.
                        if *plain_bytes != Some(header.plain_bytes) {
                            let why = "its block has not the length that the disk has it in".to_owned();
                            return Err(Error::bad_export(FormatError::Invalid { what: "frame", why }));
                        }
                        Ok(Sealed {
                            codec: header.codec,
                            plain_bytes: header.plain_bytes,
                            payload: frame.slice(start..),
                            payload_checksum: header.payload_checksum,
                            digest: header.digest,
                        })
                    });
                    sealed.collect::<Result<Vec<_>>>()
                });
                Ok::<_, Error>((items, sealed.await?))
            }
        })
        .buffered(IN_FLIGHT)
        .boxed();
    while let Some(batch) = checked.next().await {
        let (items, sealed) = batch?;
        for (step, sealed) in moves[items].iter().zip(sealed) {
            let place = (step.to.file, step.to.offset);
            output.append(place, numbered(step)?.1, step.address.disk, step.address.block, sealed).await?;
            progress.advance_disk(&step.address.machine, step.address.disk, u64::from(step.from.length));
        }
    }
    drop(checked);
    progress.end();
    Ok(())
}

type Reading<'a> = (&'a mut Source, u64, BoxStream<'a, Result<Batch>>);
type Read = Result<(bytes::Bytes, Batch)>;

/// Reads past the padding before the next batch, and returns the bytes of the batch.
async fn read_next<'a>((source, at, mut rest): Reading<'a>) -> Option<(Read, Reading<'a>)> {
    let batch = match rest.next().await? {
        Ok(batch) => batch,
        Err(stopped) => return Some((Err(stopped), (source, at, stream::empty().boxed()))),
    };
    let length = batch.range.end - batch.range.start;
    let read = async {
        // The header before the frames may claim the bytes of the first frame.
        let Some(padding) = batch.range.start.checked_sub(at) else {
            let why = "its frames start inside the header of their backup file".to_owned();
            return Err(Error::bad_export(FormatError::Invalid { what: "export", why }));
        };
        source.read("export", padding).await?;
        source.read("export", length).await
    };
    match read.await {
        Ok(bytes) => {
            let end = batch.range.end;
            Some((Ok((bytes, batch)), (source, end, rest)))
        }
        Err(error) => Some((Err(error), (source, at, stream::empty().boxed()))),
    }
}
