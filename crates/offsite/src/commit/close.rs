//! The end of a writer's run.

use offsite_repository::ErrorKind;

use crate::commit::release::release;
use crate::commit::writer::Writer;
use crate::{Error, Result};

impl Writer {
    /// Gives the lease back after a run that ended with `result`.
    ///
    /// # Errors
    /// That of the run; else as for [`Heads::commit`].
    pub(crate) async fn close<T>(mut self, result: Result<T>) -> Result<T> {
        let result = match result {
            // Whoever took the job over may have let go what this run was about to read. Where that cannot be told, damage is not
            // told either.
            Err(error) if error.is_loss() => match self.is_newest().await {
                Ok(true) => Err(error),
                Ok(false) => Err(Error::fenced(self.layout().job())),
                Err(unknown) => Err(unknown),
            },
            result => result,
        };
        if matches!(&result, Err(error) if error.repository_kind() == Some(ErrorKind::NoSpace)) {
            // What earlier runs have retired may be the room that the next one needs.
            let _ = release(&mut self).await;
        }
        let closed = self.give_lease_back().await;
        let value = result?;
        closed.map(|()| value)
    }
}
