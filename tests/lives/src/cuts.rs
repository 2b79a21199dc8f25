//! Power cuts in every call of a life that changes something, one at a time; the life goes on after each.

use crate::life::{Failure, Lives};
use crate::operation::{Interruption, Kind, Life, Operation, Step, Weather};
use crate::settings::FOLDERS;

/// What was cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Lives of which every changing call was cut in.
    pub lives: u64,
    /// Operations that were cut off.
    pub operations: u64,
    /// Cuts, each in another call, with a life of its own.
    pub cuts: u64,
}

impl Cuts {
    /// The sum of both.
    pub fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.operations += other.operations;
        self.cuts += other.cuts;
    }
}

/// Draws a life from a seed, and lives it again with the power cut in each of its changing calls, at the place that is written to and at
/// the one that is read from. At the end nothing may be stored that nothing needs, in any folder.
///
/// # Errors
/// The first of these lives that broke a law.
pub fn cut_everywhere(lives: &mut Lives, seed: u64, steps: usize) -> Result<Cuts, Box<Failure>> {
    let mut life = lives.draw(seed, steps)?;
    let is_cut = |step: &Step| step.interruption.is_some_and(|between| between.weather == Weather::PowerCut);
    life.steps.iter_mut().filter(|step| is_cut(step)).for_each(|step| step.interruption = None);
    // Both drives are there, and the clock is right.
    let end = [Kind::Drive, Kind::Clock].map(|kind| (kind, 0));
    let idle = (0..FOLDERS.len()).map(|folder| (Kind::Idle, u32::try_from(folder).unwrap_or(0)));
    life.steps.extend(
        end.into_iter()
            .chain(idle)
            .map(|(kind, first)| Step { operation: Operation { kind, numbers: [first, 0, 0] }, interruption: None }),
    );
    let mut counts = Cuts { lives: 1, ..Cuts::default() };
    for position in (0..life.steps.len()).filter(|position| life.steps[*position].operation.kind.calls()) {
        for at_source in [false, true] {
            let mut cuts = 0;
            while struck(lives, &life, position, Interruption { weather: Weather::PowerCut, after: cuts, at_source })? {
                cuts += 1;
            }
            counts.cuts += u64::from(cuts);
            counts.operations += u64::from(cuts > 0);
        }
    }
    Ok(counts)
}

/// Lives a life with this in one of its steps: whether it came between.
fn struck(lives: &mut Lives, life: &Life, position: usize, between: Interruption) -> Result<bool, Box<Failure>> {
    let mut life: Life = life.clone();
    life.steps[position].interruption = Some(between);
    let before = lives.coverage.weathers(between.weather);
    lives.replay(&life)?;
    Ok(lives.coverage.weathers(between.weather) > before)
}
