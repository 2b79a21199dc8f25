//! Many lives at once, and what they have seen together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Lives so many steps, from seeds that follow each other, on as many threads as there are processors.
///
/// # Errors
/// The first life that broke a law, made short, in words that tell how to see it again.
pub fn live(first_seed: u64, steps: u64) -> Result<Coverage, String> {
    let (next, has_failed) = (AtomicU64::new(first_seed), AtomicBool::new(false));
    let seen: Mutex<Coverage> = Mutex::default();
    let failure: Mutex<Option<String>> = Mutex::default();
    let work = || {
        let mut lives = Lives::default();
        loop {
            // What all have seen, so that nobody looks for it again.
            lives.coverage = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if lives.coverage.steps >= steps || has_failed.load(Ordering::Relaxed) {
                return;
            }
            let before = lives.coverage.clone();
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if let Err(failed) = lives.draw(seed, STEPS) {
                if !has_failed.swap(true, Ordering::Relaxed) {
                    let text = format!("seed {seed}: {}", explain(&mut lives, *failed));
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                }
                return;
            }
            seen.lock().unwrap_or_else(PoisonError::into_inner).add(&lives.coverage.since(&before));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(text) => Err(text),
        None => Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
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
