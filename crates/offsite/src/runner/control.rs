//! Telling a runner what it is to do, from outside.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, Either, FutureExt, select};
use offsite_core::schedule::Window;
use tokio::sync::{Notify, oneshot, watch};

use super::clock::Clock;
use super::report::{RunEnd, RunReport};
use super::status::JobStatus;

/// Asks a runner for things, and how it is with its job. Clones are of the same runner.
#[derive(Clone)]
pub struct RunnerHandle {
    requests: Arc<Requests>,
    end: watch::Receiver<Option<Ended>>,
    status: Arc<Mutex<JobStatus>>,
    window: Window,
    clock: Arc<dyn Clock>,
}

/// What came of the interval that was open when a runner ended.
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
    /// Those who want it to run now, until it begins.
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

    /// `stop`, as one of those who ask this runner to stop.
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

    /// Those who want it to run now; from now on they are the caller's to answer. None, while it is paused.
    pub(super) fn take_runs(&self) -> Vec<oneshot::Sender<RunEnd>> {
        let mut wishes = self.requests.wishes();
        if wishes.is_held { Vec::new() } else { std::mem::take(&mut wishes.runs) }
    }

    /// Whether somebody wants it to run now.
    pub(super) fn has_runs(&self) -> bool {
        !self.requests.wishes().runs.is_empty()
    }

    /// Returns when somebody may have asked for something since the last time.
    pub(super) async fn changed(&self) {
        self.requests.change.notified().await;
    }

    /// Returns when the runner is to stop; what else is asked for waits.
    pub(super) async fn stopped(&self) {
        while !self.is_stopped() {
            self.changed().await;
        }
        // For whoever waits next.
        self.requests.change.notify_one();
    }

    /// The runner has ended, and this has come of the interval that was open.
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
    /// Asks for one interval's work at once, as by [`JobRunner::run_once`](super::JobRunner::run_once): neither the window nor what is yet to come is waited for, and
    /// nothing is tried twice. A transfer that waits for its window goes on, and answers this. If the job transforms or does what comes after, the
    /// work is begun when that is done; if it is paused, when it is resumed.
    ///
    /// The call itself asks for it; the future tells how it ended. `None` if the runner ended without doing it.
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

    /// Asks the runner to stop: what has arrived is committed, and what cannot end soon is cut off, as by
    /// [`JobRunner::run`](super::JobRunner::run).
    ///
    /// The call itself asks for it; the future returns when the runner has ended, with what has come of the interval that was open, if one
    /// was.
    pub fn stop(&self) -> BoxFuture<'static, Option<RunReport>> {
        self.requests.change(|wishes| wishes.is_stopped = true);
        self.end()
    }

    /// Returns when the runner has ended, with what has come of the interval that was open, if one was.
    pub fn end(&self) -> BoxFuture<'static, Option<RunReport>> {
        let mut end = self.end.clone();
        Box::pin(async move {
            let ended = end.wait_for(Option::is_some).await.ok()?;
            ended.as_ref()?.as_ref().map(|report| (**report).clone())
        })
    }

    /// From now on nothing new is begun, and a transfer waits, until the job is resumed. What does not transfer comes to its end. Time
    /// that passes meanwhile is as an outage.
    pub fn pause(&self) {
        self.requests.change(|wishes| wishes.is_held = true);
    }

    /// A job that was paused goes on.
    pub fn resume(&self) {
        self.requests.change(|wishes| wishes.is_held = false);
    }

    /// How it is with the job now.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.is_window_open = self.window.is_open(self.clock.now());
        status
    }

    /// Whether the runner has ended.
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

/// Whether `stop` is ready or the runner was asked to stop before `work` was done.
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
