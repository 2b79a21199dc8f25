//! Copies backup files of several folders into new backup files, as far as the gate lets it.
//!
//! A copy may have to wait or end between two requests. It leaves out blocks that cannot be read. It always writes what it has
//! requested. So the cost of a copy follows from how far it came.
//!
//! A long copy has legs. A leg ends with a file of its own, which a [`Relay`] takes, so that it can be committed while the next leg
//! begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use offsite_core::plan::{Batch, Came, Move, Placement, Placer, Plan};
use offsite_core::{MachineName, ObjectId, StoredBlock};
use tokio::sync::{mpsc, oneshot, watch};

use super::FrameSource;
use super::ahead::{Ahead, GivesWay};
use super::detour::{Answer, Got, Instead, Piece, Reader};
use super::keep::{Keeping, keep};
use super::output::{Output, Unfinished};
use super::pace::{Pace, Pacer, UnderWay};
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
    /// How blocks have come that were read otherwise than planned, by their planned places.
    pub(crate) strayed: BTreeMap<(ObjectId, u64), Came>,
    /// Whether something else was read than what was planned of the blocks that have arrived.
    pub(crate) has_strayed: bool,
    /// How many blocks of each folder could not be used as planned and were read elsewhere, and why the first of them could not.
    pub(crate) unused: BTreeMap<u32, (u64, ErrorSummary)>,
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
    least_commit: Arc<Least>,
}

/// The least time that a commit has taken, in nanoseconds. 0 before the first one.
#[derive(Debug, Default)]
struct Least(AtomicU64);

impl Least {
    fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let least = |before: u64| Some(if before == 0 { nanos } else { before.min(nanos) });
        // It cannot fail: the closure returns a number.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, least);
    }

    fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The other end of a [`Relay`].
pub(crate) struct EndedLegs {
    legs: mpsc::Receiver<EndedLeg>,
    is_committing: Arc<watch::Sender<bool>>,
    least_commit: Arc<Least>,
}

/// Returns a relay, and where what it takes arrives.
pub(crate) fn relay(pace: Pace) -> (Relay, EndedLegs) {
    let (sender, receiver) = mpsc::channel(1);
    let is_committing = Arc::new(watch::Sender::new(false));
    let least_commit = Arc::new(Least::default());
    let relay = Relay {
        pace,
        legs: sender,
        is_committing: Arc::clone(&is_committing),
        least_commit: Arc::clone(&least_commit),
    };
    (relay, EndedLegs { legs: receiver, is_committing, least_commit })
}

impl EndedLegs {
    /// Returns the next leg. `None` if the copy has ended. The leg before is committed.
    pub(crate) async fn next(&mut self) -> Option<EndedLeg> {
        self.is_committing.send_replace(false);
        self.legs.recv().await
    }

    /// Notes how long the commit of a leg took, after its files were durable.
    pub(crate) fn committed(&self, took: Duration) {
        self.least_commit.note(took);
    }
}

/// Where a copy reads from, and what becomes of what it reads.
pub(crate) struct Route<'a> {
    pub(crate) sources: &'a [FrameSource],
    pub(crate) placement: Placement,
    /// The backups that the copy gives way to.
    pub(crate) precedence: &'a dyn GivesWay,
    /// What fills the block cache. `None` if there is none.
    pub(crate) keeping: Option<&'a mut Keeping>,
}

