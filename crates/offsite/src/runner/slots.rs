//! How many jobs work at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Places for jobs that transfer or transform. Clones share them.
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

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Shared>);

impl Slots {
    /// So many places, at least one.
    #[must_use]
    pub fn new(all: usize) -> Self {
        let count = Mutex::new(Count { taken: 0, all: all.max(1) });
        Self(Arc::new(Shared { count, change: Notify::new() }))
    }

    /// From now on there are so many, at least one. Who has one keeps it.
    pub fn resize(&self, all: usize) {
        self.0.count().all = all.max(1);
        self.0.change.notify_waiters();
    }

    pub(super) async fn take(&self) -> Slot {
        loop {
            // Made before the look, so that no change is missed.
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
