//! A crash at every call that changes something, and what the next run makes of it.

use std::fmt;

use offsite::simulation::{Entered, Variant, enter, on_host};
use offsite::{OpenRepository, Transforms};
use offsite_repository::testing::{CrashImage, CrashMoment};

use crate::job::{BACKUP, COPY, Setting, Sites, Step, day, run, steps, transform, verify};
use crate::machines::Machines;
use crate::numbers::{Numbers, Trace};
use crate::proof::{Invariant, Prover, Violation, contents, finished, head_number, is_head_copy, prove_tight};

/// How much is examined.
#[derive(Debug, Clone)]
pub struct CrashPlan {
    /// What all is drawn from.
    pub seed: u64,
    /// The days that the month has.
    pub days: i64,
    /// Images examined for each call at which the disk differs from before.
    pub images_per_call: u64,
    /// What the engine does wrongly.
    pub broken: Option<Variant>,
}

/// What was examined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrashCounts {
    /// Calls at which the power was cut.
    pub calls: u64,
    /// Images that were found after a cut, recovered, and proven.
    pub states: u64,
    /// Those whose recovery was cut off too.
    pub twice: u64,
    /// Those that were verified by the engine, too.
    pub verified: u64,
    /// All that happened, in a number.
    pub trace: Trace,
}

impl CrashCounts {
    /// The sum of both.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.states += other.states;
        self.twice += other.twice;
        self.verified += other.verified;
        self.trace.note(&other.trace.hash().to_le_bytes());
    }
}

/// A crash that was not survived.
#[derive(Debug, Clone)]
pub struct CrashFailure {
    /// Where, in words that a person can look up.
    pub place: String,
    /// What does not hold.
    pub violation: Violation,
    /// States examined up to then.
    pub states: u64,
}

impl fmt::Display for CrashFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} (after {} states)", self.place, self.violation, self.states)
    }
}

/// Lives through the month, and crashes in every call of it.
///
/// # Errors
/// The first crash that is not survived.
///
/// # Panics
/// If the runtime cannot be made.
pub fn crash_everywhere(setting: &Setting, plan: &CrashPlan) -> Result<CrashCounts, Box<CrashFailure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let world = enter(plan.seed);
    if let Some(variant) = plan.broken {
        world.break_protocol(variant);
    }
    let month = Month {
        setting,
        plan,
        world,
        machines: Machines::new(plan.seed),
        prover: Prover::default(),
        counts: CrashCounts::default(),
    };
    runtime.block_on(month.live())
}

/// A job's image, which crashes; the others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

struct Month<'a> {
    setting: &'a Setting,
    plan: &'a CrashPlan,
    world: Entered,
    machines: Machines,
    prover: Prover,
    counts: CrashCounts,
}

