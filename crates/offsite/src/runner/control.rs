//! The control of a runner from outside.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, Either, FutureExt, select};
use offsite_core::schedule::Window;
use tokio::sync::{Notify, oneshot, watch};

use super::clock::Clock;
use super::report::{RunEnd, RunReport};
use super::status::JobStatus;

/// Controls a runner, and shows the status of its job.
///
/// Clones control the same runner.
#[derive(Clone)]
pub struct RunnerHandle {
    requests: Arc<Requests>,
    end: watch::Receiver<Option<Ended>>,
    status: Arc<Mutex<JobStatus>>,
    window: Window,
    clock: Arc<dyn Clock>,
}

/// The report of the interval that was open when a runner ended.
type Ended = Option<Box<RunReport>>;

#[derive(Default)]
struct Requests {
    wishes: Mutex<Wishes>,
    change: Notify,
}

#[derive(Default)]
struct Wishes {
    is_stopped: bool,
    is_held: bool,
    /// The callers that want it to run now, until the run begins.
    runs: Vec<oneshot::Sender<RunEnd>>,
}

impl Requests {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes());
        self.change.notify_one();
    }
}

/// The runner's side. When it is dropped, the runner has ended.
pub(super) struct Control {
    requests: Arc<Requests>,
    end: watch::Sender<Option<Ended>>,
}

impl Control {
    pub(super) fn new(status: Arc<Mutex<JobStatus>>, window: Window, clock: Arc<dyn Clock>) -> (Self, RunnerHandle) {
        let requests = Arc::new(Requests::default());
        let (sender, end) = watch::channel(None);
        let handle = RunnerHandle { requests: requests.clone(), end, status, window, clock };
        (Self { requests, end: sender }, handle)
    }

    /// Combines `stop` with the handles that ask this runner to stop.
    pub(super) fn stop_after<'a>(&self, stop: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, ()> {
        let requests = self.requests.clone();
        let stop = async move {
            stop.await;
            requests.change(|wishes| wishes.is_stopped = true);
        };
        // It may be asked again: from then on the wish tells.
        Box::pin(stop.fuse())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.requests.wishes().is_stopped
    }

    pub(super) fn is_held(&self) -> bool {
        self.requests.wishes().is_held
    }

    /// Takes the callers that want it to run now. The caller must answer them. Empty while the job is paused.
    pub(super) fn take_runs(&self) -> Vec<oneshot::Sender<RunEnd>> {
        let mut wishes = self.requests.wishes();
        if wishes.is_held { Vec::new() } else { std::mem::take(&mut wishes.runs) }
    }

    /// Returns `true` if somebody wants it to run now.
    pub(super) fn has_runs(&self) -> bool {
        !self.requests.wishes().runs.is_empty()
    }

    /// Returns when somebody may have asked for something since the last call.
    pub(super) async fn changed(&self) {
        self.requests.change.notified().await;
    }

    /// Returns when the runner is to stop. Other requests wait.
    pub(super) async fn stopped(&self) {
        while !self.is_stopped() {
            self.changed().await;
        }
        // For whoever waits next.
        self.requests.change.notify_one();
    }

    /// Notes that the runner has ended, with the report of the interval that was open.
    pub(super) fn ended(&self, report: Option<&RunReport>) {
        self.end.send_replace(Some(report.map(|report| Box::new(report.clone()))));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A runner that was dropped in the middle of something has no last word.
        self.end.send_if_modified(|end| end.is_none() && end.replace(None).is_none());
        self.requests.wishes().runs.clear();
    }
}

impl RunnerHandle {
    /// Asks for the work of one interval at once.
    ///
    /// The run is like [`JobRunner::run_once`](super::JobRunner::run_once): it waits neither for the window nor for what is yet
    /// to come, and retries nothing. A transfer that waits for its window continues, and its result is the answer. If the job
    /// transforms or does its post-job activities, the run begins when they are done. If the job is paused, it begins when the
    /// job is resumed.
    ///
    /// The call itself makes the request. The future returns how the run ended, or `None` if the runner ended without doing it.
    pub fn run_now(&self) -> BoxFuture<'static, Option<RunEnd>> {
        let (answer, answered) = oneshot::channel();
        if self.is_over() {
            drop(answer);
        } else {
            self.requests.change(|wishes| wishes.runs.push(answer));
        }
        let mut end = self.end.clone();
        Box::pin(async move {
            let over = Box::pin(async move { drop(end.wait_for(Option::is_some).await) });
            match select(answered, over).await {
                Either::Left((answer, _)) => answer.ok(),
                // It may have been answered with its last word.
                Either::Right((_, mut answered)) => answered.try_recv().ok(),
            }
        })
    }

    /// Asks the runner to stop, as by [`JobRunner::run`](super::JobRunner::run).
    ///
    /// What has arrived is committed. An activity that does not end soon is cut off. The call itself makes the request. The
    /// future returns when the runner has ended, with the report of the interval that was open, if there was one.
    pub fn stop(&self) -> BoxFuture<'static, Option<RunReport>> {
        self.requests.change(|wishes| wishes.is_stopped = true);
        self.end()
    }

    /// Waits until the runner has ended.
    ///
    /// Returns the report of the interval that was open, if there was one.
    pub fn end(&self) -> BoxFuture<'static, Option<RunReport>> {
        let mut end = self.end.clone();
        Box::pin(async move {
            let ended = end.wait_for(Option::is_some).await.ok()?;
            ended.as_ref()?.as_ref().map(|report| (**report).clone())
        })
    }

    /// Pauses the job until [`resume`](Self::resume).
    ///
    /// Nothing new begins, and a transfer waits. An activity that does not transfer comes to its end. The time that passes counts
    /// like an outage.
    pub fn pause(&self) {
        self.requests.change(|wishes| wishes.is_held = true);
    }

    /// Resumes a paused job.
    pub fn resume(&self) {
        self.requests.change(|wishes| wishes.is_held = false);
    }

    /// The status of the job now.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.is_window_open = self.window.is_open(self.clock.now());
        status
    }

    /// Returns `true` if the runner has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end.borrow().is_some() || self.end.has_changed().is_err()
    }
}

impl std::fmt::Debug for RunnerHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RunnerHandle").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Returns `true` if `stop` is ready, or the runner was asked to stop, before `work` is done.
pub(super) async fn until<T>(
    work: impl Future<Output = T>,
    stop: &mut (impl Future<Output = ()> + Unpin),
    control: &Control,
) -> Option<T> {
    let stopped = std::pin::pin!(control.stopped());
    let work = std::pin::pin!(work);
    let stop = select(stop, stopped);
    match select(stop, work).await {
        Either::Left(_) => None,
        Either::Right((done, _)) => Some(done),
    }
}
