//! The handle of whoever reads or writes block data.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use offsite_repository::Endpoint;
use tokio::time::{Duration, Instant};

use super::route::{Direction, path};
use super::shared::Shared;

/// A route may change while a job runs; it is looked up again after this time.
const ROUTE: Duration = Duration::from_secs(1);

/// A flow of block data, from [`Traffic::flow`](super::Traffic::flow).
///
/// Ask for a grant before each request, and send what was granted. The requests of a flow get their grants in the order in which they
/// ask.
#[derive(Debug)]
pub struct Flow {
    shared: Arc<Shared>,
    id: u64,
    direction: Direction,
    seen: Mutex<Option<(Endpoint, Instant)>>,
}

impl Flow {
    pub(super) fn new(shared: Arc<Shared>, id: u64, direction: Direction) -> Self {
        Self { shared, id, direction, seen: Mutex::default() }
    }

    /// Says where the repository is.
    ///
    /// It counts for the next grants, also for those that somebody waits for.
    pub fn set_endpoint(&self, endpoint: Endpoint) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|(known, at)| known != endpoint || now.saturating_duration_since(at) >= ROUTE) {
            *seen = Some((endpoint, now));
            drop(seen);
            self.shared.set_path(self.id, path(endpoint, self.direction));
        }
    }

    /// Waits until the flow may carry some of `wanted_bytes` bytes, and returns how many.
    ///
    /// A grant is for at most the bytes of a tenth of a second, or for 1 MiB if that is more. It is for at least one byte, unless the
    /// caller wants none. If the future is dropped before it is ready, nothing was taken.
    pub fn grant(&self, wanted_bytes: u64) -> BoxFuture<'_, u64> {
        Box::pin(self.shared.grant(self.id, wanted_bytes))
    }

    /// Returns `true` if a rule applies to the flow now.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.shared.is_bound(self.id)
    }

    /// Counts bytes that were sent without a grant. Later requests make up for them.
    pub fn owe(&self, bytes: u64) {
        self.shared.owe(self.id, bytes);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.remove(self.id);
    }
}
