//! Actors at once on the same repositories, in an order that the seed says, in all weathers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use offsite::model::Sequence;
use offsite::model::Timestamp;
use offsite::retention::Simple;
use offsite::simulation::{Entered, Variant, enter, on_host};
use offsite::{Error, OpenRepository, PointSelector, Transforms};
use offsite_repository::testing::CrashImage;
use tokio::task::JoinHandle;

use crate::crash::words;
use crate::history::History;
use crate::job::{BACKUP, COPY, Setting, Sites, back_up, copy, day, restore, run, steps, transform};
use crate::machines::Machines;
use crate::numbers::{Numbers, Trace};
use crate::proof::{Invariant, Prover, Violation, contents, prove_tight};
use crate::schedule::{Actor, Schedule, Sleeper, Suffered, Weather};
use crate::simulated::{BrokenBackend, Simulated, StoredHead};

/// The day on which they all act.
const DAY: i64 = 12;
/// Virtual time after which nothing is under way any more.
const SETTLED: Duration = Duration::from_secs(30);

/// What is done wrongly.
#[derive(Debug, Clone, Copy, Default)]
pub struct Broken {
    /// By the engine.
    pub protocol: Option<Variant>,
    /// By the backend.
    pub backend: BrokenBackend,
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterleavingCounts {
    /// Interleavings.
    pub interleavings: u64,
    /// Calls, in all of them.
    pub calls: u64,
    /// Runs that ended well.
    pub successes: u64,
    /// Runs that ended with an error that says why.
    pub refusals: u64,
    /// Actors that were stopped for a while.
    pub pauses: u64,
    /// Calls that were lost, late, doubled or in conflict.
    pub faults: u64,
    /// Actors that died.
    pub kills: u64,
    /// All that happened, in a number.
    pub trace: Trace,
}

/// An interleaving in which something did not hold.
#[derive(Debug, Clone)]
pub struct InterleavingFailure {
    /// Where, in words that a person can look up.
    pub place: String,
    /// What does not hold.
    pub violation: Violation,
    /// Interleavings seen up to then, this one included.
    pub interleavings: u64,
}

impl fmt::Display for InterleavingFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} (after {} interleavings)", self.place, self.violation, self.interleavings)
    }
}

/// Runs so many interleavings, the seeds of which begin at `seed`.
///
/// # Errors
/// The first in which something does not hold.
///
/// # Panics
/// If the runtime cannot be made.
pub fn interleave(
    setting: &Setting,
    seed: u64,
    interleavings: u64,
    broken: Broken,
) -> Result<InterleavingCounts, Box<InterleavingFailure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let world = enter(1);
    let mut counts = InterleavingCounts::default();
    runtime.block_on(async {
        let mut stage = Stage::new(setting, world, broken).await.map_err(|error| {
            let violation = Violation::new(Invariant::NextRunSucceeds, words(&error));
            Box::new(InterleavingFailure { place: format!("{}, start", setting.name), violation, interleavings: 0 })
        })?;
        if let Some(variant) = broken.protocol {
            stage.world.break_protocol(variant);
        }
        for seed in seed..seed + interleavings {
            counts.interleavings += 1;
            stage.play(seed, &mut counts).await.map_err(|violation| {
                let place = format!("{}, OFFSITE_SEED={seed}", setting.name);
                Box::new(InterleavingFailure { place, violation, interleavings: counts.interleavings })
            })?;
        }
        Ok(counts)
    })
}

/// What an actor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Copy,
    Backup,
    Restore,
    Collect,
    /// Takes the lease, and has nothing to do.
    Idle,
}

/// How an actor's run ended.
#[derive(Debug)]
struct Ended {
    actor: Actor,
    role: Role,
    /// The time of the restore point that it says it has committed, if any, or why it did not end well.
    result: Result<Option<Timestamp>, Error>,
    /// What a restore delivered was wrong.
    wrong_bytes: Option<String>,
}

/// What all interleavings begin with.
struct Stage<'a> {
    setting: &'a Setting,
    world: Entered,
    broken: Broken,
    machines: Arc<Mutex<Machines>>,
    sites: Sites<CrashImage>,
    points: Vec<Sequence>,
    prover: Prover,
}

/// One interleaving.
struct Play<'a> {
    stage: &'a Stage<'a>,
    sites: Sites<CrashImage>,
    schedule: Schedule,
    heads: [Arc<Mutex<Vec<StoredHead>>>; 2],
    hosts: BTreeMap<Actor, &'static str>,
}

