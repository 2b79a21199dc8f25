//! Reading backup files to see whether they are intact.

use std::sync::Arc;

use futures::{StreamExt, stream};
use offsite_core::format::FormatError;
use offsite_core::plan::batches;

use super::codec::unseal;
use super::{FrameSource, IN_FLIGHT, Wanted, blocking, frame_in};
use crate::progress::Progress;
use crate::{Error, Result};

/// A block that is not what was stored.
#[derive(Debug, Clone)]
pub(crate) struct Flaw {
    pub(crate) block: Wanted,
    pub(crate) why: String,
}

/// Reads every wanted block (ordered by file and offset) and returns those that are damaged.
pub(crate) async fn scrub(
    wanted: Arc<Vec<Wanted>>,
    source: &FrameSource,
    progress: &dyn Progress,
) -> Result<Vec<Flaw>> {
    progress.begin("verifying", wanted.iter().map(|block| u64::from(block.at.length)).sum());
    let wanted = &wanted;
    let mut results = stream::iter(batches(wanted, |block| block.at))
        .map(|batch| async move {
            let items = batch.items.clone();
            let bytes = match source.read(&batch).await {
                Ok(bytes) => bytes,
                // The object is gone or too short: every block in it is lost, and the others are still to be looked at.
                Err(error) if error.is_loss() => return Ok((items.clone(), all_flawed(&wanted[items], &error))),
                Err(error) => return Err(error),
            };
            let (source, wanted) = (source.clone(), Arc::clone(wanted));
            blocking(move || {
                let mut plain = Vec::new();
                let mut flaws = Vec::new();
                for block in &wanted[batch.items.clone()] {
                    let number = source.number(&block.address.machine)?;
                    let frame = frame_in(&bytes, &batch, block.at)?;
                    if let Err(error) = unseal(&frame, block, number, &mut plain) {
                        flaws.push(Flaw { block: block.clone(), why: error.to_string() });
                    }
                }
                Ok((batch.items, flaws))
            })
            .await
        })
        .buffered(IN_FLIGHT);
    let mut flaws = Vec::new();
    while let Some(result) = results.next().await {
        let (items, found) = result?;
        progress.advance(wanted[items].iter().map(|block| u64::from(block.at.length)).sum());
        flaws.extend(found);
    }
    progress.end();
    Ok(flaws)
}

fn all_flawed(blocks: &[Wanted], error: &Error) -> Vec<Flaw> {
    let why = match error {
        Error::Repository { source, .. } => source.to_string(),
        other => FormatError::Invalid { what: "backup file", why: other.to_string() }.to_string(),
    };
    blocks.iter().map(|block| Flaw { block: block.clone(), why: why.clone() }).collect()
}
