//! Copies backup files into new backup files.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use offsite_core::ObjectId;
use offsite_core::plan::{Address, Batch, Move, move_batches};

use super::ahead::Ahead;
use super::codec::{Sealed, open_frame, unseal};
use super::output::Output;
use super::{FrameSource, Wanted, blocking, frame_in};
use crate::progress::Step;
use crate::teller::Teller;
use crate::{Error, Result};

/// What becomes of the header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// The frame gets a new header, which names its new file. It enters another job folder.
    New,
    /// The header stays, and names the file that the frame was first written to. The frame moves inside its job folder.
    Verbatim,
}

/// How much of a frame is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checking {
    /// Checks that the frame is as it was stored, by its header and checksums.
    Stored,
    /// Also checks the digest of the plain block. This is for frames that somebody else may have made.
    Digest,
}

/// Frames of sources that hold other blocks there than the blocks that they are moved for: the source, file and offset of each
/// frame, with the block that it holds there.
pub(crate) type Aliases = BTreeMap<(u32, ObjectId, u64), Address>;

/// How frames are moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way<'a> {
    /// What becomes of their headers.
    pub(crate) headers: Headers,
    /// How much of them is checked.
    pub(crate) checking: Checking,
    /// The frames that hold other blocks at their sources.
    pub(crate) aliases: &'a Aliases,
}

impl Way<'_> {
    /// Returns the frame that a step reads.
    fn wanted(&self, step: &Move) -> Wanted {
        let alias = self.aliases.get(&(step.source, step.from.file, step.from.offset));
        Wanted { address: alias.unwrap_or(&step.address).clone(), at: step.from }
    }
}

/// Moves the blocks of a plan. Each is read once, checked as it was stored, and written once, at its planned place.
///
/// Payloads are not decompressed, and are stored again as they are. The written blocks are durable when it returns. If it fails,
/// they are gone.
pub(crate) async fn transfer(
    moves: &[Move],
    sources: &[FrameSource],
    way: Way<'_>,
    mut output: Output<'_>,
    progress: Teller<'_>,
) -> Result<()> {
    match carry(moves, sources, way, &mut output, progress).await {
        Ok(()) => output.finish().await,
        Err(error) => {
            output.abort().await;
            Err(error)
        }
    }
}

async fn carry(
    moves: &[Move],
    sources: &[FrameSource],
    way: Way<'_>,
    output: &mut Output<'_>,
    progress: Teller<'_>,
) -> Result<()> {
    let numbers: BTreeMap<_, _> = output.machines().iter().cloned().collect();
    let progress = progress.begin(Step::Transfer, moves.iter().map(|step| u64::from(step.from.length)).sum());
    let read = |batch: Result<Batch>| async move {
        let batch = batch?;
        let source = sources.get(source_of(moves, &batch)).ok_or_else(no_source)?;
        let bytes = match source.read(&batch).await {
            Ok(bytes) if way.checking == Checking::Digest => check(moves, way, source, &batch, bytes).await,
            answer => answer,
        };
        Ok::<_, Error>((bytes?, batch))
    };
    let ahead = Ahead::of(sources);
    let mut reads = Box::pin(ahead.ordered(progress.passed(move_batches(moves)), read));
    while let Some(read) = reads.next().await {
        let (bytes, batch) = read?;
        let Some(source) = sources.get(source_of(moves, &batch)) else { return Err(no_source()) };
        for step in &moves[batch.items.clone()] {
            let frame = frame_in(&bytes, &batch, step.from)?;
            let wanted = way.wanted(step);
            let number = source.number(&wanted.address.machine)?;
            let (header, start) =
                open_frame(&frame, &wanted, number).map_err(|error| source.damaged(&wanted, error))?;
            if step.from.length != step.to.length {
                return Err(Error::defect(format!("a frame of {} bytes was planned", step.to.length)));
            }
            let place = (step.to.file, step.to.offset);
            match way.headers {
                Headers::Verbatim => output.append_frame(place, frame).await?,
                Headers::New => {
                    let number = numbers.get(&step.address.machine).copied();
                    let number = number
                        .ok_or_else(|| Error::defect(format!("machine {} has no number", step.address.machine)))?;
                    let sealed = Sealed::of_frame(&header, frame.slice(start..));
                    output.append(place, number, step.address.disk, step.address.block, sealed).await?;
                }
            }
            progress.advance_disk(&step.address.machine, step.address.disk, u64::from(step.from.length));
        }
    }
    drop(reads);
    progress.end();
    Ok(())
}

/// Returns the folder that a batch is read from.
fn source_of(moves: &[Move], batch: &Batch) -> usize {
    moves.get(batch.items.start).map_or(0, |step| step.source as usize)
}

pub(super) fn no_source() -> Error {
    Error::defect("a block of a folder that is not read from".to_owned())
}

/// Compares every block of a batch with its digest.
async fn check(moves: &[Move], way: Way<'_>, source: &FrameSource, batch: &Batch, bytes: Bytes) -> Result<Bytes> {
    let moves = moves[batch.items.clone()].iter();
    let wanted: Vec<_> = moves.map(|step| way.wanted(step)).collect();
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
