//! What a policy keeps, without a repository: a year of daily restore points.
//!
//! `cargo run -p offsite --example retention`

mod support;

use offsite::retention::{Gfs, Policy, Simple, Simulation};
use support::{Fallible, day};

fn main() -> Fallible {
    let policy = Policy::new(Simple::new(7)?).with_gfs(Gfs::new(4, 6, 0, 0)?);
    let mut simulation = Simulation::new(policy)?;
    for number in 0..365 {
        simulation.add(day(number)?)?;
    }
    for archived in simulation.archives() {
        println!("{archived:?}");
    }
    for member in simulation.points() {
        println!("{member:?}");
    }
    Ok(())
}
