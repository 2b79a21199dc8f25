//! Gates that stop or hold a transfer at a given request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use offsite::{Activity, Gate, Passage};
use tokio::sync::Semaphore;

/// Lets so many requests through, then ends the transfer.
pub struct StopAfter(AtomicUsize);

impl StopAfter {
    pub fn new(requests: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(requests)))
    }
}

#[async_trait]
impl Gate for StopAfter {
    async fn pass(&self, _activity: &Activity<'_>, _bytes: u64) -> Passage {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Passage::Go } else { Passage::Stop }
    }
}

/// Holds each request until it is let through, and tells when one waits.
pub struct Held {
    pub waiting: Semaphore,
    pub passes: Semaphore,
}

impl Held {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { waiting: Semaphore::new(0), passes: Semaphore::new(0) })
    }

    /// Returns when a request waits.
    pub async fn is_waiting(&self) {
        self.waiting.acquire().await.unwrap().forget();
    }

    pub fn let_through(&self, requests: usize) {
        self.passes.add_permits(requests);
    }
}

#[async_trait]
impl Gate for Held {
    async fn pass(&self, _activity: &Activity<'_>, _bytes: u64) -> Passage {
        self.waiting.add_permits(1);
        self.passes.acquire().await.unwrap().forget();
        Passage::Go
    }
}
