//! Copies backup files of several folders into new backup files, as far as the gate lets it.
//!
//! A copy may have to wait or end between two requests. It leaves out blocks that cannot be read. It always writes what it has
//! requested. So the cost of a copy follows from how far it came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use offsite_core::plan::{Batch, Move, Placement, Placer, Plan, move_batches};
use offsite_core::{MachineName, ObjectId};
use offsite_repository::ErrorKind;

use super::ahead::{Ahead, GivesWay};
use super::codec::{Sealed, open_frame};
use super::output::Output;
use super::transfer::{no_source, source_of};
use super::{FrameSource, Wanted, frame_in};
use crate::gate::Passage;
use crate::progress::Step;
use crate::report::ErrorSummary;
use crate::teller::Teller;
use crate::{Error, Result};

/// What a copy has copied.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The place of each move's frame, in the order of the moves. `None` if the frame has not arrived.
    pub(crate) places: Vec<Option<(ObjectId, u64)>>,
    /// The new files with their lengths in bytes.
    pub(crate) files: BTreeMap<ObjectId, u64>,
    /// The bytes and the number of the requests that were answered.
    pub(crate) bytes_read: u64,
    pub(crate) read_requests: u64,
    /// The machines with blocks that cannot be read, each with the reason.
    pub(crate) damaged: BTreeMap<MachineName, ErrorSummary>,
    /// The first of these errors. `None` if all blocks could be read.
    pub(crate) damage: Option<Error>,
    pub(crate) ending: Ending,
}

/// How a copy ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Everything that could be read is there.
    Done,
    /// The gate ended it.
    Stopped,
    /// A source could no longer be reached.
    Failed(Error),
}

/// Copies the blocks of a plan. Each is read once, checked as it was stored, and written once.
///
/// It reads one batch at a time while `precedence` says so. The written blocks are durable when it returns. If it fails, the error is one
/// of the target, and nothing was written.
pub(crate) async fn copy(
    plan: &Plan,
    sources: &[FrameSource],
    placement: Placement,
    mut output: Output<'_>,
    progress: Teller<'_>,
    precedence: &dyn GivesWay,
) -> Result<Copied> {
    match carry(plan, sources, placement, &mut output, progress, precedence).await {
        Ok(copied) => output.finish().await.map(|()| copied),
        Err(error) => {
            output.abort().await;
            Err(error)
        }
    }
}

