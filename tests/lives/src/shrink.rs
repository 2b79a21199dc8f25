//! The shortest life that breaks the same law.

use crate::life::{Failure, Lives};
use crate::operation::{Life, Step};

/// Drops and simplifies steps as long as the same law breaks; at most so many lives are lived for it.
#[must_use]
pub fn shrink(lives: &mut Lives, failure: Failure, tries_max: u64) -> Failure {
    let mut shrinking = Shrinking { lives, best: failure, tries_left: tries_max };
    shrinking.drop_steps();
    shrinking.simplify();
    shrinking.drop_steps();
    shrinking.best
}

struct Shrinking<'a> {
    lives: &'a mut Lives,
    best: Failure,
    tries_left: u64,
}

impl Shrinking<'_> {
    /// Whether a life breaks the same law; then it is the best from now on.
    fn accept(&mut self, life: &Life) -> bool {
        if self.tries_left == 0 {
            return false;
        }
        self.tries_left -= 1;
        match self.lives.replay(life) {
            Err(failure) if failure.violation.law == self.best.violation.law => {
                self.best = *failure;
                true
            }
            _ => false,
        }
    }

    /// Drops runs of steps, long ones first.
    fn drop_steps(&mut self) {
        let mut length = self.best.life.steps.len() / 2;
        while length > 0 {
            let mut start = 0;
            while start < self.best.life.steps.len() {
                let mut life = self.best.life.clone();
                let end = (start + length).min(life.steps.len());
                life.steps.drain(start..end);
                if !self.accept(&life) {
                    start += length;
                }
            }
            length /= 2;
        }
    }

    /// Makes numbers small, and lets nothing come between.
    fn simplify(&mut self) {
        for place in 0..self.best.life.places.len() {
            for simple in [0, 1] {
                let mut life = self.best.life.clone();
                if life.places[place] > simple {
                    life.places[place] = simple;
                    if self.accept(&life) {
                        break;
                    }
                }
            }
        }
        let mut position = 0;
        while position < self.best.life.steps.len() {
            for simpler in simpler(self.best.life.steps[position]) {
                let mut life = self.best.life.clone();
                // A life that breaks earlier has fewer steps.
                let Some(step) = life.steps.get_mut(position) else { break };
                *step = simpler;
                self.accept(&life);
            }
            position += 1;
        }
    }
}

fn simpler(step: Step) -> Vec<Step> {
    let mut all = Vec::new();
    if step.interruption.is_some() {
        all.push(Step { interruption: None, ..step });
    }
    for place in 0..3 {
        for less in [0, 1] {
            if step.operation.numbers[place] > less {
                let mut simple = step;
                simple.operation.numbers[place] = less;
                all.push(simple);
            }
        }
    }
    all
}
