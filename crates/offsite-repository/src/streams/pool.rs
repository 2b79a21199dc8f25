//! Permits for requests, shared by all who use a repository.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::controller::{Controller, Sample, StreamRange};

/// All uploads of a process together hold this many bytes of requests under way.
const UPLOAD_BYTES_MAX: u64 = 96 << 20;
/// The unit in which these bytes are counted.
const UNIT_BYTES: u64 = 1 << 10;
/// Shorter requests do not wait: heads, leases and pins are among them.
const SMALL_BYTES: u64 = 64 << 10;

/// The requests for block data that a process has under way, for each repository.
///
/// A process has one of these, and all its jobs use it. Clones are handles of the same registry.
///
/// - Each repository has a bound for the requests to it, one for each direction. The number in use follows what the link and the
///   repository can do.
/// - Jobs share the permits evenly, by their weights.
/// - Requests of less than 64 KiB do not wait and do not count: heads, leases and pins are among them.
/// - All uploads together hold at most 96 MiB in requests under way, whatever the bounds are.
///
/// ```
/// use offsite_repository::{StreamDirection, StreamRange, Streams};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let streams = Streams::new();
/// let share = streams.share("dr", StreamRange::up_to(16));
/// let permit = share.begin(StreamDirection::Reading, 1 << 20).await;
/// // Now read 1 MiB.
/// permit.done();
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Streams {
    inner: Arc<Registry>,
}

#[derive(Debug)]
struct Registry {
    pools: Mutex<BTreeMap<String, Arc<[Pool; 2]>>>,
    upload_units: Arc<Semaphore>,
    next_user: AtomicU64,
}

/// Whether a request brings block data or takes it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamDirection {
    /// Bytes come from the repository.
    Reading,
    /// Bytes go to the repository.
    Writing,
}

impl Default for Streams {
    fn default() -> Self {
        Self::new()
    }
}

impl Streams {
    /// A registry in which nothing is under way.
    #[must_use]
    pub fn new() -> Self {
        let upload_units =
            Arc::new(Semaphore::new(usize::try_from(UPLOAD_BYTES_MAX / UNIT_BYTES).unwrap_or(usize::MAX)));
        Self { inner: Arc::new(Registry { pools: Mutex::default(), upload_units, next_user: AtomicU64::new(0) }) }
    }

    /// A share of the requests to the repository `name`, for one job.
    ///
    /// `range` holds for all shares of the repository from now on.
    #[must_use]
    pub fn share(&self, name: &str, range: StreamRange) -> StreamShare {
        let pools = {
            let mut pools = self.inner.pools.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(pools.entry(name.to_owned()).or_insert_with(|| Arc::new([Pool::new(range), Pool::new(range)])))
        };
        pools.iter().for_each(|pool| pool.set_range(range));
        let user = self.inner.next_user.fetch_add(1, Ordering::Relaxed);
        let upload_units = Arc::clone(&self.inner.upload_units);
        StreamShare { pools, user, weight: 1.0, upload_units }
    }
}

/// A job's share of the requests to a repository, from [`Streams::share`].
///
/// Clones are the same share.
#[derive(Debug, Clone)]
pub struct StreamShare {
    pools: Arc<[Pool; 2]>,
    user: u64,
    weight: f64,
    upload_units: Arc<Semaphore>,
}

impl StreamShare {
    /// A share in a registry of its own, for a repository that nobody else uses.
    #[must_use]
    pub fn alone(range: StreamRange) -> Self {
        Streams::new().share("", range)
    }

    /// The same share with another weight. A job of weight 2 gets twice as many permits as one of weight 1.
    #[must_use]
    pub fn weighing(mut self, weight: f64) -> Self {
        if weight.is_finite() && weight > 0.0 {
            self.weight = weight;
        }
        self
    }

    /// The bounds of the number of requests.
    #[must_use]
    pub fn range(&self) -> StreamRange {
        self.pools[0].lock().controller.range()
    }

    /// The number of requests that may be under way now, of all shares together.
    #[must_use]
    pub fn limit(&self, direction: StreamDirection) -> usize {
        self.pool(direction).lock().controller.limit()
    }

