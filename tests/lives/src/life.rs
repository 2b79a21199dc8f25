//! Living: a life is drawn step by step towards what has not been seen yet, or lived again as it is written.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use offsite::simulation::{Variant, enter};
use offsite_simulation::numbers::Numbers;

use crate::coverage::{Coverage, impossible_weather};
use crate::operation::{Interruption, Kind, Life, Operation, Step, Weather};
use crate::proof::Prover;
use crate::steering::{story, towards};
use crate::violation::{Law, Violation};
use crate::world::World;

/// A life that broke a law.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The life, up to the step that broke it.
    pub life: Life,
    /// What broke.
    pub violation: Violation,
}

/// What lives share: what is known from earlier ones, and what has been seen.
#[derive(Debug, Default)]
pub struct Lives {
    /// What has happened.
    pub coverage: Coverage,
    /// What the engine does wrongly.
    broken: Option<Variant>,
    prover: Prover,
    /// How many calls an operation makes at most, from what was seen.
    calls: BTreeMap<Kind, u32>,
}

/// How often a kind is drawn, if nothing else decides.
fn weight(kind: Kind) -> u64 {
    match kind {
        Kind::Backup => 40,
        Kind::Run => 36,
        Kind::Sync => 16,
        Kind::Idle | Kind::Transform | Kind::Verify | Kind::Write => 8,
        Kind::Damage | Kind::Compact | Kind::Policy => 5,
        Kind::Forget => 1,
        _ => 3,
    }
}

/// What a life is inclined to: lives that do everything do nothing often enough.
struct Temper {
    weights: Vec<(Kind, u64)>,
    /// Interruptions come once in so many operations.
    interrupted_one_in: u64,
}

impl Temper {
    fn new(numbers: &mut Numbers) -> Self {
        let factors = [0, 0, 1, 1, 1, 4];
        let weights = Kind::ALL.iter().map(|kind| {
            let factor = factors[numbers.position(factors.len())];
            // Nothing happens without backups and copies.
            let least = u64::from(matches!(kind, Kind::Backup | Kind::Run));
            (*kind, weight(*kind) * factor.max(least))
        });
        let weights = weights.collect();
        Self { weights, interrupted_one_in: [0, 3, 6, 12][numbers.position(4)] }
    }

    fn draw(&self, numbers: &mut Numbers) -> Kind {
        let total: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut drawn = numbers.below(total);
        for (kind, weight) in &self.weights {
            match drawn.checked_sub(*weight) {
                Some(left) => drawn = left,
                None => return *kind,
            }
        }
        Kind::Backup
    }
}

impl Lives {
    /// Lives of an engine that does this wrongly.
    #[must_use]
    pub fn broken(variant: Variant) -> Self {
        Self { broken: Some(variant), ..Self::default() }
    }

    /// Lives a life of so many steps, drawn from a seed, and tells it.
    ///
    /// # Errors
    /// The life, and what it broke.
    pub fn draw(&mut self, seed: u64, steps: usize) -> Result<Life, Box<Failure>> {
        let mut numbers = Numbers::new(seed);
        let places = std::array::from_fn(|_| u32::try_from(numbers.below(32)).unwrap_or(0));
        let hours = [1, 7, 7, 24, 75, 170][numbers.position(6)];
        let life = RefCell::new(Life { places, hours, steps: Vec::new() });
        self.guarded(&life, |lives, life| lives.live(life, Some((&mut numbers, steps))))?;
        Ok(life.into_inner())
    }

    /// Lives a life as it is written.
    ///
    /// # Errors
    /// What it broke.
    pub fn replay(&mut self, life: &Life) -> Result<(), Box<Failure>> {
        self.guarded(&RefCell::new(life.clone()), |lives, life| lives.live(life, None))
    }

