//! Lives, drawn and lived.

use offsite_lives::life::{Failure, Lives};
use offsite_lives::operation::Life;
use offsite_lives::shrink::shrink;
use offsite_simulation::{count, seed};

/// The steps of a life.
const STEPS: usize = 60;

fn explain(lives: &mut Lives, failure: Failure) -> String {
    let long = failure.life.steps.len();
    let short = shrink(lives, failure, 2_000);
    let list: Vec<String> = short.life.steps.iter().map(|step| format!("    {step}")).collect();
    format!(
        "{}\n{} steps of {long}:\n{}\nOFFSITE_LIFE='{}' cargo test -p offsite-lives --test lives replay -- --nocapture",
        short.violation,
        short.life.steps.len(),
        list.join("\n"),
        short.life
    )
}

#[test]
fn lives_keep_all_laws() {
    let (wanted, first) = (count("OFFSITE_LIFE_STEPS", 20_000), seed(1));
    let mut lives = Lives::default();
    let start = std::time::Instant::now();
    let mut number = 0;
    while lives.coverage.steps < wanted {
        if let Err(failure) = lives.draw(first + number, STEPS) {
            let text = explain(&mut lives, *failure);
            panic!("OFFSITE_SEED={}: {text}", first + number);
        }
        number += 1;
    }
    if count("OFFSITE_LIFE_TABLE", 0) > 0 {
        println!("{}", lives.coverage.table());
    }
    println!("{} pairs are missing", lives.coverage.missing().len());
    println!("{:.0} steps/s", lives.coverage.steps as f64 / start.elapsed().as_secs_f64());
}

#[test]
fn replay() {
    let Ok(text) = std::env::var("OFFSITE_LIFE") else { return };
    let life: Life = text.parse().unwrap_or_else(|error| panic!("{error}"));
    if let Err(failure) = Lives::default().replay(&life) {
        let last = failure.life.steps.last().map(ToString::to_string);
        panic!("step {} ({}): {}", failure.life.steps.len(), last.unwrap_or_default(), failure.violation);
    }
}
