//! Two repositories, machines that are backed up at given times, and a runner, all under a clock that no real time drives.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use offsite::model::MachineName;
use offsite::model::Timestamp;
use offsite::retention::Zone;
use offsite::runner::Phase;
use offsite::runner::Settings;
use offsite::runner::{
    Activity, Clock, CopyRun, JobRunner, Memory, OpenFailure, OpenJob, RunReport, RunnerEvent, RunnerEvents,
    ScheduledJob, Slots, Store, StoreError, Subject,
};
use offsite::schedule::Every;
use offsite::schedule::Schedule;
use offsite::schedule::Span;
use offsite::schedule::TimeOfDay;
use offsite::schedule::Window;
use offsite::{CopyJob, JobName, OpenRepository};
use offsite_repository::testing::{Faulty, Memory as MemoryRepository};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::truth::Truth;
use crate::support::{BLOCK, Machines, Random, copy_job, job, keep};

pub(crate) const COPY: &str = "Offsite Copy";

pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// Intervals of `every` from `at` in a zone.
pub(crate) fn settings(every: &str, at: &str, zone: &str) -> Settings {
    let zone = Zone::named(zone).unwrap();
    Settings::new(Schedule::new(Every::parse(every).unwrap(), TimeOfDay::parse(at).unwrap(), zone))
}

pub(crate) fn window(texts: &[&str]) -> Window {
    Window::parse(texts, Zone::utc()).unwrap()
}

/// The wall clock of a simulated world: tokio's, which the tests have paused, from a given time on.
pub(crate) struct TestClock {
    base: Timestamp,
    start: Instant,
    /// What the clock has been set forward by.
    set_secs: AtomicI64,
}

impl TestClock {
    pub(crate) fn new(base: Timestamp) -> Self {
        Self { base, start: Instant::now(), set_secs: AtomicI64::new(0) }
    }

    pub(crate) fn set_forward(&self, secs: i64) {
        self.set_secs.fetch_add(secs, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let secs = i64::try_from(self.start.elapsed().as_secs()).unwrap() + self.set_secs.load(Ordering::SeqCst);
        self.base.saturating_add_secs(secs)
    }

    async fn wait_until(&self, time: Timestamp) {
        // As the system's: it looks again after a while, as it may have been set.
        let left = (time.unix_secs() - self.now().unix_secs()).clamp(0, 600);
        tokio::time::sleep(Duration::from_secs(left.unsigned_abs())).await;
    }
}

/// What a runner told.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Phase(Phase),
    SyncStarted,
    Transferring(u64),
    Paused,
    Resumed,
    Failed(String),
    Overdue(Vec<MachineName>),
    Ended(Box<CopyRun>),
}

/// Writes down what a runner tells, and when.
pub(crate) struct Heard {
    clock: Arc<TestClock>,
    pub(crate) said: Mutex<Vec<(Timestamp, Said)>>,
    pub(crate) memory: Mutex<Memory>,
    /// How many events are heard before `knock`.
    left: AtomicUsize,
    pub(crate) knock: Notify,
}

impl Heard {
    pub(crate) fn all(&self) -> Vec<(Timestamp, Said)> {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn reports(&self) -> Vec<CopyRun> {
        let report = |(_, said)| if let Said::Ended(report) = said { Some(*report) } else { None };
        self.all().into_iter().filter_map(report).collect()
    }

    pub(crate) fn failures(&self) -> Vec<(Timestamp, String)> {
        let failure = |(at, said)| if let Said::Failed(why) = said { Some((at, why)) } else { None };
        self.all().into_iter().filter_map(failure).collect()
    }

    /// Knocks after so many more events.
    pub(crate) fn knock_after(&self, events: usize) {
        self.left.store(events, Ordering::SeqCst);
    }

    fn hear(&self, said: Option<Said>) {
        if let Some(said) = said {
            self.said.lock().unwrap().push((self.clock.now(), said));
        }
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1) {
            self.knock.notify_one();
        }
    }
}

