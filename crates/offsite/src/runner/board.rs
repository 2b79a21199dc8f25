//! How far the present activity of a job is, for whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offsite_core::{DiskNumber, MachineName, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::Clock;
use crate::{Activity, JobName, Progress, Step, Task, Wait};

/// The rate is that of the last ten to twenty seconds.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// A rate of less than this says nothing.
const RATE_SPAN_MIN: Duration = Duration::from_millis(500);

/// How far an activity of a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ActivityStatus {
    /// The operation that it is a part of.
    pub task: Task,
    /// What is done.
    pub step: Step,
    /// The job folder that is worked on.
    pub job: JobName,
    /// The machine that is worked on. `None` if it is not one.
    pub machine: Option<MachineName>,
    /// The disk of that machine. `None` if it is not one.
    pub disk: Option<DiskNumber>,
    /// The number of bytes that are done.
    pub done_bytes: u64,
    /// About the number of all bytes.
    pub total_bytes: u64,
    /// The time at which it began.
    pub since: Timestamp,
    /// The bytes per second of the last seconds. `None` if it has just begun.
    pub bytes_per_sec: Option<u64>,
    /// What it waits for, in words. `None` if bytes move, or have moved since.
    pub waits_for: Option<String>,
}

impl ActivityStatus {
    /// An activity that begins at `since`.
    #[must_use]
    pub fn new(task: Task, step: Step, job: JobName, total_bytes: u64, since: Timestamp) -> Self {
        let (machine, disk, bytes_per_sec, waits_for) = (None, None, None, None);
        Self { task, step, job, machine, disk, done_bytes: 0, total_bytes, since, bytes_per_sec, waits_for }
    }

    /// About how long it will still take, at its present rate.
    ///
    /// `None` if that cannot be told.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let rate = self.bytes_per_sec.filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(self.total_bytes.saturating_sub(self.done_bytes).div_ceil(rate)))
    }
}

/// A listener that remembers how far the present activity is.
///
/// Give it to a job ([`CopyJob::progress`](crate::CopyJob::progress), say), and to its schedule
/// ([`ScheduledJob::board`](super::ScheduledJob::board)). The status of the job then has its activity.
///
/// It passes on what it hears to another listener. It needs a tokio runtime with its clock enabled.
pub struct ProgressBoard {
    clock: Arc<dyn Clock>,
    listener: Arc<dyn Progress>,
    present: Mutex<Option<Present>>,
    changed: Notify,
}

struct Present {
    status: ActivityStatus,
    /// Where the last two spans of the rate began.
    marks: [(Instant, u64); 2],
}

impl ProgressBoard {
    /// A board without an activity, which passes on what it hears to `listener`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, listener: Arc<dyn Progress>) -> Self {
        Self { clock, listener, present: Mutex::default(), changed: Notify::new() }
    }

    /// The present activity, with its rate. `None` if there is none.
    #[must_use]
    pub fn activity(&self) -> Option<ActivityStatus> {
        let present = self.lock();
        let Present { status, marks } = present.as_ref()?;
        let (at, done) = marks[0];
        let span = at.elapsed();
        let moved = u128::from(status.done_bytes.saturating_sub(done));
        let rate = || u64::try_from(moved * 1_000 / span.as_millis()).unwrap_or(u64::MAX);
        let bytes_per_sec = (span >= RATE_SPAN_MIN).then(rate);
        Some(ActivityStatus { bytes_per_sec, ..status.clone() })
    }

    /// Waits until the activity has changed since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, activity: &Activity<'_>) {
        if let Some(Present { status, marks }) = &mut *self.lock() {
            (status.machine, status.disk) = (activity.machine.cloned(), activity.disk);
            (status.done_bytes, status.total_bytes) = (activity.done_bytes, activity.total_bytes);
            status.waits_for = None;
            if marks[1].0.elapsed() >= RATE_SPAN {
                *marks = [marks[1], (Instant::now(), activity.done_bytes)];
            }
        }
    }
}

impl std::fmt::Debug for ProgressBoard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ProgressBoard").field("activity", &self.activity()).finish_non_exhaustive()
    }
}

impl Progress for ProgressBoard {
    fn begin(&self, activity: &Activity<'_>) {
        let Activity { task, step, job, machine, disk, total_bytes, .. } = activity;
        let mut status = ActivityStatus::new(*task, *step, (*job).clone(), *total_bytes, self.clock.now());
        (status.machine, status.disk) = (machine.cloned(), *disk);
        *self.lock() = Some(Present { status, marks: [(Instant::now(), 0); 2] });
        self.changed.notify_one();
        self.listener.begin(activity);
    }

    fn advance(&self, activity: &Activity<'_>) {
        self.note(activity);
        self.changed.notify_one();
        self.listener.advance(activity);
    }

    fn end(&self, activity: &Activity<'_>) {
        *self.lock() = None;
        self.changed.notify_one();
        self.listener.end(activity);
    }

    fn wait(&self, wait: &Wait<'_>) {
        if let Some(Present { status, .. }) = &mut *self.lock() {
            status.waits_for = Some(wait.to_string());
        }
        self.changed.notify_one();
        self.listener.wait(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use crate::runner::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_seconds() {
        let board = ProgressBoard::new(Arc::new(SystemClock), Arc::new(Silent));
        assert_eq!(board.activity(), None);
        let (job, machine) = (JobName::new("nightly").unwrap(), MachineName::new("web01").unwrap());
        let at = |done_bytes| Activity {
            task: Task::Copy,
            step: Step::Transfer,
            job: &job,
            machine: Some(&machine),
            disk: Some(DiskNumber(1)),
            done_bytes,
            total_bytes: 10_000,
        };
        board.begin(&at(0));
        assert_eq!(board.activity().unwrap().bytes_per_sec, None, "it has just begun");
        let mut done = 0;
        for (secs, bytes_per_sec) in [(60, 100), (30, 10)] {
            for _ in 0..secs {
                tokio::time::sleep(Duration::from_secs(1)).await;
                done += bytes_per_sec;
                board.advance(&at(done));
            }
            assert_eq!(board.activity().unwrap().bytes_per_sec, Some(bytes_per_sec));
        }
        let activity = board.activity().unwrap();
        assert_eq!((activity.done_bytes, activity.left()), (6_300, Some(Duration::from_secs(370))));
        assert_eq!((activity.machine, activity.disk), (Some(machine.clone()), Some(DiskNumber(1))));
        board.wait(&Wait::Readers { job: &job, readers: 1, at_most: Duration::from_secs(60) });
        assert!(board.activity().unwrap().waits_for.is_some());
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        board.advance(&at(done));
        assert_eq!(board.activity().unwrap().waits_for, None, "it goes on");
        board.end(&at(done));
        assert_eq!(board.activity(), None);
    }
}
