//! Scheduled jobs, and how they are opened.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use offsite_core::phase::Settings;
use offsite_core::schedule::{Interval, Window};

use super::board::ProgressBoard;
use super::event::RunnerEvents;
use super::failure::{Failure, OpenFailure};
use super::report::RunReport;
use super::status::{Subject, WorkKind};
use crate::error::causes;
use crate::report::ErrorSummary;
use crate::{BackupJob, CopyJob, Error, JobName, Verify};

/// Opens a job for its runner.
///
/// A closure that returns such a future implements it.
#[async_trait]
pub trait OpenJob<Job>: Send + Sync {
    /// Opens the repositories of the job.
    ///
    /// A runner calls it anew for each activity, as drives change and places come back.
    ///
    /// # Errors
    /// [`OpenFailure`] if the job cannot be opened now.
    async fn open(&self) -> Result<Job, OpenFailure>;

    /// The text for the error of an activity, on one line.
    ///
    /// Events, notes and reports show it.
    ///
    /// An implementation that knows what the user can do adds that.
    fn words(&self, error: &Error) -> String {
        causes(error)
    }
}

impl Failure {
    /// The failure of an activity of a job that `open` has opened.
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

/// Something to do after each interval of a job, even if there was nothing to copy.
///
/// A closure that takes a report and returns such a future implements it.
#[async_trait]
pub trait Activity: Send + Sync {
    /// Does it.
    ///
    /// Returns what went wrong, in words. The report gets these as warnings.
    ///
    /// If the runner was killed before it stored the end of an interval, it calls this again for the interval after the restart.
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
    /// The intervals of the job.
    pub interval: Interval,
    /// The hours in which the work may begin. It continues after the window has closed.
    pub window: Window,
    /// The number of retries in an interval.
    pub retries_max: u32,
    /// The number of seconds from the first failure to its retry. Each further pause is twice as long.
    pub retry_after_secs: u32,
}

impl Timing {
    /// The usual timing: begin at all times, and retry five times, first after one minute.
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

/// A copy job, a backup job or a verification with its schedule.
///
/// A [`JobRunner`](super::JobRunner) or a [`Daemon`](super::Daemon) runs it.
#[derive(Clone)]
pub struct ScheduledJob {
    pub(super) subject: Subject,
    pub(super) work: Work,
    pub(super) activities: Vec<Arc<dyn Activity>>,
    pub(super) events: Option<Arc<dyn RunnerEvents>>,
    pub(super) max_age: Option<Duration>,
    pub(super) revision: Option<String>,
    pub(super) renamed_from: Option<JobName>,
    pub(super) board: Option<Arc<ProgressBoard>>,
}

impl ScheduledJob {
    /// A copy job that copies when `settings` say.
    ///
    /// `repository` is the caller's name for the target, which events and reports use. `name` is the name of the schedule, which
    /// the store and all reports use. It need not be the name of the job folder.
    #[must_use]
    pub fn copy(
        repository: impl Into<String>,
        name: JobName,
        settings: Settings,
        open: Arc<dyn OpenJob<CopyJob>>,
    ) -> Self {
        Self::new(repository.into(), name, Work::Copy(settings, open))
    }

    /// A backup job that runs once in each interval.
    ///
    /// `repository` is the caller's name for the place that is written to. A stop cuts the backup off if it is not done within
    /// ten seconds. The next runner then makes it again.
    #[must_use]
    pub fn backup(
        repository: impl Into<String>,
        name: JobName,
        timing: Timing,
        open: Arc<dyn OpenJob<BackupJob>>,
    ) -> Self {
        Self::new(repository.into(), name, Work::Backup(timing, open))
    }

    /// A verification that runs once in each interval.
    ///
    /// `repository` is the caller's name for the place that is read. If the job whose restore points it reads has a schedule as
    /// well, give the verification another name.
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
        Self {
            subject,
            work,
            activities: Vec::new(),
            events: None,
            max_age: None,
            revision: None,
            renamed_from: None,
            board: None,
        }
    }

    /// Adds an activity after each interval.
    ///
    /// Activities run in the order in which they were added.
    #[must_use]
    pub fn after(mut self, activity: Arc<dyn Activity>) -> Self {
        self.activities.push(activity);
        self
    }

    /// Sets the listener for this job.
    ///
    /// It replaces the listener of the runner or the daemon.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn RunnerEvents>) -> Self {
        self.events = Some(events);
        self
    }

    /// Sets the age from which a copy is overdue (default: none ever is).
    ///
    /// A machine is overdue if the state of its newest copy is older. The report of the interval is then a warning.
    #[must_use]
    pub fn max_age(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }

    /// Sets a text that changes whenever the job changes.
    ///
    /// [`Daemon::replace`](super::Daemon::replace) lets a running job with the same revision continue. A job without a revision
    /// starts again each time.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Sets the board that tells how far the job's present activity is.
    ///
    /// It must be the listener of the jobs that [`OpenJob`] opens. The status of the job shows what it says, about once a second.
    #[must_use]
    pub fn board(mut self, board: Arc<ProgressBoard>) -> Self {
        self.board = Some(board);
        self
    }

    /// Sets the name that the schedule had before.
    ///
    /// What the store knows under that name is then known under the new one, unless something is known there already.
    #[must_use]
    pub fn renamed_from(mut self, old: Option<JobName>) -> Self {
        self.renamed_from = old;
        self
    }

    /// The name of the schedule.
    #[must_use]
    pub fn name(&self) -> &JobName {
        &self.subject.job
    }

    /// The kind of work that it does.
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
