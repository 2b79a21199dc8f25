//! What is to run on a schedule, and how it is opened.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use offsite_core::phase::Settings;
use offsite_core::schedule::{Interval, Window};

use super::event::RunnerEvents;
use super::failure::{Failure, OpenFailure};
use super::report::RunReport;
use super::status::{Subject, WorkKind};
use crate::error::causes;
use crate::report::ErrorSummary;
use crate::{BackupJob, CopyJob, Error, JobName, Verify};

/// Opens what is to run. A closure that returns such a future is one.
#[async_trait]
pub trait OpenJob<Job>: Send + Sync {
    /// Opens the repositories of the job. A runner calls it for each activity anew: drives change, and a place that was away comes
    /// back.
    ///
    /// # Errors
    /// Why it cannot be opened now.
    async fn open(&self) -> Result<Job, OpenFailure>;

    /// What went wrong in an activity, on one line, as events, notes and reports tell it. Who knows what the user can do adds that.
    fn words(&self, error: &Error) -> String {
        causes(error)
    }
}

impl Failure {
    /// Why an activity of a job failed that `open` has opened.
    pub(super) fn of<Job>(open: &dyn OpenJob<Job>, error: &Error) -> Self {
        let is_busy = matches!(error, Error::Busy { .. });
        let why = ErrorSummary::new(open.words(error), error.is_retryable());
        Self { why, is_busy }
    }
}

#[async_trait]
impl<Job, Open, Opening> OpenJob<Job> for Open
where
    Job: Send,
    Open: Fn() -> Opening + Send + Sync,
    Opening: Future<Output = Result<Job, OpenFailure>> + Send,
{
    async fn open(&self) -> Result<Job, OpenFailure> {
        self().await
    }
}

/// Something that is done after each interval of a job, also when there was nothing to do. A closure that takes a report and returns
/// such a future is one.
#[async_trait]
pub trait Activity: Send + Sync {
    /// Does it. What went wrong, in words; that becomes a warning of the report.
    ///
    /// After a restart it may be called again for an interval whose end was not remembered.
    async fn after(&self, report: &RunReport) -> Vec<String>;
}

#[async_trait]
impl<Act> Activity for Act
where
    Act: for<'a> Fn(&'a RunReport) -> BoxFuture<'a, Vec<String>> + Send + Sync,
{
    async fn after(&self, report: &RunReport) -> Vec<String> {
        self(report).await
    }
}

/// When a backup or a verification runs: once in each interval, begun inside the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Its intervals.
    pub interval: Interval,
    /// When it may begin. What has begun is not held up by its end.
    pub window: Window,
    /// How often what failed is tried again in an interval.
    pub retries_max: u32,
    /// How long after the first failure it is tried again, in seconds; each time it is twice as long.
    pub retry_after_secs: u32,
}

impl Timing {
    /// The usual: begin at all times, five retries from one minute on.
    #[must_use]
    pub fn new(interval: Interval) -> Self {
        Self { interval, window: Window::always(), retries_max: 5, retry_after_secs: 60 }
    }
}

/// What a runner does in each interval.
#[derive(Clone)]
pub(super) enum Work {
    Copy(Settings, Arc<dyn OpenJob<CopyJob>>),
    Backup(Timing, Arc<dyn OpenJob<BackupJob>>),
    Verify(Timing, Arc<dyn OpenJob<Verify>>),
}

/// A copy job, a backup job or a verification on its schedule, for a [`JobRunner`](super::JobRunner) or a [`Daemon`](super::Daemon).
#[derive(Clone)]
pub struct ScheduledJob {
    pub(super) subject: Subject,
    pub(super) work: Work,
    pub(super) activities: Vec<Arc<dyn Activity>>,
    pub(super) events: Option<Arc<dyn RunnerEvents>>,
    pub(super) max_age: Option<Duration>,
    pub(super) revision: Option<String>,
    pub(super) renamed_from: Option<JobName>,
}

impl ScheduledJob {
    /// Copies when `settings` say. `repository` is what you call the target; events and reports name it so.
    ///
    /// `name` is that of the schedule: what is remembered and told has this name. It need not be the name of the job's folder.
    #[must_use]
    pub fn copy(
        repository: impl Into<String>,
        name: JobName,
        settings: Settings,
        open: Arc<dyn OpenJob<CopyJob>>,
    ) -> Self {
        Self::new(repository.into(), name, Work::Copy(settings, open))
    }

    /// Backs up once in each interval. `repository` is what you call the place that is written to.
    ///
    /// A backup that is stopped and not done within ten seconds is cut off, and made again by the next runner.
    #[must_use]
    pub fn backup(
        repository: impl Into<String>,
        name: JobName,
        timing: Timing,
        open: Arc<dyn OpenJob<BackupJob>>,
    ) -> Self {
        Self::new(repository.into(), name, Work::Backup(timing, open))
    }

    /// Verifies once in each interval. `repository` is what you call the place that is read.
    ///
    /// Name it otherwise than the job whose restore points it reads, if that has a schedule of its own.
    #[must_use]
    pub fn verify(
        repository: impl Into<String>,
        name: JobName,
        timing: Timing,
        open: Arc<dyn OpenJob<Verify>>,
    ) -> Self {
        Self::new(repository.into(), name, Work::Verify(timing, open))
    }

    fn new(repository: String, job: JobName, work: Work) -> Self {
        let subject = Subject { repository, job };
        Self { subject, work, activities: Vec::new(), events: None, max_age: None, revision: None, renamed_from: None }
    }

    /// Does this after each interval, after what was named before.
    #[must_use]
    pub fn after(mut self, activity: Arc<dyn Activity>) -> Self {
        self.activities.push(activity);
        self
    }

    /// Tells `events` what happens to this job, in place of those that the runner or the daemon tells.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn RunnerEvents>) -> Self {
        self.events = Some(events);
        self
    }

    /// A machine whose newest copy is of a state older than this is overdue, which makes the report a warning (default: none ever is).
    #[must_use]
    pub fn max_age(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }

    /// What tells whether the job has changed: [`Daemon::replace`](super::Daemon::replace) lets a job go on whose revision is the one
    /// that runs. Without a revision, it starts anew each time.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// The name that the schedule had before: what was remembered under it is remembered under the new one, unless that is known already.
    #[must_use]
    pub fn renamed_from(mut self, old: Option<JobName>) -> Self {
        self.renamed_from = old;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &JobName {
        &self.subject.job
    }

    /// What it does.
    #[must_use]
    pub fn kind(&self) -> WorkKind {
        match self.work {
            Work::Copy(..) => WorkKind::Copy,
            Work::Backup(..) => WorkKind::Backup,
            Work::Verify(..) => WorkKind::Verify,
        }
    }

    pub(super) fn window(&self) -> &Window {
        match &self.work {
            Work::Copy(settings, _) => &settings.window,
            Work::Backup(timing, _) | Work::Verify(timing, _) => &timing.window,
        }
    }
}

impl std::fmt::Debug for ScheduledJob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ScheduledJob")
            .field("subject", &self.subject)
            .field("kind", &self.kind())
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
