//! Many lives at once, and what they have seen together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::coverage::Coverage;
use crate::life::{Failure, Lives};
use crate::operation::Life;
use crate::shrink::shrink;

/// The steps of a life.
pub const STEPS: usize = 60;
/// So many lives are lived at most to make a failure short.
const TRIES_MAX: u64 = 3_000;

/// So many lives are drawn with what was seen before all of them, on however many threads: so a run is the same on each machine.
const ROUND: u64 = 8;

/// Lives so many steps, from seeds that follow each other, on as many threads as there are processors.
///
/// # Errors
/// The first life that broke a law, made short, in words that tell how to see it again.
pub fn live(first_seed: u64, steps: u64) -> Result<Coverage, String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (mut seen, mut first) = (Coverage::default(), first_seed);
    while seen.steps < steps {
        let next = AtomicU64::new(first);
        let drawn: Mutex<BTreeMap<u64, Result<Coverage, Box<Failure>>>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut lives = Lives::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + ROUND {
                            return;
                        }
                        // What all have seen, so that nobody looks for it again.
                        lives.coverage = seen.clone();
                        let life = lives.draw(seed, STEPS).map(|_| lives.coverage.since(&seen));
                        drawn.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, life);
                    }
                });
            }
        });
        for (seed, life) in drawn.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match life {
                Ok(coverage) => seen.add(&coverage),
                Err(failed) => return Err(format!("seed {seed}: {}", explain(&mut Lives::default(), *failed))),
            }
        }
        first += ROUND;
    }
    Ok(seen)
}

/// A failure, made short, in words.
#[must_use]
pub fn explain(lives: &mut Lives, failure: Failure) -> String {
    let long = failure.life.steps.len();
    let Failure { life, violation } = shrink(lives, failure, TRIES_MAX);
    let list: Vec<String> = life.steps.iter().map(|step| format!("    {step}")).collect();
    format!(
        "{violation}\n{} of {long} steps:\n{}\nOFFSITE_LIFE='{life}' cargo test -p offsite-lives --test lives replay",
        life.steps.len(),
        list.join("\n"),
    )
}

/// Lives a life as it is written.
///
/// # Errors
/// The step that broke a law, and the law.
pub fn relive(text: &str) -> Result<(), String> {
    let life: Life = text.parse()?;
    Lives::default().replay(&life).map_err(|failure| {
        let last = failure.life.steps.last().map(ToString::to_string).unwrap_or_default();
        format!("step {} ({last}): {}", failure.life.steps.len(), failure.violation)
    })
}
