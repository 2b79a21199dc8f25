//! Opens repositories whose marker is lost.

use std::sync::Arc;

use offsite::OpenRepository;
use offsite::model::Timestamp;
use offsite::repository::Repository;

use crate::status::Failure;

/// Opens the repository at a place, even if its marker is lost or damaged. Returns whether it got a new one.
pub(crate) async fn recover_at(
    backend: Arc<dyn Repository>,
    now: Timestamp,
) -> Result<(OpenRepository, bool), Failure> {
    match OpenRepository::open(Arc::clone(&backend)).await {
        Err(offsite::Error::NotARepository { .. } | offsite::Error::Damaged { .. }) => {
            Ok((OpenRepository::recover(backend, now).await?, true))
        }
        answer => Ok((answer?, false)),
    }
}
