//! Reads the frames of a copy, by way of lenders where the plan says so.
//!
//! What stands in for a block's own frame is decompressed and compared with the block's digest before it is written. If it cannot be
//! used, the blocks come from their own frames at the source, in the same place of the order. So the layout does not depend on lenders.

use std::ops::Range;

use bytes::Bytes;
use offsite_core::StoredBlock;
use offsite_core::plan::{Batch, Came, Plan};
use offsite_repository::ErrorKind;

use super::codec::{Sealed, open_frame, unseal};
use super::transfer::no_source;
use super::{FrameSource, Wanted, blocking, frame_in};
use crate::gate::Passage;
use crate::report::ErrorSummary;
use crate::teller::Running;
use crate::{Error, Result};

/// What was read for one or more moves of a plan.
pub(super) struct Piece {
    /// The moves. If there is a block, all of them want it.
    pub(super) items: Range<usize>,
    pub(super) got: Got,
}

pub(super) enum Got {
    /// A block, ready to be stored under a new header for each of the moves.
    Block(Sealed, Option<Instead>),
    /// The blocks cannot be read.
    Lost(Error),
    /// The source cannot be reached.
    Failed(Error),
    /// The gate ended the copy before the blocks could be read from the source.
    Stopped,
    /// A defect of this library.
    Defect(Error),
}

/// A frame that was read as the planned one could not be used.
pub(super) struct Instead {
    /// The move whose own frame it is.
    pub(super) of: usize,
    /// The number of the folder with the planned frame, and why that could not be used.
    pub(super) planned: (u32, ErrorSummary),
}

impl Instead {
    /// How the block of a move came.
    pub(super) fn came(&self, position: usize) -> Came {
        if self.of == position { Came::FromSource } else { Came::WithAnother }
    }
}

/// What came of a batch.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes_read: u64,
    pub(super) read_requests: u64,
}

/// Reads the batches of a plan.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) plan: &'a Plan,
    pub(super) sources: &'a [FrameSource],
    pub(super) progress: &'a Running<'a>,
}

impl<'a> Reader<'a> {
    /// Reads a batch. If it cannot be read as one, each frame is read alone: of a file that ends in the middle of the batch, the frames
    /// before the end are there.
    pub(super) async fn read(self, batch: Batch) -> Answer {
        let mut answer = Answer::default();
        let Some(source) = self.folder(self.plan.read(batch.items.start).map(|(source, _)| source)) else {
            answer.pieces.push(Piece { items: batch.items, got: Got::Defect(no_source()) });
            return answer;
        };
        let frames = self.frames(batch.items.clone());
        match source.read(&batch).await {
            Err(error) if frames.len() > 1 && self.falls_apart(&batch, &error) => {
                for items in frames {
                    let Some((_, from)) = self.plan.read(items.start) else { continue };
                    let alone = alone(from, items.clone());
                    let read = source.read(&alone).await;
                    self.take(source, &alone, read, vec![items], &mut answer).await;
                }
            }
            read => self.take(source, &batch, read, frames, &mut answer).await,
        }
        answer
    }

    /// Whether the frames of a batch that cannot be read may still be read, here or elsewhere.
    fn falls_apart(self, batch: &Batch, error: &Error) -> bool {
        let is_cut = error.is_loss() && error.repository_kind() != Some(ErrorKind::NotFound);
        let is_lent = self.plan.detours.contains_key(&batch.items.start);
        let has_twins = self.plan.detours.range(batch.items.clone()).next().is_some();
        is_cut || is_lent || (error.is_loss() && has_twins)
    }

