//! Blocks that turn out to be damaged when they are to be moved.
//!
//! Damage never stops a run. What cannot be read is noted as a verification notes it, the operation is planned again without these
//! blocks, and they stay where they are: the next run puts those back whose bytes are intact anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use offsite_core::plan::Move;

use super::merge::length_of;
use crate::Result;
use crate::commit::writer::Writer;
use crate::folder::verification_notes::VerificationNotes;
use crate::mover::{FrameSource, Wanted, scrub};
use crate::progress::Task;
use crate::teller::Control;

/// Looks which of the blocks that `moves` carry out of the chain's own files are damaged, and which of their files are cut off, and notes
/// them. Returns how many there are: if none is, it was not damage that ended the operation.
pub(super) async fn note(writer: &Writer, moves: &[Move], control: Control<'_>) -> Result<usize> {
    // What is missing may be the doing of a run that took the job over.
    if moves.is_empty() || !writer.is_newest().await? {
        return Ok(0);
    }
    let wanted = moves.iter().map(|step| {
        let block = Wanted { address: step.address.clone(), at: step.from };
        ((step.from.file, step.from.offset), block)
    });
    let wanted: BTreeMap<_, _> = wanted.collect();
    let own = FrameSource::new(writer.repository(), writer.layout(), writer.head());
    let progress = control.teller(Task::Transform, writer.layout().job());
    let flaws = scrub(Arc::new(wanted.into_values().collect()), &own, progress).await?.flaws;
    let mut noted = VerificationNotes::load(writer.repository(), writer.layout(), writer.head().folder).await?;
    // Where blocks are cloned, the padding after the last one counts, too.
    let mut cut = BTreeMap::new();
    for file in moves.iter().map(|step| step.from.file).collect::<BTreeSet<_>>() {
        let there = length_of(writer.repository(), writer.layout(), file).await?.unwrap_or(0);
        let is_cut = writer.head().files.get(&file).is_some_and(|file| there < file.length);
        if is_cut && noted.cut.get(&file) != Some(&there) {
            cut.insert(file, there);
        }
    }
    if flaws.is_empty() && cut.is_empty() {
        return Ok(0);
    }
    let count = flaws.len() + cut.len();
    noted.cut.extend(cut);
    let found = flaws.iter().map(|flaw| ((flaw.block.at.file, flaw.block.at.offset), flaw.block.at.digest));
    noted.damaged.extend(found);
    noted.store(writer.repository(), writer.layout(), writer.head().folder).await?;
    Ok(count)
}