impl RunnerEvents for Heard {
    fn tell(&self, subject: &Subject, event: RunnerEvent<'_>) {
        assert_eq!((subject.repository.as_str(), subject.job.as_str()), ("dr", COPY));
        self.hear(match event {
            RunnerEvent::Phase { phase, .. } => Some(Said::Phase(phase)),
            RunnerEvent::SyncStarted { .. } => Some(Said::SyncStarted),
            RunnerEvent::Transferring { bytes } => Some(Said::Transferring(bytes)),
            RunnerEvent::Paused => Some(Said::Paused),
            RunnerEvent::Resumed => Some(Said::Resumed),
            RunnerEvent::Failed { why, .. } => Some(Said::Failed(why.text.clone())),
            RunnerEvent::Overdue { machines, .. } => {
                Some(Said::Overdue(machines.iter().map(|one| one.machine.clone()).collect()))
            }
            RunnerEvent::Ended(report) => report.clone().into_copy().map(|run| Said::Ended(Box::new(run))),
            _ => None,
        });
    }
}

#[async_trait]
impl Store for Heard {
    async fn load(&self, _job: &JobName) -> Result<Memory, StoreError> {
        Ok(self.memory.lock().unwrap().clone())
    }

    async fn store(&self, _job: &JobName, memory: &Memory) -> Result<(), StoreError> {
        *self.memory.lock().unwrap() = memory.clone();
        self.hear(None);
        Ok(())
    }
}

/// Opens the job through what may fail.
struct Host {
    source: Faulty<MemoryRepository>,
    target: Faulty<MemoryRepository>,
    kept: u32,
    /// Post-job activities that were begun: the interval's start, and how many.
    after: Arc<Mutex<Vec<Span>>>,
    warning: Option<String>,
}

#[async_trait]
impl OpenJob<CopyJob> for Host {
    async fn open(&self) -> Result<CopyJob, OpenFailure> {
        let opened = async {
            let source = OpenRepository::open(Arc::new(self.source.clone())).await?;
            let target = OpenRepository::open(Arc::new(self.target.clone())).await?;
            Ok::<_, offsite::Error>(copy_job(&source, &target).transforms(keep(self.kept)))
        };
        opened.await.map_err(|error| OpenFailure::new(error.to_string(), true))
    }
}

#[async_trait]
impl Activity for Host {
    async fn after(&self, report: &RunReport) -> Vec<String> {
        self.after.lock().unwrap().push(report.span());
        self.warning.iter().cloned().collect()
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) source: Faulty<MemoryRepository>,
    pub(crate) target: Faulty<MemoryRepository>,
    /// What the target holds, without its faults.
    pub(crate) held: MemoryRepository,
    pub(crate) machines: Machines,
    pub(crate) truth: Truth,
    pub(crate) heard: Arc<Heard>,
    pub(crate) after: Arc<Mutex<Vec<Span>>>,
    pub(crate) slots: Slots,
    pub(crate) kept: u32,
    pub(crate) warning: Option<String>,
    pub(crate) max_age: Option<Duration>,
}

/// A backup that is to be made: when, and of which machines.
pub(crate) type Backup = (Timestamp, &'static [&'static str]);

impl World {
    /// Empty repositories at `base`, and two machines of which none was backed up yet.
    pub(crate) async fn new(base: Timestamp) -> Self {
        let clock = Arc::new(TestClock::new(base));
        let held = MemoryRepository::new();
        let (source, target) = (Faulty::new(MemoryRepository::new()), Faulty::new(held.clone()));
        for repository in [&source, &target] {
            OpenRepository::initialise(Arc::new(repository.clone()), base).await.unwrap();
        }
        let mut machines = Machines::new(5);
        machines.add("db01", &[3 * BLOCK]);
        machines.add("web01", &[4 * BLOCK + 777]);
        let heard = Heard {
            clock: clock.clone(),
            said: Mutex::default(),
            memory: Mutex::default(),
            left: AtomicUsize::new(0),
            knock: Notify::new(),
        };
        Self {
            clock,
            source,
            target,
            held,
            machines,
            truth: Truth::default(),
            heard: Arc::new(heard),
            after: Arc::default(),
            slots: Slots::new(1),
            kept: 7,
            warning: None,
            max_age: None,
        }
    }

