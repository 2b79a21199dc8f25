//! What a runner reports and remembers: events, status and memory.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use offsite_core::schedule::Window;
use tokio::time::{Instant, sleep};

use super::board::ProgressBoard;
use super::clock::Clock;
use super::event::{RunnerEvent, RunnerEvents};
use super::job::Activity;
use super::memory::Memory;
use super::report::RunReport;
use super::status::{JobStatus, Phase, Subject, Wait};
use super::store::{Store, StoreError};

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The voice and the memory of one runner.
pub(super) struct Teller {
    pub(super) subject: Subject,
    pub(super) clock: Arc<dyn Clock>,
    events: Arc<dyn RunnerEvents>,
    store: Arc<dyn Store>,
    status: Arc<Mutex<JobStatus>>,
    window: Window,
    board: Option<Arc<ProgressBoard>>,
    shown: Mutex<Option<(Instant, JobStatus)>>,
    is_store_broken: AtomicBool,
}

impl Teller {
    pub(super) fn new(
        events: Arc<dyn RunnerEvents>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        status: Arc<Mutex<JobStatus>>,
        window: Window,
    ) -> Self {
        let subject = lock(&status).subject.clone();
        let (shown, is_store_broken) = (Mutex::default(), AtomicBool::new(false));
        Self { subject, clock, events, store, status, window, board: None, shown, is_store_broken }
    }

    /// Sets the board that tells how far the present activity is.
    pub(super) fn board(self, board: Option<Arc<ProgressBoard>>) -> Self {
        Self { board, ..self }
    }

    /// Does `work`, and shows meanwhile how far it is.
    pub(super) async fn showing_progress<T>(&self, work: impl Future<Output = T> + Send) -> T {
        let Some(board) = &self.board else { return work.await };
        let show = async {
            loop {
                board.changed().await;
                self.show().await;
                sleep(PROGRESS_EVERY).await;
            }
        };
        match select(pin!(work), pin!(show)).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => never,
        }
    }

    pub(super) fn tell(&self, event: RunnerEvent<'_>) {
        lock(&self.status).take(&event, self.clock.now());
        self.events.tell(&self.subject, event);
    }

    /// Changes only the status.
    pub(super) fn change(&self, change: impl FnOnce(&mut JobStatus)) {
        change(&mut lock(&self.status));
    }

    pub(super) fn waits_for(&self, wait: Option<Wait>) {
        self.change(|status| status.waits_for = wait);
    }

    /// The memory of earlier runners, and the status that was shown last.
    pub(super) async fn recall(&self) -> Memory {
        if let Some(shown) = self.store.shown(&self.subject.job).await {
            self.change(|status| {
                let JobStatus { interval, transferred_bytes, newest, last, failure, .. } = shown;
                *status = JobStatus { interval, transferred_bytes, newest, last, failure, ..status.clone() };
                (status.phase, status.next) = (Phase::Starting, None);
            });
        }
        let memory = self.store.load(&self.subject.job).await;
        memory.unwrap_or_else(|error| {
            self.note(Err(error));
            Memory::default()
        })
    }

    pub(super) async fn remember(&self, memory: &Memory) {
        self.note(self.store.store(&self.subject.job, memory).await);
    }

    pub(super) async fn report(&self, report: &RunReport) {
        self.note(self.store.report(report).await);
    }

    /// Shows the status, if it differs from the one that was shown last.
    pub(super) async fn show(&self) {
        let activity = self.board.as_ref().and_then(|board| board.activity());
        self.change(|status| status.activity = activity);
        let mut status = lock(&self.status).clone();
        status.is_window_open = self.window.is_open(self.clock.now());
        if lock(&self.shown).as_ref().is_some_and(|(_, shown)| *shown == status) {
            return;
        }
        let shown = self.store.show(&status).await;
        *lock(&self.shown) = Some((Instant::now(), status));
        self.note(shown);
    }

    /// Shows progress when it is time to.
    pub(super) async fn show_progress(&self) {
        let is_recent = lock(&self.shown).as_ref().is_some_and(|(at, _)| at.elapsed() < PROGRESS_EVERY);
        if !is_recent {
            self.show().await;
        }
    }

    /// Reports a failure of the store once, not with every change.
    ///
    /// A full disk stays full for a while.
    fn note(&self, stored: Result<(), StoreError>) {
        let was_broken = self.is_store_broken.swap(stored.is_err(), Ordering::Relaxed);
        if let Err(error) = stored
            && !was_broken
        {
            self.tell(RunnerEvent::StoreFailed { why: &crate::error::causes(&error) });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the activities after an interval, in order. Returns what went wrong.
pub(super) async fn after(activities: Vec<Arc<dyn Activity>>, report: RunReport) -> Vec<String> {
    let mut warnings = Vec::new();
    for activity in activities {
        warnings.extend(activity.after(&report).await);
    }
    warnings
}
