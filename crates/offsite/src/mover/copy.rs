//! Copies backup files of several folders into new backup files, as far as the gate lets it.
//!
//! A copy may have to wait or end between two requests. It leaves out blocks that cannot be read. It always writes what it has
//! requested. So the cost of a copy follows from how far it came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, stream};
use offsite_core::plan::{Came, Placement, Placer, Plan};
use offsite_core::{MachineName, ObjectId, StoredBlock};

use super::FrameSource;
use super::ahead::{Ahead, GivesWay};
use super::detour::{Answer, Got, Instead, Piece, Reader};
use super::keep::{Keeping, keep};
use super::output::Output;
use crate::cache::Kept;
use crate::gate::Passage;
use crate::progress::Step;
use crate::report::ErrorSummary;
use crate::teller::Teller;
use crate::{Error, Result};

/// What a copy has copied.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The new frame of each move, in the order of the moves. `None` if it has not arrived.
    pub(crate) places: Vec<Option<StoredBlock>>,
    /// How each of them came.
    pub(crate) came: Vec<Came>,
    /// What was put into the block cache. `None` if there is none.
    pub(crate) kept: Option<Kept>,
    /// Whether exactly what was planned of these moves was read.
    pub(crate) is_as_planned: bool,
    /// How many blocks of each folder could not be used as planned and were read elsewhere, and why the first of them could not.
    pub(crate) unused: BTreeMap<u32, (u64, ErrorSummary)>,
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

/// What a copy does beside reading and writing.
pub(crate) struct Ways<'a> {
    /// The block cache that it fills. `None` if there is none.
    pub(crate) keeping: Option<Keeping>,
    /// The backups that it gives way to.
    pub(crate) precedence: &'a dyn GivesWay,
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
/// `reserve` has ids of further files, should what is lent be of no use: the frames of the source may be longer.
///
/// It reads one batch at a time while the backups that it gives way to are at work. The written blocks are durable when it returns. If it
/// fails, the error is one of the target, and nothing was written.
pub(crate) async fn copy(
    plan: &Plan,
    reserve: &[ObjectId],
    sources: &[FrameSource],
    placement: Placement,
    mut output: Output<'_>,
    ways: Ways<'_>,
    progress: Teller<'_>,
) -> Result<Copied> {
    let Ways { mut keeping, precedence } = ways;
    let carried = carry(plan, reserve, sources, placement, &mut output, keeping.as_mut(), progress, precedence).await;
    let kept = match keeping {
        Some(keeping) => Some(keeping.keeper.finish().await),
        None => None,
    };
    match carried {
        Ok(copied) => output.finish().await.map(|()| Copied { kept, ..copied }),
        Err(error) => {
            output.abort().await;
            Err(error)
        }
    }
}

async fn carry(
    plan: &Plan,
    reserve: &[ObjectId],
    sources: &[FrameSource],
    placement: Placement,
    output: &mut Output<'_>,
    mut keeping: Option<&mut Keeping>,
    progress: Teller<'_>,
    precedence: &dyn GivesWay,
) -> Result<Copied> {
    let moves = &plan.moves;
    let numbers: BTreeMap<_, _> = output.machines().iter().cloned().collect();
    let batches = plan.batches();
    let asked = batches.len();
    let halted = AtomicBool::new(false);
    let progress = progress.begin(Step::Transfer, moves.iter().map(|step| u64::from(step.from.length)).sum());
    let reader = Reader { plan, sources, progress: &progress };
    let passed = stream::iter(batches)
        .then(|batch| async {
            let is_open = !halted.load(Ordering::Relaxed)
                && progress.pass(batch.range.end - batch.range.start).await == Passage::Go
                && !halted.load(Ordering::Relaxed);
            is_open.then_some(batch)
        })
        .take_while(|batch| std::future::ready(batch.is_some()))
        .filter_map(std::future::ready);
    let ahead = Ahead::of(sources).giving_way(precedence);
    let mut reads = ahead.ordered(passed, |batch| reader.read(batch)).boxed();
    // If frames are left out, those after them move up. They need no more files than were planned.
    let mut placer = Placer::new(placement);
    let mut ids: VecDeque<ObjectId> = plan.files.keys().chain(reserve).copied().collect();
    let mut copied = Copied {
        places: vec![None; moves.len()],
        came: vec![Came::Not; moves.len()],
        is_as_planned: true,
        kept: None,
        unused: BTreeMap::new(),
        files: BTreeMap::new(),
        bytes_read: 0,
        read_requests: 0,
        damaged: BTreeMap::new(),
        damage: None,
        ending: Ending::Done,
    };
    let mut answered = 0;
    let mut is_stopped = false;
    while let Some(Answer { pieces, bytes_read, read_requests }) = reads.next().await {
        answered += 1;
        copied.bytes_read += bytes_read;
        copied.read_requests += read_requests;
        for Piece { items, got } in pieces {
            copied.is_as_planned &= matches!(got, Got::Block(_, None));
            let (sealed, instead) = match got {
                Got::Block(sealed, instead) => (sealed, instead),
                Got::Lost(error) => {
                    moves[items].iter().for_each(|step| copied.note(&step.address.machine, &error));
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
            for (step, position) in moves[items.clone()].iter().zip(items) {
                let mut is_short = false;
                let (file, offset) = placer.place(sealed.frame_bytes(), || {
                    ids.pop_front().unwrap_or_else(|| {
                        is_short = true;
                        ObjectId::from_stored(0)
                    })
                });
                let number = numbers.get(&step.address.machine).copied().filter(|_| !is_short);
                let number = number.ok_or_else(|| {
                    Error::defect(format!("a block of {} that was not planned", step.address.machine))
                })?;
                let length = sealed.frame_bytes();
                output.append((file, offset), number, step.address.disk, step.address.block, sealed.clone()).await?;
                copied.places[position] = Some(StoredBlock { file, offset, length, digest: step.from.digest });
                copied.came[position] = instead.as_ref().map_or(Came::AsPlanned, |instead| instead.came(position));
                progress.advance_disk(&step.address.machine, step.address.disk, u64::from(step.from.length));
            }
        }
    }
    drop(reads);
    progress.end();
    if (answered < asked || is_stopped) && matches!(copied.ending, Ending::Done) {
        copied.ending = Ending::Stopped;
    }
    copied.files = placer.into_files();
    Ok(copied)
}

impl Copied {
    fn note(&mut self, machine: &MachineName, error: &Error) {
        self.damaged.entry(machine.clone()).or_insert_with(|| error.into());
    }
}
