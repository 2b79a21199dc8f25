//! A daemon: several jobs on their schedules.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::task::JoinHandle;

use super::clock::{Clock, SystemClock};
use super::control::RunnerHandle;
use super::event::{RunnerEvent, RunnerEvents, Unheard};
use super::job::ScheduledJob;
use super::job_runner::JobRunner;
use super::report::RunReport;
use super::slots::Slots;
use super::status::{JobStatus, WorkKind};
use super::store::Store;
use crate::JobName;

/// Runs several jobs on their schedules.
///
/// Each job runs in a task of its own, on the runtime of the caller that adds it. [`Daemon::stop`] ends all jobs in order. If the
/// daemon is dropped, they end as by a power cut: what was committed stays, and the next daemon continues from there.
pub struct Daemon {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn RunnerEvents>,
    slots: Slots,
    jobs: Mutex<BTreeMap<JobName, Running>>,
    /// Makes changes wait for each other.
    changing: tokio::sync::Mutex<()>,
}

struct Running {
    kind: WorkKind,
    revision: Option<String>,
    handle: RunnerHandle,
    task: Task,
}

/// A task that is cut off when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error for a name that a job of the daemon has already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a job {0} is scheduled already; give each schedule a name of its own")]
pub struct NameTaken(pub JobName);

/// The error for a name that no job of the daemon has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no job {0} is scheduled")]
pub struct NotScheduled(pub JobName);

/// What [`Daemon::replace`] has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Replaced {
    /// Jobs that are new or have changed. They were started.
    pub started: BTreeSet<JobName>,
    /// Jobs that are unchanged. They continued.
    pub kept: BTreeSet<JobName>,
    /// Jobs that are gone. They were stopped.
    pub removed: BTreeSet<JobName>,
}

