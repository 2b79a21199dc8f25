//! What a policy keeps, without a repository: a year of daily restore points.
//!
//! `cargo run -p offsite --example retention`

mod support;

use offsite::retention::{Gfs, Policy, Simple, Simulation};
use support::{Fallible, day};

fn main() -> Fallible {
    let gfs = Gfs { weekly: Some(4), monthly: Some(6), ..Gfs::default() };
    let policy = Policy { gfs: Some(gfs), ..Policy::simple(Simple::new(7)?) };
    let mut simulation = Simulation::new(policy)?;
    for number in 0..365 {
        simulation.add(day(number)?)?;
    }
    for member in simulation.members() {
        println!("{} {:?}", member.time, member.flags);
    }
    Ok(())
}