impl<'a> Stage<'a> {
    async fn new(setting: &'a Setting, world: Entered, broken: Broken) -> Result<Self, Error> {
        let image = |number: u64| CrashImage::with_options(number, setting.options.clone());
        let sites = Sites { source: image(1), target: image(2), seed: image(3) };
        for site in [&sites.source, &sites.target, &sites.seed] {
            OpenRepository::initialise(Arc::new(site.clone()), day(0, 0)).await?;
        }
        let mut machines = Machines::new(7);
        for number in 0..=DAY {
            machines.change();
            machines.record(day(number, 0).unix_secs());
            for step in steps(number) {
                // The last copy is left to the actors.
                if number < DAY || step == crate::job::Step::Backup {
                    run(setting, &machines, &sites, step, number, day(number, 0), "left").await?;
                }
            }
        }
        machines.change();
        for seconds in 1..60_i64 {
            machines.record(day(DAY, 1_000 * seconds).unix_secs());
        }
        let mut prover = Prover::default();
        let proven = prover.prove(&contents(&sites.target), COPY, &mut machines);
        let proven = proven.map_err(|violation| offsite::simulation::defect(violation.to_string()))?;
        let points = proven.iter().flat_map(|proven| proven.head.chain.all()).map(|point| point.sequence).collect();
        Ok(Self { setting, world, broken, machines: Arc::new(Mutex::new(machines)), sites, points, prover })
    }

    async fn play(&mut self, seed: u64, counts: &mut InterleavingCounts) -> Result<(), Violation> {
        let mut numbers = Numbers::new(seed);
        self.world.reseed(numbers.draw());
        let pauses = [0, 0, 60, 25][numbers.position(4)];
        let faults = [0, 0, 70, 25][numbers.position(4)];
        let kills = [0, 0, 0, 150][numbers.position(4)];
        let weather = Weather { pauses, faults, kills };
        let kind = numbers.below(6);
        let sleeper = match kind {
            0 => Some(Sleeper { actor: 0, action: None, call: 1 + numbers.below(90), is_only_slow: false }),
            1 => {
                let call = 1 + numbers.below(25);
                Some(Sleeper { actor: 3, action: None, call, is_only_slow: numbers.one_in(2) })
            }
            2 => {
                let action = ["finish", "finish", "patch", "punch", "delete"][numbers.position(5)];
                Some(Sleeper { actor: 0, action: Some(action), call: 1 + numbers.below(6), is_only_slow: false })
            }
            _ => None,
        };
        let schedule = Schedule::new(numbers.draw(), weather, sleeper);
        // Of a claim by the same host it is known that it lives: nobody takes over from a sleeper there.
        let is_left = |actor, numbers: &mut Numbers| if kind == 2 { actor == 0 } else { numbers.one_in(2) };
        let hosts = (0..6).map(|actor| (actor, if is_left(actor, &mut numbers) { "left" } else { "right" })).collect();
        let sites =
            Sites { source: self.sites.source.fork(), target: self.sites.target.fork(), seed: self.sites.seed.clone() };
        let stage = &*self;
        let play = Play { stage, sites, schedule, heads: Default::default(), hosts };
        let granting = tokio::spawn(play.schedule.clone().grant());
        let ended = play.act(kind, &mut numbers).await;
        granting.abort();
        // What is late arrives.
        tokio::time::sleep(SETTLED).await;
        let Play { sites, schedule, heads, .. } = play;
        let (trace, calls) = schedule.trace();
        counts.calls += calls;
        counts.trace.note(&trace.hash().to_le_bytes());
        for actor in 0..6 {
            let Suffered { pauses, faults, killed, .. } = schedule.suffered(actor);
            counts.pauses += pauses;
            counts.faults += faults;
            counts.kills += u64::from(killed);
        }
        for end in &ended {
            counts.trace.note(format!("{end:?}").as_bytes());
            if end.result.is_ok() { counts.successes += 1 } else { counts.refusals += 1 }
        }
        self.judge(&sites, &schedule, &heads, &ended)?;
        self.afterwards(&sites).await?;
        self.prover.trim();
        Ok(())
    }

