//! Waiting for a place that a copy cannot reach.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offsite_core::retry::{Retries, RetryPolicy};
use offsite_repository::ErrorKind;
use tokio::time::{Instant, sleep};

use crate::commit::writer::Writer;
use crate::folder::open_repository::random_bytes;
use crate::progress::{Activity, Step, Task, Wait};
use crate::report::{ErrorSummary, Note};
use crate::{Error, Gate, JobName, Passage, Progress};

/// How long a wait goes on without a look at the gate.
const LOOK: Duration = Duration::from_secs(5);

/// The outages of one run of a copy.
pub(super) struct Outages<'a> {
    policy: RetryPolicy,
    job: &'a JobName,
    progress: &'a dyn Progress,
    gate: &'a dyn Gate,
    start: Instant,
    retries: Mutex<Retries>,
    /// The end of the last wait, from the start.
    resumed: Mutex<Option<Duration>>,
}

/// How a wait for a place has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// It is time to try again.
    TryAgain,
    /// The gate has ended the copy.
    Stopped,
    /// It is no outage, or the deadline is over.
    GiveUp,
}

impl<'a> Outages<'a> {
    pub(super) fn new(policy: RetryPolicy, job: &'a JobName, progress: &'a dyn Progress, gate: &'a dyn Gate) -> Self {
        let (retries, resumed) = (Mutex::new(Retries::new(policy)), Mutex::new(None));
        Self { policy, job, progress, gate, start: Instant::now(), retries, resumed }
    }

    /// Returns whether the policy waits at all.
    pub(super) const fn are_waited_for(&self) -> bool {
        !self.policy.deadline.is_zero()
    }

    /// Waits after a failure, if it may pass by itself.
    pub(super) async fn wait(&self, error: &Error) -> Waited {
        if !is_outage(error) {
            return Waited::GiveUp;
        }
        let chance = random_bytes().map_or(u64::MAX, |bytes| u64::from_le_bytes(std::array::from_fn(|at| bytes[at])));
        let Some(pause) = lock(&self.retries).fail(self.start.elapsed(), chance) else { return Waited::GiveUp };
        let why = ErrorSummary::from(error).text;
        self.progress.wait(&Wait::Place { job: self.job, why: &why, at_most: pause });
        let until = Instant::now() + pause;
        loop {
            let (job, machine, disk) = (self.job, None, None);
            let (task, step) = (Task::Copy, Step::Transfer);
            let activity = Activity { task, step, job, machine, disk, done_bytes: 0, total_bytes: 0 };
            if self.gate.pass(&activity, 0).await == Passage::Stop {
                return Waited::Stopped;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *lock(&self.resumed) = Some(self.start.elapsed());
                return Waited::TryAgain;
            }
            sleep(left.min(LOOK)).await;
        }
    }

    /// Returns an answer, unless it is a failure after which it is time to try again.
    pub(super) async fn judged<T>(&self, answer: Result<T, Error>) -> Option<Result<T, Error>> {
        match answer {
            Err(error) if self.wait(&error).await == Waited::TryAgain => None,
            answer => {
                if answer.is_ok() {
                    self.succeed();
                }
                Some(answer)
            }
        }
    }

    /// Something has succeeded since the last wait, so that wait was the end of the outage.
    pub(super) fn succeed(&self) {
        let resumed = lock(&self.resumed).take();
        lock(&self.retries).succeed(resumed.unwrap_or_else(|| self.start.elapsed()));
    }

    /// Gives the lease of `writer` back after a run that came to `result`.
    pub(super) async fn close<T>(&self, mut writer: Writer, result: Result<T, Error>) -> Result<T, Error> {
        let value = writer.ended(result).await;
        if value.is_err() {
            return writer.close(value).await;
        }
        let mut closed = writer.give_lease_back().await;
        while let Err(error) = closed {
            if self.wait(&error).await != Waited::TryAgain {
                return Err(error);
            }
            closed = match writer.is_in_doubt() {
                true => writer.finish_commit().await,
                false => writer.give_lease_back().await,
            };
        }
        value
    }

    /// What the report says of the outages.
    pub(super) fn note(&self) -> Option<Note> {
        let retries = *lock(&self.retries);
        let waited_secs = retries.waited(self.start.elapsed()).as_secs();
        (retries.outages() > 0).then_some(Note::Outages { outages: retries.outages(), waited_secs })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a place does not answer, and may answer later.
pub(super) fn is_outage(error: &Error) -> bool {
    let kind = match error.innermost() {
        Error::Repository { source, .. } => Some(source.kind()),
        Error::CommitUnknown { .. } => return true,
        _ => None,
    };
    matches!(kind, Some(ErrorKind::Unavailable | ErrorKind::Indeterminate))
}