    /// Takes what was read of these frames, all of one batch.
    async fn take(
        self,
        source: &FrameSource,
        batch: &Batch,
        read: Result<Bytes>,
        frames: Vec<Range<usize>>,
        answer: &mut Answer,
    ) {
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) if frames.len() == 1 => {
                let got = self.instead(batch.items.clone(), error, answer).await;
                answer.pieces.push(Piece { items: batch.items.clone(), got });
                return;
            }
            Err(error) => {
                let got = if error.is_loss() { Got::Lost(error) } else { Got::Failed(error) };
                answer.pieces.push(Piece { items: batch.items.clone(), got });
                return;
            }
        };
        answer.bytes_read += bytes.len() as u64;
        answer.read_requests += 1;
        let wanted = frames.iter().filter_map(|items| self.wanted(items)).collect();
        match open(source, batch, wanted, bytes).await {
            Ok(opened) => {
                for (items, opened) in frames.into_iter().zip(opened) {
                    let got = match opened {
                        Ok(sealed) => Got::Block(sealed, None),
                        Err(error) => self.instead(items.clone(), error, answer).await,
                    };
                    answer.pieces.push(Piece { items, got });
                }
            }
            Err(error) => answer.pieces.push(Piece { items: batch.items.clone(), got: Got::Defect(error) }),
        }
    }

    /// Reads the own frame of one of the moves that were to read the same frame, as that cannot be used.
    async fn instead(self, items: Range<usize>, error: Error, answer: &mut Answer) -> Got {
        let Some((folder, planned)) = self.plan.read(items.start) else { return Got::Defect(no_source()) };
        let is_lent = self.plan.detours.contains_key(&items.start);
        if !error.is_loss() && !is_lent {
            return Got::Failed(error);
        }
        let why = ErrorSummary::from(&error);
        let (mut lost, mut tried) = (error, vec![(folder, planned.file, planned.offset)]);
        for position in items.clone() {
            let Some(step) = self.plan.moves.get(position) else { continue };
            let place = (step.source, step.from.file, step.from.offset);
            if tried.contains(&place) {
                continue;
            }
            tried.push(place);
            let Some(source) = self.folder(Some(step.source)) else { return Got::Defect(no_source()) };
            if self.progress.pass(step.from.length.into()).await == Passage::Stop {
                return Got::Stopped;
            }
            let batch = alone(step.from, position..position + 1);
            let bytes = match source.read(&batch).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_loss() => {
                    lost = error;
                    continue;
                }
                Err(error) => return Got::Failed(error),
            };
            answer.bytes_read += bytes.len() as u64;
            answer.read_requests += 1;
            let wanted = Wanted { address: step.address.clone(), at: step.from };
            match open(source, &batch, vec![(wanted, items.len() > 1)], bytes).await.map(|mut opened| opened.pop()) {
                Ok(Some(Ok(sealed))) => {
                    return Got::Block(sealed, Some(Instead { of: position, planned: (folder, why) }));
                }
                Ok(Some(Err(error))) => lost = error,
                Ok(None) => return Got::Defect(no_source()),
                Err(error) => return Got::Defect(error),
            }
        }
        if lost.is_loss() { Got::Lost(lost) } else { Got::Failed(lost) }
    }

    /// The frame that these moves read, and whether its block is compared with the digest: if it stands in for another frame.
    fn wanted(self, items: &Range<usize>) -> Option<(Wanted, bool)> {
        let step = self.plan.moves.get(items.start)?;
        Some(match self.plan.detours.get(&items.start) {
            Some(detour) => (Wanted { address: detour.holder.clone(), at: detour.from }, true),
            None => (Wanted { address: step.address.clone(), at: step.from }, items.len() > 1),
        })
    }

    /// The moves of a batch, those together that read the same frame.
    fn frames(self, items: Range<usize>) -> Vec<Range<usize>> {
        let place = |position| self.plan.read(position).map(|(source, at)| (source, at.file, at.offset));
        let mut frames: Vec<Range<usize>> = Vec::new();
        for position in items {
            match frames.last_mut() {
                Some(last) if place(last.start) == place(position) => last.end = position + 1,
                _ => frames.push(position..position + 1),
            }
        }
        frames
    }

    fn folder(self, number: Option<u32>) -> Option<&'a FrameSource> {
        self.sources.get(usize::try_from(number?).ok()?)
    }
}

/// A batch of one frame.
fn alone(at: StoredBlock, items: Range<usize>) -> Batch {
    Batch { file: at.file, range: at.offset..at.offset + u64::from(at.length), items }
}

/// Returns the blocks of a batch, ready to be stored under new headers.
///
/// Each is as it was stored, and those that are marked have their digests.
///
/// # Errors
/// Defects of this library. What is damaged is an error of its block.
async fn open(
    source: &FrameSource,
    batch: &Batch,
    wanted: Vec<(Wanted, bool)>,
    bytes: Bytes,
) -> Result<Vec<Result<Sealed>>> {
    let (source, batch) = (source.clone(), batch.clone());
    let compares = wanted.iter().any(|(_, is_compared)| *is_compared);
    let all = move || {
        let mut plain = Vec::new();
        let opened = wanted.iter().map(|(wanted, is_compared)| {
            let (frame, number) = (frame_in(&bytes, &batch, wanted.at)?, source.number(&wanted.address.machine)?);
            if *is_compared && let Err(error) = unseal(&frame, wanted, number, &mut plain) {
                return Ok(Err(source.damaged(wanted, error)));
            }
            let opened = open_frame(&frame, wanted, number).map_err(|error| source.damaged(wanted, error));
            Ok(opened.map(|(header, start)| Sealed::of_frame(&header, frame.slice(start..))))
        });
        opened.collect()
    };
    if compares { blocking(all).await } else { all() }
}