    /// What the actors say, against what is there.
    fn judge(
        &mut self,
        sites: &Sites<CrashImage>,
        schedule: &Schedule,
        heads: &[Arc<Mutex<Vec<StoredHead>>>; 2],
        ended: &[Ended],
    ) -> Result<(), Violation> {
        let machines = Arc::clone(&self.machines);
        let mut machines = machines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut histories = Vec::new();
        for (image, job, stored) in [(&sites.source, BACKUP, &heads[0]), (&sites.target, COPY, &heads[1])] {
            let proven = self.prover.prove(&contents(image), job, &mut machines)?;
            let Some(proven) = proven else { continue };
            let stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
            histories.push(History::new(&proven.head, &stored)?);
        }
        for end in ended {
            let suffered = schedule.suffered(end.actor);
            let of_source = end.role == Role::Backup;
            let history = histories.get(usize::from(!of_source));
            let said = |invariant, detail: String| {
                Err(Violation::new(invariant, format!("actor {} ({:?}): {detail}", end.actor, end.role)))
            };
            if let Some(wrong) = &end.wrong_bytes {
                return said(Invariant::PinnedReaderReads, wrong.clone());
            }
            match (&end.result, history) {
                (Ok(Some(time)), Some(history)) if !history.points.contains(&(end.actor, *time)) => {
                    return said(Invariant::SuccessIsTrue, "its restore point was never in the history".to_owned());
                }
                (Err(Error::Fenced { .. }), Some(history)) => {
                    if !history.is_overtaken(end.actor) {
                        return said(Invariant::LossIsTrue, "nobody has taken over, and it says so".to_owned());
                    }
                    if suffered == Suffered::default() {
                        return said(Invariant::LivingWriterStays, "it was taken over in its prime".to_owned());
                    }
                }
                (Err(error), _) if matches!(error.innermost(), Error::Damaged { .. } | Error::Defect { .. }) => {
                    return said(Invariant::NoFalseAlarm, words(error));
                }
                // A reader that was silent for too long hears of it, and reads nothing wrong.
                (Err(Error::SnapshotExpired { .. }), _) if suffered.may_be_taken_for_dead() => {}
                (Err(error @ Error::SnapshotExpired { .. }), _) => {
                    return said(Invariant::PinnedReaderReads, words(error));
                }
                (Err(error), _) if end.role == Role::Restore => {
                    let pruned = matches!(error, Error::UnknownPoint { .. } | Error::UnknownMachine { .. });
                    if suffered.faults == 0 && !pruned {
                        return said(Invariant::PinnedReaderReads, words(error));
                    }
                }
                (Err(error), _) if suffered == Suffered::default() && !matches!(error, Error::Busy { .. }) => {
                    return said(Invariant::NextRunSucceeds, words(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The world calms down, and everything is in order again.
    async fn afterwards(&mut self, sites: &Sites<CrashImage>) -> Result<(), Violation> {
        let failed = |invariant| move |error: Error| Violation::new(invariant, words(&error));
        let now = |seconds: i64| day(DAY, 70_000 + seconds);
        for host in ["right", "left"] {
            for (image, job) in [(&sites.source, BACKUP), (&sites.target, COPY)] {
                let opened = on_host(host, transform(Transforms::default(), image, job, now(0))).await;
                opened.map_err(failed(Invariant::RecoverySucceeds))?;
            }
        }
        let copied = on_host("left", copy(self.setting, &sites.source, &sites.target, DAY, now(1))).await;
        copied.map_err(failed(Invariant::NextRunSucceeds))?;
        let machines = Arc::clone(&self.machines);
        for (image, job) in [(&sites.source, BACKUP), (&sites.target, COPY)] {
            let stored = contents(image);
            let proven = {
                let mut machines = machines.lock().unwrap_or_else(PoisonError::into_inner);
                self.prover.prove(&stored, job, &mut machines)?
            };
            match proven {
                Some(proven) => {
                    // The copier's pin on the source has gone, and so have the readers'.
                    prove_tight(image, &stored, job, &proven).await?;
                }
                None => return Err(Violation::new(Invariant::CommittedIsDurable, format!("{job} is gone"))),
            }
        }
        Ok(())
    }
}

impl Play<'_> {
    fn site(&self, actor: Actor, is_target: bool) -> Simulated {
        let image = if is_target { &self.sites.target } else { &self.sites.source };
        Simulated {
            image: image.clone(),
            actor,
            schedule: self.schedule.clone(),
            broken: self.stage.broken.backend,
            heads: Arc::clone(&self.heads[usize::from(is_target)]),
        }
    }

    /// Has the actors of a kind of play act; how each ended that was not killed.
    async fn act(&self, kind: u64, numbers: &mut Numbers) -> Vec<Ended> {
        let mut ended = Vec::new();
        match kind {
            // A writer, or a reader, that sleeps through many commits of others.
            0 | 1 => {
                let (sleeper, role) = if kind == 0 { (0, Role::Copy) } else { (3, Role::Restore) };
                let asleep = self.spawn(sleeper, role, numbers);
                for (actor, role) in [(1, Role::Collect), (2, Role::Copy), (4, Role::Collect), (5, Role::Collect)] {
                    let running = self.spawn(actor, role, numbers);
                    self.wait(vec![(actor, running)], &mut ended).await;
                }
                self.schedule.wake_all();
                self.wait(vec![(sleeper, asleep)], &mut ended).await;
            }
            // A writer that sleeps before a call that changes something, until its head is long trimmed.
            2 => {
                let asleep = self.spawn(0, Role::Copy, numbers);
                let idle = [(5, Role::Idle); 6];
                for (actor, role) in
                    [(1, Role::Collect), (2, Role::Copy)].into_iter().chain(idle).chain([(4, Role::Collect)])
                {
                    let running = self.spawn(actor, role, numbers);
                    self.wait(vec![(actor, running)], &mut ended).await;
                }
                self.schedule.wake_all();
                self.wait(vec![(0, asleep)], &mut ended).await;
            }
            _ => {
                let mut running = Vec::new();
                for (actor, role) in
                    [(0, Role::Copy), (1, Role::Copy), (2, Role::Backup), (3, Role::Restore), (4, Role::Collect)]
                {
                    running.push((actor, self.spawn(actor, role, numbers)));
                }
                self.wait(running, &mut ended).await;
            }
        }
        ended
    }

    /// Waits for runs to end, and buries the dead.
    async fn wait(&self, running: Vec<(Actor, JoinHandle<Ended>)>, ended: &mut Vec<Ended>) {
        for (actor, mut handle) in running {
            loop {
                // The dead do not answer: look now and then.
                match tokio::time::timeout(Duration::from_secs(60), &mut handle).await {
                    Ok(Ok(end)) => {
                        ended.push(end);
                        break;
                    }
                    Ok(Err(error)) => panic!("actor {actor}: {error}"),
                    Err(_) if self.schedule.suffered(actor).killed => {
                        handle.abort();
                        let _ = handle.await;
                        break;
                    }
                    Err(_) => {}
                }
            }
        }
    }

    fn spawn(&self, actor: Actor, role: Role, numbers: &mut Numbers) -> JoinHandle<Ended> {
        let (source, target) = (self.site(actor, false), self.site(actor, true));
        let setting = self.stage.setting.clone();
        let machines = Arc::clone(&self.stage.machines);
        // Clocks differ.
        let now = day(DAY, 1_000 * i64::try_from(1 + actor as u64 * 4 + numbers.below(4)).unwrap_or(1));
        let point = self.stage.points[numbers.position(self.stage.points.len())];
        let of = ["vm0", "vm1"][numbers.position(2)];
        let host = self.hosts.get(&actor).copied().unwrap_or("left");
        let act = async move {
            let mut wrong_bytes = None;
            let result = match role {
                Role::Copy => copy(&setting, &source, &target, DAY, now).await,
                Role::Collect => {
                    let policy = setting.transforms.retention.clone().unwrap_or_default();
                    let retention = policy.with_regular(Simple::new(4).unwrap_or_default());
                    let transforms = setting.transforms.clone().retention(retention).apply_changes_at_once(true);
                    transform(transforms, &target, COPY, now).await.map(|()| None)
                }
                Role::Idle => transform(Transforms::default(), &target, COPY, now).await.map(|()| None),
                Role::Backup => {
                    let images = Arc::clone(&machines);
                    back_up_shared(&setting, &images, &source, now).await.map(|()| Some(now))
                }
                Role::Restore => {
                    let folder =
                        tempfile::TempDir::new_in(machines.lock().unwrap_or_else(PoisonError::into_inner).folder());
                    let folder = folder.unwrap_or_else(|error| panic!("no folder to restore to: {error}"));
                    let restored = restore(&target, COPY, of, PointSelector::Sequence(point), folder.path()).await;
                    restored.map(|report| {
                        let machines = machines.lock().unwrap_or_else(PoisonError::into_inner);
                        let truth = machines.truth(of, report.captured.unix_secs()).unwrap_or_default();
                        let is_right = truth.len() == report.disks.len()
                            && truth.iter().zip(&report.disks).all(|(truth, disk)| {
                                disk.path.as_ref().is_some_and(|path| {
                                    std::fs::read(path).is_ok_and(|delivered| delivered == truth.plain())
                                })
                            });
                        wrong_bytes = (!is_right).then(|| format!("point {point} of {of} came out wrong"));
                        None
                    })
                }
            };
            Ended { actor, role, result, wrong_bytes }
        };
        tokio::spawn(on_host(host, act))
    }
}

/// A backup run; the machines' images are looked up before, so that nobody is kept out of them.
async fn back_up_shared(
    setting: &Setting,
    machines: &Mutex<Machines>,
    source: &Simulated,
    now: Timestamp,
) -> Result<(), Error> {
    let images = machines.lock().unwrap_or_else(PoisonError::into_inner).images();
    back_up(setting, images, source, DAY, now).await
}