async fn carry(
    plan: &Plan,
    sources: &[FrameSource],
    placement: Placement,
    output: &mut Output<'_>,
    progress: Teller<'_>,
    precedence: &dyn GivesWay,
) -> Result<Copied> {
    let moves = &plan.moves;
    let numbers: BTreeMap<_, _> = output.machines().iter().cloned().collect();
    let batches = move_batches(moves);
    let asked = batches.len();
    let halted = AtomicBool::new(false);
    let progress = progress.begin(Step::Transfer, moves.iter().map(|step| u64::from(step.from.length)).sum());
    let passed = stream::iter(batches)
        .then(|batch| async {
            let is_open = !halted.load(Ordering::Relaxed)
                && progress.pass(batch.range.end - batch.range.start).await == Passage::Go
                && !halted.load(Ordering::Relaxed);
            is_open.then_some(batch)
        })
        .take_while(|batch| std::future::ready(batch.is_some()))
        .filter_map(std::future::ready);
    let read_from = |batch: Batch| async move {
        match sources.get(source_of(moves, &batch)) {
            Some(source) => read(source, moves, batch).await,
            None => vec![(Err(no_source()), batch)],
        }
    };
    let ahead = Ahead::of(sources).giving_way(precedence);
    let mut reads = ahead.ordered(passed, read_from).boxed();
    // If frames are left out, those after them move up. They need no more files than were planned.
    let mut placer = Placer::new(placement);
    let mut ids: VecDeque<ObjectId> = plan.files.keys().copied().collect();
    let mut copied = Copied {
        places: vec![None; moves.len()],
        files: BTreeMap::new(),
        bytes_read: 0,
        read_requests: 0,
        damaged: BTreeMap::new(),
        damage: None,
        ending: Ending::Done,
    };
    let mut answered = 0;
    let mut parts: VecDeque<(Result<Bytes>, Batch)> = VecDeque::new();
    loop {
        if parts.is_empty() {
            let Some(read) = reads.next().await else { break };
            answered += 1;
            parts.extend(read);
        }
        let Some((answer, batch)) = parts.pop_front() else { break };
        let steps = &moves[batch.items.clone()];
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(error) if error.is_loss() => {
                steps.iter().for_each(|step| copied.note(&step.address.machine, &error));
                copied.damage.get_or_insert(error);
                continue;
            }
            Err(error) => {
                halted.store(true, Ordering::Relaxed);
                if !matches!(copied.ending, Ending::Failed(_)) {
                    copied.ending = Ending::Failed(error);
                }
                continue;
            }
        };
        copied.bytes_read += bytes.len() as u64;
        copied.read_requests += 1;
        let Some(source) = sources.get(source_of(moves, &batch)) else { return Err(no_source()) };
        for (step, position) in steps.iter().zip(batch.items.clone()) {
            match opened(&bytes, &batch, step, source) {
                Ok(sealed) => {
                    let mut is_short = false;
                    let place = placer.place(step.from.length, || {
                        ids.pop_front().unwrap_or_else(|| {
                            is_short = true;
                            ObjectId::from_stored(0)
                        })
                    });
                    let number = numbers.get(&step.address.machine).copied().filter(|_| !is_short);
                    let number = number.ok_or_else(|| {
                        Error::defect(format!("a block of {} that was not planned", step.address.machine))
                    })?;
                    output.append(place, number, step.address.disk, step.address.block, sealed).await?;
                    copied.places[position] = Some(place);
                }
                Err(error @ Error::Damaged { .. }) => {
                    copied.note(&step.address.machine, &error);
                    copied.damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            progress.advance_disk(&step.address.machine, step.address.disk, u64::from(step.from.length));
        }
    }
    drop(reads);
    progress.end();
    if answered < asked && matches!(copied.ending, Ending::Done) {
        copied.ending = Ending::Stopped;
    }
    copied.files = placer.into_files();
    Ok(copied)
}

/// Reads a batch. If its file ends in the middle of the batch, the frames before the end are there. Then each frame is read alone.
async fn read(source: &FrameSource, moves: &[Move], batch: Batch) -> Vec<(Result<Bytes>, Batch)> {
    let is_cut = |error: &Error| error.is_loss() && error.repository_kind() != Some(ErrorKind::NotFound);
    match source.read(&batch).await {
        Err(error) if is_cut(&error) && batch.items.len() > 1 => {
            let mut parts = Vec::with_capacity(batch.items.len());
            for item in batch.items {
                let at = moves[item].from;
                let range = at.offset..at.offset + u64::from(at.length);
                let alone = Batch { file: at.file, range, items: item..item + 1 };
                parts.push((source.read(&alone).await, alone));
            }
            parts
        }
        answer => vec![(answer, batch)],
    }
}

impl Copied {
    fn note(&mut self, machine: &MachineName, error: &Error) {
        self.damaged.entry(machine.clone()).or_insert_with(|| error.into());
    }
}

/// Returns the block of a move from the bytes that were read, ready to be stored under a new header.
fn opened(bytes: &Bytes, batch: &Batch, step: &Move, source: &FrameSource) -> Result<Sealed> {
    let frame = frame_in(bytes, batch, step.from)?;
    let wanted = Wanted { address: step.address.clone(), at: step.from };
    let number = source.number(&step.address.machine)?;
    let (header, start) = open_frame(&frame, &wanted, number).map_err(|error| source.damaged(&wanted, error))?;
    Ok(Sealed::of_frame(&header, frame.slice(start..)))
}