    fn guarded(
        &mut self,
        life: &RefCell<Life>,
        run: impl FnOnce(&mut Self, &RefCell<Life>) -> Result<(), Violation>,
    ) -> Result<(), Box<Failure>> {
        let lived = catch_unwind(AssertUnwindSafe(|| run(self, life)));
        let violation = match lived {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(violation)) => violation,
            Err(panic) => Violation::new(Law::NoPanic, message(panic.as_ref())),
        };
        Err(Box::new(Failure { life: life.borrow().clone(), violation }))
    }

    fn live(&mut self, life: &RefCell<Life>, drawn: Option<(&mut Numbers, usize)>) -> Result<(), Violation> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        // Ids are drawn from the same numbers in every life, so that a life is told by its text alone.
        let entered = enter(1);
        if let Some(variant) = self.broken {
            entered.break_protocol(variant);
        }
        self.prover.begin();
        let prover = std::mem::take(&mut self.prover);
        let (places, hours) = (life.borrow().places, life.borrow().hours);
        let (answer, prover) = runtime.block_on(async {
            let mut world = match World::new(&places, hours, prover).await {
                Ok(world) => world,
                Err(violation) => return (Err(violation), Prover::default()),
            };
            let answer = match drawn {
                Some((numbers, steps)) => self.draw_steps(&mut world, life, numbers, steps).await,
                None => self.replay_steps(&mut world, life).await,
            };
            world.readers.clear();
            (answer, std::mem::take(&mut world.prover))
        });
        self.prover = prover;
        self.coverage.lives += u64::from(answer.is_ok());
        answer
    }

    async fn replay_steps(&mut self, world: &mut World, life: &RefCell<Life>) -> Result<(), Violation> {
        let steps = life.borrow().steps.clone();
        let mut before = None;
        for (number, step) in steps.iter().enumerate() {
            let applied = self.step(world, &mut before, *step).await;
            if applied.is_err() {
                life.borrow_mut().steps.truncate(number + 1);
            }
            applied?;
        }
        Ok(())
    }

    async fn draw_steps(
        &mut self,
        world: &mut World,
        life: &RefCell<Life>,
        numbers: &mut Numbers,
        count: usize,
    ) -> Result<(), Violation> {
        let mut before = None;
        let temper = Temper::new(numbers);
        let mut ahead = VecDeque::new();
        let mut number = 0;
        // What there is nothing for does not count, as long as there is not too much of it.
        for _ in 0..4 * count {
            if number >= count {
                break;
            }
            if ahead.is_empty() && number > 8 && numbers.one_in(6) {
                let calls = |kind| self.calls.get(&kind).copied().unwrap_or(40);
                ahead.extend(towards(&self.coverage, calls, numbers));
            }
            if ahead.is_empty() && numbers.one_in(15) {
                ahead.extend(story(numbers));
            }
            let step = ahead.pop_front().unwrap_or_else(|| self.next(numbers, &temper, number));
            life.borrow_mut().steps.push(step);
            number += usize::from(self.step(world, &mut before, step).await?);
        }
        Ok(())
    }

    /// Carries a step out, and takes note of it: whether there was something to do.
    async fn step(&mut self, world: &mut World, before: &mut Option<Kind>, step: Step) -> Result<bool, Violation> {
        let calls = world.calls();
        let kind = step.operation.kind;
        let applied = world.perform(step).await?;
        self.coverage.did(&std::mem::take(&mut world.deeds));
        let Some(applied) = applied else {
            self.coverage.skipped += 1;
            return Ok(false);
        };
        let made = u32::try_from(world.calls() - calls).unwrap_or(u32::MAX);
        if step.interruption.is_none() {
            let known = self.calls.entry(kind).or_default();
            *known = (*known).max(made).min(150);
        }
        let weather = step.interruption.filter(|_| applied.is_struck).map(|interruption| interruption.weather);
        self.coverage.note(*before, kind, weather);
        *before = Some(kind);
        Ok(true)
    }

    /// The next step: now and then one that has not followed the one before, or not with this coming between.
    fn next(&self, numbers: &mut Numbers, temper: &Temper, number: usize) -> Step {
        let kind = kind(numbers, temper, number);
        let mut arguments = std::array::from_fn(|place| {
            let bound = [12, 180, 60][place];
            u32::try_from(numbers.below(bound)).unwrap_or(0)
        });
        // Much happens to one chain and its copy, so that these grow old.
        if !numbers.one_in(4) {
            let of_folder = matches!(
                kind,
                Kind::Compact | Kind::Verify | Kind::Repair | Kind::Restore | Kind::Hold | Kind::Damage | Kind::Idle
            );
            arguments[0] = if of_folder && !numbers.one_in(4) { 3 } else { 0 };
        }
        let interruption = self.interruption(numbers, temper, kind).filter(|_| number > 3);
        Step { operation: Operation { kind, numbers: arguments }, interruption }
    }

    fn interruption(&self, numbers: &mut Numbers, temper: &Temper, kind: Kind) -> Option<Interruption> {
        if !kind.calls() {
            return None;
        }
        let can: Vec<Weather> =
            Weather::ALL.into_iter().filter(|weather| impossible_weather(kind, *weather).is_none()).collect();
        if !numbers.one_in(temper.interrupted_one_in) {
            return None;
        }
        let weather = *can.get(numbers.position(can.len()))?;
        let bound = match weather {
            Weather::Gate => 3_000,
            Weather::Full => 60,
            _ => u64::from(self.calls.get(&kind).copied().unwrap_or(40)).max(4),
        };
        // Near the start as often as anywhere.
        let bound = if numbers.one_in(3) { bound / 3 + 1 } else { bound };
        let after = u32::try_from(numbers.below(bound)).unwrap_or(0);
        let at_source = weather != Weather::Gate && numbers.one_in(4);
        Some(Interruption { weather, after, at_source })
    }
}

fn kind(numbers: &mut Numbers, temper: &Temper, number: usize) -> Kind {
    // A few machines are there from the start, and jobs are told what to do.
    match number {
        0 | 1 => Kind::Join,
        2 => Kind::Policy,
        3 => [Kind::Merge, Kind::Compaction, Kind::Method, Kind::Keep, Kind::Deleted][numbers.position(5)],
        _ => temper.draw(numbers),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
