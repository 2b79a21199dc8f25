//! Copies backup files of several folders into new backup files, as far as the gate lets it.
//!
//! A copy may have to wait or end between two requests. It leaves out blocks that cannot be read. It always writes what it has
//! requested. So the cost of a copy follows from how far it came.
//!
//! A long copy has legs. A leg ends with a file of its own, which a [`Relay`] takes, so that it can be committed while the next leg
//! begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use offsite_core::plan::{Batch, Move, Placement, Placer, move_batches};
use offsite_core::{MachineName, ObjectId};
use offsite_repository::ErrorKind;
use tokio::sync::{mpsc, oneshot, watch};

use super::codec::{Sealed, open_frame};
use super::output::{Output, Unfinished};
use super::pace::{Ahead, Pace, Pacer};
use super::transfer::{no_source, source_of};
use super::{FrameSource, IN_FLIGHT, Wanted, frame_in};
use crate::gate::Passage;
use crate::report::ErrorSummary;
use crate::teller::Running;
use crate::{Error, Result};

/// What a copy has come to.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    /// The bytes and the number of the requests that were answered.
    pub(crate) bytes_read: u64,
    pub(crate) read_requests: u64,
    /// The machines with blocks that cannot be read, each with the reason.
    pub(crate) damaged: BTreeMap<MachineName, ErrorSummary>,
    /// The first of these errors. `None` if all blocks could be read.
    pub(crate) damage: Option<Error>,
    /// The planned places of these blocks.
    pub(crate) lost: BTreeSet<(ObjectId, u64)>,
    pub(crate) ending: Ending,
}

/// How a copy ended.
#[derive(Debug, Default)]
pub(crate) enum Ending {
    /// Everything that could be read is there.
    #[default]
    Done,
    /// The gate ended it.
    Stopped,
    /// A source could no longer be reached.
    Failed(Error),
}

/// What a leg of a copy has brought.
#[derive(Debug, Default)]
pub(crate) struct Leg {
    /// The blocks at their places, each with the place that was planned for it.
    pub(crate) blocks: Vec<(Move, (ObjectId, u64))>,
    /// The new files with their lengths in bytes.
    pub(crate) files: BTreeMap<ObjectId, u64>,
}

/// A leg that ends with a checkpoint.
pub(crate) struct EndedLeg {
    pub(crate) leg: Leg,
    /// Its last file.
    pub(crate) file: Option<Unfinished>,
    /// Takes an id for each file of the leg, for the files of the next one.
    pub(crate) ids: oneshot::Sender<Vec<ObjectId>>,
}

/// Takes legs from a copy, one at a time.
pub(crate) struct Relay {
    pace: Pace,
    legs: mpsc::Sender<EndedLeg>,
    is_committing: Arc<watch::Sender<bool>>,
}

/// The other end of a [`Relay`].
pub(crate) struct Legs {
    legs: mpsc::Receiver<EndedLeg>,
    is_committing: Arc<watch::Sender<bool>>,
}

/// Returns a relay, and where what it takes arrives.
pub(crate) fn relay(pace: Pace) -> (Relay, Legs) {
    let (sender, receiver) = mpsc::channel(1);
    let is_committing = Arc::new(watch::Sender::new(false));
    let relay = Relay { pace, legs: sender, is_committing: Arc::clone(&is_committing) };
    (relay, Legs { legs: receiver, is_committing })
}

impl Legs {
    /// Returns the next leg. `None` if the copy has ended. The leg before is committed.
    pub(crate) async fn next(&mut self) -> Option<EndedLeg> {
        self.is_committing.send_replace(false);
        self.legs.recv().await
    }
}

/// Where a copy reads from, and how it lays out what it writes.
pub(crate) struct Route<'a> {
    pub(crate) sources: &'a [FrameSource],
    pub(crate) placement: Placement,
}