impl Month<'_> {
    fn failure(&self, place: String, violation: Violation) -> Box<CrashFailure> {
        let place = format!("{}, OFFSITE_SEED={}, {place}", self.setting.name, self.plan.seed);
        Box::new(CrashFailure { place, violation, states: self.counts.states })
    }

    async fn live(mut self) -> Result<CrashCounts, Box<CrashFailure>> {
        let image = |number: u64| CrashImage::with_options(self.plan.seed ^ number, self.setting.options.clone());
        let sites = Sites { source: image(1), target: image(2), seed: image(3) };
        for site in [&sites.source, &sites.target, &sites.seed] {
            let made = OpenRepository::initialise(std::sync::Arc::new(site.clone()), day(0, 0)).await;
            made.map_err(|error| {
                self.failure("start".to_owned(), Violation::new(Invariant::NextRunSucceeds, words(&error)))
            })?;
        }
        for number in 0..self.plan.days {
            self.machines.change();
            for seconds in 0..10 {
                self.machines.record(day(number, seconds).unix_secs());
            }
            for (position, step) in steps(number).into_iter().enumerate() {
                let before =
                    Sites { source: sites.source.fork(), target: sites.target.fork(), seed: sites.seed.fork() };
                sites.source.record_moments();
                sites.target.record_moments();
                let seed = self.plan.seed ^ (number as u64) << 8 ^ position as u64;
                self.world.reseed(seed << 20);
                let now = day(number, 0);
                let place = format!("day {number}, {step:?}");
                let mut done = run(self.setting, &self.machines, &sites, step, number, now, "host").await;
                // A disk that fails may fail any run; the one after must succeed.
                for _ in 0..20 {
                    if self.setting.options.failing_flush_every == 0 || done.is_ok() {
                        break;
                    }
                    done = run(self.setting, &self.machines, &sites, step, number, now, "host").await;
                }
                if let Err(error) = done {
                    return Err(self.failure(place, Violation::new(Invariant::NextRunSucceeds, words(&error))));
                }
                for (side, moments) in
                    [(Side::Source, sites.source.take_moments()), (Side::Target, sites.target.take_moments())]
                {
                    for moment in moments {
                        self.crash(&before, side, step, number, &moment, &place).await?;
                    }
                }
                self.prover.trim();
            }
        }
        Ok(self.counts)
    }

    async fn crash(
        &mut self,
        before: &Sites<CrashImage>,
        side: Side,
        step: Step,
        number: i64,
        moment: &CrashMoment,
        place: &str,
    ) -> Result<(), Box<CrashFailure>> {
        self.counts.calls += 1;
        self.counts.trace.note(moment.action().as_bytes());
        self.counts.trace.note(moment.key().as_str().as_bytes());
        for drawn in 0..self.plan.images_per_call {
            let seed = self.plan.seed.rotate_left(40) ^ moment.call() << 8 ^ drawn;
            self.world.reseed(seed);
            let examined = self.examine(before, side, step, number, moment, seed).await;
            self.counts.states += 1;
            if let Err(violation) = examined {
                let place =
                    format!("{place}, {side:?} cut in call {} ({} {})", moment.call(), moment.action(), moment.key());
                return Err(self.failure(place, violation));
            }
        }
        Ok(())
    }

    /// One image that a cut at `moment` may leave: what is on it, what recovery makes of it, and the run after that.
    async fn examine(
        &mut self,
        before: &Sites<CrashImage>,
        side: Side,
        step: Step,
        number: i64,
        moment: &CrashMoment,
        seed: u64,
    ) -> Result<(), Violation> {
        let mut numbers = Numbers::new(seed);
        let job = if side == Side::Source { BACKUP } else { COPY };
        let image = moment.image(numbers.draw());
        let committed = moment.names_before().iter().rev().find_map(|name| head_number(name, job));
        // In doubt is the head that was being stored, and nothing else.
        let in_doubt = head_number(moment.key().as_str(), job).filter(|_| moment.action() != "delete");
        let visible_max = committed.max(in_doubt);
        let mut found = self.look(&image, job, committed, visible_max)?;
        // The process died and the host lives, or the host was started again.
        // A pin tells of its reader's death only to the host that saw it, and from elsewhere holds what it pins.
        let is_pinned = contents(&image).keys().any(|name| name.contains("/pin/"));
        let host = if is_pinned || numbers.one_in(2) { "host" } else { "host-started-again" };
        let mut now = 1;
        if numbers.one_in(5) {
            self.counts.twice += 1;
            image.cut_after(1 + numbers.below(24));
            if numbers.one_in(2) {
                let _ = on_host("third", transform(Transforms::default(), &image, job, day(number, now))).await;
            } else {
                let sites = self.sites(before, side, &image);
                let _ = run(self.setting, &self.machines, &sites, step, number, day(number, now), host).await;
            }
            image.power_on(numbers.draw());
            now += 1;
            found = self.look(&image, job, found.map(|(head, _)| head), None)?;
        }
        if found.is_some() && numbers.one_in(2) {
            self.recover(&image, job, number, now, host).await?;
            now += 1;
        }
        self.next_run(before, side, step, &image, number, now, host).await?;
        if numbers.one_in(64) {
            self.counts.verified += 1;
            on_host(host, verify(&image, job))
                .await
                .map_err(|error| Violation::new(Invariant::NoFalseAlarm, words(&error)))?;
        }
        Ok(())
    }

    fn sites(&self, before: &Sites<CrashImage>, side: Side, image: &CrashImage) -> Sites<CrashImage> {
        let seed = before.seed.fork();
        match side {
            Side::Source => Sites { source: image.clone(), target: before.target.fork(), seed },
            Side::Target => Sites { source: before.source.fork(), target: image.clone(), seed },
        }
    }

    /// Proves what is on an image as it is found: the number of its newest head, and its points.
    fn look(
        &mut self,
        image: &CrashImage,
        job: &str,
        committed: Option<u64>,
        visible_max: Option<u64>,
    ) -> Result<Option<(u64, Vec<u64>)>, Violation> {
        let proven = self.prover.prove(&contents(image), job, &mut self.machines)?;
        let found = proven.map(|proven| {
            let points = proven.head.chain.all().map(|point| point.sequence.0).collect();
            (proven.head.number, points)
        });
        let number = found.as_ref().map(|(number, _)| *number);
        if number < committed {
            let detail = format!("head {committed:?} was committed, found is {number:?}");
            return Err(Violation::new(Invariant::CommittedIsDurable, detail));
        }
        if visible_max.is_some() && number > visible_max {
            let detail = format!("head {visible_max:?} may have been committed, found is {number:?}");
            return Err(Violation::new(Invariant::NothingElseVisible, detail));
        }
        Ok(found)
    }

    /// Opens the folder as a writer who has nothing to do; then once more.
    async fn recover(
        &mut self,
        image: &CrashImage,
        job: &str,
        number: i64,
        now: i64,
        host: &str,
    ) -> Result<(), Violation> {
        let open = || on_host(host, transform(Transforms::default(), image, job, day(number, now)));
        let failed = |error: offsite::Error| Violation::new(Invariant::RecoverySucceeds, words(&error));
        let before = self.prover.prove(&contents(image), job, &mut self.machines)?;
        // A commit of which only the second copy is there is made if it brings a restore point, and else done again.
        let finished = self.prover.prove(&finished(contents(image), job), job, &mut self.machines)?;
        open().await.map_err(failed)?;
        let stored = contents(image);
        let after = self.prover.prove(&stored, job, &mut self.machines)?;
        let points = |proven: &crate::proof::Proven| proven.head.chain.clone();
        let next = |proven: &Option<crate::proof::Proven>| proven.as_ref().map(|proven| proven.head.next_sequence);
        let expected = if next(&finished) > next(&before) { finished } else { before };
        if after.as_ref().map(points) != expected.as_ref().map(points) {
            return Err(Violation::new(Invariant::RecoverySucceeds, "it changed the restore points"));
        }
        if let Some(after) = &after {
            prove_tight(image, &stored, job, after).await?;
        }
        image.record_moments();
        open().await.map_err(failed)?;
        let is_head = |name: &str| head_number(name, job).is_some() || is_head_copy(name, job);
        match image.take_moments().iter().find(|moment| !is_head(moment.key().as_str())) {
            None => Ok(()),
            Some(moment) => {
                let detail = format!("the second one did {} {}", moment.action(), moment.key());
                Err(Violation::new(Invariant::RecoveryIsIdempotent, detail))
            }
        }
    }

    /// Does again what the crash cut off.
    #[allow(clippy::too_many_arguments, reason = "the crash, as a whole")]
    async fn next_run(
        &mut self,
        before: &Sites<CrashImage>,
        side: Side,
        step: Step,
        image: &CrashImage,
        number: i64,
        now: i64,
        host: &str,
    ) -> Result<(), Violation> {
        let job = if side == Side::Source { BACKUP } else { COPY };
        let sites = self.sites(before, side, image);
        let mut again = vec![step];
        // A step of the other job only read here; the job itself is what cleans up.
        if side == Side::Source && step != Step::Backup {
            again.push(Step::Backup);
        }
        if side == Side::Target && step == Step::Verify {
            again.push(Step::Copy);
        }
        for step in again {
            let done = run(self.setting, &self.machines, &sites, step, number, day(number, now), host).await;
            done.map_err(|error| Violation::new(Invariant::NextRunSucceeds, words(&error)))?;
        }
        let stored = contents(image);
        let Some(proven) = self.prover.prove(&stored, job, &mut self.machines)? else {
            return Err(Violation::new(Invariant::NextRunSucceeds, "it left nothing"));
        };
        let newest = proven.head.chain.latest().map(|point| point.time);
        if newest.is_none_or(|newest| newest < day(number, 0)) {
            return Err(Violation::new(Invariant::NextRunSucceeds, "it made no restore point"));
        }
        prove_tight(image, &stored, job, &proven).await
    }
}

/// An error with its causes.
#[must_use]
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
