//! The power is cut in every changing call of `OFFSITE_CUT_LIVES` short lives.

use std::thread;
use std::time::Instant;

use offsite_lives::cuts::{Cuts, cut_everywhere};
use offsite_lives::life::Lives;
use offsite_lives::many::explain;
use offsite_simulation::{count, seed};

/// Short, as each is lived once for each of its calls.
const STEPS: usize = 20;

#[test]
fn a_power_cut_in_any_call_of_a_life_loses_nothing() {
    let (wanted, first, start) = (count("OFFSITE_CUT_LIVES", 4), seed(1), Instant::now());
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut all = Cuts::default();
    thread::scope(|scope| {
        let workers = (0..threads).map(|worker| {
            scope.spawn(move || {
                let (mut lives, mut counts) = (Lives::default(), Cuts::default());
                for number in (worker..wanted).step_by(usize::try_from(threads).unwrap_or(1)) {
                    let seed = first + number;
                    match cut_everywhere(&mut lives, seed, STEPS) {
                        Ok(cut) => counts.add(&cut),
                        Err(failed) => panic!("seed {seed}: {}", explain(&mut Lives::default(), *failed)),
                    }
                }
                counts
            })
        });
        let workers: Vec<_> = workers.collect();
        for worker in workers {
            all.add(&worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let Cuts { lives, operations, cuts } = all;
    println!("{lives} lives, {operations} operations, {cuts} cuts in {:.1} s", start.elapsed().as_secs_f64());
    assert!(cuts > 10 * lives, "there was nothing to cut in");
}
