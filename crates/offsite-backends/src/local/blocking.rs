//! Calls that may block.

use offsite_repository::{Error, ErrorKind, Result};

/// Runs `work` on a thread that may block. The work is completed even if this future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(Error::new(ErrorKind::Unavailable, action).with_source(error)),
    }
}
