//! Reads around lost blocks.

use std::future::Future;
use std::io;

use offsite_core::plan::Batch;
use offsite_repository::ErrorKind;
use rustix::io::Errno;

use super::Wanted;
use crate::{Error, Result};

/// Blocks that could not be read as they were stored.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// The lost blocks.
    pub(crate) blocks: Vec<Wanted>,
    /// The error of the first lost block that was met. `None` if no block is lost.
    pub(crate) error: Option<Error>,
}

impl Lost {
    pub(super) fn add(&mut self, block: &Wanted) {
        self.blocks.push(block.clone());
    }

    pub(super) fn explain(&mut self, error: Option<Error>) {
        self.error = self.error.take().or(error);
    }
}

/// Does `work` to a batch. If a part of it is lost, does `work` to each of its blocks alone. Returns the result of each block, with
/// `None` for a lost one, and the error of the first lost block.
///
/// # Errors
/// Any error that is no loss, for example that the repository cannot be reached.
pub(super) async fn around_loss<T, F: Future<Output = Result<Vec<T>>>>(
    wanted: &[Wanted],
    batch: Batch,
    work: impl Fn(Batch) -> F,
) -> Result<(Vec<Option<T>>, Option<Error>)> {
    let items = batch.items.clone();
    let mut first = match work(batch).await {
        Ok(done) => return Ok((done.into_iter().map(Some).collect(), None)),
        Err(error) if !is_lost(&error) => return Err(error),
        // The file is missing with all of its blocks.
        Err(error) if items.len() == 1 || error.repository_kind() == Some(ErrorKind::NotFound) => {
            return Ok((items.map(|_| None).collect(), Some(error)));
        }
        Err(_) => None,
    };
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        let at = wanted[item].at;
        let range = at.offset..at.offset + u64::from(at.length);
        match work(Batch { file: at.file, range, items: item..item + 1 }).await {
            Ok(done) => all.push(done.into_iter().next()),
            Err(error) if is_lost(&error) => {
                all.push(None);
                first = first.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((all, first))
}

/// Whether a block is not there as it was stored, or the device cannot read its place.
fn is_lost(error: &Error) -> bool {
    error.is_loss() || has_unreadable_sector(error)
}

fn has_unreadable_sector(error: &Error) -> bool {
    let Error::Repository { source, .. } = error else { return false };
    let cause = std::error::Error::source(&**source).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.and_then(Errno::from_io_error) == Some(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_that_cannot_be_read_is_lost_and_an_outage_is_none() {
        let of_repository = |cause: Errno| {
            let source = offsite_repository::Error::new(ErrorKind::Unavailable, "read");
            Error::repository("reading".to_owned(), source.with_source(io::Error::from(cause)))
        };
        assert!(is_lost(&of_repository(Errno::IO)));
        assert!(!is_lost(&of_repository(Errno::TIMEDOUT)));
    }
}
