//! Jobs on their schedules: copies, backups and verifications, until they are stopped.
//!
//! - A [`ScheduledJob`] says what runs, when, and how it is opened.
//! - A [`JobRunner`] runs one job. A [`Daemon`] runs several, and takes changes while they run.
//! - A [`Store`] keeps what runners remember: [`FolderStore`] in a folder, [`MemoryStore`] in memory.
//! - [`RunnerEvents`] receive what happens. A [`RunReport`] says what came of an interval.
//! - A [`RunnerHandle`] controls a running job: run now, pause, resume, stop, status.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use offsite::model::MachineName;
//! use offsite::retention::Zone;
//! use offsite::runner::{
//!     Daemon, FolderStore, OpenFailure, RunReport, RunnerEvent, RunnerEvents, ScheduledJob, Settings, Slots, StoreError, Subject,
//!     SystemClock, Timing,
//! };
//! use offsite::schedule::{Every, Interval, Period, Schedule, TimeOfDay, Window};
//! use offsite::{BackupJob, CopyJob, ImageSource, JobName, OpenRepository, Verify};
//! use offsite_backends::Local;
//!
//! /// Drives change and places come back. So a runner opens its job anew for each activity.
//! async fn open(folder: &str) -> Result<OpenRepository, OpenFailure> {
//!     Ok(OpenRepository::open(Arc::new(Local::open(folder).await?)).await?)
//! }
//!
//! async fn back_up() -> Result<BackupJob, OpenFailure> {
//!     let machine = MachineName::new("web01").expect("a name");
//!     let images = vec![ImageSource::new("/var/lib/vm/web01.qcow2")];
//!     Ok(BackupJob::new(&open("/srv/backup").await?, name("nightly")).machine(machine, images))
//! }
//!
//! async fn copy() -> Result<CopyJob, OpenFailure> {
//!     Ok(CopyJob::new(name("Offsite Copy"), &open("/srv/backup").await?, name("nightly"), &open("/mnt/dr").await?)?)
//! }
//!
//! async fn verify() -> Result<Verify, OpenFailure> {
//!     Ok(Verify::new(&open("/mnt/dr").await?, name("Offsite Copy")).read_data(true))
//! }
//!
//! fn name(text: &str) -> JobName {
//!     JobName::new(text).expect("a name")
//! }
//!
//! struct Log;
//!
//! impl RunnerEvents for Log {
//!     fn tell(&self, subject: &Subject, event: RunnerEvent<'_>) {
//!         if let RunnerEvent::Ended(report) = event {
//!             println!("{} on {}: {}", subject.job, subject.repository, report.status().word());
//!         }
//!     }
//! }
//!
//! # async fn example(reload: impl Future<Output = ()>, stop: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
//! // One daemon at a time has the folder. Others stand by.
//! let folder = Path::new("/var/lib/offsite");
//! let store = match FolderStore::open(folder, "my program", &SystemClock) {
//!     Err(StoreError::InUse { holder, .. }) => {
//!         println!("standing by while {holder:?} runs the jobs");
//!         FolderStore::stand_by(folder, "my program", &SystemClock).await?
//!     }
//!     opened => opened?,
//! };
//! let daemon = Daemon::new(Arc::new(store.clone())).events(Arc::new(Log)).slots(Slots::new(2));
//!
//! let evening = TimeOfDay::parse("22:00")?;
//! let daily = Interval::new(Period::days(1)?, evening, Zone::utc());
//! let schedule = Schedule::new(Every::parse("1 day")?, evening, Zone::utc());
//! let settings = Settings::new(schedule).with_window(Window::parse(&["mon-fri 20:00-06:00", "sat-sun"], Zone::utc())?);
//! // A job whose revision is unchanged continues over a reload.
//! let jobs = || {
//!     vec![
//!         ScheduledJob::backup("primary", name("nightly"), Timing::new(daily.clone()), Arc::new(back_up)).revision("1"),
//!         ScheduledJob::copy("dr", name("Offsite Copy"), settings.clone(), Arc::new(copy)).revision("1"),
//!         ScheduledJob::verify("dr", name("Verify"), Timing::new(daily.clone()), Arc::new(verify)).revision("1"),
//!     ]
//! };
//! daemon.replace(jobs()).await?;
//!
//! // Somebody does not want to wait for the evening.
//! let handle = daemon.job(&name("nightly")).ok_or("it is scheduled")?;
//! if let Some(RunReport::Backup(run)) = handle.run_now().await.map(|end| end.report().clone()) {
//!     println!("restore point {:?}", run.done.map(|done| done.sequence));
//! }
//! for (name, status) in daemon.status() {
//!     println!("{name}: {}, next at {:?}", status.phase.word(), status.next);
//! }
//!
//! reload.await;
//! println!("{:?}", daemon.replace(jobs()).await?);
//!
//! // What has arrived of a copy is committed. The next daemon continues from there.
//! stop.await;
//! daemon.stop().await;
//! store.stopped(offsite::runner::Clock::now(&SystemClock))?;
//! # Ok(())
//! # }
//! ```
//!
//! A state machine without I/O decides what a copy job does when ([`offsite_core::phase`]). A runner carries it out.
//! Backups and verifications are done in one go: once in each interval, begun inside the window, and retried after failures that
//! may pass.
//!
//! A runner that is stopped or killed leaves a state from which the next one continues. What was committed stays, and what has
//! arrived of a machine is kept. The chain itself tells which machines the open interval has copied.

mod board;
mod clock;
mod control;
mod daemon;
mod drive;
mod event;
mod failure;
mod job;
mod job_runner;
mod memory;
mod outcome;
mod recur;
mod report;
mod setup;
mod slots;
mod status;
mod store;
mod tell;

pub use board::{ActivityStatus, ProgressBoard};
pub use clock::{Clock, SystemClock};
pub use control::RunnerHandle;
pub use daemon::{Daemon, NameTaken, NotScheduled, Replaced};
pub use event::{RunnerEvent, RunnerEvents, Unheard};
pub use failure::OpenFailure;
pub use job::{Activity, OpenJob, ScheduledJob, Timing};
pub use job_runner::JobRunner;
pub use memory::{Memory, OpenInterval};
pub use offsite_core::phase::Settings;
pub use outcome::{Incident, LastRun, RunResult};
pub use report::{BackupRun, CopyRun, IntervalRun, Overdue, RunEnd, RunReport, RunStatus, VerifyRun};
pub use slots::Slots;
pub use status::{JobStatus, LastEnd, LastFailure, Phase, Subject, Wait, WorkKind};
pub use store::{DaemonStatus, FolderStore, Holder, MemoryStore, StateFolder, Store, StoreError};