impl Daemon {
    /// A daemon without jobs, which remembers in `store`.
    ///
    /// By default it uses the clock of this host, lets one job work at a time, and has no listener.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock),
            events: Arc::new(Unheard),
            slots: Slots::new(1),
            jobs: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the listener for jobs that have no listener of their own.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn RunnerEvents>) -> Self {
        self.events = events;
        self
    }

    /// Sets the slots: how many jobs work at a time.
    ///
    /// A clone of `slots` can be [resized](Slots::resize) later.
    #[must_use]
    pub fn slots(mut self, slots: Slots) -> Self {
        self.slots = slots;
        self
    }

    /// Starts a job.
    ///
    /// # Errors
    /// [`NameTaken`] if the daemon has a job with this name.
    pub fn add(&self, job: ScheduledJob) -> BoxFuture<'_, Result<RunnerHandle, NameTaken>> {
        Box::pin(async move {
            let _changing = self.changing.lock().await;
            let name = job.name().clone();
            if self.jobs().contains_key(&name) {
                return Err(NameTaken(name));
            }
            self.rename(&job).await;
            Ok(self.start(job))
        })
    }

    /// Stops a job and forgets it.
    ///
    /// Returns the report of the interval that was open, if there was one.
    ///
    /// # Errors
    /// [`NotScheduled`] if the daemon has no job with this name.
    pub fn remove<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<Option<RunReport>, NotScheduled>> {
        Box::pin(async move {
            let _changing = self.changing.lock().await;
            let running = self.jobs().remove(job).ok_or_else(|| NotScheduled(job.clone()))?;
            let report = running.stop().await;
            self.forget(job).await;
            Ok(report)
        })
    }

    /// Replaces all jobs, as after a reload.
    ///
    /// - Jobs that are not in `jobs` stop, and are forgotten.
    /// - Running jobs with the same [revision](ScheduledJob::revision) continue.
    /// - Jobs that have changed stop softly, all at the same time, and then start again.
    /// - The others start.
    ///
    /// # Errors
    /// [`NameTaken`] if two of `jobs` have the same name. Nothing has changed then.
    pub fn replace(&self, jobs: Vec<ScheduledJob>) -> BoxFuture<'_, Result<Replaced, NameTaken>> {
        Box::pin(async move {
            let mut names = BTreeSet::new();
            if let Some(twice) = jobs.iter().map(ScheduledJob::name).find(|name| !names.insert((*name).clone())) {
                return Err(NameTaken(twice.clone()));
            }
            let _changing = self.changing.lock().await;
            let mut replaced = Replaced::default();
            let (same, changed): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| self.is_same(job));
            replaced.kept.extend(same.iter().map(|job| job.name().clone()));
            let (kept, ending): (BTreeMap<_, _>, BTreeMap<_, _>) =
                std::mem::take(&mut *self.jobs()).into_iter().partition(|(name, _)| replaced.kept.contains(name));
            *self.jobs() = kept;
            replaced.removed.extend(ending.keys().filter(|name| !names.contains(*name)).cloned());
            join_all(ending.into_values().map(Running::stop)).await;
            for job in &changed {
                self.rename(job).await;
            }
            for job in &replaced.removed {
                self.forget(job).await;
            }
            for job in changed {
                replaced.started.insert(job.name().clone());
                self.start(job);
            }
            Ok(replaced)
        })
    }

    /// The handle of a job.
    ///
    /// `None` if the daemon has no job with this name.
    #[must_use]
    pub fn job(&self, name: &JobName) -> Option<RunnerHandle> {
        self.jobs().get(name).map(|running| running.handle.clone())
    }

    /// The status of each job now.
    #[must_use]
    pub fn status(&self) -> BTreeMap<JobName, JobStatus> {
        self.jobs().iter().map(|(name, running)| (name.clone(), running.handle.status())).collect()
    }

    /// Stops all jobs softly, at the same time.
    ///
    /// Returns the reports of the intervals that were open. The daemon has no jobs afterwards.
    pub fn stop(&self) -> BoxFuture<'_, BTreeMap<JobName, RunReport>> {
        Box::pin(async move {
            let _changing = self.changing.lock().await;
            let ending = std::mem::take(&mut *self.jobs());
            let stops = ending.into_iter().map(async |(name, running)| Some((name, running.stop().await?)));
            join_all(stops).await.into_iter().flatten().collect()
        })
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobName, Running>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_same(&self, job: &ScheduledJob) -> bool {
        self.jobs().get(job.name()).is_some_and(|running| {
            job.revision.is_some()
                && running.revision == job.revision
                && running.kind == job.kind()
                && !running.handle.is_over()
        })
    }

    /// If the store fails, the runner fails there too, and reports it.
    async fn rename(&self, job: &ScheduledJob) {
        if let Some(old) = &job.renamed_from {
            let _ = self.store.rename(old, job.name()).await;
        }
    }

    async fn forget(&self, job: &JobName) {
        // What cannot be forgotten is as after an outage, should the job come back.
        let _ = self.store.forget(job).await;
    }

    fn start(&self, job: ScheduledJob) -> RunnerHandle {
        let (name, kind, revision) = (job.name().clone(), job.kind(), job.revision.clone());
        let (subject, events) = (job.subject.clone(), job.events.clone().unwrap_or_else(|| self.events.clone()));
        let runner = JobRunner::new(job)
            .clock(self.clock.clone())
            .events(self.events.clone())
            .store(self.store.clone())
            .slots(self.slots.clone());
        let (handle, life) = runner.start(std::future::pending());
        let task = tokio::spawn(async move {
            if let Err(panic) = AssertUnwindSafe(life).catch_unwind().await {
                let why = panic.downcast_ref::<String>().map(String::as_str);
                let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
                events.tell(&subject, RunnerEvent::Defect { why });
            }
        });
        let running = Running { kind, revision, handle: handle.clone(), task: Task(task) };
        self.jobs().insert(name, running);
        handle
    }
}

impl Running {
    async fn stop(mut self) -> Option<RunReport> {
        let report = self.handle.stop().await;
        // A task that was cut off has ended, too.
        let _ = (&mut self.task.0).await;
        report
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Daemon").field("jobs", &self.status()).finish_non_exhaustive()
    }
}