    /// Waits until a request of `bytes` bytes may begin.
    ///
    /// Hold the permit while the request is under way, and no longer: drive the request on from a task of its own if its caller may stand
    /// still. If the future is dropped before it is ready, nothing was taken.
    pub async fn begin(&self, direction: StreamDirection, bytes: u64) -> StreamPermit {
        if bytes < SMALL_BYTES {
            return StreamPermit { held: None, bytes, begun: Instant::now(), _upload: None };
        }
        let upload = match direction {
            StreamDirection::Reading => None,
            StreamDirection::Writing => self.room_for(bytes).await,
        };
        let receiver = {
            let mut state = self.pool(direction).lock();
            let (sender, receiver) = oneshot::channel();
            let place = Waiter { user: self.user, weight: self.weight, sender };
            state.waiting.push(place);
            receiver
        };
        Pool::grant(&self.pools, direction);
        // The pool keeps each sender until it has granted.
        let held = receiver.await.ok();
        StreamPermit { held, bytes, begun: Instant::now(), _upload: upload }
    }

    /// Says that the other side has refused a request because there were too many, or has not answered in time.
    ///
    /// The number of requests in that direction halves.
    pub fn overloaded(&self, direction: StreamDirection) {
        self.pool(direction).lock().controller.overloaded();
    }

    fn pool(&self, direction: StreamDirection) -> &Pool {
        &self.pools[index(direction)]
    }

    async fn room_for(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        // A larger request goes alone.
        let units = bytes.min(UPLOAD_BYTES_MAX).div_ceil(UNIT_BYTES);
        Arc::clone(&self.upload_units).acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await.ok()
    }
}

fn index(direction: StreamDirection) -> usize {
    match direction {
        StreamDirection::Reading => 0,
        StreamDirection::Writing => 1,
    }
}

/// The right to have a request under way. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the right ends when it is dropped"]
pub struct StreamPermit {
    /// `None` if it is not counted.
    held: Option<Held>,
    bytes: u64,
    begun: Instant,
    _upload: Option<OwnedSemaphorePermit>,
}

impl StreamPermit {
    /// The request has ended well.
    ///
    /// How long it took counts for the number of requests to come. A permit that is dropped says nothing about that.
    pub fn done(self) {
        let duration = self.begun.elapsed();
        let Some(held) = &self.held else { return };
        let mut state = held.pools[index(held.direction)].lock();
        let sample = Sample { bytes: self.bytes, duration, in_flight: state.held };
        state.controller.take(sample);
    }
}

/// A permit that is counted in its pool.
struct Held {
    pools: Arc<[Pool; 2]>,
    direction: StreamDirection,
    user: u64,
    is_counted: bool,
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Held").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_counted {
            self.pools[index(self.direction)].lock().give_back(self.user);
            Pool::grant(&self.pools, self.direction);
        }
    }
}

/// The permits of a repository in one direction.
#[derive(Debug)]
struct Pool {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    controller: Controller,
    held: usize,
    /// How many each user holds. Users without any are not here.
    by_user: BTreeMap<u64, usize>,
    /// In the order in which they came.
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    user: u64,
    weight: f64,
    sender: oneshot::Sender<Held>,
}

impl Pool {
    fn new(range: StreamRange) -> Self {
        let controller = Controller::new(range);
        Self { state: Mutex::new(State { controller, held: 0, by_user: BTreeMap::new(), waiting: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_range(&self, range: StreamRange) {
        self.lock().controller.set_range(range);
    }

    /// Hands out what is free.
    fn grant(pools: &Arc<[Self; 2]>, direction: StreamDirection) {
        let mut state = pools[index(direction)].lock();
        while state.held < state.controller.limit() {
            let Some(waiter) = state.next() else { return };
            let user = waiter.user;
            let held = Held { pools: Arc::clone(pools), direction, user, is_counted: true };
            state.held += 1;
            *state.by_user.entry(user).or_default() += 1;
            if let Err(mut unwanted) = waiter.sender.send(held) {
                // Nobody waits for it any more. The lock is held, so its drop must not count it again.
                unwanted.is_counted = false;
                state.give_back(user);
            }
        }
    }
}

impl State {
    /// The request to go next: of the user who holds the fewest permits for its weight, the one that came first.
    fn next(&mut self) -> Option<Waiter> {
        let load = |waiter: &Waiter| self.by_user.get(&waiter.user).copied().unwrap_or(0) as f64 / waiter.weight;
        let loads = self.waiting.iter().enumerate().map(|(position, waiter)| (load(waiter), position));
        let (_, position) = loads.min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))?;
        Some(self.waiting.remove(position))
    }

    fn give_back(&mut self, user: u64) {
        self.held = self.held.saturating_sub(1);
        if let Some(count) = self.by_user.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&user);
            }
        }
    }
}
