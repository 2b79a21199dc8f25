//! The handle of whoever reads or writes block data.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use offsite_repository::Endpoint;
use tokio::time::{Duration, Instant};

use super::registry::Shared;
use super::route::local_towards;
use crate::JobName;

/// A route may change while a job runs; it is looked up again after this time.
const ROUTE: Duration = Duration::from_secs(1);

/// Whose flow it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowName {
    repository: String,
    job: Option<JobName>,
    weight: NonZeroU32,
    restore: bool,
}

impl FlowName {
    /// A flow from or to the repository of this name, which is the name that rules know it by.
    #[must_use]
    pub fn new(repository: impl Into<String>) -> Self {
        Self { repository: repository.into(), job: None, weight: NonZeroU32::MIN, restore: false }
    }

    /// The job that it is for.
    #[must_use]
    pub fn in_job(mut self, job: JobName) -> Self {
        self.job = Some(job);
        self
    }

    /// Its part beside other flows of a rule: one of weight 2 gets twice what one of weight 1 gets. Without, it is 1.
    #[must_use]
    pub fn weight(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// The flow of a restore, which passes all rules but those for restores.
    #[must_use]
    pub fn restoring(mut self) -> Self {
        self.restore = true;
        self
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn job(&self) -> Option<&JobName> {
        self.job.as_ref()
    }

    pub(super) fn is_restore(&self) -> bool {
        self.restore
    }

    pub(super) fn share(&self) -> f64 {
        self.weight.get().into()
    }
}

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the repository to this host.
    Reading,
    /// From this host to the repository.
    Writing,
}

/// Where a flow runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// On this host: under no rule.
    Inside,
    /// Through a network, with its source and its target as far as they are known.
    Across(Option<(IpAddr, IpAddr)>),
}

/// A flow of block data. [`Traffic::flow`](super::Traffic::flow) makes it.
///
/// Whoever sends asks for a grant before each request, and sends what was granted. The requests of a flow get their grants in the order
/// in which they ask.
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

    /// Says where the repository is. It counts for the next grants, those that are waited for included.
    pub fn set_endpoint(&self, endpoint: Endpoint) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|(known, at)| known != endpoint || now.saturating_duration_since(at) >= ROUTE) {
            *seen = Some((endpoint, now));
            drop(seen);
            self.shared.set_path(self.id, path(endpoint, self.direction));
        }
    }

    /// Waits until bytes may be sent, and returns how many: all that are wanted, or fewer, as a grant is for a tenth of a second or a
    /// block. At least one byte, unless none is wanted. Dropped before it returns, it has taken nothing.
    pub async fn grant(&self, wanted_bytes: u64) -> u64 {
        self.shared.grant(self.id, wanted_bytes).await
    }

    /// Whether a rule is for this flow now.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.shared.is_bound(self.id)
    }

    /// Counts bytes that were sent without a grant. Later requests wait for them.
    pub fn owe(&self, bytes: u64) {
        self.shared.owe(self.id, bytes);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.remove(self.id);
    }
}

/// The way to and from a repository that is at `endpoint`.
fn path(endpoint: Endpoint, direction: Direction) -> Path {
    let peer = match endpoint {
        Endpoint::ThisHost => return Path::Inside,
        Endpoint::Address(peer) => peer.to_canonical(),
        Endpoint::Unknown => return Path::Across(None),
    };
    let ends = local_towards(peer).map(|local| match direction {
        Direction::Reading => (peer, local),
        Direction::Writing => (local, peer),
    });
    Path::Across(ends)
}