/// Copies blocks. Each is read once, checked as it was stored, and written once.
///
/// Returns the last leg. The file of that leg is not finished. `ids` has an id for each file that the moves need at most. If it fails,
/// the error is one of the target, and nothing of the last leg was written.
pub(crate) async fn copy(
    moves: &[Move],
    route: Route<'_>,
    ids: &mut VecDeque<ObjectId>,
    output: &mut Output<'_>,
    progress: &Running<'_>,
    relay: &Relay,
    copied: &mut Copied,
) -> Result<Leg> {
    let Route { sources, placement } = route;
    let numbers: BTreeMap<_, _> = output.machines().iter().cloned().collect();
    let batches = move_batches(moves);
    let asked = batches.len();
    let halted = AtomicBool::new(false);
    let ahead = Ahead::new(relay.pace);
    let mut pacer = Pacer::new(relay.pace);
    let mut left: u64 = moves.iter().map(|step| u64::from(step.from.length)).sum();
    let length = |batch: &Batch| batch.range.end - batch.range.start;
    let mut reads = stream::iter(batches)
        .then(|batch| async {
            ahead.enter(length(&batch)).await;
            let is_open = !halted.load(Ordering::Relaxed)
                && progress.pass(length(&batch)).await == Passage::Go
                && !halted.load(Ordering::Relaxed);
            is_open.then_some(batch)
        })
        .take_while(|batch| std::future::ready(batch.is_some()))
        .filter_map(std::future::ready)
        .map(|batch| async move {
            let bytes = length(&batch);
            let answers = match sources.get(source_of(moves, &batch)) {
                Some(source) => read(source, moves, batch).await,
                None => vec![(Err(no_source()), batch)],
            };
            (answers, bytes)
        })
        .buffered(IN_FLIGHT)
        .boxed();
    // If frames are left out, those after them move up. They need no more files than were planned.
    let mut placer = Placer::new(placement);
    let mut leg = Leg::default();
    copied.ending = Ending::Done;
    let mut answered = 0;
    let mut parts: VecDeque<(Result<Bytes>, Batch)> = VecDeque::new();
    loop {
        if parts.is_empty() {
            let Some((read, bytes)) = reads.next().await else { break };
            ahead.leave(bytes, &pacer);
            answered += 1;
            parts.extend(read);
        }
        let Some((answer, batch)) = parts.pop_front() else { break };
        let steps = &moves[batch.items.clone()];
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(error) if error.is_loss() => {
                for step in steps {
                    copied.note(step, &error);
                    left -= u64::from(step.from.length);
                }
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
        for step in steps {
            left -= u64::from(step.from.length);
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
                    leg.blocks.push((step.placed(place), (step.to.file, step.to.offset)));
                }
                Err(error @ Error::Damaged { .. }) => {
                    copied.note(step, &error);
                    copied.damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            progress.advance_disk(&step.address.machine, step.address.disk, u64::from(step.from.length));
            let mut is_due = pacer.carry(step.from.length.into(), left, relay.is_committing());
            if pacer.is_far_ahead() && relay.is_committing() {
                relay.wait().await;
                is_due = pacer.carry(0, left, false);
            }
            if is_due && !leg.blocks.is_empty() {
                leg.files = std::mem::replace(&mut placer, Placer::new(placement)).into_files();
                ids.extend(relay.take(std::mem::take(&mut leg), output.cut()).await?);
                pacer.end();
            }
        }
    }
    drop(reads);
    if answered < asked && matches!(copied.ending, Ending::Done) {
        copied.ending = Ending::Stopped;
    }
    leg.files = placer.into_files();
    Ok(leg)
}

impl Relay {
    /// Returns whether the leg before is still being committed.
    fn is_committing(&self) -> bool {
        *self.is_committing.borrow()
    }

    /// Waits until the leg before is committed.
    async fn wait(&self) {
        // It cannot fail: this relay holds the sender.
        let _ = self.is_committing.subscribe().wait_for(|is_committing| !is_committing).await;
    }

    /// Hands a leg over. Returns ids for the files of the next one.
    async fn take(&self, leg: Leg, file: Option<Unfinished>) -> Result<Vec<ObjectId>> {
        let (ids, answer) = oneshot::channel();
        let gone = || Error::defect("nobody takes the legs of a copy".to_owned());
        self.is_committing.send_replace(true);
        self.legs.send(EndedLeg { leg, file, ids }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
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
    fn note(&mut self, step: &Move, error: &Error) {
        self.damaged.entry(step.address.machine.clone()).or_insert_with(|| error.into());
        self.lost.insert((step.to.file, step.to.offset));
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