    /// The job, when `settings` say.
    pub(crate) fn scheduled(&self, settings: &Settings) -> ScheduledJob {
        let host = Host {
            source: self.source.clone(),
            target: self.target.clone(),
            kept: self.kept,
            after: self.after.clone(),
            warning: self.warning.clone(),
        };
        let host = Arc::new(host);
        let job = ScheduledJob::copy("dr", job(COPY), settings.clone(), host.clone());
        job.after(host).max_age(self.max_age)
    }

    /// A runner that goes on from what was remembered last.
    pub(crate) fn runner(&self, settings: &Settings) -> JobRunner {
        JobRunner::new(self.scheduled(settings))
            .clock(self.clock.clone())
            .events(self.heard.clone())
            .store(self.heard.clone())
            .slots(self.slots.clone())
    }

    /// Returns when the clock has come to `until`.
    pub(crate) fn reached(&self, until: Timestamp) -> impl Future<Output = ()> + Send + use<> {
        reached(self.clock.clone(), until)
    }

    /// Runs the job until then, while machines are backed up.
    pub(crate) async fn live(&mut self, settings: &Settings, until: Timestamp, backups: &[Backup]) {
        let runner = self.runner(settings).run(self.reached(until));
        let life = self.back_up_all(backups);
        tokio::join!(runner, life);
    }

    /// Changes and backs up machines at their times.
    pub(crate) async fn back_up_all(&mut self, backups: &[Backup]) {
        let clock = self.clock.clone();
        for (at, names) in backups {
            reached(clock.clone(), *at).await;
            self.back_up(*at, names).await;
        }
    }

    pub(crate) async fn back_up(&mut self, at: Timestamp, names: &[&str]) {
        names.iter().for_each(|name| self.machines.change(name, 2));
        self.truth.record(&self.machines, names, at);
        let repository = OpenRepository::open(Arc::new(self.source.clone())).await.unwrap();
        self.machines.backup(&repository, names).run(at).await.unwrap();
    }

    /// Puts an empty repository in the place of the source.
    pub(crate) async fn lose_source(&mut self) {
        self.source = Faulty::new(MemoryRepository::new());
        OpenRepository::initialise(Arc::new(self.source.clone()), self.clock.now()).await.unwrap();
    }

    /// Restores all that was copied, to the byte; the numbers of the points.
    pub(crate) async fn check(&self) -> Vec<u64> {
        let target = OpenRepository::open(Arc::new(self.target.clone())).await.unwrap();
        self.truth.check(&target, COPY).await
    }
}

impl World {
    /// Two backups of noise, the second of every other block, so that the newest state lies in turn in two files: each of its eight
    /// blocks is a request of its own.
    pub(crate) async fn back_up_in_turn(&mut self, first: Timestamp, second: Timestamp) {
        let names: &[&str] = &["db01", "web01"];
        names.iter().for_each(|name| self.machines.fill_with_noise(name));
        let primary = OpenRepository::open(Arc::new(self.source.clone())).await.unwrap();
        for at in [first, second] {
            self.truth.record(&self.machines, names, at);
            self.machines.backup(&primary, names).run(at).await.unwrap();
            let mut random = Random::new(3);
            for name in names {
                self.machines.overwrite(name, |disk| {
                    let blocks = disk.chunks_mut(BLOCK).step_by(2);
                    blocks.for_each(|block| block.iter_mut().for_each(|byte| *byte = random.next() as u8));
                });
            }
        }
    }
}

pub(crate) async fn reached(clock: Arc<TestClock>, until: Timestamp) {
    while clock.now() < until {
        clock.wait_until(until).await;
    }
}
