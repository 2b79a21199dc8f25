//! Slots: how many jobs work at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Slots for jobs that transfer or transform.
///
/// A job works only while it has a slot. Clones share the slots.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    count: Mutex<Count>,
    change: Notify,
}

#[derive(Debug)]
struct Count {
    taken: usize,
    all: usize,
}

/// A slot that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Shared>);

impl Slots {
    /// Makes `all` slots, at least one.
    #[must_use]
    pub fn new(all: usize) -> Self {
        let count = Mutex::new(Count { taken: 0, all: all.max(1) });
        Self(Arc::new(Shared { count, change: Notify::new() }))
    }

    /// Changes the number of slots to `all`, at least one.
    ///
    /// A job that has a slot keeps it.
    pub fn resize(&self, all: usize) {
        self.0.count().all = all.max(1);
        self.0.change.notify_waiters();
    }

    pub(super) async fn take(&self) -> Slot {
        loop {
            // Created before the check, so that no change is missed.
            let change = self.0.change.notified();
            {
                let mut count = self.0.count();
                if count.taken < count.all {
                    count.taken += 1;
                    return Slot(self.0.clone());
                }
            }
            change.await;
        }
    }
}

impl Shared {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.count().taken -= 1;
        self.0.change.notify_waiters();
    }
}
