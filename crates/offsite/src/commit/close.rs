//! The end of a writer's run.

use offsite_repository::ErrorKind;

use crate::commit::release::release;
use crate::commit::writer::Writer;
use crate::{Error, Result};

impl Writer {
    /// Gives the lease back after a run that ended with `result`.
    ///
    /// # Errors
    /// The error of the run. Otherwise the same as [`Heads::commit`].
    pub(crate) async fn close<T>(mut self, result: Result<T>) -> Result<T> {
        let result = self.ended(result).await;
        let closed = self.give_lease_back().await;
        let value = result?;
        closed.map(|()| value)
    }

    /// What a run has come to that ended with `result`. The lease is still held.
    pub(crate) async fn ended<T>(&mut self, result: Result<T>) -> Result<T> {
        let result = match result {
            // A writer that took the job over may have released what this run was about to read. If that cannot be found out,
            // nothing is called damaged.
            Err(error) if error.is_loss() => match self.is_newest().await {
                Ok(true) => Err(error),
                Ok(false) => Err(Error::fenced(self.layout().job())),
                Err(unknown) => Err(unknown),
            },
            result => result,
        };
        if matches!(&result, Err(error) if error.repository_kind() == Some(ErrorKind::NoSpace)) {
            // The space that earlier runs have retired may be what the next run needs.
            let _ = release(self).await;
        }
        result
    }
}
