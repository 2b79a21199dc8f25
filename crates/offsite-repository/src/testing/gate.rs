//! A gate that holds calls until a test releases them.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Holds calls until a test releases them.
///
/// No clock is involved.
///
/// Clones are the same gate. [`Fault::holding`](super::Fault::holding) puts a call behind it.
///
/// ```
/// use offsite_repository::testing::{Fault, Faulty, Gate, Memory};
/// use offsite_repository::{Key, RepositoryExt, Verb};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let faulty = Faulty::new(Memory::new());
/// let gate = Gate::new();
/// faulty.inject(Fault::holding(0, &gate).on(Verb::Finish));
/// let (writer, key) = (faulty.clone(), Key::new("a").unwrap());
/// let put = tokio::spawn(async move { writer.put(&key, "x".into()).await });
/// gate.reached().await;
/// // Here the put is under way, and its object not there yet.
/// assert!(faulty.get(&Key::new("a").unwrap(), 1).await.is_err());
/// gate.release();
/// put.await.unwrap().unwrap();
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Gate {
    sides: Arc<[Semaphore; 2]>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { sides: Arc::new([Semaphore::new(0), Semaphore::new(0)]) }
    }
}

impl Gate {
    /// A gate that is closed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until a call has reached the gate.
    ///
    /// It returns once for each such call.
    pub async fn reached(&self) {
        take(&self.sides[0]).await;
    }

    /// Releases one call: one that waits, or the next that comes.
    pub fn release(&self) {
        self.sides[1].add_permits(1);
    }

    pub(super) async fn pass(&self) {
        self.sides[0].add_permits(1);
        take(&self.sides[1]).await;
    }
}

async fn take(side: &Semaphore) {
    // Never closed.
    if let Ok(permit) = side.acquire().await {
        permit.forget();
    }
}
