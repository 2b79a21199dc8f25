//! Reads backup files to see whether they are intact.

use std::ops::Range;
use std::sync::Arc;

use std::future::ready;

use futures::StreamExt;
use offsite_core::format::FormatError;
use offsite_core::plan::{Batch, batches};
use offsite_repository::ErrorKind;

use super::ahead::Ahead;
use super::codec::{is_another, is_zero, unseal};
use super::{FrameSource, Wanted, blocking, frame_in};
use crate::progress::Step;
use crate::report::Fault;
use crate::teller::Teller;
use crate::{DamagedPart, Error, Result};

/// A block that differs from what was stored.
#[derive(Debug, Clone)]
pub(crate) struct Flaw {
    pub(crate) block: Wanted,
    pub(crate) fault: Fault,
    /// Whether nothing of the block is there, but zeros, another frame, or no file. A block that was released looks the same.
    pub(crate) is_gone: bool,
}

/// The result of reading.
#[derive(Debug)]
pub(crate) struct Scrubbed {
    /// The damaged blocks.
    pub(crate) flaws: Vec<Flaw>,
    /// The number of wanted blocks that were read, in their order. It is smaller than the number of all if the gate has ended the
    /// reading.
    pub(crate) count: usize,
}

/// Reads the wanted blocks, which are ordered by file and offset, until the gate ends it.
pub(crate) async fn scrub(wanted: Arc<Vec<Wanted>>, source: &FrameSource, progress: Teller<'_>) -> Result<Scrubbed> {
    let progress = progress.begin(Step::Check, wanted.iter().map(|block| u64::from(block.at.length)).sum());
    let wanted = &wanted;
    let passed = progress.passed(batches(wanted, |block| block.at)).take_while(|batch| ready(batch.is_ok()));
    let ahead = Ahead::of(std::slice::from_ref(source));
    let examined = |batch: Batch| async move {
        let items = batch.items.clone();
        let flaws = match examine(wanted, source, batch).await {
            // The file is cut off somewhere. The frames before the cut are there.
            Err(error) if error.is_loss() && error.repository_kind() != Some(ErrorKind::NotFound) => {
                one_by_one(wanted, source, items.clone()).await
            }
            // The file is missing, so every block in it is lost. The others are still read.
            Err(error) if error.is_loss() => Ok(all_flawed(&wanted[items.clone()], &error)),
            answer => answer,
        };
        flaws.map(|flaws| (items, flaws))
    };
    let mut results = Box::pin(ahead.ordered(passed.filter_map(|batch| ready(batch.ok())), examined));
    let (mut flaws, mut count) = (Vec::new(), 0);
    while let Some(result) = results.next().await {
        let (items, found) = result?;
        count = items.end;
        progress.advance(wanted[items].iter().map(|block| u64::from(block.at.length)).sum());
        flaws.extend(found);
    }
    drop(results);
    progress.end();
    Ok(Scrubbed { flaws, count })
}

/// Reads a batch and returns its damaged blocks.
async fn examine(wanted: &Arc<Vec<Wanted>>, source: &FrameSource, batch: Batch) -> Result<Vec<Flaw>> {
    let bytes = source.read(&batch).await?;
    let (source, wanted) = (source.clone(), Arc::clone(wanted));
    blocking(move || {
        let mut plain = Vec::new();
        let mut flaws = Vec::new();
        for block in &wanted[batch.items.clone()] {
            let number = source.number(&block.address.machine)?;
            let frame = frame_in(&bytes, &batch, block.at)?;
            if let Err(error) = unseal(&frame, block, number, &mut plain) {
                let is_gone = is_zero(&frame) || is_another(&frame, block, number);
                flaws.push(Flaw { block: block.clone(), fault: Fault::unreadable(&error), is_gone });
            }
        }
        Ok(flaws)
    })
    .await
}

async fn one_by_one(wanted: &Arc<Vec<Wanted>>, source: &FrameSource, items: Range<usize>) -> Result<Vec<Flaw>> {
    let mut flaws = Vec::new();
    for item in items {
        let at = wanted[item].at;
        let range = at.offset..at.offset + u64::from(at.length);
        match examine(wanted, source, Batch { file: at.file, range, items: item..item + 1 }).await {
            Err(error) if error.is_loss() => flaws.extend(all_flawed(&wanted[item..=item], &error)),
            answer => flaws.extend(answer?),
        }
    }
    Ok(flaws)
}

fn all_flawed(blocks: &[Wanted], error: &Error) -> Vec<Flaw> {
    let fault = match error {
        Error::Damaged { part: DamagedPart::File, source: Some(source), .. } => Fault::unreadable(source),
        Error::Repository { source, .. } => Fault::unreadable(source),
        other => Fault::unreadable(&FormatError::Invalid { what: "backup file", why: other.to_string() }),
    };
    let is_gone = error.repository_kind() == Some(ErrorKind::NotFound);
    blocks.iter().map(|block| Flaw { block: block.clone(), fault: fault.clone(), is_gone }).collect()
}

#[cfg(test)]
mod tests {
    use offsite_core::plan::Address;
    use offsite_core::{Digest, DiskNumber, MachineName, ObjectId, StoredBlock};

    use super::*;

    /// A released block looks like one of a lost file, and not like one of a file that is cut off.
    #[test]
    fn blocks_of_a_lost_file_are_gone_and_those_of_a_short_one_are_not() {
        let machine = MachineName::new("web01").unwrap();
        let at = StoredBlock { file: ObjectId::new(1, 1), offset: 64, length: 100, digest: Digest([0; 32]) };
        let wanted = Wanted { address: Address { machine, disk: DiskNumber(0), block: 0 }, at };
        for (kind, is_gone) in [(ErrorKind::NotFound, true), (ErrorKind::Corrupt, false)] {
            let source = offsite_repository::Error::new(kind, "read");
            let error = Error::damaged(DamagedPart::File, "job/blocks/1", "memory".to_owned()).because(source);
            let flaws = all_flawed(&[wanted.clone(), wanted.clone()], &error);
            assert_eq!(flaws.iter().map(|flaw| flaw.is_gone).collect::<Vec<_>>(), [is_gone; 2], "{kind}");
        }
    }
}