/// Copies the blocks of a plan. Each is read once, checked as it was stored, and written once.
///
/// It reads one batch at a time while the backups that it gives way to are at work. Returns the last leg. The file of that leg is not
/// finished. `ids` has an id for each file that the moves need at most, also if nothing that is lent is of use. If it fails, the error is
/// one of the target, and nothing of the last leg was written.
pub(crate) async fn copy(
    plan: &Plan,
    route: Route<'_>,
    ids: &mut VecDeque<ObjectId>,
    output: &mut Output<'_>,
    progress: &Running<'_>,
    relay: &Relay,
    copied: &mut Copied,
) -> Result<Leg> {
    let Route { sources, placement, precedence, mut keeping } = route;
    let moves = &plan.moves;
    let numbers: BTreeMap<_, _> = output.machines().iter().cloned().collect();
    let batches = plan.batches();
    let asked = batches.len();
    let halted = AtomicBool::new(false);
    let under_way = UnderWay::new(relay.pace);
    let mut pacer = Pacer::new(relay.pace);
    let mut left: u64 = moves.iter().map(|step| u64::from(step.from.length)).sum();
    let length = |batch: &Batch| batch.range.end - batch.range.start;
    let reader = Reader { plan, sources, progress };
    let passed = stream::iter(batches)
        .then(|batch| async {
            under_way.enter(length(&batch)).await;
            let is_open = !halted.load(Ordering::Relaxed)
                && progress.pass(length(&batch)).await == Passage::Go
                && !halted.load(Ordering::Relaxed);
            is_open.then_some(batch)
        })
        .take_while(|batch| std::future::ready(batch.is_some()))
        .filter_map(std::future::ready);
    let read = |batch: Batch| async move {
        let bytes = length(&batch);
        (reader.read(batch).await, bytes)
    };
    let ahead = Ahead::of(sources).giving_way(precedence);
    let mut reads = ahead.ordered(passed, read).boxed();
    // If frames are left out, those after them move up. They need no more files than were planned.
    let mut placer = Placer::new(placement);
    let mut leg = Leg::default();
    copied.ending = Ending::Done;
    let mut answered = 0;
    let mut is_stopped = false;
    while let Some((Answer { pieces, bytes_read, read_requests }, bytes)) = reads.next().await {
        under_way.leave(bytes, &pacer);
        answered += 1;
        copied.bytes_read += bytes_read;
        copied.read_requests += read_requests;
        for Piece { items, got } in pieces {
            copied.has_strayed |= !matches!(got, Got::Block(_, None));
            let steps = &moves[items.clone()];
            let (sealed, instead) = match got {
                Got::Block(sealed, instead) => (sealed, instead),
                Got::Lost(error) => {
                    for step in steps {
                        copied.note(step, &error);
                        left -= u64::from(step.from.length);
                    }
                    copied.damage.get_or_insert(error);
                    continue;
                }
                Got::Failed(error) => {
                    halted.store(true, Ordering::Relaxed);
                    if !matches!(copied.ending, Ending::Failed(_)) {
                        copied.ending = Ending::Failed(error);
                    }
                    continue;
                }
                Got::Stopped => {
                    halted.store(true, Ordering::Relaxed);
                    is_stopped = true;
                    continue;
                }
                Got::Defect(error) => return Err(error),
            };
            if let Some(Instead { planned: (folder, why), .. }) = &instead {
                copied.unused.entry(*folder).or_insert_with(|| (0, why.clone())).0 += items.len() as u64;
            }
            // What was lent is there already.
            let from = instead.as_ref().map_or(items.start, |instead| instead.of);
            let is_of_source = instead.is_some() || !plan.detours.contains_key(&from);
            if let Some(keeping) = keeping.as_deref_mut().filter(|_| is_of_source)
                && moves.get(from).is_some_and(|step| keeping.away.contains(&step.source))
            {
                keep(&mut keeping.keeper, &sealed).await;
            }
            for (step, position) in steps.iter().zip(items) {
                left -= u64::from(step.from.length);
                let mut is_short = false;
                let length = sealed.frame_bytes();
                let (file, offset) = placer.place(length, || {
                    ids.pop_front().unwrap_or_else(|| {
                        is_short = true;
                        ObjectId::from_stored(0)
                    })
                });
                let number = numbers.get(&step.address.machine).copied().filter(|_| !is_short);
                let number = number.ok_or_else(|| {
                    Error::defect(format!("a block of {} that was not planned", step.address.machine))
                })?;
                output.append((file, offset), number, step.address.disk, step.address.block, sealed.clone()).await?;
                let planned = (step.to.file, step.to.offset);
                if let Some(instead) = &instead {
                    copied.strayed.insert(planned, instead.came(position));
                }
                let placed = step.placed(StoredBlock { file, offset, length, digest: step.from.digest });
                leg.blocks.push((placed, planned));
                progress.advance_disk(&step.address.machine, step.address.disk, u64::from(step.from.length));
                let mut is_due = pacer.carry(length.into(), left, relay.is_committing());
                if pacer.is_far_ahead(relay.least_commit.time()) && relay.is_committing() {
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
    }
    drop(reads);
    if (answered < asked || is_stopped) && matches!(copied.ending, Ending::Done) {
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

impl Copied {
    fn note(&mut self, step: &Move, error: &Error) {
        self.damaged.entry(step.address.machine.clone()).or_insert_with(|| error.into());
        self.lost.insert((step.to.file, step.to.offset));
    }
}
