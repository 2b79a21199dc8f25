//! What a policy keeps, without a repository: a year of daily restore points.
//!
//! `cargo run -p offsite --example retention`

mod support;

use offsite::retention::{Gfs, Policy, Regular, Simple, Simulation};
use support::{Fallible, day};

fn main() -> Fallible {
    let policy =
        Policy { gfs: Some(Gfs::new(4, 6, 0, 0)?), regular: Regular::Simple(Simple::new(7)?), ..Policy::default() };
    let mut simulation = Simulation::new(policy)?;
    for number in 0..365 {
        simulation.add(day(number)?)?;
    }
    for archived in simulation.archive() {
        println!("{archived:?}");
    }
    for member in simulation.chain() {
        println!("{member:?}");
    }
    Ok(())
}
